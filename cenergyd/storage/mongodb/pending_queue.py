"""A pending queue in cenergyd's own documents. The contract and its two ranges: :mod:`cenergyd.customers.claims`.

Every step is one bulk operation, and every change of a document is one atomic update that checks its claim. Each query is a range of
one index: of the pending ranges, of the expiry of claims, or of the claim just made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import UpdateMany, UpdateOne
from pymongo.write_concern import WriteConcern
from txmongo.filter import ASCENDING
from txmongo.filter import sort as sort_by

from cenergyd.customers.claims import PendingSummary
from cenergyd.customers.model import PendingMark, PendingWork, TimeRange
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.ids import id_value
from cenergyd.storage.mongodb.own_document import (
    CUSTOMER_FIELDS,
    RESULT,
    RESULT_VERSION,
    customer_of,
    ended_claims,
    time_of,
)
from cenergyd.storage.mongodb.pending_marks import customers_by_range
from cenergyd.storage.mongodb.queue_fields import QueueFields

_EXISTS = {"$gte": 0}
"""Matches documents with a time, by a sparse index."""
_NOT_JOURNALED = WriteConcern(j=False)
_KEPT_ENDED = 8
"""Ended claims that are kept in a customer's document: with four daemons that take turns at random, nine in ten find theirs among them."""
_SKIPPED = 3
"""Number of claims that do not search, after one that has searched and found nothing."""
_SEARCHED = 12
"""Number of claims that search in any case after this process has put work into the queue: it may be under another claim for a while."""
_EXPIRED = 1000
"""Expired claims to read in addition to a claim's own limit, in order to find the oldest work; a daemon holds some hundreds."""


