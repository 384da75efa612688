"""Customers in MongoDB, in a collection that the existing front end shares.

Only our own fields are written (see :mod:`cenergyd.storage.mongodb.shapes`), by ``$set`` and ``$unset`` on their paths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from bson import Decimal128, ObjectId
from pymongo.errors import DuplicateKeyError
from twisted.logger import Logger
from txmongo.filter import ASCENDING
from txmongo.filter import sort as sort_by

from cenergyd.customers.changes import changed, checked_changes, is_storable, normal_serial, normalised
from cenergyd.customers.model import Customer, Window
from cenergyd.customers.store import PendingQueue
from cenergyd.errors import Conflict, NotFound, SerialTaken
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.pending_queue import DERIVATION, JOBS, MongoPendingQueue
from cenergyd.storage.mongodb.shapes import PROJECTION, customer_of, document_of, id_value, observed, update_of, widened

SERIAL = "logger_serial_number"
UNIQUE_INDEX = "cenergyd_serial"
BY_ID = sort_by(ASCENDING("_id"))
_ATTEMPTS = 5
# BSON's order of types, as $type numbers; a comparison finds values of its own type only.
# Numbers, text, documents, bytes, ObjectIds, booleans, times.
_TYPE_ORDER = ((1, 16, 18, 19), (2,), (3,), (5,), (7,), (8,), (9,))


class MongoCustomerStore:
    """See :class:`cenergyd.customers.store.CustomerStore`.

    :param mongo: shared with other stores; ``open`` and ``close`` may be called by each.
    :param collection: the name of the customers' collection.
    """

    log = Logger()

    def __init__(self, mongo: MongoDatabase, collection: str = "customer") -> None:
        self._mongo = mongo
        self._name = collection
        self._derivation = MongoPendingQueue(mongo, collection, DERIVATION)
        self._jobs = MongoPendingQueue(mongo, collection, JOBS)
        self.unique_serials = False
        """Whether the unique index stands; without it ``cenergyd migrate`` says what is in its way."""

    @property
    def derivation_queue(self) -> PendingQueue:
        """Readings to derive."""
        return self._derivation

    @property
    def job_queue(self) -> PendingQueue:
        """Readings that the jobs have not taken yet."""
        return self._jobs

    async def open(self) -> None:
        """Connect and create the indexes. May be called again after StoreUnavailable."""
        await self._mongo.open()
        await self.ensure_unique_index()
        await self._derivation.ensure_indexes()
        await self._jobs.ensure_indexes()

    async def close(self) -> None:
        """Disconnect."""
        await self._mongo.close()

    async def ping(self) -> None:
        """Return if MongoDB answers."""
        await self._mongo.ping()

    async def ensure_unique_index(self) -> bool:
        """Create the unique index of serial numbers; False, and a warning, where duplicates forbid it."""
        index = {"unique": True, "name": UNIQUE_INDEX, "partialFilterExpression": {SERIAL: {"$gt": ""}}}
        try:
            await self._run(lambda customers: customers.create_index(sort_by(ASCENDING(SERIAL)), **index))
            self.unique_serials = True
        except DuplicateKeyError:
            self.unique_serials = False
            self.log.warn(
                "two customers name the same logger: run 'cenergyd migrate --dry-run' {where}", where=self._where
            )
            await self._run(
                lambda customers: customers.create_index(sort_by(ASCENDING(SERIAL)), name="cenergyd_lookup")
            )
        return self.unique_serials

    async def add(self, customer: Customer, *, pending: Window | None = None) -> Customer:
        """Insert one."""
        customer = normalised(customer)
        await self._check_serial_free(customer.logger_serial_number, None)
        document = {"_id": id_value(customer.id) if customer.id else ObjectId(), **document_of(customer)}
        if pending is not None:
            document |= widened({}, pending)[1]
        try:
            await self._run(lambda customers: customers.insert_one(document))
        except DuplicateKeyError as error:
            if "_id" in ((error.details or {}).get("keyPattern") or {}):
                raise Conflict(f"there is a customer {customer.id} already") from None
            raise SerialTaken(customer.logger_serial_number) from None
        return customer_of(document)

    async def get(self, customer_id: str) -> Customer | None:
        """Find by id."""
        document = await self._document(customer_id) if is_storable(customer_id) else None
        return customer_of(document) if document else None

    async def get_many(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        """Find by ids."""
        ids = [id_value(each) for each in dict.fromkeys(customer_ids) if is_storable(each)]
        if not ids:
            return {}
        found = await self._run(
            lambda customers: customers.find({"_id": {"$in": ids}}, projection=PROJECTION, batch_size=len(ids) + 1)
        )
        return {customer.id: customer for customer in map(customer_of, found)}

    async def by_serial(self, serial: str) -> Customer | None:
        """Find by serial number."""
        document = await self._by_serial(normal_serial(serial)) if is_storable(serial) else None
        return customer_of(document) if document else None

    async def page(self, *, after: str | None = None, limit: int = 100, search: str | None = None) -> list[Customer]:
        """A page in the order of ids."""
        query: dict[str, Any] = {}
        if search:
            pattern = {"$regex": re.escape(search), "$options": "i"}
            query = {"$or": [{path: pattern} for path in ("cenergyd.name", "name", SERIAL)]}
        return [customer_of(document) for document in await self.raw_page(after, limit, query, PROJECTION)]

    async def raw_page(
        self, after: str | None, limit: int, query: Mapping[str, Any] | None = None, fields: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Documents in the order of ids, whole or with some fields."""
        found: list[dict[str, Any]] = []
        for ids in _ids_after(after):
            if len(found) < limit:
                rest = limit - len(found)
                both = {**(query or {}), **ids}
                found += await self._run(
                    lambda customers, both=both, rest=rest: customers.find(
                        both, projection=fields, sort=BY_ID, limit=rest, batch_size=rest
                    )
                )
        return found

    async def count(self) -> int:
        """How many documents."""
        return int(await self._run(lambda customers: customers.count_documents({})))

    async def update(
        self,
        customer_id: str,
        changes: Mapping[str, Any],
        *,
        expected_etag: str | None = None,
        pending: Window | None = None,
    ) -> Customer:
        """Set fields, if they still are what they were when read; without an etag a lost race is run again."""
        checked = checked_changes(changes)
        for _ in range(_ATTEMPTS):
            document = await self._expected(customer_id, expected_etag)
            update = update_of(document, checked)
            also, sets = widened(document, pending) if pending is not None else ({}, {})
            if sets:
                update["$set"] = {**update.get("$set", {}), **sets}
            if not update:
                return customer_of(document)
            if checked.get(SERIAL):
                await self._check_serial_free(checked[SERIAL], document["_id"])
            if await self.update_raw(document, update, also):
                return changed(customer_of({**document, **sets}), checked)
            # The next look tells why: NotFound, Conflict, or a change that does not show in the etag.
        raise Conflict("somebody else keeps changing this customer")

    async def remove(self, customer_id: str, *, expected_etag: str | None = None) -> None:
        """Delete."""
        for _ in range(_ATTEMPTS):
            document = await self._expected(customer_id, expected_etag)
            query = observed(document) if expected_etag is not None else {"_id": document["_id"]}
            result = await self._run(lambda customers, query=query: customers.delete_one(query))
            if result.deleted_count:
                return
        raise Conflict("somebody else keeps changing this customer")

    async def set_password_hash(self, customer_id: str, old: str, new: str) -> bool:
        """Replace a password, compare-and-set."""
        # The old front end may have stored a number.
        stored: list[Any] = [old, int(old)] if old.isascii() and old.isdecimal() and len(old) < 19 else [old]
        for value in stored:
            query = {"_id": id_value(customer_id), "logger_password": {"$eq": value}}
            result = await self._run(
                lambda customers, query=query: customers.update_one(query, {"$set": {"logger_password": new}})
            )
            if result.matched_count:
                return True
        return False

    async def update_raw(
        self, document: Mapping[str, Any], update: Mapping[str, Any], also: Mapping[str, Any] | None = None
    ) -> bool:
        """Apply an update if our fields still are as in the document read, and ``also`` matches. Raises SerialTaken."""
        query = {**observed(document), **(also or {})}
        try:
            result = await self._run(lambda customers: customers.update_one(query, dict(update)))
        except DuplicateKeyError:
            raise SerialTaken(str(update.get("$set", {}).get(SERIAL, ""))) from None
        return bool(result.matched_count)

    @property
    def _where(self) -> str:
        return self._mongo.where

    async def _run(self, operation: Any) -> Any:
        return await self._mongo.run(lambda database: operation(database[self._name]))

    async def _document(self, customer_id: str) -> dict[str, Any] | None:
        query = {"_id": id_value(customer_id)}
        document: dict[str, Any] | None = await self._run(
            lambda customers: customers.find_one(query, projection=PROJECTION)
        )
        return document or None

    async def _by_serial(self, serial: str) -> dict[str, Any] | None:
        # Ours are upper case; the old front end may have stored what a person typed.
        for form in dict.fromkeys((serial, serial.lower())) if serial else ():
            document: dict[str, Any] | None = await self._run(
                lambda customers, form=form: customers.find_one({SERIAL: form}, projection=PROJECTION)
            )
            if document:
                return document
        return None

    async def _expected(self, customer_id: str, etag: str | None) -> dict[str, Any]:
        document = await self._document(customer_id)
        if document is None:
            raise NotFound(f"no customer {customer_id}")
        if etag is not None and customer_of(document).etag != etag:
            raise Conflict("somebody else changed this customer meanwhile")
        return document

    async def _check_serial_free(self, serial: str, own_id: Any) -> None:
        """The index forbids duplicates; this also finds one in lower case, or where the index could not be made."""
        if not serial:
            return
        document = await self._by_serial(serial)
        if document is not None and document["_id"] != own_id:
            raise SerialTaken(serial)


def _ids_after(after: str | None) -> list[dict[str, Any]]:
    """Queries whose results, one after the other, are the ids after one, whatever types they have."""
    if after is None:
        return [{}]
    value = id_value(after)
    later = [number for numbers in _TYPE_ORDER[_type_rank(value) + 1 :] for number in numbers]
    same = {"_id": {"$gt": value}}
    return [same, {"_id": {"$type": later}}] if later else [same]


def _type_rank(value: Any) -> int:
    ranks = ((bool, 5), (int | float | Decimal128, 0), (str, 1), (Mapping, 2), (bytes | UUID, 3), (ObjectId, 4))
    return next((rank for kind, rank in ranks if isinstance(value, kind)), len(_TYPE_ORDER) - 1)
