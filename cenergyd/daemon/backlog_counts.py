"""Counts that need a query to a store: how far jobs and messages are behind."""

from __future__ import annotations

from twisted.logger import Logger

from cenergyd.customers.claims import PendingQueue
from cenergyd.daemon.retention import Retention
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.runtime.store_info import StoreInfo
from cenergyd.settings.sections import Settings
from cenergyd.settings.state import embedded_path

INTERVAL = 15.0
"""Seconds between two counts: the usual scrape interval of Prometheus."""
log = Logger()


class BacklogCounts(PeriodicService):
    """Counts at intervals, so that a scrape costs no query and is not delayed by a store that is down."""

    name = "backlog counts"

    def __init__(self, clock: Timers, job_queue: PendingQueue, outbox: Outbox) -> None:
        super().__init__(clock, self.count, INTERVAL, what="counting pending work", log=log)
        self._job_queue = job_queue
        self._outbox = outbox
        self.jobs_pending = 0
        """Customers whose readings wait for jobs."""
        self.jobs_oldest: int | None = None
        """The oldest of these readings, UTC seconds."""
        self.outbox_oldest_due: int | None = None
        """When the longest overdue message should have been sent, UTC seconds."""

    async def count(self) -> None:
        """Count once."""
        summary = await self._job_queue.summary()
        self.jobs_pending, self.jobs_oldest = summary.customers, summary.oldest
        self.outbox_oldest_due = self._outbox.oldest_due


def store_infos(settings: Settings, retention: Retention) -> tuple[StoreInfo, ...]:
    """Information about the stores, for operators."""
    return (
        StoreInfo(
            name="customers", engine=_engine(settings.customers.url), bytes=_size(settings.customers.url),
        ),
        StoreInfo(
            name="readings", engine=_engine(settings.readings.url), bytes=_size(settings.readings.url),
            reusable_bytes=retention.reusable_bytes, keep_days=settings.readings.keep_days,
            freed_rows=dict(retention.freed), waiting=retention.reason,
        ),
    )  # fmt: skip


def _engine(url: str) -> str:
    scheme = url.partition(":")[0]
    return {"sqlite": "SQLite", "mongodb": "MongoDB", "mongodb+srv": "MongoDB"}.get(scheme, "InfluxDB")


def _size(url: str) -> int | None:
    path = embedded_path(url)
    if path is None:
        return None
    files = [path.with_name(path.name + suffix) for suffix in ("", "-wal")]
    return sum(file.stat().st_size for file in files if file.exists())
