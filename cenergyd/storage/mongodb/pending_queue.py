"""A pending queue in the customers' documents. The contract and its two windows: :mod:`cenergyd.customers.store`.

Every step is bulk, and every change of a document is one atomic update that checks the claim it rests on. Updates with
pipelines (MongoDB 4.2 and later) let a document's windows merge without a round trip to read them first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
from pymongo import UpdateMany
from pymongo.write_concern import WriteConcern
from twisted.internet.defer import Deferred, FirstError, gatherResults
from txmongo.filter import ASCENDING
from txmongo.filter import sort as sort_by

from cenergyd.customers.model import PendingMark, PendingWork
from cenergyd.customers.store import PendingSummary
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.shapes import OWN, PROJECTION, customer_of, id_value, value_at

EXISTS = {"$gte": 0}
"""A time that is there: what sparse indexes answer."""
_NOT_JOURNALED = WriteConcern(j=False)
_IDS_AT_ONCE = 24
"""Ids in one ``$in``: few, for there are engines that compare each document with each of them."""

_Update = tuple[dict[str, Any], Any]
"""A filter and the change of all that match."""


@attrs.frozen
class QueuePaths:
    """Where in a document a queue keeps its windows."""

    since: str
    until: str
    prefix: str

    @property
    def work(self) -> str:
        """The working window and its claim."""
        return f"{OWN}.{self.prefix}_work"

    @property
    def retry_at(self) -> str:
        """Earliest time of the next claim after a postponement."""
        return f"{OWN}.{self.prefix}_retry_at"

    @property
    def done(self) -> str:
        """The claim that finished here last, until the next one: tells :meth:`finish` what was its own doing."""
        return f"{OWN}.{self.prefix}_done"


DERIVATION = QueuePaths("pending_since", "pending_until", "pending")
JOBS = QueuePaths(f"{OWN}.jobs_since", f"{OWN}.jobs_until", "jobs")


class MongoPendingQueue:
    """See :class:`cenergyd.customers.store.PendingQueue`."""

    def __init__(self, mongo: MongoDatabase, collection: str, paths: QueuePaths) -> None:
        self._mongo = mongo
        self._collection = collection
        self._paths = paths
        work = paths.work
        self._since, self._until, self._claim, self._claim_until = (
            f"{work}.since", f"{work}.until", f"{work}.claim", f"{work}.claim_until"
        )  # fmt: skip
        self._merged: dict[str, Any] = {
            "since": {"$min": [f"${paths.since}", f"${self._since}"]},
            "until": {"$max": [f"${paths.until}", f"${self._until}"]},
        }

    async def ensure_indexes(self) -> None:
        """Create what makes the cost follow the pending customers, not all of them."""
        for path in (self._paths.since, self._since):
            await self._mongo.run(partial(self._create_index, path))

    def _create_index(self, path: str, database: Any) -> Any:
        return database[self._collection].create_index(sort_by(ASCENDING(path)), sparse=True)

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending windows.

        Looks first and writes only what is not covered yet: of a logger's many uploads between two derivations all but the
        first cost a read. That is safe because the readings were written before: whoever claims the window that covers them
        reads them. Only a primary of replicated servers may be out of date; there each mark is written.
        """
        windows: dict[Any, tuple[int, int]] = {}
        for mark in marks:
            key = id_value(mark.customer_id)
            since, until = windows.get(key, (mark.start, mark.end - 1))
            windows[key] = (min(since, mark.start), max(until, mark.end - 1))
        paths = self._paths
        if not self._mongo.replicated:
            await self._leave_out_covered(windows)
        # In pipelines $min and $max ignore null, which a front end may have written; the plain operators keep it for ever.
        updates: list[_Update] = [
            ({"_id": _one_of(ids)}, [{"$set": {
                paths.since: {"$min": [f"${paths.since}", since]},
                paths.until: {"$max": [f"${paths.until}", until]},
            }}])
            for (since, until), alike in _alike(windows).items()
            for ids in _some(alike)
        ]  # fmt: skip
        await self._update(updates, journaled=True)

    async def _leave_out_covered(self, windows: dict[Any, tuple[int, int]]) -> None:
        paths = self._paths
        for document in await self._find_ids(list(windows), [paths.since, paths.until]):
            since, until = value_at(document, paths.since), value_at(document, paths.until)
            wanted = windows[document["_id"]]
            if since is not None and until is not None and since <= wanted[0] and until >= wanted[1]:
                del windows[document["_id"]]

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        """Claim customers: find (two indexes at once), update in bulk, read those that became ours."""
        waiting, expired = await self._candidates(now, limit)
        claiming: list[dict[str, Any]] = [
            {"$set": {self._paths.work: {**self._merged, "claim": {"$literal": claim}, "claim_until": now + ttl}}},
            {"$unset": [self._paths.since, self._paths.until, self._paths.retry_at, self._paths.done]},
        ]
        # Whoever claimed, finished or postponed in between left nothing that matches. (Not one update with $or: that would
        # need a scan where the index of ids serves; that one first, for engines that take the first index they find.)
        updates: list[_Update] = [
            ({"_id": _one_of(ids), path: EXISTS, **self._free(now)}, claiming)
            for path, every in ((self._paths.since, waiting), (self._since, expired))
            for ids in _some(every)
        ]
        if not updates:
            return []
        await self._update(updates)
        found = await self._find_ids(
            [*waiting, *expired], [*PROJECTION, self._since, self._until], {self._claim: claim}
        )
        works = [
            PendingWork(
                customer_of(document),
                int(value_at(document, self._since)),
                int(value_at(document, self._until)) + 1,
                claim,
            )
            for document in found
        ]
        return sorted(works, key=lambda work: work.start)

    async def advance(self, work: PendingWork, start: int, now: int, ttl: int) -> bool:
        """Shrink the work and renew the claim."""
        result = await self._mongo.run(
            lambda db: db[self._collection].update_one(
                self._owned(work), {"$set": {self._since: start, self._claim_until: now + ttl}}
            )
        )
        return bool(result.matched_count)

    async def finish(self, works: Sequence[PendingWork]) -> list[bool]:
        """Drop the work. One round trip while no claim is lost."""
        if not works:
            return []
        done = await self._update(
            [
                (owned, {"$unset": {self._paths.work: ""}, "$set": {self._paths.done: claim}})
                for claim, owned in self._owned_by_claim(works)
            ]
        )
        if done == len(works):
            return [True] * len(works)
        ids = {work.customer.id: id_value(work.customer.id) for work in works}
        found = await self._find_ids(list(ids.values()), [self._paths.done])
        last = {document["_id"]: value_at(document, self._paths.done) for document in found}
        return [last.get(ids[work.customer.id]) == work.claim for work in works]

    async def postpone(self, works: Sequence[PendingWork], retry_at: int) -> None:
        """Move the work back to pending."""
        paths = self._paths
        give_back: list[dict[str, Any]] = [
            {"$set": {
                paths.since: self._merged["since"], paths.until: self._merged["until"], paths.retry_at: retry_at,
            }},
            {"$unset": [paths.work]},
        ]  # fmt: skip
        await self._update([(owned, give_back) for _, owned in self._owned_by_claim(works)])

    async def summary(self) -> PendingSummary:
        """Count by the indexes; both windows at once count once.

        One after the other: work that is claimed in between counts twice rather than not at all, and "nothing" is asked again,
        because work may have been given back in between.
        """
        pending, working = {self._paths.since: EXISTS}, {self._since: EXISTS}
        waiting, claimed = await self._count(pending), await self._count(working)
        both = await self._count({**pending, **working}) if waiting and claimed else 0
        if not waiting and not claimed:
            waiting = await self._count(pending)
        oldest = await self._together([self._oldest(self._paths.since), self._oldest(self._since)])
        times = [time for time in oldest if time is not None]
        return PendingSummary(max(0, waiting + claimed - both), min(times) if times else None)

    def _free(self, now: int) -> dict[str, Any]:
        """Not under a live claim, and not postponed."""
        return {self._claim_until: {"$not": {"$gt": now}}, self._paths.retry_at: {"$not": {"$gt": now}}}

    async def _candidates(self, now: int, limit: int) -> tuple[list[Any], list[Any]]:
        """Ids of customers that may be claimed, oldest first: those with a pending window, and those with expired work only."""
        both = (self._paths.since, self._since)
        found = await self._together(
            [self._find({path: EXISTS, **self._free(now)}, both, path, limit) for path in both]
        )
        oldest: dict[Any, int] = {}
        waiting: set[Any] = set()
        for document in (document for documents in found for document in documents):
            pending, working = (value_at(document, path) for path in both)
            oldest[document["_id"]] = min(int(time) for time in (pending, working) if time is not None)
            if pending is not None:
                waiting.add(document["_id"])
        ids = sorted(oldest, key=oldest.__getitem__)[:limit]
        return [one for one in ids if one in waiting], [one for one in ids if one not in waiting]

    def _owned(self, work: PendingWork) -> dict[str, Any]:
        return {"_id": id_value(work.customer.id), self._claim: work.claim}

    def _owned_by_claim(self, works: Sequence[PendingWork]) -> list[tuple[str, dict[str, Any]]]:
        """Claims, and filters that match their works while they own them."""
        return [
            (claim, {"_id": _one_of(ids), self._claim: claim})
            for claim, mine in _by_claim(works).items()
            for ids in _some([id_value(work.customer.id) for work in mine])
        ]

    async def _update(self, updates: Sequence[_Update], *, journaled: bool = False) -> int:
        """Run updates of many, in one round trip; how many documents were found.

        Claims and what ends them need not be on disk when this returns: if a crash loses one, work is done again.
        """
        if not updates:
            return 0
        requests = [UpdateMany(query, change) for query, change in updates]
        options = {} if journaled else {"write_concern": _NOT_JOURNALED}
        result = await self._mongo.run(
            lambda db: db[self._collection].with_options(**options).bulk_write(requests, ordered=False)
        )
        return int(result.matched_count)

    async def _find_ids(
        self, ids: Sequence[Any], fields: Sequence[str], condition: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        found = await self._together(
            [self._find({"_id": _one_of(some), **(condition or {})}, fields, None, len(some)) for some in _some(ids)]
        )
        return [document for documents in found for document in documents]

    async def _find(
        self, query: Mapping[str, Any], fields: Sequence[str], path: str | None, limit: int
    ) -> list[dict[str, Any]]:
        order = sort_by(ASCENDING(path)) if path else None
        found: list[dict[str, Any]] = await self._mongo.run(
            lambda db: db[self._collection].find(
                dict(query), projection=list(fields), sort=order, limit=limit, batch_size=limit
            )
        )
        return found

    async def _count(self, query: Mapping[str, Any]) -> int:
        return int(await self._mongo.run(lambda db: db[self._collection].count_documents(dict(query))))

    async def _oldest(self, path: str) -> int | None:
        found = await self._find({path: EXISTS}, [path], path, 1)
        return int(value_at(found[0], path)) if found else None

    async def _together(self, coroutines: Sequence[Any]) -> list[Any]:
        try:
            return list(await gatherResults([Deferred.fromCoroutine(one) for one in coroutines], consumeErrors=True))
        except FirstError as error:
            error.subFailure.raiseException()
            raise


def _alike(windows: Mapping[Any, tuple[int, int]]) -> dict[tuple[int, int], list[Any]]:
    """Window -> the customers that have it: much of a fleet uploads the same minutes, and one update serves them all."""
    groups: dict[tuple[int, int], list[Any]] = {}
    for key, window in windows.items():
        groups.setdefault(window, []).append(key)
    return groups


def _by_claim(works: Sequence[PendingWork]) -> dict[str, list[PendingWork]]:
    claims: dict[str, list[PendingWork]] = {}
    for work in works:
        claims.setdefault(work.claim, []).append(work)
    return claims


def _some(ids: Sequence[Any]) -> list[Sequence[Any]]:
    return [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]


def _one_of(ids: Sequence[Any]) -> Any:
    return {"$in": list(ids)} if len(ids) > 1 else {"$eq": ids[0]}
