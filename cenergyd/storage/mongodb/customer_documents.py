"""The two documents of a customer in MongoDB: reads them, and changes them in an order that is safe at a crash.

A change of agreed fields is first stored in our own document, as settings and as ``unwritten``, then in the shared one. Any daemon
that finds ``unwritten`` completes the write. So a crash in between loses nothing, and no change is stored partially.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from pymongo.errors import DuplicateKeyError
from twisted.logger import Logger
from txmongo.collection import Collection
from txmongo.filter import ASCENDING
from txmongo.filter import sort as sort_by

from cenergyd.customers.model import TimeRange
from cenergyd.documents.change_notices import ChangeNotices, customer_of_logger
from cenergyd.errors import ChangedElsewhere, Conflict, NotFound, SerialTaken
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.ids import id_text, ids_after
from cenergyd.storage.mongodb.own_document import (
    GONE,
    MIGRATED,
    SEEN,
    UNWRITTEN,
    VERSION,
    changed_since_seen,
    own_of_shared,
    own_serial,
    seen_of,
    settings_update,
    widening,
)
from cenergyd.storage.mongodb.shared_document import (
    AGREED_FIELDS,
    METER_FIELDS,
    PROJECTION,
    SERIAL,
    agreed_update,
    json_text,
    observed,
    settings_of,
)

T = TypeVar("T")
OWN_COLLECTION = "cenergyd_customer"
LOOKUP_INDEX = "cenergyd_serial_lookup"
"""Index of the shared collection. Its key ends in ``_id``, so that it never conflicts with the front end's own indexes."""
_BY_ID = sort_by(ASCENDING("_id"))
_BATCH = 500
_ATTEMPTS = 5

log = Logger()


@attrs.frozen(kw_only=True)
class SharedCollection:
    """The operator's settings of the shared collection."""

    name: str = "customer"
    hash_passwords: bool = False
    """Whether passwords in it are replaced by their hashes."""
    new_document: Mapping[str, str] = attrs.field(factory=dict)
    """Constant fields in the documents of customers that cenergyd adds, such as ``_cls``."""


