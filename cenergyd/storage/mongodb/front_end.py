"""Finds changes that the existing front end makes in the shared collection.

A pass reads every shared document once, by one cursor, as raw bytes, and compares a fingerprint with that of the previous
pass. Only documents that differ are decoded and compared with our own document (``seen``). If MongoDB has change streams, the pass
is followed by reading the stream, which is opened before the pass begins, so that nothing is missed in between. One daemon at a
time does this; the others find the result in our own documents.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from typing import cast
from uuid import uuid4

from bson import CodecOptions, decode
from bson.raw_bson import RawBSONDocument
from pymongo.errors import DuplicateKeyError
from twisted.logger import Logger
from txmongo.collection import Cursor
from txmongo.database import Database

from cenergyd.customers.front_end import FrontEndChange
from cenergyd.customers.model import TimeRange
from cenergyd.errors import CenergydError, StoreUnavailable
from cenergyd.storage.mongodb.change_stream import ChangeStream
from cenergyd.storage.mongodb.connection import CHECKS
from cenergyd.storage.mongodb.customer_documents import OWN_COLLECTION, CustomerDocuments
from cenergyd.storage.mongodb.ids import id_text, id_value
from cenergyd.storage.mongodb.own_document import (
    GONE,
    UNWRITTEN,
    VERSION,
    changed_since_seen,
    comparison_update,
    customer_of,
    is_current,
    own_serial,
)
from cenergyd.storage.mongodb.previous_state import has_previous_state, move_previous_state
from cenergyd.storage.mongodb.queue_fields import DERIVATION, JOBS
from cenergyd.storage.mongodb.shared_document import PROJECTION, SERIAL, mapping_of

_PAGE = 500
_LEASE = "front_end"
LEASE_SECONDS = 45
"""Seconds without progress after which another daemon takes over; longer than the pause between two passes."""
_RENEW_SECONDS = 10
_UNWRITTEN_SECONDS = 30
"""Seconds between searches for changes that a dead daemon left unwritten, while a stream is read."""
_MAX_UNSETTLED = 10_000
"""If a stream reports more changed customers than this, a pass finds them instead."""
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

log = Logger()


class MongoFrontEnd:
    """See :class:`cenergyd.customers.front_end.FrontEnd`. Keeps a fingerprint of about 150 bytes per customer in memory."""

    def __init__(self, documents: CustomerDocuments) -> None:
        self._documents = documents
        self._holder = uuid4().hex
        self._lease_until = 0.0
        self._stream = ChangeStream(documents.mongo, documents.shared.name)
        self._unsettled: dict[str, object] = {}
        """``_id`` of documents that the stream has reported, until they agree with our own documents."""
        self._searched_unwritten = 0.0
        self._batches: AsyncGenerator[list[RawBSONDocument], None] | None = None
        self._known: dict[str, bytes] = {}
        self._seen: set[str] = set()
        self._passes = 0

    async def next_changes(self) -> tuple[list[FrontEndChange], bool]:
        """Changes in the next few hundred documents, and whether the pass is complete."""
        if not await self._hold_lease():
            self._batches = None
            return [], True
        try:
            if self._batches is None:
                await self._stream.begin()
                await self._finish_unwritten()
                self._seen = set()
                self._batches = self._documents.mongo.batches(self._cursor)
            documents = await anext(self._batches, None)
            if documents is not None:
                return self._remembered(await self._compared(documents)), False
            self._batches = None
            return self._remembered(await self._vanished()), True
        except StoreUnavailable:
            self._batches = None
            raise

    async def streamed_changes(self) -> list[FrontEndChange] | None:
        """Changes that the change stream reports; None if there is no stream."""
        if not await self._hold_lease():
            await self._end_stream()
            return None
        ids = await self._stream.next_ids()
        if ids is None or len(self._unsettled) > _MAX_UNSETTLED:
            await self._end_stream()
            return None
        if self._documents.mongo.seconds() >= self._searched_unwritten + _UNWRITTEN_SECONDS:
            await self._finish_unwritten()
        self._unsettled |= {id_text(key): key for key in ids}
        return await self._settled()

    async def close(self) -> None:
        """Let another daemon take over at once."""
        if self._lease_until <= self._documents.mongo.seconds():
            return
        mine = {"_id": _LEASE, "holder": self._holder}
        self._lease_until = 0.0
        with suppress(CenergydError):
            await self._documents.mongo.run(lambda database: database[CHECKS].delete_one(mine))
            await self._end_stream()

    async def change_of(self, customer_id: str) -> FrontEndChange | None:
        """The front end's change of one customer."""
        key = id_value(customer_id)
        own, document = await self._documents.find_own(key), await self._documents.find_shared(key)
        if own is None:
            return None
        if document is None:
            return FrontEndChange(customer=customer_of(own), changes=None, state=(own, None))
        return await self._change(own, document)

    async def follow(
        self, change: FrontEndChange, update: Mapping[str, object], pending: TimeRange | None = None
    ) -> bool:
        """Adopt a change."""
        own, document = _documents_of(change)
        if document is None:
            return await self._mark_gone(own)
        await self._documents.announce(own_serial(own), str(update.get(SERIAL) or ""))
        also = comparison_update(own, document)
        return await self._documents.update_own(own, update, pending=pending, also=also)

    async def _mark_gone(self, own: Mapping[str, object]) -> bool:
        cleared = dict.fromkeys((SERIAL, *DERIVATION.all, *JOBS.all), "")
        await self._documents.announce(own_serial(own))
        gone = {GONE: int(self._documents.mongo.seconds())}
        return await self._documents.change_own(own, {"$set": gone, "$unset": cleared, "$inc": {VERSION: 1}})

    async def _end_stream(self) -> None:
        self._unsettled.clear()
        await self._stream.end()

    def _remembered(self, changes: list[FrontEndChange]) -> list[FrontEndChange]:
        """The changes of a pass. If there is a stream they are also remembered, because the next pass may be long after a failure to adopt them."""
        if self._stream.is_open:
            self._unsettled |= {change.customer.id: _documents_of(change)[0]["_id"] for change in changes}
        return changes

    async def _settled(self) -> list[FrontEndChange]:
        """Compare the documents that the stream reported; those without a change are settled."""
        wanted = dict(islice(self._unsettled.items(), _PAGE))
        if not wanted:
            return []
        query = {"_id": {"$in": list(wanted.values())}}
        found = await self._documents.mongo.run(lambda database: self._raw(database, query, len(wanted) + 1))
        changes = await self._compared(found)
        present = {id_text(raw["_id"]) for raw in found}
        changes += await self._gone(key for key in wanted if key not in present)
        unsettled = {change.customer.id for change in changes}
        for key, value in wanted.items():
            del self._unsettled[key]
            if key in unsettled:
                self._unsettled[key] = value  # to the end, so that the others are next
        return changes

    def _raw(self, database: Database, query: Mapping[str, object], size: int) -> Cursor:
        shared = database[self._documents.shared.name].with_options(codec_options=_RAW)
        return shared.find(query, projection=PROJECTION, batch_size=size)

    def _cursor(self, database: Database) -> Cursor:
        return self._raw(database, {}, _PAGE)

    async def _compared(self, documents: Iterable[RawBSONDocument]) -> list[FrontEndChange]:
        different: list[tuple[str, bytes, dict[str, object]]] = []
        for raw in documents:
            key, digest = id_text(raw["_id"]), blake2b(raw.raw, digest_size=8).digest()
            self._seen.add(key)
            if self._known.get(key) != digest:
                different.append((key, digest, decode(raw.raw)))
        owns = await self._documents.own_of([document for _, _, document in different])
        changes = []
        for key, digest, document in different:
            if has_previous_state(document):
                # Written by an earlier version that still runs beside this one.
                await move_previous_state(self._documents, document)
                continue  # the next pass compares the rest
            own = owns.get(key)
            if own is not None and is_current(own, document):
                self._known[key] = digest
            elif own is not None and (change := await self._change(own, document)):
                changes.append(change)
        return changes

    async def _change(self, own: Mapping[str, object], document: Mapping[str, object]) -> FrontEndChange | None:
        """A change that needs a decision; any other difference is recorded at once."""
        unwritten = mapping_of(own.get(UNWRITTEN))
        changes = {field: value for field, value in changed_since_seen(own, document).items() if field not in unwritten}
        if not changes and GONE not in own:
            await self._documents.change_own(own, comparison_update(own, document))
            return None
        return FrontEndChange(customer=customer_of(own), changes=changes, state=(own, document))

    async def _vanished(self) -> list[FrontEndChange]:
        """Customers whose shared documents were not seen in the pass that has just ended."""
        self._passes += 1
        # The first pass also finds those that were removed before this process started.
        candidates = list(self._known) if self._passes > 1 else await self._own_ids()
        return await self._gone(key for key in candidates if key not in self._seen)

    async def _gone(self, keys: Iterable[str]) -> list[FrontEndChange]:
        changes = []
        for key in keys:
            self._known.pop(key, None)
            change = await self.change_of(key)
            if change is not None and change.changes is None and UNWRITTEN not in _documents_of(change)[0]:
                changes.append(change)
        return changes

    async def _own_ids(self) -> list[str]:
        found = self._documents.mongo.batches(
            lambda database: database[OWN_COLLECTION].find({GONE: None}, projection=["_id"], batch_size=10 * _PAGE)
        )
        return [id_text(own["_id"]) async for owns in found for own in owns]

    async def _finish_unwritten(self) -> None:
        """Write changes that a daemon left unwritten when it ended."""
        self._searched_unwritten = self._documents.mongo.seconds()
        query = {UNWRITTEN: {"$exists": True}}
        found = await self._documents.run_own(lambda own: own.find(query, limit=_PAGE, batch_size=_PAGE))
        for own in found:
            try:
                await self._documents.write_unwritten(own)
            except StoreUnavailable:
                raise
            except CenergydError as error:
                log.warn("customer {customer_id}: {reason}", customer_id=id_text(own["_id"]), reason=str(error))

    async def _hold_lease(self) -> bool:
        now = int(self._documents.mongo.seconds())
        if self._lease_until - LEASE_SECONDS <= now < self._lease_until - LEASE_SECONDS + _RENEW_SECONDS:
            return True
        query = {"_id": _LEASE, "$or": [{"holder": self._holder}, {"until": {"$lte": now}}]}
        lease = {"$set": {"holder": self._holder, "until": now + LEASE_SECONDS}}
        try:
            await self._documents.mongo.run(lambda database: database[CHECKS].update_one(query, lease, upsert=True))
        except DuplicateKeyError:
            return False
        self._lease_until = now + LEASE_SECONDS
        return True


def _documents_of(change: FrontEndChange) -> tuple[Mapping[str, object], Mapping[str, object] | None]:
    """The own and the shared document of a change; None if the shared one was removed."""
    return cast(tuple[Mapping[str, object], Mapping[str, object] | None], change.state)
