"""Binds the counts of the daemon's parts to Prometheus metrics, so that the parts do not depend on Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cenergyd.daemon.backlog_counts import BacklogCounts
from cenergyd.daemon.uploads import UploadParts
from cenergyd.derivation.committer import DerivationStatus
from cenergyd.ingest.archive import UploadArchive
from cenergyd.jobs.job_runtime import JobStatus
from cenergyd.jobs.messages.sender import OutboxService
from cenergyd.jobs.site_state.model import IssueKind
from cenergyd.readings.recent import RecentReadings
from cenergyd.runtime.hook_times import HookTimes
from cenergyd.runtime.metrics import Metrics
from cenergyd.runtime.plugin_info import PluginInfo
from cenergyd.runtime.store_info import StoreInfo
from cenergyd.web.server.site import BoundedSite


def bind_upload_metrics(metrics: Metrics, uploads: UploadParts, ready: Callable[[], bool]) -> None:
    """Uploads in progress, writes, and refused senders."""
    gauge, commit = metrics.gauge, uploads.group_commit
    gauge("queued_uploads", "Uploads waiting for, or in, a write.", lambda: commit.queued_uploads)
    gauge("queued_readings", "Readings waiting for, or in, a write.", lambda: commit.queued_readings)
    gauge("uploads_in_progress", "Uploads being answered.", lambda: uploads.receiver.in_progress)
    gauge("ready", "1 if /readyz reports ready, checked at each scrape.", ready)
    metrics.counter(
        "rejected_loggers", "Uploads with unknown serial or wrong password.", lambda: uploads.activity.rejected_total
    )
    metrics.counter("password_hashes", "Passwords of loggers that were hashed.", lambda: uploads.credentials.hashes)


def bind_held_metrics(metrics: Metrics, uploads: UploadParts) -> None:
    """Held logs: not read yet because their columns are not known."""
    held, meters, logs = uploads.held, uploads.held_meters, uploads.held.held
    metrics.gauge("meters_not_understood", "Meters whose columns have to be chosen.", lambda: meters.not_understood)
    metrics.gauge("held_logs", "Logs held unread.", lambda: meters.held_logs)
    metrics.gauge("held_bytes", "Size of held logs in the store.", lambda: meters.held_bytes)
    metrics.counter("held_logs_read", "Held logs that were read.", lambda: held.read_logs)
    metrics.counter("held_logs_expired", "Held logs deleted unread.", lambda: logs.expired)
    metrics.counter("held_logs_refused", "Logs refused because there was no room to hold them.", lambda: logs.refused)


def bind_archive_metrics(metrics: Metrics, archive: UploadArchive) -> None:
    """Accepted uploads that are archived as received."""
    metrics.counter("archived_uploads", "Accepted uploads that were archived.", lambda: archive.kept)
    metrics.counter("unarchived_uploads", "Accepted uploads that could not be archived.", lambda: archive.left_out)
    metrics.gauge("archive_bytes", "Size of the archive's files.", lambda: archive.total_bytes)


def bind_site_metrics(metrics: Metrics, site: BoundedSite) -> None:
    """Connections, and those refused."""
    counter = metrics.counter
    metrics.gauge("connections", "Open connections.", lambda: len(site.connections))
    counter("refused_bodies", "Requests refused for their size.", lambda: site.refused_bodies)
    counter("refused_connections", "Connections refused for their number.", lambda: site.refused_connections)
    counter("dropped_slow", "Connections dropped for sending too slowly.", lambda: site.dropped_slow)


def bind_derivation_metrics(metrics: Metrics, status: DerivationStatus, seconds: Callable[[], float]) -> None:
    """The progress of derivation, and its failures.

    :param seconds: the time now, UTC seconds.
    """

    def age(since: float | None) -> float:
        return 0.0 if since is None else max(0.0, seconds() - since)

    gauge, counter = metrics.gauge, metrics.counter
    gauge("derivation_pending_customers", "Customers with readings to derive.", lambda: status.pending_customers)
    gauge("derivation_oldest_pending_seconds", "Age of the oldest pending reading.", lambda: age(status.oldest_pending))
    gauge("derivation_last_tick_seconds", "Time since the last pass ended.", lambda: age(status.last_tick))
    gauge("derivation_backlogs", "Long ranges being derived.", lambda: status.backlogs)
    gauge(
        "derivation_waiting_plugins",
        "Customers whose derivation plugin has not answered yet.",
        lambda: status.waiting_plugins,
    )
    counter("derived_readings", "Readings computed.", lambda: status.derived_readings)
    counter("derivation_claims_lost", "Claims lost to another daemon.", lambda: status.claims_lost)
    counter("derivation_store_troubles", "Pauses because a store did not answer.", lambda: status.store_troubles)
    metrics.counters("plugin_failures", "Failures of derivation plugins.", "plugin", lambda: status.failures)


def bind_recent_metrics(metrics: Metrics, recent: RecentReadings) -> None:
    """The cache of the newest readings."""
    metrics.gauge("recent_readings_bytes", "Estimated memory of the cached newest readings.", lambda: recent.size)
    metrics.counters(
        "recent_reads", "Series read for derivation and jobs, by where they were found.", "found",
        lambda: {"memory": recent.from_cache, "store": recent.from_store},
    )  # fmt: skip


def bind_plugin_metrics(metrics: Metrics, infos: Sequence[PluginInfo], times: HookTimes) -> None:
    """Plugins, and how long each blocked the reactor's thread."""
    rows = [
        {"plugin": info.name, "version": info.version, "distribution": info.distribution, "state": info.state,
         "hooks": " ".join(info.hooks)} for info in infos
    ]  # fmt: skip
    metrics.info("plugin_info", "Plugins that are installed or required, with version, hooks and state.", rows)
    metrics.gauge(
        "plugin_problems", "Plugins with which something is wrong.", lambda: sum(bool(i.problem) for i in infos)
    )
    metrics.counters("plugin_held_seconds", "Time that calls of a plugin took.", "plugin", lambda: times.seconds)
    metrics.counters("plugin_slow_calls", "Calls that took longer than 0.1 s.", "plugin", lambda: times.slow)


