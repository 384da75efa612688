"""Runs jobs again over ranges on which they failed."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import Document
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.jobs.job_runtime import RETRY_SECONDS, JobRuntime
from cenergyd.jobs.plugin_calls import StoreFailed
from cenergyd.jobs.range_parts import range_parts
from cenergyd.jobs.retries import Retries, retried_range
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.isolation import Implementation, PluginFailed

log = Logger()


class RetriedJobs:
    """Runs one plugin's job again over a range that is kept in :class:`~cenergyd.jobs.retries.Retries`."""

    def __init__(self, runtime: JobRuntime, retries: Retries, readings: ReadingStore, customers: CustomerStore) -> None:
        self._runtime = runtime
        self._retries = retries
        self._readings = readings
        self._customers = customers

    async def run(self, document: Document) -> None:
        """Retry one. Raises nothing: a failure is logged and the range kept."""
        try:
            await self._retry(document)
        except (StoreUnavailable, Overloaded, StoreFailed) as error:
            self._runtime.backoff.failed(error)
        except CancelledError:
            return  # its claim expires
        except Exception:
            log.failure("a job cannot be tried again")

    async def _retry(self, document: Document) -> None:
        calls, plugin = self._runtime.calls, document.body["plugin"]
        found = [each for each in calls.plugins.implementations("cenergyd_job") if each.plugin == plugin]
        customer = await self._customers.get(document.owner or "")
        if customer is None:
            await self._retries.succeeded(document)
        elif not found or calls.is_resting(plugin):  # disabled, or not called at the moment
            await self._retries.postpone(document, int(self._runtime.clock.seconds()) + RETRY_SECONDS)
        else:
            await self._run_parts(document, customer, found[0])

    async def _run_parts(self, document: Document, customer: Customer, job: Implementation) -> None:
        clock = self._runtime.clock
        async for part in range_parts(self._readings, customer, retried_range(document)):
            claimed = await self._retries.claim(document, part.start, int(clock.seconds()) + self._runtime.ttl)
            if claimed is None:
                return
            document = claimed
            try:
                await self._runtime.calls.job(job, customer, part)
            except PluginFailed as error:
                self._runtime.status.failures[job.plugin] += 1
                if await self._retries.failed(document, error.reason, int(clock.seconds())):
                    self._runtime.log_failure(error, customer.id, part)
                return
            if self._runtime.paused:
                return
        await self._retries.succeeded(document)
