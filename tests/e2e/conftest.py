"""Daemons over every pair of real stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_process import RunningDaemon
from tests.servers import PATIENT, RunningInflux, RunningMongo


@pytest.fixture(params=["embedded", "production"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon that is ready: on SQLite, and on InfluxDB with MongoDB's protocol."""
    # What a killed daemon had claimed is free after so long.
    settings = PATIENT | {
        "cenergyd.derivation.service.CLAIM_SECONDS": "5",
        "derivation.plugin_timeout_seconds": "2",
        # Often enough that a claim outlasts a pass: only then uploads are claimed as they are marked.
        "derivation.interval_seconds": "2",
        "cenergyd.derivation.service.MAX_REST_SECONDS": "2",
    }
    settings |= getattr(request.module, "MORE_SETTINGS", {})
    if request.param == "production":
        influx: RunningInflux = request.getfixturevalue("influx")
        mongo: RunningMongo = request.getfixturevalue("mongo")
        name = f"e2e_{tmp_path.name.replace('-', '_')[-24:]}_{tmp_path.parent.name[-4:].replace('-', '_')}"
        settings |= {
            "customers.url": f"{mongo.url}/{name}",
            "readings.url": f"{influx.url}/{name}",
        }
    running = RunningDaemon(tmp_path, settings)
    running.start()
    yield running
    running.kill()
