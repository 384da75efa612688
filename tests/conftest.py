"""Fixtures for all tests: real servers, shared by the session, or a test's own to stop and restart."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from pymongo import MongoClient
from twisted.logger import globalLogPublisher

from cenergyd.customers import passwords
from tests import delays
from tests.servers import RunningInflux, RunningMongo, RunningMongoeco, mongoeco_python

# The time that examples take depends on the load of the machine, so there are no deadlines, nor complaints about it.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in each run, so that a run that passed passes again; ``make flicker`` looks for others.
settings.register_profile("repeatable", _UNHURRIED, derandomize=True)
settings.register_profile("exploring", _UNHURRIED)
settings.load_profile(os.environ.get("CENERGYD_TEST_EXAMPLES", "repeatable"))
# Without compiled files each of the hundreds of processes that tests start would compile all of the code again: half of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell script starts what runs in the background with SIGINT ignored, and every process of the tests would inherit that: none would end by Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Hashes as a daemon makes them would be most of the time of many tests.
passwords.MEMORY_KIB, passwords.ITERATIONS = 64, 1
delays.install()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without the garbage collector: a sixth of the time, in each of the processes that run tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what was imported and collected, half a million objects, for as long as the tests run."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """The events that are logged during a test."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture(scope="session")
def influx() -> Iterator[RunningInflux]:
    """An influxd shared by the session: use a database of your own (``unique_name``), never stop it."""
    server = RunningInflux()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def mongo() -> Iterator[RunningMongo]:
    """A MongoDB-speaking server shared by the session: use a database of your own, never stop it."""
    server = RunningMongo()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def second_mongo() -> Iterator[RunningMongo]:
    """A MongoDB-speaking server of another maker; skips where it is not installed."""
    if mongoeco_python() is None:
        pytest.skip(
            "mongoeco is not installed: it needs a Python 3.13 or newer beside this one when `make test` is first run"
        )
    server = RunningMongoeco()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(params=["mongo", "second_mongo"])
def each_mongo(request: pytest.FixtureRequest) -> RunningMongo:
    """Both MongoDB-speaking servers, one after the other."""
    server: RunningMongo = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def own_influx() -> Iterator[Callable[..., RunningInflux]]:
    """A factory of influxd servers, started, for a test that stops, freezes or restarts them."""
    yield from _factory(RunningInflux)


@pytest.fixture
def own_mongo() -> Iterator[Callable[..., RunningMongo]]:
    """A factory of MongoDB-speaking servers, started, for a test that stops, freezes or restarts them."""
    yield from _factory(RunningMongo)


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database name that no other test uses."""
    name = f"t{uuid4().hex[:16]}"
    yield name
    if "second_mongo" in request.fixturenames:  # each database that is left makes it slower
        server: RunningMongo = request.getfixturevalue("second_mongo")
        with MongoClient[Any](server.url) as client:
            client.drop_database(name)


def _factory(kind: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    servers: list[Any] = []

    def make(*args: Any, **kwargs: Any) -> Any:
        server = kind(*args, **kwargs)
        servers.append(server)
        server.start()
        return server

    try:
        yield make
    finally:
        for server in servers:
            server.destroy()
