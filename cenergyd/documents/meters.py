"""Meters are stored in their logger's document, so that an upload of several meters writes one document.

Earlier versions stored a document of kind ``meter`` for each meter. These are read if the logger's document has not been written since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cenergyd.documents.kinds import LOGGER, METER
from cenergyd.documents.store import Document, DocumentStore

METERS = "meters"
"""Key in the body of a logger's document: series -> the meter's data."""
MAX_METERS = 300
"""Maximum meters of one logger."""


def meters_in(logger: Document | None) -> dict[str, Document] | None:
    """Series -> the meter, as if it had its own document. None if there is no logger's document, or an earlier version wrote it."""
    meters = logger.body.get(METERS) if logger is not None else None
    if logger is None or not isinstance(meters, Mapping):
        return None
    return {
        series: Document(METER, series, body, logger.version, logger.key)
        for series, body in sorted(meters.items())
        if isinstance(body, Mapping)
    }


async def meters_of_logger(documents: DocumentStore, serial: str, logger: Document | None) -> dict[str, Document]:
    """All meters of a logger, by series ascending.

    :param logger: its document.
    """
    found = meters_in(logger)
    if found is None:
        earlier = await documents.find(METER, owner=serial, limit=MAX_METERS)
        found = {document.key: document for document in earlier}
    return found


async def logger_and_meters(documents: DocumentStore, serial: str) -> tuple[Document | None, dict[str, Document]]:
    """A logger's document, and its meters by series ascending."""
    logger = await documents.get(LOGGER, serial)
    return logger, await meters_of_logger(documents, serial, logger)


async def known_meters(
    documents: DocumentStore, series: Sequence[str], loggers: Mapping[str, Document]
) -> dict[str, Document]:
    """The known meters among some series.

    :param loggers: the documents of their loggers, by serial number.
    """
    known: dict[str, Document] = {}
    earlier = []
    by_serial = {serial: meters_in(document) for serial, document in loggers.items()}
    for name in series:
        meters = by_serial.get(name.partition("_")[0])  # also of <serial>_missing_meter
        if meters is None:
            earlier.append(name)
        elif name in meters:
            known[name] = meters[name]
    return known | (await documents.get_many(METER, earlier) if earlier else {})
