"""Runs all plugins' jobs over a claimed window of a customer, part by part, until it is finished or released."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import cast

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cenergyd.customers.model import Customer, PendingMark, PendingWork, Window
from cenergyd.customers.store import PendingQueue
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.jobs.job_runtime import RETRY_SECONDS, JobRuntime
from cenergyd.jobs.plugin_calls import StoreFailed
from cenergyd.jobs.retries import Retries
from cenergyd.jobs.shared_reads import SharedReads
from cenergyd.jobs.window_parts import window_parts
from cenergyd.readings.batching import Batcher
from cenergyd.readings.retention import computed_since
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.isolation import PluginFailed

log = Logger()


class WindowJobs:
    """Runs the jobs of claimed windows.

    :param keep_days: retention of readings in days, by kind.
    """

    def __init__(
        self,
        runtime: JobRuntime,
        queue: PendingQueue,
        readings: ReadingStore,
        retries: Retries,
        keep_days: Mapping[str, int],
    ) -> None:
        self._runtime = runtime
        self._status = runtime.status
        self._clock = runtime.clock
        self._queue = queue
        self._readings = readings
        self._retries = retries
        self._keep_days = keep_days
        self._finishing: Batcher[PendingWork, bool] = Batcher(queue.finish, runtime.clock)

    async def run(self, work: PendingWork, claimed_at: float) -> None:
        """Run all jobs of one claimed window. Raises nothing: a failure is logged and the window released."""
        try:
            await self._window(work, claimed_at)
        except (StoreUnavailable, Overloaded, StoreFailed) as error:
            self._runtime.backoff.failed(error)
            await self._give_back(work, self._runtime.backoff.until)
        except CancelledError:
            await self._give_back(work, self._clock.seconds())
        except Exception:
            log.failure("jobs of customer {customer_id} failed", customer_id=work.customer.id)
            await self._give_back(work, self._clock.seconds() + RETRY_SECONDS)

    async def _window(self, work: PendingWork, claimed_at: float) -> None:
        renewed_at = claimed_at
        kept_since = computed_since(self._keep_days, int(claimed_at))
        # Results computed from readings that are deleted by now stay unchanged.
        begin = work.start if kept_since is None else max(work.start, kept_since)
        async for part in window_parts(self._readings, work.customer, Window(begin, work.end)):
            now = self._clock.seconds()
            if part.start > work.start or now - renewed_at > self._runtime.ttl / 3:
                if not await self._renew(work, part.start):
                    return
                work, renewed_at = work._replace(start=part.start), now
            if self._runtime.paused:
                await self._give_back(work, max(now, self._runtime.backoff.until))
                return
            if not await self._all_jobs(work, part):
                return
        await self._finish(work)

    async def _all_jobs(self, work: PendingWork, part: Window) -> bool:
        """Run every plugin's job over one part of a window. False if the claim is lost."""
        renewed_at = self._clock.seconds()
        readings = cast(ReadingStore, SharedReads(self._readings))
        calls = self._runtime.calls
        for implementation in calls.plugins.implementations("cenergyd_job"):
            if self._clock.seconds() - renewed_at > self._runtime.ttl / 3:
                renewed_at = self._clock.seconds()
                if not await self._renew(work, part.start):
                    return False
            try:
                await calls.job(implementation, work.customer, part, readings)
            except PluginFailed as error:
                await self._keep(error, work.customer, part)
        return True

    async def _renew(self, work: PendingWork, start: int) -> bool:
        """Renew the claim; the remaining window begins at ``start``. False if the claim is lost."""
        if await self._queue.advance(work, start, int(self._clock.seconds()), self._runtime.ttl):
            return True
        self._status.claims_lost += 1
        return False

    async def _finish(self, work: PendingWork) -> None:
        if await self._finishing.submit(work):
            self._runtime.backoff.succeeded()
            return
        # Another daemon does the whole window, but this one may have overwritten newer results of it.
        self._status.claims_lost += 1
        await self._queue.mark([PendingMark(work.customer.id, work.start, work.end)])

    async def _keep(self, error: PluginFailed, customer: Customer, part: Window) -> None:
        self._status.failures[error.plugin] += 1
        if await self._retries.add(error.plugin, customer.id, part, error.reason, int(self._clock.seconds())):
            self._runtime.log_failure(error, customer.id, part)

    async def _give_back(self, work: PendingWork, retry_at: float) -> None:
        try:
            await self._queue.postpone([work], ceil(retry_at))
        except (StoreUnavailable, Overloaded) as error:
            self._runtime.backoff.failed(error)  # then the claim expires
