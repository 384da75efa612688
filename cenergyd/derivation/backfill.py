"""Derives a range of a customer again on request, with or without a running daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from cenergyd.customers.claims import PendingQueue
from cenergyd.customers.model import Customer, PendingMark
from cenergyd.customers.store import CustomerStore
from cenergyd.derivation.chunks import chunks
from cenergyd.derivation.committer import write_derived
from cenergyd.derivation.derive import Derivation, Deriver
from cenergyd.derivation.plan import derivation_segments, reach
from cenergyd.derivation.status import reached_before, results_of, stored_range
from cenergyd.derivation.sum_deriver import write_sums
from cenergyd.derivation.sum_plan import sum_segments
from cenergyd.documents.body import body_of
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import NotFound
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers, sleep


class Progress(NamedTuple):
    """The progress of a backfill."""

    start: int
    """UTC seconds."""
    end: int
    """Exclusive."""
    done: int
    """Everything before this is derived; initially ``start``."""
    derived: int | None = None
    """Readings computed so far, if known."""
    written: int | None = None
    """How many of them were missing or different before, if known."""
    failure: str | None = None
    """Why there is no progress at the moment."""

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return (self.done - self.start) / (self.end - self.start)

    def after(self, derivation: Derivation, until: int) -> Progress:
        """After a written derivation of the times before ``until``."""
        change = derivation.change
        return self._replace(
            done=max(self.done, min(until, self.end)),
            derived=(self.derived or 0) + derivation.derived,
            written=(self.written or 0) + (len(change.readings) if change else 0),
        )


ReportProgress = Callable[[Progress], None]


async def request_backfill(queue: PendingQueue, customer_id: str, start: int, end: int) -> None:
    """Request it from the running daemons: mark the range as if its readings had just arrived."""
    await queue.mark([PendingMark(customer_id, start, end)])


async def follow(
    customer_id: str,
    start: int,
    end: int,
    *,
    customers: CustomerStore,
    tolerance: int,
    report: ReportProgress,
    clock: Timers,
    poll_seconds: float = 1.0,
) -> Progress:
    """Mark a range and report the daemons' progress until they have finished. Cancel it to stop watching; they continue.

    :raises NotFound: no such customer.
    """
    customer = await customers.get(customer_id)
    seen = customer.derivation_version if customer is not None else 0
    await request_backfill(customers.derivation_queue, customer_id, start, end)
    progress = Progress(start, end, start)
    while progress.done < end:
        customer = await customers.get(customer_id)
        if customer is None:
            raise NotFound(f"there is no customer {customer_id}")
        if not derivation_segments(customer, start, end, tolerance) and not sum_segments(
            customer, start, end, tolerance
        ):
            progress = progress._replace(done=end)  # no meter is computed, so nothing will be reported
        progress = _after(progress, customer, seen)
        report(progress)
        if progress.done < end:
            await sleep(clock, poll_seconds)
    return progress


async def run_backfill(
    customer: Customer,
    start: int,
    end: int,
    *,
    readings: ReadingStore,
    documents: DocumentStore,
    customers: CustomerStore,
    deriver: Deriver,
    limit: int,
    report: ReportProgress,
) -> Progress:
    """Derive the range ``start <= time < end`` here and now, by the same code as the daemon's; needs no daemon.

    If a daemon does run and derived this customer at the same time, the range is marked for it at the end, because either of the two may
    have read before newer readings arrived.

    What was written is marked for the jobs chunk by chunk, so that an interruption leaves nothing that the jobs and the caches of daemons
    do not learn of.

    :param limit: readings of each series held in memory at once (:data:`cenergyd.derivation.plan.CHUNK_READINGS`).
    :raises PluginFailed: a plugin failed; what was derived before that stays.
    """
    before = await customers.get(customer.id) or customer
    results = await results_of([before], documents)
    progress = Progress(start, end, start, 0, 0)
    report(progress)

    async def mark(since: int, until: int) -> None:
        since = min(since, end - 1)
        written = reach(customer, since, max(until, since + 1), deriver.tolerance)
        await customers.job_queue.mark([PendingMark(customer.id, *written)])

    summed = await write_sums(readings, sum_segments(customer, start, end, deriver.tolerance), deriver.tolerance)
    if summed:
        await mark(start, end)
    progress = progress._replace(written=summed)
    for segment in derivation_segments(customer, start, end, deriver.tolerance):
        reached = reached_before(results.get(customer.id))
        async for chunk in chunks(readings, deriver, customer, segment, limit=limit, reached=reached):
            await write_derived(readings, [chunk.derivation])
            before_it, progress = progress.done, progress.after(chunk.derivation, chunk.end)
            await mark(before_it, progress.done)
            report(progress)
    await mark(progress.done, end)
    after = await customers.get(customer.id)
    if after is not None and after.derivation_version != before.derivation_version:
        await request_backfill(customers.derivation_queue, customer.id, start, end)
    progress = progress._replace(done=end)
    report(progress)
    return progress


def _after(progress: Progress, customer: Customer, seen: int) -> Progress:
    """The progress of our range according to the customer's result.

    :param seen: the version of the result from before the range was marked.
    """
    if customer.derivation_version <= seen:
        return progress
    body = body_of(customer.derivation)
    failure = body.get("failure")
    if isinstance(failure, Mapping):
        # The range is still that of an earlier derivation.
        return progress._replace(failure=str(failure.get("message")))
    time_range = stored_range(body) or {}
    start, done = time_range.get("start"), time_range.get("done")
    waits = customer.pending_start is not None and customer.pending_start <= progress.done
    if isinstance(start, int) and isinstance(done, int) and start <= progress.done and not waits:
        progress = progress._replace(done=max(progress.done, min(done, progress.end)))
    return progress._replace(failure=None)
