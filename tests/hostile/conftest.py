"""A daemon on embedded stores with small bounds, shared by a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon_process import RunningDaemon
from tests.e2e.device import add_customer

SERIAL = "001EC6700001"
BOUNDS = {
    "server.request_timeout_seconds": "5",
    "server.max_request_seconds": "7",
    "server.max_connections": "120",
    "server.max_body_bytes": "1048576",
    "upload.max_inflated_bytes": "4194304",
    "upload.max_form_fields": "16",
    "upload.max_field_bytes": "256",
    "credentials.max_failures": "3",
    "credentials.max_failures_per_address": "6",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    running = RunningDaemon(tmp_path_factory.mktemp("hostile"), BOUNDS)
    running.start()
    add_customer(running, SERIAL, load="1", solar="2")
    yield running
    running.kill()
