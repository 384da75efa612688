"""State shared by the parts of the job service: counts, the store back-off, and whether it is stopping."""

from __future__ import annotations

from collections import Counter

import attrs
from twisted.logger import Logger

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.plugin_calls import PluginCalls
from cenergyd.runtime.backoff import StoreBackoff
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.isolation import PluginFailed, failure_of

RETRY_SECONDS = 60
"""Seconds until a failed job is tried again; doubled at each failure, up to an hour."""

log = Logger()


@attrs.define
class JobStatus:
    """Counts for metrics and the API."""

    last_tick: float | None = None
    """When the last pass ended, UTC seconds."""
    failures: Counter[str] = attrs.field(factory=Counter)
    """Failed jobs by plugin."""
    claims_lost: int = 0
    """Claims that were lost to other daemons."""
    store_troubles: int = 0
    """Pauses because a store did not answer."""


class JobRuntime:
    """Shared by the service and the runners of new and retried ranges."""

    def __init__(self, calls: PluginCalls, clock: Timers, ttl: int) -> None:
        self.calls = calls
        self.clock = clock
        self.ttl = ttl
        """Seconds until a claim expires."""
        self.status = JobStatus()
        self.backoff = StoreBackoff(clock, log, ("jobs pause", "jobs continue"), self._count_store_error)

    @property
    def stopping(self) -> bool:
        """Whether the service is being stopped."""
        return self.calls.stopping

    @property
    def paused(self) -> bool:
        """Whether no new work may start, because the service is stopping or a store has just failed."""
        return self.stopping or not self.backoff.ready

    def log_failure(self, error: PluginFailed, customer_id: str, time_range: TimeRange) -> None:
        """Log that a job failed on a range."""
        log.failure(
            "job of plugin {plugin} for customer {customer_id} from {start} to {end} failed: {reason}",
            failure_of(error), plugin=error.plugin, customer_id=customer_id, start=time_range.start, end=time_range.end,
            reason=error.reason,
        )  # fmt: skip

    def _count_store_error(self) -> None:
        self.status.store_troubles += 1
