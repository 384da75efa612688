"""The checks of ``/readyz``: each returns if an upload could be stored, and raises if not."""

from __future__ import annotations

from collections.abc import Mapping

from cenergyd.daemon.opening import StoreOpening
from cenergyd.daemon.uploads import UploadParts
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.ingest.group_commit import MAX_QUEUED_UPLOADS
from cenergyd.runtime.clock import Clock
from cenergyd.storage.open import Stores
from cenergyd.web.server.operations import ReadinessCheck

TYPE_CONFLICT_SECONDS = 900.0
"""How long after a refusal for a field's type /readyz reports it: loggers retry within that time."""


def readiness_checks(
    opening: StoreOpening, stores: Stores, uploads: UploadParts, clock: Clock
) -> Mapping[str, ReadinessCheck]:
    """The checks by name."""

    async def opened() -> None:
        if opening.fault is not None:
            raise StoreUnavailable(opening.fault)

    async def queue() -> None:
        if uploads.group_commit.queued_uploads >= MAX_QUEUED_UPLOADS:
            raise Overloaded(f"{MAX_QUEUED_UPLOADS} uploads are waiting to be written")

    async def types() -> None:
        last = uploads.receiver.type_conflict_at
        if last is not None and 0 <= clock.seconds() - last < TYPE_CONFLICT_SECONDS:
            raise StoreUnavailable("a measurement has a field of another type; uploads of that meter are refused")

    return {
        "opened": opened,
        "customers": stores.customers.ping,
        "readings": stores.readings.ping,
        "queue": queue,
        "types": types,
    }
