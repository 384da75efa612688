"""A daemon with a hostile plugin: other customers and plugins are not affected, and the log names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import stored
from tests.plugins.installing import distribution, on_path_of_subprocesses

HEAD = "import asyncio\nfrom twisted.internet import reactor\nfrom twisted.internet.defer import Deferred\nfrom cenergyd.hookspecs import hookimpl\n"

MISDEEDS = {
    "KeyboardInterrupt()": "001EC6000001",
    "asyncio.CancelledError()": "001EC6000002",
    "SystemExit(0)": "001EC6000003",
    "GeneratorExit()": "001EC6000004",
    "OfItsOwn('x' * 20000)": "001EC6000005",
}
GOOD = "001EC6000009"
RAISES = f"""{HEAD}
class OfItsOwn(BaseException): ...

MISDEEDS = {{serial: error for error, serial in {MISDEEDS!r}.items()}}

def misbehave(customer):
    error = MISDEEDS.get(customer.logger_serial_number)
    if error is not None:
        raise eval(error)

async def later(customer):
    gate = Deferred()
    reactor.callLater(0.01, gate.callback, None)
    await gate
    misbehave(customer)

@hookimpl(tryfirst=True)
def cenergyd_derive(customer): misbehave(customer)

@hookimpl(tryfirst=True)
def cenergyd_job(customer): return later(customer)
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    on_path_of_subprocesses(folder, monkeypatch)
    return folder


@pytest.fixture
def daemon(tmp_path: Path, plugins: Path, daemon_urls: dict[str, str]) -> Iterator[RunningDaemon]:
    state = tmp_path / "state"
    state.mkdir()
    one = RunningDaemon(state, {"jobs.periodic_seconds": "1", **daemon_urls})
    yield one
    one.kill()


@pytest.mark.parametrize(
    ("stop", "culprit"),
    [
        ("reactor.stop()", "plugin stopper in cenergyd_periodic"),
        ("reactor.callLater(0, lambda: reactor.stop())", "third_party_stopper"),
        ("reactor.crash()", "crashed it"),
    ],
)
def test_a_plugin_that_stops_the_reactor_is_an_error_exit(
    daemon: RunningDaemon, plugins: Path, stop: str, culprit: str
) -> None:
    code = f"{HEAD}@hookimpl\ndef cenergyd_periodic():\n    reactor.callLater(1.5, lambda: None)\n    {stop}\n"
    distribution(plugins, "stopper", code)
    daemon.launch()
    assert daemon.process is not None
    assert daemon.process.wait(120) == 1
    assert culprit in daemon.log()


def test_a_signal_is_a_clean_exit(daemon: RunningDaemon) -> None:
    daemon.start()
    assert daemon.stop() == 0


def counted(daemon: RunningDaemon, metric: str) -> float:
    """A count of the daemon's metrics; 0 where nothing was counted yet."""
    for line in daemon.get("/metrics")[1].decode().splitlines():
        if line.startswith(f"{metric} "):
            return float(line.split()[-1])
    return 0.0


def failures(daemon: RunningDaemon, metric: str) -> float:
    """The failures of plugin ``raises``."""
    return counted(daemon, f'{metric}_total{{plugin="raises"}}')


def test_no_exception_of_any_kind_reaches_another_customer(daemon: RunningDaemon, plugins: Path) -> None:
    distribution(plugins, "at-import", "raise KeyboardInterrupt")
    distribution(plugins, "raises", RAISES)
    for serial in (*MISDEEDS.values(), GOOD):
        add_customer(daemon, serial, facility="1", solar="2")
    daemon.start()
    assert "plugin at-import of at-import 1.2 is left out" in daemon.log()
    values = readings(1_700_000_000 // 60 * 60, 10, 5.0)
    for serial in (*MISDEEDS.values(), GOOD):
        for meter in ("1", "2"):
            assert acknowledged(upload(daemon, serial, meter, values))
    wait_for(lambda: failures(daemon, "cenergyd_plugin_failures") >= len(MISDEEDS), 120, "a failure of each")
    wait_for(lambda: failures(daemon, "cenergyd_job_failures") >= len(MISDEEDS), 120, "a failed job of each")
    # More than 10 where a pass came between the second meter's readings and their mark: then they are computed again.
    wait_for(lambda: counted(daemon, "cenergyd_derived_readings_total") >= len(values), 120, "the good one's")
    series = {serial: f"{serial}_missing_meter" for serial in (*MISDEEDS.values(), GOOD)}
    found, _ = stored(daemon, list(series.values()))
    assert {serial: len(found[name]) for serial, name in series.items()} == {
        **dict.fromkeys(MISDEEDS.values(), 0),
        GOOD: 10,
    }
    # The failures counted above may all be one's, which is tried again and again.
    names = [error.partition("(")[0].rpartition(".")[2] for error in MISDEEDS]
    wait_for(lambda: all(name in daemon.log() for name in names), 120, "each error in the log")
    assert daemon.stop() == 0
