"""Documents in MongoDB: one collection, ``_id`` is ``kind/key``, the body is JSON text.

The body is text because MongoDB's own documents forbid some keys (``modbus/mb-001.ini``, ``$x``) and numbers that JSON allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError
from txmongo.filter import ASCENDING
from txmongo.filter import sort as sort_by

from cenergyd.documents.body import body_of, body_text
from cenergyd.documents.store import OWNED_AT_ONCE, Document, NewDocument
from cenergyd.errors import Conflict, StoreUnavailable
from cenergyd.storage.mongodb.connection import MongoDatabase

COLLECTION = "cenergyd_document"
_ATTEMPTS = 3
_DUPLICATE_KEY = 11000
_INDEXES = {"owner": ("kind", "owner", "_id"), "due": ("kind", "due", "_id")}


class MongoDocumentStore:
    """See :class:`cenergyd.documents.store.DocumentStore`.

    :param mongo: shared with other stores; ``open`` and ``close`` may be called by each.
    """

    def __init__(self, mongo: MongoDatabase, collection: str = COLLECTION) -> None:
        self._mongo = mongo
        self._name = collection

    async def open(self) -> None:
        """Connect and create the indexes. May be called again after StoreUnavailable."""
        await self._mongo.open()
        for name, fields in _INDEXES.items():
            await self._run(
                lambda documents, name=name, fields=fields: documents.create_index(
                    sort_by(ASCENDING(fields)), name=name, partialFilterExpression={name: {"$exists": True}}
                )
            )

    async def close(self) -> None:
        """Disconnect."""
        await self._mongo.close()

    async def get(self, kind: str, key: str) -> Document | None:
        """One document or None."""
        found = await self._run(lambda documents: documents.find_one({"_id": _id(kind, key)}))
        return _document(found) if found else None

    async def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, Document]:
        """The documents that exist among these keys."""
        return (await self.get_kinds({kind: keys}))[kind]

    async def get_kinds(
        self, wanted: Mapping[str, Sequence[str]], *, owned: Mapping[str, str] = {}
    ) -> dict[str, dict[str, Document]]:
        """The documents that exist among these keys of several kinds, and those of owners, by one query."""
        by_kind: dict[str, dict[str, Document]] = {kind: {} for kind in (*wanted, *owned)}
        ids = [_id(kind, key) for kind, keys in wanted.items() for key in dict.fromkeys(keys)]
        parts: list[dict[str, object]] = [{"_id": {"$in": ids}}] if ids else []
        parts += [{"kind": kind, "owner": owner} for kind, owner in owned.items()]
        if not parts:
            return by_kind
        query = parts[0] if len(parts) == 1 else {"$or": parts}
        most = len(ids) + OWNED_AT_ONCE * len(owned) + 1
        found = await self._run(lambda documents: documents.find(query, limit=most, batch_size=most))
        for each in map(_document, found if len(found) < most else ()):
            by_kind[each.kind][each.key] = each
        if len(found) == most:  # an owner has more, and documents by key may be among those left out
            by_kind |= await self.get_kinds(wanted)
            for kind, owner in owned.items():
                mine = await self.find(kind, owner=owner, limit=OWNED_AT_ONCE)
                by_kind[kind].update((each.key, each) for each in mine)
        return by_kind

    async def put(
        self,
        kind: str,
        key: str,
        body: Mapping[str, object],
        *,
        owner: str | None = None,
        due: int | None = None,
        expected_version: int | None = None,
    ) -> Document:
        """Create or replace, atomically."""
        new = NewDocument(key, body, owner, due)
        if expected_version is not None:
            return await self._put_expected(kind, new, expected_version)
        query, update = {"_id": _id(kind, key)}, _update(kind, new)
        for _ in range(_ATTEMPTS):
            try:
                return _document(
                    await self._run(
                        lambda documents: documents.find_one_and_update(
                            query, update, upsert=True, return_document=ReturnDocument.AFTER
                        )
                    )
                )
            except DuplicateKeyError:
                # Another daemon created it at the same time; now it can be replaced.
                continue
        raise Conflict(f"{kind} {key} was changed meanwhile")

    async def _put_expected(self, kind: str, new: NewDocument, expected: int) -> Document:
        update = _update(kind, new)
        query = {"_id": _id(kind, new.key), "version": expected}
        try:
            if expected == 0:
                created = {"_id": query["_id"], **update["$set"], "version": 1}
                await self._run(lambda documents: documents.insert_one(created))
                found = 1
            else:
                found = (await self._run(lambda documents: documents.update_one(query, update))).matched_count
        except DuplicateKeyError:
            found = 0
        if not found:
            raise Conflict(f"{kind} {new.key} was changed meanwhile")
        return Document(kind, new.key, body_of(update["$set"]["body"]), expected + 1, new.owner, new.due)

    async def put_many(self, kind: str, documents: Sequence[NewDocument]) -> None:
        """Create or replace many in one bulk."""
        latest = {document.key: document for document in documents}
        requests = [
            UpdateOne({"_id": _id(kind, document.key)}, _update(kind, document), upsert=True)
            for document in latest.values()
        ]
        for _ in range(_ATTEMPTS if requests else 0):
            try:
                await self._run(lambda collection, some=requests: collection.bulk_write(some, ordered=False))
            except BulkWriteError as error:
                failed = [fault["index"] for fault in (error.details or {}).get("writeErrors", [])]
                requests = [requests[index] for index in failed]
                continue
            return
        if requests:
            raise StoreUnavailable(f"{self._mongo.where}: {kind}: somebody else writes the same documents")

    async def replace_many(self, kind: str, documents: Sequence[tuple[NewDocument, int]]) -> list[bool]:
        """Create or replace those with the version given: one round trip while nobody else writes the same."""
        requests = [
            UpdateOne(
                {"_id": _id(kind, new.key), "version": version or {"$exists": False}},
                _update(kind, new),
                upsert=not version,
            )
            for new, version in documents
        ]
        if not requests:
            return []
        try:
            result = await self._run(lambda collection: collection.bulk_write(requests, ordered=False))
            if result.matched_count + result.upserted_count == len(requests):
                return [True] * len(requests)
        except BulkWriteError as error:
            faults = (error.details or {}).get("writeErrors", [])
            if any(fault.get("code") != _DUPLICATE_KEY for fault in faults):
                raise
        found = await self.get_many(kind, [new.key for new, _ in documents])
        return [_is_as_written(found.get(new.key), new, version + 1) for new, version in documents]

    async def delete(self, kind: str, key: str, *, expected_version: int | None = None) -> bool:
        """Remove."""
        query: dict[str, object] = {"_id": _id(kind, key)}
        if expected_version is not None:
            query["version"] = expected_version
        result = await self._run(lambda documents: documents.delete_one(query))
        if result.deleted_count:
            return True
        if expected_version is not None:
            left = await self.get(kind, key)
            if (left.version if left else 0) != expected_version:
                raise Conflict(f"{kind} {key} was changed meanwhile")
        return False

    async def find(
        self,
        kind: str,
        *,
        owner: str | None = None,
        due_before: int | None = None,
        after_key: str | None = None,
        limit: int = 100,
    ) -> list[Document]:
        """A page."""
        query: dict[str, object] = {}
        ids = {"$gt": _id(kind, after_key)} if after_key is not None else {}
        if owner is not None:
            query = {"kind": kind, "owner": owner}
        elif due_before is not None:
            query = {"kind": kind}
        else:
            # A range of the primary index: "0" follows "/".
            ids = {"$gte": _id(kind, ""), **ids, "$lt": f"{kind}0"}
        if due_before is not None:
            query["due"] = {"$lt": due_before}
        if ids:
            query["_id"] = ids
        order = sort_by(ASCENDING(["due", "_id"] if due_before is not None else ["_id"]))
        found = await self._run(
            lambda documents: documents.find(query, sort=order, limit=limit, batch_size=limit)
        )  # fmt: skip
        return [_document(document) for document in found]

    async def count(self, kind: str, *, owner: str | None = None) -> int:
        """Number of documents."""
        every: dict[str, object] = {"_id": {"$gte": _id(kind, ""), "$lt": f"{kind}0"}}
        query = every if owner is None else {"kind": kind, "owner": owner}
        return int(await self._run(lambda documents: documents.count_documents(query)))

    async def purge(self, kind: str, due_before: int) -> int:
        """Delete those that are due."""
        result = await self._run(
            lambda documents: documents.delete_many({"kind": kind, "due": {"$lt": due_before}})
        )  # fmt: skip
        return int(result.deleted_count)

    async def _run(self, operation: Any) -> Any:
        return await self._mongo.run(lambda database: operation(database[self._name]))


def _id(kind: str, key: str) -> str:
    return f"{kind}/{key}"


def _is_as_written(found: Document | None, new: NewDocument, version: int) -> bool:
    """Whether a document is what was to be written, whoever wrote it."""
    return (
        found is not None
        and found.version == version
        and (found.owner, found.due) == (new.owner, new.due)
        and found.body == body_of(body_text(new.body))
    )


def _update(kind: str, document: NewDocument) -> dict[str, Any]:
    fields: dict[str, object] = {"kind": kind, "key": document.key, "body": body_text(document.body)}
    places: dict[str, object] = {"owner": document.owner, "due": document.due}
    fields.update((name, value) for name, value in places.items() if value is not None)
    update: dict[str, object] = {"$set": fields, "$inc": {"version": 1}}
    absent = {name: "" for name, value in places.items() if value is None}
    return {**update, "$unset": absent} if absent else update


def _document(found: Mapping[str, Any]) -> Document:
    due = found.get("due")
    return Document(
        found["kind"],
        found["key"],
        body_of(found["body"]),
        int(found["version"]),
        found.get("owner"),
        None if due is None else int(due),
    )
