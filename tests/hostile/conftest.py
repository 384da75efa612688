"""A daemon on embedded stores with small bounds, shared by a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon_process import RunningDaemon
from tests.e2e.device import add_customer

SERIAL = "001EC6700001"
BOUNDS = {
    # Long enough for a slow machine, and short enough for tests that wait for the end of an idle connection.
    "server.request_timeout_seconds": "20",
    "cenergyd.web.server.site.MAX_REQUEST_SECONDS": "40",
    "server.max_connections": "120",
    "cenergyd.web.server.site.MAX_BODY_BYTES": "1048576",
    "cenergyd.ingest.log_reader.MAX_INFLATED_BYTES": "4194304",
    "cenergyd.ingest.receiver.MAX_FORM_FIELDS": "16",
    "cenergyd.ingest.receiver.MAX_FIELD_BYTES": "256",
    "credentials.max_failures": "3",
    "credentials.max_failures_per_address": "6",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with serving(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@contextmanager
def serving(folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[RunningDaemon]:
    """Such a daemon with one customer."""
    running = RunningDaemon(folder, {**BOUNDS, **(changes or {})})
    running.start()
    try:
        add_customer(running, SERIAL, load="1", solar="2")
        yield running
    finally:
        running.kill()
