"""A daemon on each pair of real stores, shared by the tests of a file: each uses loggers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from uuid import uuid4

import pytest

from tests.daemon_process import RunningDaemon
from tests.e2e.operator import Operator
from tests.servers import PATIENT, RunningInflux, RunningMongo


class OperatedDaemon:
    """A running daemon and its operator."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon

    @cached_property
    def operator(self) -> Operator:
        """A client with an operator's token."""
        return Operator(self.daemon)


@pytest.fixture(scope="module", params=["embedded", "production"])
def operated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedDaemon]:
    """On SQLite, and on InfluxDB with MongoDB's protocol."""
    settings = dict(PATIENT)
    if request.param == "production":
        influx: RunningInflux = request.getfixturevalue("influx")
        mongo: RunningMongo = request.getfixturevalue("mongo")
        name = f"t{uuid4().hex[:16]}"
        settings |= {"customers.url": f"{mongo.url}/{name}", "readings.url": f"{influx.url}/{name}"}
    daemon = RunningDaemon(tmp_path_factory.mktemp("field"), settings)
    daemon.start()
    yield OperatedDaemon(daemon)
    daemon.kill()
