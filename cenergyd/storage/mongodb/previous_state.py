"""Moves the state that earlier versions of cenergyd kept in the shared documents to our own documents.

Those versions wrote ``cenergyd``, ``pending_since`` and ``pending_until`` into the front end's documents, which strict classes then
cannot read. Moving can be repeated: our document is written first, then the fields are removed from the shared one if they are
still the values that were moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cenergyd.errors import StoreRejected
from cenergyd.storage.mongodb.customer_documents import CustomerDocuments
from cenergyd.storage.mongodb.own_document import EXTENSIONS, MIGRATED, VERSION, own_of_shared, time_of
from cenergyd.storage.mongodb.queue_fields import DERIVATION, JOBS
from cenergyd.storage.mongodb.shared_document import (
    PREVIOUS_FIELDS,
    PREVIOUS_OWN,
    json_of,
    json_text,
    mapping_of,
    settings_of,
    text_of,
)

PREVIOUS_INDEXES = (
    "cenergyd_serial", "cenergyd_lookup",
    "pending_since_1", "cenergyd.pending_work.since_1", "cenergyd.jobs_since_1", "cenergyd.jobs_work.since_1",
)  # fmt: skip
"""Indexes that earlier versions created in the shared collection; the first one conflicts with the front end's own."""


def has_previous_state(document: Mapping[str, object]) -> bool:
    """Whether there is anything to move."""
    return any(field in document for field in PREVIOUS_FIELDS)


def own_of_previous(document: Mapping[str, object]) -> dict[str, object]:
    """Our document for a shared one, with everything that an earlier version kept there. Claims are not moved."""
    own = own_of_shared(document)
    previous = mapping_of(document.get(PREVIOUS_OWN))
    own |= {field: text for field in ("name", "time_zone") if (text := text_of(previous.get(field)))}
    extensions = json_of(mapping_of(previous.get(EXTENSIONS)))
    own[EXTENSIONS] = {key: value for key, value in extensions.items() if value is not None}
    if migrated := mapping_of(previous.get(MIGRATED)):
        own[MIGRATED] = {str(field): json_text(value) for field, value in migrated.items()}
    return own | _ranges(document)


async def move_previous_state(documents: CustomerDocuments, document: Mapping[str, object]) -> None:
    """Move one document's state. Values written meanwhile are left for the next time."""
    own = own_of_previous(document)
    if not await documents.insert_own(own):
        await _merge(documents, own, document)
    query = {"_id": document["_id"], **{field: {"$eq": document.get(field)} for field in PREVIOUS_FIELDS}}
    update = {"$unset": dict.fromkeys(PREVIOUS_FIELDS, "")}
    await documents.run_shared(lambda shared: shared.update_one(query, update))


async def move_all(documents: CustomerDocuments) -> int:
    """Move every document's state and drop the earlier indexes; returns how many documents were moved. Can be resumed."""
    moved = 0
    async for batch in documents.shared_batches():
        for document in batch:
            if has_previous_state(document):
                await move_previous_state(documents, document)
                moved += 1
    for index in PREVIOUS_INDEXES:
        await _drop_index(documents, index)
    return moved


async def _merge(documents: CustomerDocuments, moved: Mapping[str, Any], document: Mapping[str, object]) -> None:
    """Add what was moved to an existing document of ours; newer values there stay."""
    found: dict[str, object] | None = await documents.run_own(lambda own: own.find_one({"_id": moved["_id"]}))
    if found is None:
        return
    settings, present = settings_of(document), mapping_of(found.get(EXTENSIONS))
    sets = {f"{EXTENSIONS}.{key}": value for key, value in moved[EXTENSIONS].items() if key not in present}
    # Fields not set in ours yet, because it was created from the shared one alone.
    sets |= {field: moved[field] for field in ("name", "time_zone") if found.get(field) == settings[field]}
    if MIGRATED in moved and MIGRATED not in found:
        sets[MIGRATED] = moved[MIGRATED]
    queues = (DERIVATION, JOBS)
    update = {
        "$set": sets,
        "$min": {queue.start: moved[queue.start] for queue in queues if queue.start in moved},
        "$max": {queue.end: moved[queue.end] for queue in queues if queue.end in moved},
        "$inc": {VERSION: 1},
    }
    update = {operator: fields for operator, fields in update.items() if fields}
    await documents.run_own(lambda own: own.update_one({"_id": moved["_id"], VERSION: found[VERSION]}, update))


async def _drop_index(documents: CustomerDocuments, name: str) -> None:
    with suppress(StoreRejected):
        # txmongo's drop_index uses a command that newer servers do not support.
        await documents.mongo.run(lambda db: db.command("dropIndexes", documents.shared.name, index=name))


def _ranges(document: Mapping[str, object]) -> dict[str, int]:
    """The ranges of both queues, pending and working ones joined. Their ends were inclusive."""
    previous = mapping_of(document.get(PREVIOUS_OWN))
    places = {
        DERIVATION: (document.get("pending_since"), document.get("pending_until"), previous.get("pending_work")),
        JOBS: (previous.get("jobs_since"), previous.get("jobs_until"), previous.get("jobs_work")),
    }
    ranges: dict[str, int] = {}
    for queue, (since, until, work) in places.items():
        working = mapping_of(work)
        starts = [time for time in map(time_of, (since, working.get("since"))) if time is not None]
        ends = [time for time in map(time_of, (until, working.get("until"))) if time is not None]
        if starts and ends:
            ranges |= {queue.start: min(starts), queue.end: max(ends) + 1}
    return ranges
