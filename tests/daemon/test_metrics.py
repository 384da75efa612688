"""Metrics for Prometheus agree with /readyz and the log."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.servers import RunningInflux

SERIAL = "001EC6001433"


def figures(daemon: RunningDaemon) -> dict[str, float]:
    """Name with labels -> value."""
    text = daemon.get("/metrics")[1].decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


def test_ready_is_what_readyz_says(tmp_path: Path, own_influx: Callable[[], RunningInflux]) -> None:
    influx = own_influx()
    daemon = RunningDaemon(tmp_path, {"readings.url": f"{influx.url}/x", "readings.timeout_seconds": "1"})
    daemon.start()
    try:
        wait_for(lambda: figures(daemon)["cenergyd_ready"] == 1)
        influx.pause()
        assert figures(daemon)["cenergyd_ready"] == 0, "the store does not answer, without any upload"
        assert daemon.get("/readyz")[0] == 503
        influx.resume()
        wait_for(lambda: figures(daemon)["cenergyd_ready"] == 1)
    finally:
        influx.resume()
        daemon.kill()


def test_refused_uploads_count_under_their_mode_and_there_are_figures_of_the_process(tmp_path: Path) -> None:
    daemon = RunningDaemon(tmp_path)
    daemon.start()
    try:
        taken = 'cenergyd_uploads_total{mode="LOGFILEUPLOAD",outcome="success"}'
        assert figures(daemon)[taken] == 0, "the alert of no uploads needs it before the first"
        add_customer(daemon, SERIAL, load="1", solar="2")
        assert acknowledged(upload(daemon, SERIAL, "1", readings(1_700_000_000, 3, 1.0)))
        assert figures(daemon)[taken] == 1
        assert upload(daemon, SERIAL, "1", readings(1_700_000_000, 3, 1.0), password="wrong")[0] == 401
        found = figures(daemon)
        assert found['cenergyd_uploads_total{mode="LOGFILEUPLOAD",outcome="unauthorized"}'] == 1
        assert found["process_resident_memory_bytes"] > 1e6
        assert found["process_open_fds"] > 3
        assert any(name.startswith('cenergyd_build_info{version="') for name in found)
        assert found['cenergyd_store_bytes{store="readings"}'] > 1000
        for name in ("jobs_pending_customers", "jobs_oldest_pending_seconds", "outbox_overdue_seconds"):
            assert found[f"cenergyd_{name}"] >= 0
    finally:
        daemon.kill()