def bind_job_metrics(metrics: Metrics, status: JobStatus, sender: OutboxService) -> None:
    """Failures of jobs, and results of messages."""
    metrics.counters("job_failures", "Failures of job plugins.", "plugin", lambda: status.failures)
    metrics.counters("messages", "Attempts at messages to customers.", "outcome", lambda: sender.counts)


def bind_backlog_metrics(
    metrics: Metrics, counts: BacklogCounts, stores: Callable[[], Sequence[StoreInfo]], seconds: Callable[[], float]
) -> None:
    """Pending jobs and messages, the size of the embedded stores, and what was freed in them."""

    def age(since: float | None) -> float:
        return 0.0 if since is None else max(0.0, seconds() - since)

    gauge = metrics.gauge
    gauge("jobs_pending_customers", "Customers with readings pending for jobs.", lambda: counts.jobs_pending)
    gauge(
        "jobs_oldest_pending_seconds",
        "Age of the oldest reading pending for jobs.",
        lambda: age(counts.jobs_oldest),
    )
    gauge(
        "outbox_overdue_seconds",
        "How long the oldest due message has waited.",
        lambda: age(counts.outbox_oldest_due),
    )
    metrics.gauges(
        "store_bytes", "Size of an embedded store's files.", "store",
        lambda: {info.name: float(info.bytes) for info in stores() if info.bytes is not None},
    )  # fmt: skip
    metrics.gauges(
        "store_reusable_bytes", "Space in an embedded store's files that is free for new rows.", "store",
        lambda: {info.name: float(info.reusable_bytes) for info in stores() if info.reusable_bytes is not None},
    )  # fmt: skip
    metrics.counters(
        "freed_rows", "Rows deleted after their retention time.", "kind",
        lambda: {kind: count for info in stores() for kind, count in info.freed_rows.items()},
    )  # fmt: skip


def bind_state_metrics(metrics: Metrics, counts: Callable[[], Mapping[IssueKind, int]]) -> None:
    """Sites by state."""
    metrics.gauges("sites", "Sites by state.", "state", lambda: {str(kind): count for kind, count in counts().items()})