class MongoPendingQueue:
    """See :class:`cenergyd.customers.claims.DerivationQueue`.

    After this process has marked or released work, every claim searches for work. Once a search has found nothing, only every fourth claim
    (:data:`_SKIPPED`) searches for the work of other processes.

    :param following: the queue that work is handed over to; None: work cannot be handed over.
    """

    def __init__(
        self,
        mongo: MongoDatabase,
        collection: str,
        fields: QueueFields,
        following: MongoPendingQueue | None = None,
    ) -> None:
        self._mongo = mongo
        self._collection = collection
        self._fields = fields
        self._next = following
        self._following = following._fields if following is not None else None
        self._to_skip = 0
        """Claims that do not search."""
        self._to_search = 0
        """Claims that search in any case."""
        self._none_expired_at = float("-inf")
        """When no expired claim was found last, UTC seconds."""

    async def ensure_indexes(self) -> None:
        """Create the indexes with which the cost depends on the customers with work, not on all customers."""
        for name in (self._fields.start, self._fields.claim_until, self._fields.claim):
            await self._ensure_index(name)

    async def _ensure_index(self, field: str) -> None:
        keys, present = sort_by(ASCENDING(field)), {field: {"$exists": True}}
        await self._mongo.run(
            lambda db: db[self._collection].create_index(keys, name=field, partialFilterExpression=present)
        )

    def search_soon(self) -> None:
        """Note that this process has put work into the queue."""
        self._to_search = _SEARCHED

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending ranges. A range that already covers the mark is not written again."""
        fields = self._fields
        self.search_soon()
        await self._update(
            [
                UpdateMany({"_id": {"$in": keys}}, {"$min": {fields.start: start}, "$max": {fields.end: end}})
                for (start, end), keys in customers_by_range(marks).items()
            ],
            journaled=True,
        )

    async def mark_claimed(self, marks: Sequence[PendingMark], claim: str, until: int) -> None:
        """Claim or widen the ranges that are free or ours, which nearly all are; only if some are not, mark those in a second bulk."""
        fields = self._fields
        ours = {"$or": [{fields.claim: claim}, {fields.claim: None, fields.start: None, fields.retry_at: None}]}
        alike = customers_by_range(marks)
        claiming = [
            UpdateMany(
                {"_id": {"$in": keys}, **ours},
                {
                    "$set": {fields.claim: claim, fields.claim_until: until},
                    "$min": {fields.work_start: start},
                    "$max": {fields.work_end: end},
                },
            )
            for (start, end), keys in alike.items()
        ]
        if await self._update(claiming, journaled=True) == sum(map(len, alike.values())):
            return
        marking = [
            UpdateMany(
                {"_id": {"$in": keys}, fields.claim: {"$ne": claim}},
                {"$min": {fields.start: start}, "$max": {fields.end: end}},
            )
            for (start, end), keys in alike.items()
        ]
        await self._update(marking, journaled=True)

    async def claimed(self, claim: str, limit: int) -> list[PendingWork]:
        """Read them by the index of claims."""
        works = await self._under(claim, limit)
        if len(works) < limit:
            self.search_soon()  # the others are only marked, because they were under another claim
        return works

    async def _under(self, claim: str, limit: int) -> list[PendingWork]:
        fields = self._fields
        of_jobs = (self._following.claim, self._following.start) if self._following is not None else ()
        wanted = [*CUSTOMER_FIELDS, fields.work_start, fields.work_end, *of_jobs]
        found = await self._find({fields.claim: claim}, wanted, None, limit)
        works = [
            PendingWork(
                customer_of(own),
                int(own[fields.work_start]),
                int(own[fields.work_end]),
                claim,
                any(own.get(field) is not None for field in of_jobs),
            )
            for own in found
        ]
        return sorted(works, key=lambda work: work.start)

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        """Claim customers: find candidates, update them in bulk, and read those that this call claimed."""
        if not self._to_search and self._to_skip:
            self._to_skip -= 1
            return []
        self._to_search = max(0, self._to_search - 1)
        candidates = await self._candidates(now, ttl, limit)
        self._to_skip = 0 if candidates else _SKIPPED
        if not candidates:
            return []
        fields = self._fields
        claiming = {"$set": {**self._fields.merged(), fields.claim: {"$literal": claim}, fields.claim_until: now + ttl}}
        taken = [fields.start, fields.end, fields.retry_at, fields.done]
        updates = []
        for query, is_known in candidates:
            unset = taken if is_known else [*taken, fields.ended]
            # A candidate that was claimed, finished or postponed in between no longer matches.
            updates.append(UpdateOne({**query, **self._fields.free(now)}, [claiming, {"$unset": unset}]))
        await self._update(updates)
        return await self._under(claim, limit)

    async def join_pending(self, works: Sequence[PendingWork]) -> None:
        """Merge both ranges."""
        fields = self._fields
        joining: list[dict[str, object]] = [{"$set": self._fields.merged()}, {"$unset": [fields.start, fields.end]}]
        await self._update([UpdateOne({**self._owned(work), fields.start: _EXISTS}, joining) for work in works])

    async def advance(self, work: PendingWork, start: int, now: int, ttl: int) -> bool:
        """Shrink the work and renew the claim."""
        changes: dict[str, object] = {
            "$set": {self._fields.work_start: start, self._fields.claim_until: now + ttl},
        }
        if start != work.start:
            changes["$unset"] = {self._fields.ended: ""}  # the end of the claim will only tell of the rest
        return bool(await self._update([UpdateOne(self._owned(work), changes)]))

    async def finish(self, works: Sequence[PendingWork]) -> list[bool]:
        """Remove the work. One round trip if no claim was lost."""
        return await self._release(works, None, [{}] * len(works), journaled=False)

    async def hand_over(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str] = ()
    ) -> list[bool]:
        """Remove the work and widen the following queue's pending ranges, one write per customer."""
        assert self._next is not None
        self._next.search_soon()
        start, end = self._next._fields.start, self._next._fields.end
        more = [
            {"$min": {start: time_range.start}, "$max": {end: time_range.end}, **_storing(result)}
            for time_range, result in zip(ranges, results or [""] * len(ranges), strict=True)
        ]
        return await self._release(works, ranges, more, journaled=True)

    async def finish_with_results(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str]
    ) -> list[bool]:
        """Remove the work and store the results, one write per customer."""
        jobs = self._following
        assert jobs is not None
        free = {jobs.claim: None, jobs.start: None}
        return await self._release(works, ranges, [_storing(result) for result in results], journaled=False, only=free)

    async def store_results(self, results: Mapping[str, str]) -> None:
        """Store results without touching the queues."""
        await self._update(
            [UpdateOne({"_id": id_value(customer_id)}, _storing(result)) for customer_id, result in results.items()]
        )

    async def hand_over_claimed(
        self,
        works: Sequence[PendingWork],
        ranges: Sequence[TimeRange],
        claim: str,
        until: int,
        results: Sequence[str] = (),
    ) -> list[bool]:
        """Remove the work and widen the following queue's working ranges, one write per customer."""
        jobs = self._following
        assert jobs is not None
        free = {"$or": [{jobs.claim: claim}, {jobs.claim: None, jobs.start: None}]}
        claimed = {jobs.claim: claim, jobs.claim_until: until}
        more = []
        for time_range, result in zip(ranges, results or [""] * len(ranges), strict=True):
            stored = _storing(result)
            more.append(
                {
                    **stored,
                    "$set": {**claimed, **stored.get("$set", {})},
                    "$min": {jobs.work_start: time_range.start},
                    "$max": {jobs.work_end: time_range.end},
                }
            )
        return await self._release(works, ranges, more, journaled=True, only=free)

    async def _release(
        self,
        works: Sequence[PendingWork],
        ranges: Sequence[TimeRange] | None,
        more: Sequence[Mapping[str, Any]],
        *,
        journaled: bool,
        only: Mapping[str, object] = {},
    ) -> list[bool]:
        """Remove works, with further changes of each, if ``only`` matches as well.

        :param ranges: what may have changed; None: it is not known.
        """
        fields = self._fields
        unset = dict.fromkeys(fields.work if ranges is not None else (*fields.work, fields.ended), "")
        requests = [
            UpdateOne(
                {**self._owned(work), **only},
                {
                    "$unset": unset,
                    **also,
                    **ended,
                    "$set": {fields.done: work.claim, **also.get("$set", {}), **ended.get("$set", {})},
                },
            )
            for work, also, ended in zip(works, more, self._ended(works, ranges), strict=True)
        ]
        if await self._update(requests, journaled=journaled) == len(works):
            return [True] * len(works)
        ids = [id_value(work.customer.id) for work in works]
        found = await self._find({"_id": {"$in": ids}}, [fields.done], None, len(ids))
        last = {own["_id"]: own.get(fields.done) for own in found}
        return [last.get(key) == work.claim for key, work in zip(ids, works, strict=True)]

    def _ended(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange] | None
    ) -> Sequence[Mapping[str, Mapping[str, object]]]:
        """The update operators that add claims to those that ended last, or begin anew if these were not known when it was claimed."""
        if ranges is None:
            return [{}] * len(works)
        ended = self._fields.ended
        operators: list[Mapping[str, Mapping[str, object]]] = []
        for work, time_range in zip(works, ranges, strict=True):
            new, claims = [[work.claim, time_range.start]], work.customer.claims
            is_known = claims is not None and claims.ended
            operators.append(
                {"$push": {ended: {"$each": new, "$slice": -_KEPT_ENDED}}} if is_known else {"$set": {ended: new}}
            )
        return operators

    async def postpone(self, works: Sequence[PendingWork], retry_at: int) -> None:
        """Move the work back to pending."""
        self.search_soon()
        fields, merged = self._fields, self._fields.merged()
        give_back: list[dict[str, object]] = [
            {"$set": {
                fields.start: merged[fields.work_start], fields.end: merged[fields.work_end], fields.retry_at: retry_at,
            }},
            {"$unset": [*fields.work, fields.ended]},  # a part of it may be written
        ]  # fmt: skip
        await self._update([UpdateOne(self._owned(work), give_back) for work in works])

    async def summary(self) -> PendingSummary:
        """Count by the indexes; a customer with both ranges counts once.

        The queries run one after the other, so work that is claimed in between is counted twice rather than not at all. If nothing is
        found the queries are repeated, because work may have been released in between.
        """
        fields = self._fields
        pending, working = {fields.start: _EXISTS}, {fields.claim_until: _EXISTS}
        waiting, claimed = await self._count(pending), await self._count(working)
        both = await self._count({**pending, **working}) if waiting and claimed else 0
        if not waiting and not claimed:
            waiting = await self._count(pending)
        times = await self._find(pending, [fields.start], fields.start, 1) if waiting else []
        oldest = [int(own[fields.start]) for own in times]
        if claimed:
            # Only the work in progress is read, which is little; so the start needs no index.
            works = await self._find(working, [fields.work_start], None, claimed)
            oldest += [int(own[fields.work_start]) for own in works]
        return PendingSummary(max(0, waiting + claimed - both), min(oldest, default=None))

    async def _candidates(self, now: int, ttl: int, limit: int) -> list[tuple[dict[str, object], bool]]:
        """Filters of customers that may be claimed, oldest first: with a pending range, or with expired work only. With each, whether all is
        known that was written under the claims that ended last: not if one has expired."""
        fields = self._fields
        both = [fields.start, fields.work_start]
        read = [*both, fields.done, fields.ended]
        pending = await self._find({fields.start: _EXISTS, **self._fields.free(now)}, read, fields.start, limit)
        expired = await self._expired(now, ttl, limit + _EXPIRED)
        oldest: dict[object, tuple[int, tuple[dict[str, object], bool]]] = {}
        for own in (*expired, *pending):
            times = [time for field in both if (time := time_of(own.get(field))) is not None]
            at_hand = fields.start if fields.start in own else fields.work_start
            query = {"_id": own["_id"], at_hand: _EXISTS, fields.done: own.get(fields.done)}
            # Without the claim that finished last, an older version of cenergyd may have removed it when it claimed the customer.
            is_known = fields.work_start not in own and fields.done in own and bool(ended_claims(own))
            oldest[own["_id"]] = (min(times), (query, is_known))
        return [query for _, query in sorted(oldest.values(), key=lambda each: each[0])[:limit]]

    async def _expired(self, now: int, ttl: int, limit: int) -> list[dict[str, object]]:
        """Work whose claims have expired. If there is none, it is not searched for again for a quarter of a claim's duration."""
        fields = self._fields
        if self._none_expired_at <= now < self._none_expired_at + ttl // 4:
            return []
        found = await self._find(
            {fields.claim_until: {"$gte": 0, "$lte": now}, fields.retry_at: {"$not": {"$gt": now}}},
            [fields.start, fields.work_start, fields.done, fields.ended], fields.claim_until, limit,
        )  # fmt: skip
        if not found:
            self._none_expired_at = now
        return found

    def _owned(self, work: PendingWork) -> dict[str, object]:
        return {"_id": id_value(work.customer.id), self._fields.claim: work.claim}

    async def _update(self, requests: Sequence[UpdateOne | UpdateMany], *, journaled: bool = False) -> int:
        """Run updates in one round trip; returns how many documents matched.

        A claim or its end need not be on disk when this returns: if a crash loses it, work is done again.
        """
        if not requests:
            return 0
        options = {} if journaled else {"write_concern": _NOT_JOURNALED}
        result = await self._mongo.run(
            lambda db: db[self._collection].with_options(**options).bulk_write(list(requests), ordered=False)
        )
        return int(result.matched_count)

    async def _find(
        self, query: Mapping[str, object], fields: Sequence[str], order: str | None, limit: int
    ) -> list[dict[str, Any]]:
        found: list[dict[str, object]] = await self._mongo.run(
            lambda db: db[self._collection].find(
                dict(query), projection=list(fields), sort=sort_by(ASCENDING(order)) if order else None,
                limit=limit, batch_size=limit,
            )
        )  # fmt: skip
        return found

    async def _count(self, query: Mapping[str, object]) -> int:
        return int(await self._mongo.run(lambda db: db[self._collection].count_documents(dict(query))))


def _storing(result: str) -> dict[str, dict[str, object]]:
    """The update operators that store the result of a derivation."""
    return {"$set": {RESULT: result}, "$inc": {RESULT_VERSION: 1}} if result else {}