class CustomerDocuments:
    """Shared and own documents by ``_id``. Methods raise StoreUnavailable.

    :param notices: where changes of settings are announced.
    """

    def __init__(self, mongo: MongoDatabase, shared: SharedCollection, notices: ChangeNotices) -> None:
        self._notices = notices
        self.when_marked: Callable[[], None] = lambda: None
        """Called when a change widens a customer's pending range."""
        self.mongo = mongo
        self.shared = shared

    async def announce(self, *serials: str) -> None:
        """Announce, before a change of settings, that cached customers of these loggers may become outdated."""
        await self._notices.announce(customer_of_logger(serial) for serial in serials if serial)

    async def run_shared(self, operation: Callable[[Collection], Awaitable[T]]) -> T:
        """Call ``operation`` with the shared collection."""
        return await self.mongo.run(lambda database: operation(database[self.shared.name]))

    async def run_own(self, operation: Callable[[Collection], Awaitable[T]]) -> T:
        """Call ``operation`` with our own collection."""
        return await self.mongo.run(lambda database: operation(database[OWN_COLLECTION]))

    async def ensure_indexes(self) -> None:
        """Create the indexes of both collections."""
        lookup = sort_by(ASCENDING(SERIAL) + ASCENDING("_id"))
        await self.run_shared(lambda shared: shared.create_index(lookup, name=LOOKUP_INDEX))
        unique = {"unique": True, "name": "serial", "partialFilterExpression": {SERIAL: {"$gt": ""}}}
        await self.run_own(lambda own: own.create_index(sort_by(ASCENDING(SERIAL)), **unique))
        unwritten = {"name": UNWRITTEN, "partialFilterExpression": {UNWRITTEN: {"$exists": True}}}
        await self.run_own(lambda own: own.create_index(sort_by(ASCENDING(UNWRITTEN)), **unwritten))

    async def find_shared(self, key: object) -> dict[str, object] | None:
        """The shared document of a customer."""
        found: dict[str, object] | None = await self.run_shared(
            lambda shared: shared.find_one({"_id": key}, projection=PROJECTION)
        )
        return found

    async def find_shared_by_id(self, keys: Sequence[object]) -> list[dict[str, object]]:
        """The shared documents that exist among these keys."""
        if not keys:
            return []
        query, size = {"_id": {"$in": list(keys)}}, len(keys) + 1
        found: list[dict[str, object]] = await self.run_shared(
            lambda shared: shared.find(query, projection=PROJECTION, batch_size=size)
        )
        return found

    async def find_shared_by_serial(self, serial: str) -> list[dict[str, object]]:
        """Shared documents that name a logger. The front end may have several; at most a few are returned."""
        # The front end may have stored the number in lower case or with blanks.
        query = {SERIAL: {"$in": list(dict.fromkeys((serial, serial.lower())))}}
        found: list[dict[str, object]] = await self.run_shared(
            lambda shared: shared.find(query, projection=PROJECTION, limit=10, batch_size=10)
        )
        return found

    async def find_own(self, key: object) -> dict[str, object] | None:
        """Our document of a customer; it is created if there is only a shared one."""
        own: dict[str, object] | None = await self.run_own(lambda collection: collection.find_one({"_id": key}))
        if own is None and (document := await self.find_shared(key)):
            own = (await self.own_of([document])).get(id_text(key))
        return None if own is None or GONE in own else own

    async def own_of(self, documents: Sequence[Mapping[str, object]]) -> dict[str, dict[str, object]]:
        """Our documents for some shared ones, by the text of the id; missing ones are created."""
        owns = await self.find_own_by_id([document["_id"] for document in documents])
        missing = [document for document in documents if id_text(document["_id"]) not in owns]
        for document in missing:
            await self.insert_own(own_of_shared(document))
        if missing:
            owns |= await self.find_own_by_id([document["_id"] for document in missing])
        return owns

    async def find_own_by_id(self, keys: Sequence[object]) -> dict[str, dict[str, object]]:
        """Our documents that exist among these keys, by the text of the id."""
        if not keys:
            return {}
        found = await self.run_own(
            lambda collection: collection.find({"_id": {"$in": list(keys)}}, batch_size=len(keys) + 1)
        )
        return {id_text(own["_id"]): own for own in found}

    async def insert_own(self, own: dict[str, object]) -> bool:
        """Store a new document of ours; without its logger if another customer has that. False if there already is one."""
        try:
            await self.run_own(lambda collection: collection.insert_one(own))
        except DuplicateKeyError as error:
            if index_has(error, "_id"):
                return False
            log.warn(
                "logger {serial} is set for two customers: its uploads belong to the other one, not to {customer_id}",
                serial=own_serial(own), customer_id=id_text(own["_id"]),
            )  # fmt: skip
            return await self.insert_own({**own, SERIAL: ""})
        return True

    def shared_batches(self) -> AsyncGenerator[list[dict[str, object]], None]:
        """Every shared document, in batches of some hundred."""
        return self.mongo.batches(
            lambda database: database[self.shared.name].find({}, projection=PROJECTION, batch_size=_BATCH)
        )

    async def shared_page(
        self, after: str | None, limit: int, fields: Sequence[str] | None = PROJECTION
    ) -> list[dict[str, object]]:
        """Shared documents in the order of ids, with all or some fields."""
        found: list[dict[str, object]] = []
        for query in ids_after(after):
            if len(found) < limit:
                found += await self._page(self.shared.name, query, limit - len(found), fields)
        return found

    async def own_page(self, after: str | None, limit: int, query: Mapping[str, object]) -> list[dict[str, object]]:
        """Our documents that match, in the order of ids."""
        found: list[dict[str, object]] = []
        for ids in ids_after(after):
            if len(found) < limit:
                found += await self._page(OWN_COLLECTION, {**query, **ids}, limit - len(found), None)
        return found

    async def update_own(
        self,
        own: Mapping[str, object],
        checked: Mapping[str, Any],
        *,
        pending: TimeRange | None = None,
        unwritten: Mapping[str, str] | None = None,
        also: Mapping[str, Mapping[str, object]] | None = None,
    ) -> bool:
        """Change settings in our document, if its version is still the one that was read. Raises SerialTaken.

        :param unwritten: changes of agreed fields still to be written to the shared document.
        :param also: further operators of the update.
        """
        update = settings_update(checked)
        for operator, fields in {**(also or {}), **widening(pending)}.items():
            update[operator] = {**update.get(operator, {}), **fields}
        if unwritten:
            update["$set"][UNWRITTEN] = dict(unwritten)
        if pending is not None:
            self.when_marked()
        try:
            return await self.change_own(own, {operator: fields for operator, fields in update.items() if fields})
        except DuplicateKeyError:
            raise SerialTaken(checked.get(SERIAL, "")) from None

    async def change_own(self, own: Mapping[str, object], update: Mapping[str, object]) -> bool:
        """Apply an update to our document, if its version is still the one that was read."""
        query = {"_id": own["_id"], VERSION: own[VERSION]}
        result = await self.run_own(lambda collection: collection.update_one(query, dict(update)))
        return bool(result.matched_count)

    async def delete(self, key: object) -> None:
        """Delete the shared document, then ours."""
        await self.run_shared(lambda shared: shared.delete_one({"_id": key}))
        await self.run_own(lambda own: own.delete_one({"_id": key}))

    async def prepare_agreed(self, own: Mapping[str, object], agreed: Mapping[str, str]) -> None:
        """Check that agreed fields can be changed. Raises SerialTaken, NotFound, ChangedElsewhere."""
        if agreed.get(SERIAL):
            await self.check_serial_free(agreed[SERIAL], own["_id"])
        document = await self.find_shared(own["_id"])
        if document is None:
            raise NotFound(f"no customer {id_text(own['_id'])}")
        if UNWRITTEN in own or changed_since_seen(own, document):
            raise ChangedElsewhere("the existing front end has just changed this customer")

    async def check_serial_free(self, serial: str, key: object) -> None:
        """Raise SerialTaken if a customer has the serial number. Unlike the index of our own documents, this also finds new shared ones."""
        owner = await self.run_own(lambda own: own.find_one({SERIAL: serial}, projection=["_id"]))
        others = [owner] if owner else await self.find_shared_by_serial(serial)
        if any(document["_id"] != key for document in others):
            raise SerialTaken(serial)

    async def write_unwritten(self, own: Mapping[str, Any]) -> None:
        """Write the pending changes in our document to the shared one. Can be repeated.

        Raises SerialTaken or Conflict if a unique index of the front end forbids it; our change is then undone.
        """
        unwritten = {field: value for field, value in own[UNWRITTEN].items() if field in AGREED_FIELDS}
        document: dict[str, object] | None = None
        try:
            for _ in range(_ATTEMPTS):
                document = await self.find_shared(own["_id"])
                if document is None and "insert" not in own[UNWRITTEN]:
                    return
                if document is None:
                    document = await self._insert_shared(own, unwritten)
                    if document is None:
                        continue  # another daemon has just inserted it: read it again
                elif not await self._write_agreed(document, unwritten):
                    continue  # the front end has just changed it: read it again
                await self._written(own, document, unwritten)
                return
        except DuplicateKeyError as error:
            await self._take_back(own, document)
            if index_has(error, SERIAL):
                raise SerialTaken(unwritten.get(SERIAL, "")) from None
            raise Conflict("a unique index of the shared collection already has such a customer") from None

    async def _insert_shared(self, own: Mapping[str, object], unwritten: Mapping[str, str]) -> dict[str, object] | None:
        """The new shared document; None if there is one already."""
        document: dict[str, object] = {"_id": own["_id"], **self.shared.new_document}
        if own.get("name"):
            document["name"] = own["name"]
        document.update({field: value for field, value in unwritten.items() if value or field in METER_FIELDS})
        try:
            await self.run_shared(lambda shared: shared.insert_one(document))
        except DuplicateKeyError:
            if await self.find_shared(own["_id"]) is None:
                raise  # a unique index of the front end
            return None
        return document

    async def _write_agreed(self, document: Mapping[str, object], unwritten: Mapping[str, str]) -> bool:
        update = agreed_update(document, unwritten)
        if not update:
            return True
        result = await self.run_shared(lambda shared: shared.update_one(observed(document), update))
        return bool(result.matched_count)

    async def _written(
        self, own: Mapping[str, object], document: Mapping[str, object], unwritten: Mapping[str, str]
    ) -> None:
        """Record in our document that the shared one is written; values that it had in an older format are kept."""
        seen = seen_of(own["_id"], {**settings_of(document), **unwritten})
        if SEEN in own:
            seen = {field: seen[field] for field in unwritten}  # other changes by the front end must still be noticed
        sets: dict[str, object] = {f"{SEEN}.{field}": value for field, value in seen.items()}
        for field in METER_FIELDS:
            old = document.get(field)
            if field in unwritten and isinstance(old, list | Mapping) and old:
                sets[f"{MIGRATED}.{field}"] = json_text(old)
        query = {"_id": own["_id"], UNWRITTEN: {"$eq": own[UNWRITTEN]}}
        update = {"$set": sets, "$unset": {UNWRITTEN: ""}}
        await self.run_own(lambda collection: collection.update_one(query, update))

    async def _take_back(self, own: Mapping[str, Any], document: Mapping[str, object] | None) -> None:
        """Restore our document from the shared one, which cannot be changed as wanted."""
        query = {"_id": own["_id"], UNWRITTEN: {"$eq": own[UNWRITTEN]}}
        if "insert" in own[UNWRITTEN] or document is None:
            await self.run_own(lambda collection: collection.delete_one(query))
            return
        settings = settings_of(document)
        back = {field: settings[field] for field in own[UNWRITTEN] if field in settings}
        update = {"$set": back, "$unset": {UNWRITTEN: ""}, "$inc": {VERSION: 1}}
        await self.run_own(lambda collection: collection.update_one(query, update))

    async def _page(
        self, collection: str, query: Mapping[str, object], limit: int, fields: Sequence[str] | None
    ) -> list[dict[str, object]]:
        found: list[dict[str, object]] = await self.mongo.run(
            lambda database: database[collection].find(
                dict(query), projection=list(fields) if fields else None, sort=_BY_ID, limit=limit, batch_size=limit
            )
        )
        return found


def index_has(error: DuplicateKeyError, field: str) -> bool:
    """Whether the unique index that forbade a write is on a field."""
    details = error.details or {}
    return field in (details.get("keyPattern") or {}) or f"index: {field}" in str(details.get("errmsg", ""))
