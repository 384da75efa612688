"""A pending queue in the table of customers. The contract and its two ranges: :mod:`cenergyd.customers.claims`."""

# ruff: noqa: S608 - only names of columns and numbers are put into statements; values are parameters
from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cenergyd.customers.claims import PendingSummary
from cenergyd.customers.model import Customer, PendingMark, PendingWork, TimeRange
from cenergyd.storage.sqlite.database import EmbeddedDatabase

# Forces the partial indexes, so that the cost depends on the customers with work, not on all customers.
_BUSY_ROWS = (
    "SELECT rowid FROM customer INDEXED BY customer_QUEUE WHERE @start IS NOT NULL"
    " UNION SELECT rowid FROM customer INDEXED BY customer_QUEUE_work WHERE @work_start IS NOT NULL"
)

_STORE_RESULT = "UPDATE customer SET derivation = ?, derivation_version = derivation_version + 1 WHERE id = ?"


class SqlitePendingQueue:
    """See :class:`cenergyd.customers.claims.DerivationQueue`.

    :param prefix: prefix of the columns: ``pending`` or ``jobs``.
    :param columns: the columns of a row for ``customer_of``.
    :param following: the queue that work is handed over to; None: work cannot be handed over.
    """

    def __init__(
        self,
        database: EmbeddedDatabase,
        prefix: str,
        columns: str,
        customer_of: Callable[[Sequence[object]], Customer],
        following: SqlitePendingQueue | None = None,
    ) -> None:
        self._database = database
        self._prefix = prefix
        self._columns = columns
        self._customer_of = customer_of
        self._following = following

    def _sql(self, text: str) -> str:
        """The statement with ``@start`` replaced by the queue's column ``<prefix>_start``, and so on."""
        text = text.replace("BUSY_ROWS", _BUSY_ROWS.replace("QUEUE", self._prefix))
        return text.replace("@", f"{self._prefix}_").replace("CUSTOMER_COLUMNS", self._columns)

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending ranges."""
        await self._database.write(lambda db: self.mark_within(db, marks))

    def mark_within(self, db: sqlite3.Connection, marks: Sequence[PendingMark]) -> None:
        """Widen the pending ranges within a transaction."""
        sql = self._sql(
            "UPDATE customer SET @start = min(ifnull(@start, :start), :start), @end = max(ifnull(@end, :end), :end)"
            " WHERE id = :customer_id"
        )
        db.executemany(sql, [mark._asdict() for mark in marks])

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        """Claim customers, in one transaction."""
        sql = self._sql(
            """
            UPDATE customer SET
                @work_start = min(ifnull(@start, @work_start), ifnull(@work_start, @start)),
                @work_end = max(ifnull(@end, @work_end), ifnull(@work_end, @end)),
                @claim = :claim, @claim_until = :now + :ttl, @start = NULL, @end = NULL, @retry_at = NULL, @done = NULL
            WHERE id IN (
                SELECT id FROM customer WHERE rowid IN (BUSY_ROWS)
                    AND ifnull(@claim_until, :now) <= :now AND ifnull(@retry_at, :now) <= :now
                ORDER BY min(ifnull(@start, @work_start), ifnull(@work_start, @start)), id
                LIMIT :limit
            )
            RETURNING @work_start, @work_end, JOBS_WAITING, CUSTOMER_COLUMNS
            """
        ).replace("JOBS_WAITING", self._jobs_waiting)
        values = {"claim": claim, "now": now, "ttl": ttl, "limit": limit}
        rows = await self._database.write(lambda db: db.execute(sql, values).fetchall())
        return [self._work(row, claim) for row in sorted(rows)]

    async def mark_claimed(self, marks: Sequence[PendingMark], claim: str, until: int) -> None:
        """Claim or widen ranges that are free or ours, mark the others, in one transaction."""
        sql = self._sql(
            "UPDATE customer SET @work_start = min(ifnull(@work_start, :start), :start),"
            " @work_end = max(ifnull(@work_end, :end), :end), @claim = :claim, @claim_until = :until"
            " WHERE id = :customer_id AND (@claim = :claim OR (@claim IS NULL AND @start IS NULL AND @retry_at IS NULL))"
        )
        values = {"claim": claim, "until": until}

        def work(db: sqlite3.Connection) -> None:
            self.mark_within(db, [mark for mark in marks if not db.execute(sql, {**mark._asdict(), **values}).rowcount])

        await self._database.write(work)

    async def claimed(self, claim: str, limit: int) -> list[PendingWork]:
        """Read them by the index of working ranges."""
        sql = self._sql(
            "SELECT @work_start, @work_end, JOBS_WAITING, CUSTOMER_COLUMNS FROM customer"
            " WHERE rowid IN (BUSY_ROWS) AND @claim = ? ORDER BY @work_start, id LIMIT ?"
        ).replace("JOBS_WAITING", self._jobs_waiting)
        rows = await self._database.read(lambda db: db.execute(sql, (claim, limit)).fetchall())
        return [self._work(row, claim) for row in rows]

    async def join_pending(self, works: Sequence[PendingWork]) -> None:
        """Merge both ranges."""
        sql = self._sql(
            "UPDATE customer SET @work_start = min(@start, @work_start), @work_end = max(@end, @work_end),"
            " @start = NULL, @end = NULL"
            " WHERE id = ? AND @claim = ? AND @start IS NOT NULL"
        )
        rows = [(work.customer.id, work.claim) for work in works]
        await self._database.write(lambda db: db.executemany(sql, rows))

    def _work(self, row: Sequence[Any], claim: str) -> PendingWork:
        start, end, jobs_waiting, *customer = row
        return PendingWork(self._customer_of(customer), start, end, claim, bool(jobs_waiting))

    async def advance(self, work: PendingWork, start: int, now: int, ttl: int) -> bool:
        """Shrink the work and renew the claim."""
        sql = self._sql("UPDATE customer SET @work_start = ?, @claim_until = ? WHERE id = ? AND @claim = ?")
        values = (start, now + ttl, work.customer.id, work.claim)
        return bool(await self._database.write(lambda db: db.execute(sql, values).rowcount))

    async def finish(self, works: Sequence[PendingWork]) -> list[bool]:
        """Remove the work."""
        return await self._release(works, "")

    async def finish_with_results(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str]
    ) -> list[bool]:
        """Remove the work and store the results, in one transaction."""

        def finish(db: sqlite3.Connection) -> list[bool]:
            ours = self._release_within(db, works, "", f"AND NOT {self._jobs_waiting}")
            _store_results(db, works, ours, results)
            return ours

        return await self._database.write(finish)

    @property
    def _jobs_waiting(self) -> str:
        """Whether the following queue has work, as SQL."""
        if self._following is None:
            return "0"
        return self._following._sql("(@start IS NOT NULL OR @work_start IS NOT NULL)")

    async def hand_over(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str] = ()
    ) -> list[bool]:
        """Remove the work and widen the following queue's pending ranges, in one transaction."""
        following = self._following
        assert following is not None
        marks = [PendingMark(work.customer.id, *time_range) for work, time_range in zip(works, ranges, strict=True)]

        def hand_over(db: sqlite3.Connection) -> list[bool]:
            ours = self._release_within(db, works, "")
            following.mark_within(db, [mark for mark, is_ours in zip(marks, ours, strict=True) if is_ours])
            _store_results(db, works, ours, results)
            return ours

        return await self._database.write(hand_over)

    async def hand_over_claimed(
        self,
        works: Sequence[PendingWork],
        ranges: Sequence[TimeRange],
        claim: str,
        until: int,
        results: Sequence[str] = (),
    ) -> list[bool]:
        """Remove the work and widen the following queue's working ranges, in one transaction."""
        following = self._following
        assert following is not None
        join = following._sql(
            "UPDATE customer SET @work_start = min(ifnull(@work_start, :start), :start),"
            " @work_end = max(ifnull(@work_end, :end), :end), @claim = :claim, @claim_until = :until"
            " WHERE id = :id AND (@claim = :claim OR (@claim IS NULL AND @start IS NULL))"
            f" AND {self._prefix}_claim = :owned"
        )

        def hand_over(db: sqlite3.Connection) -> list[bool]:
            joined = []
            for work, time_range in zip(works, ranges, strict=True):
                values = {"start": time_range.start, "end": time_range.end, "claim": claim, "until": until}
                values |= {"id": work.customer.id, "owned": work.claim}
                joined.append(db.execute(join, values).rowcount == 1)
            self._release_within(db, [work for work, is_ours in zip(works, joined, strict=True) if is_ours], "")
            _store_results(db, works, joined, results)
            return joined

        return await self._database.write(hand_over)

    async def store_results(self, results: Mapping[str, str]) -> None:
        """Store results without touching the queues."""
        rows = [(result, customer_id) for customer_id, result in results.items()]
        await self._database.write(lambda db: db.executemany(_STORE_RESULT, rows))

    async def postpone(self, works: Sequence[PendingWork], retry_at: int) -> None:
        """Move the work back to pending."""
        back = (
            "@start = min(ifnull(@start, @work_start), @work_start), @end = max(ifnull(@end, @work_end), @work_end),"
            f" @retry_at = {int(retry_at)},"
        )
        await self._release(works, back)

    async def summary(self) -> PendingSummary:
        """Count customers, by the indexes."""
        sql = self._sql(
            "SELECT count(*), min(min(ifnull(@start, @work_start), ifnull(@work_start, @start))) FROM customer"
            " WHERE rowid IN (BUSY_ROWS)"
        )
        return PendingSummary(*await self._database.read(lambda db: db.execute(sql).fetchone()))

    async def _release(self, works: Sequence[PendingWork], back: str) -> list[bool]:
        return await self._database.write(lambda db: self._release_within(db, works, back))

    def _release_within(
        self, db: sqlite3.Connection, works: Sequence[PendingWork], back: str, only: str = ""
    ) -> list[bool]:
        ended = "" if back else "@done = @claim,"
        sql = self._sql(
            f"UPDATE customer SET {back} {ended} @work_start = NULL, @work_end = NULL, @claim = NULL, @claim_until = NULL"
            f" WHERE id = ? AND @claim = ? {only}"
        )
        return [db.execute(sql, (work.customer.id, work.claim)).rowcount == 1 for work in works]


def _store_results(
    db: sqlite3.Connection, works: Sequence[PendingWork], ours: Sequence[bool], results: Sequence[str]
) -> None:
    """Store the results of those whose claim was held."""
    rows = [
        (result, work.customer.id)
        for work, is_ours, result in zip(works, ours, results or [""] * len(works), strict=True)
        if is_ours and result
    ]
    db.executemany(_STORE_RESULT, rows)
