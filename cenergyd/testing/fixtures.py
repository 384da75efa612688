"""Fixtures for pytest: ``pytest_plugins = ["cenergyd.testing.fixtures"]`` in a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cenergyd.testing.daemon import RunningDaemon
from cenergyd.testing.readings import SimulatedDay, simulate_day


@pytest.fixture
def simulated_day() -> SimulatedDay:
    """A day of a site without a load meter. Use ``simulate_day`` for other sites and days."""
    return simulate_day()


@pytest.fixture
def running_daemon(tmp_path: Path) -> Iterator[Callable[..., RunningDaemon]]:
    """Starts daemons with settings, each on a free port with its own stores; they are stopped after the test."""
    daemons: list[RunningDaemon] = []

    def start(settings: Mapping[str, str] | None = None) -> RunningDaemon:
        folder = tmp_path / f"daemon{len(daemons)}"
        folder.mkdir()
        daemon = RunningDaemon(folder, settings)
        daemons.append(daemon)
        daemon.start()
        return daemon

    yield start
    for daemon in daemons:
        daemon.kill()
