"""Customers in MongoDB: two documents each, one shared with the existing front end and one of our own.

The shared document (:mod:`cenergyd.storage.mongodb.shared_document`) belongs to the front end; cenergyd writes only the agreed
fields, and only when somebody changes them through cenergyd. Everything else is in our own document
(:mod:`cenergyd.storage.mongodb.own_document`), with a copy of the shared settings, so that uploads, derivation and jobs read only
one document. :mod:`cenergyd.storage.mongodb.front_end` follows changes by the front end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from bson import ObjectId
from pymongo.errors import DuplicateKeyError
from twisted.logger import Logger

from cenergyd.customers.changes import changed, checked_changes, is_storable, normal_serial, normalised
from cenergyd.customers.model import Customer, TimeRange
from cenergyd.customers.ownership import OWNED, owns_or_owned
from cenergyd.documents.change_notices import ChangeNotices
from cenergyd.errors import ChangedElsewhere, Conflict, NotFound, SerialTaken
from cenergyd.storage.mongodb.connection import CHECKS, MongoDatabase
from cenergyd.storage.mongodb.customer_documents import OWN_COLLECTION, CustomerDocuments, SharedCollection, index_has
from cenergyd.storage.mongodb.documents import MongoDocumentStore
from cenergyd.storage.mongodb.front_end import MongoFrontEnd
from cenergyd.storage.mongodb.ids import id_text, id_value
from cenergyd.storage.mongodb.own_document import (
    EXTENSIONS,
    GONE,
    UNWRITTEN,
    VERSION,
    customer_of,
    own_of_customer,
    own_serial,
)
from cenergyd.storage.mongodb.pending_queue import MongoPendingQueue
from cenergyd.storage.mongodb.previous_state import move_all
from cenergyd.storage.mongodb.queue_fields import DERIVATION, JOBS
from cenergyd.storage.mongodb.shared_document import AGREED_FIELDS, PASSWORD, SERIAL

_ATTEMPTS = 5
_MOVED = {"_id": "customers_moved"}
"""The document that records that the state of earlier versions was moved."""


class MongoCustomerStore:
    """See :class:`cenergyd.customers.store.CustomerStore`.

    :param mongo: shared with other stores; ``open`` and ``close`` may be called by each.
    """

    log = Logger()
    announces_changes = True

    def __init__(self, mongo: MongoDatabase, shared: SharedCollection | None = None) -> None:
        notices = ChangeNotices(MongoDocumentStore(mongo), mongo.seconds)
        self.documents = CustomerDocuments(mongo, shared or SharedCollection(), notices)
        self._mongo = mongo
        self.job_queue = MongoPendingQueue(mongo, OWN_COLLECTION, JOBS)
        self.derivation_queue = MongoPendingQueue(mongo, OWN_COLLECTION, DERIVATION, following=self.job_queue)
        self.documents.when_marked = self.derivation_queue.search_soon
        self.front_end = MongoFrontEnd(self.documents)

    @property
    def hashes_passwords(self) -> bool:
        """Whether stored passwords are replaced by their hashes."""
        return self.documents.shared.hash_passwords

    async def open(self) -> None:
        """Connect, create the indexes, and move what earlier versions stored. May be called again after StoreUnavailable."""
        await self._mongo.open()
        await self.documents.ensure_indexes()
        await self.derivation_queue.ensure_indexes()
        await self.job_queue.ensure_indexes()
        await self._move_previous_state()

    async def close(self) -> None:
        """Disconnect."""
        await self.front_end.close()
        await self._mongo.close()

    async def ping(self) -> None:
        """Return if MongoDB answers."""
        await self._mongo.ping()

    async def add(self, customer: Customer, *, pending: TimeRange | None = None) -> Customer:
        """Insert an own and a shared document."""
        customer = normalised(customer)
        key = id_value(customer.id) if customer.id else ObjectId()
        if customer.logger_serial_number:
            await self.documents.check_serial_free(customer.logger_serial_number, key)
        taken = Conflict(f"there is a customer {customer.id} already")
        if await self.documents.find_shared(key) is not None:
            raise taken
        own = own_of_customer(customer, key, pending)
        self.derivation_queue.search_soon()
        try:
            await self.documents.run_own(lambda collection: collection.insert_one(own))
        except DuplicateKeyError as error:
            raise (taken if index_has(error, "_id") else SerialTaken(customer.logger_serial_number)) from None
        await self.documents.write_unwritten(own)
        return customer_of(own)

    async def get(self, customer_id: str) -> Customer | None:
        """Find by id."""
        own = await self.documents.find_own(id_value(customer_id)) if is_storable(customer_id) else None
        return customer_of(own) if own else None

    async def get_many(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        """Find by ids."""
        keys = [id_value(each) for each in dict.fromkeys(customer_ids) if is_storable(each)]
        owns = await self.documents.find_own_by_id(keys)
        missing = [key for key in keys if id_text(key) not in owns]
        owns |= await self.documents.own_of(await self.documents.find_shared_by_id(missing))
        return {each: customer_of(own) for each, own in owns.items() if GONE not in own}

    async def by_serial(self, serial: str) -> Customer | None:
        """Find by serial number, including a customer that the front end has just added."""
        if not is_storable(serial) or not (wanted := normal_serial(serial)):
            return None
        own = await self.documents.run_own(lambda collection: collection.find_one({SERIAL: wanted}))
        if own is None:
            documents = await self.documents.find_shared_by_serial(wanted)
            owns = await self.documents.own_of(documents)
            own = next((own for own in owns.values() if own_serial(own) == wanted and GONE not in own), None)
        return customer_of(own) if own else None

    async def holders(self, serial: str) -> list[Customer]:
        """Find customers by their lists of loggers held."""
        wanted = normal_serial(serial) if is_storable(serial) else ""
        if not wanted:
            return []
        query = {"$or": [{f"{EXTENSIONS}.{OWNED}.serial": wanted}, {SERIAL: wanted}]}
        found = await self.documents.run_own(lambda own: own.find(query, limit=1000, batch_size=1000))
        return [each for each in map(customer_of, found) if owns_or_owned(each, wanted)]

    async def page(self, *, after: str | None = None, limit: int = 100, search: str | None = None) -> list[Customer]:
        """A page in the order of ids. A search does not find customers that the front end has added within the last minute."""
        if search:
            pattern = {"$regex": re.escape(search), "$options": "i"}
            query = {"$or": [{field: pattern} for field in ("name", SERIAL)], GONE: None}
            return [customer_of(own) for own in await self.documents.own_page(after, limit, query)]
        documents = await self.documents.shared_page(after, limit)
        owns = await self.documents.own_of(documents)
        found = (owns.get(id_text(document["_id"])) for document in documents)
        return [customer_of(own) for own in found if own is not None]

    async def count(self) -> int:
        """Number of customers."""
        return int(await self.documents.run_shared(lambda shared: shared.count_documents({})))

    async def update(
        self,
        customer_id: str,
        changes: Mapping[str, object],
        *,
        expected_etag: str | None = None,
        pending: TimeRange | None = None,
    ) -> Customer:
        """Set fields, if the customer has not changed since it was read; without an etag a lost race is retried."""
        checked = checked_changes(changes)
        for _ in range(_ATTEMPTS):
            own = await self._expected(customer_id, expected_etag)
            new = changed(customer_of(own), checked)
            await self.documents.announce(own_serial(own), new.logger_serial_number)
            if await self._change(own, checked, pending):
                return _with_window(new, pending)
            # Reading it again finds the reason: NotFound, Conflict, or a change that is not part of the etag.
        raise Conflict("somebody else keeps changing this customer")

    async def remove(self, customer_id: str, *, expected_etag: str | None = None) -> None:
        """Delete both documents. Ours is marked first, so that a concurrent change is noticed."""
        for _ in range(_ATTEMPTS):
            own = await self._expected(customer_id, expected_etag)
            await self.documents.announce(own_serial(own))
            mark = {"$set": {GONE: int(self._mongo.seconds())}, "$unset": {SERIAL: ""}, "$inc": {VERSION: 1}}
            if await self.documents.change_own(own, mark):
                await self.documents.delete(own["_id"])
                return
        raise Conflict("somebody else keeps changing this customer")

    async def set_password_hash(self, customer_id: str, old: str, new: str) -> bool:
        """Replace a password, compare-and-set. Does nothing if the front end needs passwords as it wrote them."""
        own = await self.documents.find_own(id_value(customer_id)) if self.hashes_passwords else None
        if own is None or own.get(PASSWORD) != old:
            return False
        try:
            return await self._change(own, {PASSWORD: new}, None)
        except ChangedElsewhere:
            return False

    async def _change(self, own: Mapping[str, object], checked: Mapping[str, Any], pending: TimeRange | None) -> bool:
        agreed = {field: checked[field] for field in AGREED_FIELDS if field in checked}
        agreed = {field: value for field, value in agreed.items() if value != (own.get(field) or "")}
        if agreed:
            await self.documents.prepare_agreed(own, agreed)
        if not await self.documents.update_own(own, checked, pending=pending, unwritten=agreed):
            return False
        if agreed:
            await self.documents.write_unwritten({**own, **checked, UNWRITTEN: agreed})
        return True

    async def _move_previous_state(self) -> None:
        """Move the state of earlier versions, once for a database. Starts again if it was interrupted."""
        if await self._mongo.run(lambda database: database[CHECKS].find_one(_MOVED)):
            return
        count = await move_all(self.documents)
        done = {"$set": {"moved": count}}
        await self._mongo.run(lambda database: database[CHECKS].update_one(_MOVED, done, upsert=True))
        if count:
            self.log.info(
                "the state of {customers} customers was moved from {shared} to {own}",
                customers=count, shared=self.documents.shared.name, own=OWN_COLLECTION,
            )  # fmt: skip

    async def _expected(self, customer_id: str, etag: str | None) -> dict[str, object]:
        own = await self.documents.find_own(id_value(customer_id)) if is_storable(customer_id) else None
        if own is None:
            raise NotFound(f"no customer {customer_id}")
        if etag is not None and customer_of(own).etag != etag:
            raise Conflict("somebody else changed this customer meanwhile")
        return own


def _with_window(customer: Customer, pending: TimeRange | None) -> Customer:
    if pending is None:
        return customer
    start, end = customer.pending_start, customer.pending_end
    return attrs.evolve(
        customer,
        pending_start=pending.start if start is None else min(start, pending.start),
        pending_end=pending.end if end is None else max(end, pending.end),
    )
