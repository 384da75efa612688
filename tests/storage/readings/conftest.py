"""The stores that the contract suite runs against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.store import ReadingStore
from cenergyd.storage.influxdb.readings import InfluxReadingStore
from cenergyd.storage.sqlite.readings import SqliteReadingStore
from tests.servers import PATIENT_SECONDS

_numbers = count()


def _make(kind: str, request: pytest.FixtureRequest) -> ReadingStore:
    if kind == "memory":
        return MemoryReadingStore()
    if kind == "sqlite":
        path: Path = request.getfixturevalue("tmp_path")
        return SqliteReadingStore(reactor, path / "readings.sqlite")
    assert kind == "influx"
    server: Any = request.getfixturevalue("influx")
    name = request.getfixturevalue("unique_name")
    return InfluxReadingStore(reactor, f"{server.url}/{name}", timeout_seconds=PATIENT_SECONDS)


@pytest_twisted.async_yield_fixture(params=["memory", "sqlite", "influx"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ReadingStore]:
    """An open, empty store of each kind."""
    made = _make(request.param, request)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def serial() -> str:
    """A logger's serial number that no other test uses."""
    return f"001EC6{next(_numbers):06X}"
