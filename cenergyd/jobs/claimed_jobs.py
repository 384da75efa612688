"""Runs all plugins' jobs over a claimed range of a customer, part by part, until it is finished or released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.jobs.job_runtime import RETRY_SECONDS, JobRuntime
from cenergyd.jobs.plugin_calls import StoreFailed
from cenergyd.jobs.range_parts import range_parts
from cenergyd.jobs.retries import Retries
from cenergyd.jobs.shared_reads import SharedReads
from cenergyd.jobs.work_claims import DerivationClaim, WorkClaim
from cenergyd.readings.batching import BatchingReadingStore
from cenergyd.readings.retention import computed_since
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.isolation import PluginFailed

log = Logger()


class ClaimedJobs:
    """Runs the jobs of claimed ranges.

    :param keep_days: retention of readings in days, by kind.
    :param cached_readings: the same readings, from the cache where possible; None: from the store.
    :param finished: called with the id of each customer whose range is finished.
    """

    def __init__(
        self,
        runtime: JobRuntime,
        readings: ReadingStore,
        retries: Retries,
        keep_days: Mapping[str, int],
        *,
        cached_readings: ReadingStore | None = None,
        finished: Callable[[str], None] = lambda customer_id: None,
    ) -> None:
        self._runtime = runtime
        self._status = runtime.status
        self._clock = runtime.clock
        self._readings = readings
        self._cached_readings = cached_readings
        # What the jobs of many customers read to compute results is merged, so that they also write these in few requests.
        self._merged = (
            None if cached_readings is None else cast(ReadingStore, BatchingReadingStore(cached_readings, self._clock))
        )
        self._retries = retries
        self._keep_days = keep_days
        self._finished = finished

    async def run(self, claim: WorkClaim) -> None:
        """Run all jobs of one claimed range. Raises nothing: a failure is logged and the range released."""
        try:
            await self._run_parts(claim)
        except (StoreUnavailable, Overloaded, StoreFailed) as error:
            self._runtime.backoff.failed(error)
            await self._release(claim, self._runtime.backoff.until)
        except CancelledError:
            await self._release(claim, self._clock.seconds())
        except Exception:
            log.failure("jobs of customer {customer_id} failed", customer_id=claim.customer.id)
            await self._release(claim, self._clock.seconds() + RETRY_SECONDS)

    async def _run_parts(self, claim: WorkClaim) -> None:
        start, end = claim.time_range
        kept_since = computed_since(self._keep_days, int(self._clock.seconds()))
        # Results computed from readings that are deleted by now stay unchanged.
        begin = start if kept_since is None else max(start, kept_since)
        async for part in range_parts(self._readings, claim.customer, TimeRange(begin, end)):
            if (part.start > claim.time_range.start or claim.is_old()) and not await self._renew(claim, part.start):
                return
            if self._runtime.paused:
                await self._release(claim, max(self._clock.seconds(), self._runtime.backoff.until))
                return
            if not await self._all_jobs(claim, part):
                return
        await self._finish(claim)

    async def _all_jobs(self, claim: WorkClaim, part: TimeRange) -> bool:
        """Run every plugin's job over one part of a range. False if the claim is lost."""
        # Only under the claim on the derivation does the cache agree with the store.
        cached = (self._merged, self._cached_readings) if isinstance(claim, DerivationClaim) else (None, None)
        serial = claim.customer.logger_serial_number
        readings = cast(ReadingStore, SharedReads(self._readings, cached[0], serial, at_once=cached[1]))
        calls = self._runtime.calls
        for implementation in calls.plugins.implementations("cenergyd_job"):
            if claim.is_old() and not await self._renew(claim, part.start):
                return False
            try:
                await calls.job(implementation, claim.customer, part, readings)
            except PluginFailed as error:
                await self._keep(error, claim.customer, part)
        return True

    async def _renew(self, claim: WorkClaim, start: int) -> bool:
        """Renew the claim; the remaining range begins at ``start``. False if the claim is lost."""
        if await claim.renew(start):
            return True
        self._status.claims_lost += 1
        return False

    async def _finish(self, claim: WorkClaim) -> None:
        if await claim.finish():
            self._runtime.backoff.succeeded()
            self._finished(claim.customer.id)
        else:
            self._status.claims_lost += 1

    async def _keep(self, error: PluginFailed, customer: Customer, part: TimeRange) -> None:
        self._status.failures[error.plugin] += 1
        if await self._retries.add(error.plugin, customer.id, part, error.reason, int(self._clock.seconds())):
            self._runtime.log_failure(error, customer.id, part)

    async def _release(self, claim: WorkClaim, retry_at: float) -> None:
        try:
            await claim.release(retry_at)
        except (StoreUnavailable, Overloaded) as error:
            self._runtime.backoff.failed(error)  # then the claim expires
