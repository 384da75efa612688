"""A pending queue in the customers' documents. The contract and its two windows: :mod:`cenergyd.customers.store`.

Every step is bulk, and every change of a document is one atomic update that checks the claim it rests on. Updates with
pipelines (MongoDB 4.2 and later) let a document's windows merge without a round trip to read them first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError
from twisted.internet.defer import Deferred, FirstError, gatherResults
from txmongo.filter import ASCENDING
from txmongo.filter import sort as sort_by

from cenergyd.customers.documents import OWN, PROJECTION, customer_of, id_value, value_at
from cenergyd.customers.model import PendingMark, PendingWork
from cenergyd.customers.store import PendingSummary
from cenergyd.errors import StoreUnavailable
from cenergyd.mongodb import MongoDatabase

EXISTS = {"$gte": 0}
"""A time that is there: what sparse indexes answer."""


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


@attrs.frozen
class _Candidate:
    """A customer that may be claimed, as it was seen."""

    id: Any
    oldest: int
    claim: str | None
    """The expired claim of unfinished work, None where there is no work."""


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
        for path in (self._paths.since, self._since, self._claim):
            await self._mongo.run(partial(self._create_index, path))

    def _create_index(self, path: str, database: Any) -> Any:
        return database[self._collection].create_index(sort_by(ASCENDING(path)), sparse=True)

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending windows."""
        windows: dict[str, tuple[int, int]] = {}
        for mark in marks:
            since, until = windows.get(mark.customer_id, (mark.since, mark.until))
            windows[mark.customer_id] = (min(since, mark.since), max(until, mark.until))
        paths = self._paths
        # In pipelines $min and $max ignore null, which a front end may have written; the plain operators keep it for ever.
        await self._bulk(
            UpdateOne(
                {"_id": id_value(customer_id)},
                [{"$set": {
                    paths.since: {"$min": [f"${paths.since}", since]},
                    paths.until: {"$max": [f"${paths.until}", until]},
                }}],
            )
            for customer_id, (since, until) in windows.items()
        )  # fmt: skip

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        """Claim customers: find (two indexes at once), update in bulk, read those that became ours."""
        candidates = (await self._candidates(now, limit))[:limit]
        if not candidates:
            return []
        await self._bulk(self._claiming(candidate, claim, now, ttl) for candidate in candidates)
        found = await self._find({self._claim: claim}, [*PROJECTION, self._since, self._until], None, limit)
        works = [
            PendingWork(
                customer_of(document), int(value_at(document, self._since)), int(value_at(document, self._until)), claim
            )
            for document in found
        ]
        return sorted(works, key=lambda work: work.since)

    async def advance(self, work: PendingWork, since: int, now: int, ttl: int) -> bool:
        """Shrink the work and renew the claim."""
        result = await self._mongo.run(
            lambda db: db[self._collection].update_one(
                self._owned(work), {"$set": {self._since: since, self._claim_until: now + ttl}}
            )
        )
        return bool(result.matched_count)

    async def finish(self, works: Sequence[PendingWork]) -> list[bool]:
        """Drop the work. One round trip while no claim is lost."""
        if not works:
            return []
        done = await self._bulk(
            UpdateOne(self._owned(work), {"$unset": {self._paths.work: ""}, "$set": {self._paths.done: work.claim}})
            for work in works
        )
        if done == len(works):
            return [True] * len(works)
        ids = {work.customer.id: id_value(work.customer.id) for work in works}
        found = await self._find({"_id": {"$in": list(ids.values())}}, [self._paths.done], None, len(ids))
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
        await self._bulk(UpdateOne(self._owned(work), give_back) for work in works)

    async def summary(self) -> PendingSummary:
        """Count by the indexes; both windows at once count once."""
        pending, working = {self._paths.since: EXISTS}, {self._since: EXISTS}
        counts = await self._together([self._count(pending), self._count(working), self._count({**pending, **working})])
        oldest = await self._together([self._oldest(self._paths.since), self._oldest(self._since)])
        times = [time for time in oldest if time is not None]
        return PendingSummary(counts[0] + counts[1] - counts[2], min(times) if times else None)

    async def _candidates(self, now: int, limit: int) -> list[_Candidate]:
        free = {self._claim_until: {"$not": {"$gt": now}}, self._paths.retry_at: {"$not": {"$gt": now}}}
        fields = [self._paths.since, self._since, self._claim]
        found = await self._together(
            [
                self._find({path: EXISTS, **free}, fields, path, limit)
                for path in (self._paths.since, self._since)
            ]
        )  # fmt: skip
        candidates: dict[Any, _Candidate] = {}
        for document in (document for documents in found for document in documents):
            times = [value_at(document, path) for path in (self._paths.since, self._since)]
            oldest = min(int(time) for time in times if time is not None)
            candidates[document["_id"]] = _Candidate(document["_id"], oldest, value_at(document, self._claim))
        return sorted(candidates.values(), key=lambda candidate: candidate.oldest)

    def _claiming(self, candidate: _Candidate, claim: str, now: int, ttl: int) -> UpdateOne:
        # The claim as it was seen: whoever claims, finishes or postpones in between changes it. Without work
        # to expire, there must still be a pending window, or the claim would be an empty one.
        seen: dict[str, Any] = {"_id": candidate.id, self._claim: candidate.claim}
        if candidate.claim is None:
            seen[self._paths.since] = EXISTS
            seen[self._paths.retry_at] = {"$not": {"$gt": now}}
        else:
            seen[self._claim_until] = {"$not": {"$gt": now}}
        work = {**self._merged, "claim": {"$literal": claim}, "claim_until": now + ttl}
        return UpdateOne(
            seen,
            [
                {"$set": {self._paths.work: work}},
                {"$unset": [self._paths.since, self._paths.until, self._paths.retry_at, self._paths.done]},
            ],
        )

    def _owned(self, work: PendingWork) -> dict[str, Any]:
        return {"_id": id_value(work.customer.id), self._claim: work.claim}

    async def _bulk(self, operations: Iterable[UpdateOne]) -> int:
        """Run updates, in any order; how many found their document."""
        requests = list(operations)
        if not requests:
            return 0
        try:
            result = await self._mongo.run(lambda db: db[self._collection].bulk_write(requests, ordered=False))
        except BulkWriteError:
            # No queue operation touches a unique field.
            raise StoreUnavailable(f"{self._mongo.where}: a bulk update failed") from None
        return int(result.matched_count)

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
