"""What loggers call their meters."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.documents.kinds import LOGGER
from cenergyd.documents.meters import known_meters
from cenergyd.documents.store import DocumentStore


async def meter_names(documents: DocumentStore, series: Sequence[str]) -> dict[str, str]:
    """The device names of meters, by series; only of those that have one."""
    if not series:
        return {}
    serials = sorted({name.rpartition("_")[0] for name in series})
    known = await known_meters(documents, series, await documents.get_many(LOGGER, serials))
    return {name: str(each.body["name"]) for name, each in known.items() if each.body.get("name")}
