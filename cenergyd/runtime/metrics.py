"""Metrics for Prometheus, in a registry of this daemon's own (two daemons can run in one process)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """All metrics; each subject's code calls what it needs and knows nothing of Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.info("build_info", "The running version.", [{"version": version("cenergyd")}])
        self._uploads = Counter(
            "cenergyd_uploads_total",
            "Uploads answered, by mode and outcome.",
            ["mode", "outcome"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "cenergyd_upload_seconds", "Time to answer an upload.", buckets=_SECONDS, registry=self.registry
        )
        self._store = Histogram(
            "cenergyd_store_seconds",
            "Time that a store kept a group of uploads waiting: write of readings, mark of customers.",
            ["step"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._readings = Counter("cenergyd_readings_stored_total", "Readings acknowledged.", registry=self.registry)
        self._skipped = Counter(
            "cenergyd_rows_skipped_total", "Log rows without readings, by reason.", ["reason"], registry=self.registry
        )

        self._upload_counter = lru_cache(256)(self._uploads.labels)
        self._store_step = lru_cache(16)(self._store.labels)
        # Present from the start: an alert on a counter that does not grow needs the counter to exist.
        self._upload_counter("LOGFILEUPLOAD", "success")

    def upload(self, mode: str, outcome: str, seconds: float) -> None:
        """Count an answered upload: outcome is success, refused, unauthorized, busy, unavailable or error."""
        self._upload_counter(mode, outcome).inc()
        self._latency.observe(seconds)

    def store(self, step: str, seconds: float) -> None:
        """Record a store's time for a group of uploads: step is write or mark."""
        self._store_step(step).observe(seconds)

    def readings(self, stored: int, skipped: dict[str, int]) -> None:
        """Count the readings of an acknowledged upload, and the rows that gave none."""
        self._readings.inc(stored)
        for reason, count in skipped.items():
            self._skipped.labels(reason).inc(count)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read at each scrape."""
        Gauge(f"cenergyd_{name}", text, registry=self.registry).set_function(value)

    def counter(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A counter kept elsewhere, read at each scrape."""
        self.registry.register(_Counter(f"cenergyd_{name}", text, "", lambda: {"": value()}))

    def counters(self, name: str, text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        """A family of counters by one label, read at each scrape."""
        self.registry.register(_Counter(f"cenergyd_{name}", text, label, values))

    def info(self, name: str, text: str, rows: Sequence[Mapping[str, str]]) -> None:
        """A gauge of 1 for each row; its labels carry the information."""
        if rows:
            gauge = Gauge(f"cenergyd_{name}", text, list(rows[0]), registry=self.registry)
            for row in rows:
                gauge.labels(**row).set(1)

    def gauges(self, name: str, text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        """Gauges by one label, read at each scrape."""
        self.registry.register(_Gauges(f"cenergyd_{name}", text, label, values))

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


class _Family:
    def __init__(self, name: str, text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._text, self._label, self._values = name, text, label, values


class _Counter(_Family):
    def describe(self) -> list[CounterMetricFamily]:
        return [CounterMetricFamily(self._name, self._text)]

    def collect(self) -> list[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=[self._label] if self._label else [])
        for value, count in self._values().items():
            family.add_metric([value] if self._label else [], count)
        return [family]


class _Gauges(_Family):
    def describe(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(self._name, self._text)]

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for value, figure in self._values().items():
            family.add_metric([value], figure)
        return [family]
