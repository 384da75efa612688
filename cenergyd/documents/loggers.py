"""Reads loggers' documents together with the regular uploads since, which are stored with the states of their sites.

A logger's document has what rarely changes: its names, its usual upload interval, its meters and their errors. An upload that changes none
of that needs no write of the document: its times and values are stored in the document of the site's state, which is written after every
upload anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cenergyd.documents.kinds import LOGGER, SITE
from cenergyd.documents.meters import METERS
from cenergyd.documents.store import Document, DocumentStore

CUSTOMER = "customer"
"""Key in the body of a logger's document: the id of the customer whose site's document has its regular uploads."""
_UPLOADS = "uploads"


class MeterUpload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A meter's last regular upload, and its last reading: kW, power factor, V, kvar."""

    uploaded: int
    """UTC seconds."""
    time: int
    """Of the reading, UTC seconds."""
    P: float | None
    L1_PF: float | None
    L1_V: float | None
    Q: float | None


class Uploads(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last regular uploads of a logger."""

    serial: str
    last_upload: int
    """UTC seconds."""
    meters: dict[str, MeterUpload]
    """By series."""

    def joined(self, other: Uploads | None) -> Uploads:
        """The later uploads of both, which may be of several daemons; of two loggers, those of the one that uploaded last."""
        if other is None or other.serial != self.serial:
            return self if other is None or self.last_upload >= other.last_upload else other
        meters = dict(self.meters)
        for series, meter in other.meters.items():
            known = meters.get(series)
            if known is None or (known.uploaded, known.time) < (meter.uploaded, meter.time):
                meters[series] = meter
        return Uploads(self.serial, max(self.last_upload, other.last_upload), meters)

    def to_json(self) -> dict[str, object]:
        """What it adds to the body of a site's document."""
        return {_UPLOADS: _ENCODER.encode(self).decode()}


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Uploads)


def uploads_in(site: Document | None) -> Uploads | None:
    """Those in the document of a site's state."""
    text = site.body.get(_UPLOADS) if site is not None else None
    if not isinstance(text, str):
        return None
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError:
        return None  # of another version


def with_uploads(logger: Document, uploads: Uploads | None) -> Document:
    """A logger's document as if the uploads had been written into it."""
    stored = logger.body.get(METERS)
    if uploads is None or uploads.serial != logger.key or not isinstance(stored, Mapping):
        return logger
    meters = dict(stored)
    for series, upload in uploads.meters.items():
        if series in meters:
            meters[series] = _with_upload(meters[series], upload)
    last_upload = max(uploads.last_upload, logger.body.get("last_upload") or 0)
    return logger._replace(body={**logger.body, "last_upload": last_upload, METERS: meters})


def _with_upload(meter: Mapping[str, object], upload: MeterUpload) -> dict[str, object]:
    uploaded, time = meter.get("last_upload"), meter.get("last_time")
    before = uploaded if isinstance(uploaded, int) else 0
    body: dict[str, object] = {**meter, "last_upload": max(upload.uploaded, before)}
    # A reading that was sent again counts as it was sent last.
    if not isinstance(time, int) or (time, before) <= (upload.time, upload.uploaded):
        last = {"P": upload.P, "L1_PF": upload.L1_PF, "L1_V": upload.L1_V, "Q": upload.Q}
        body |= {"last_time": upload.time, "last": last}
    return body


async def up_to_date(documents: DocumentStore, loggers: Iterable[Document]) -> dict[str, Document]:
    """Loggers' documents with the regular uploads since, by serial number."""
    found = list(loggers)
    owners = {logger.key: str(logger.body.get(CUSTOMER) or "") for logger in found}
    ids = sorted(set(filter(None, owners.values())))
    sites = await documents.get_many(SITE, ids) if ids else {}
    return {logger.key: with_uploads(logger, uploads_in(sites.get(owners[logger.key]))) for logger in found}


async def loggers_of(documents: DocumentStore, serials: Sequence[str]) -> dict[str, Document]:
    """The known loggers among these, with their regular uploads."""
    return await up_to_date(documents, (await documents.get_many(LOGGER, serials)).values() if serials else ())


async def logger_of(documents: DocumentStore, serial: str) -> Document | None:
    """A logger with its regular uploads; None if it was never seen."""
    return (await loggers_of(documents, [serial])).get(serial)
