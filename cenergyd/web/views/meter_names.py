"""What loggers call their meters."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.documents.kinds import METER
from cenergyd.documents.store import DocumentStore


async def meter_names(documents: DocumentStore, series: Sequence[str]) -> dict[str, str]:
    """The device names of meters, by series; only of those that have one."""
    known = await documents.get_many(METER, list(dict.fromkeys(series))) if series else {}
    return {name: str(each.body["name"]) for name, each in known.items() if each.body.get("name")}
