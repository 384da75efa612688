"""The disk under the embedded stores is full: refused, said by /readyz, and taken once there is room again."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import derived, stored

SERIAL = "001EC6600001"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    running = RunningDaemon(tmp_path)
    running.start()
    yield running
    running.kill()


def limit_files(daemon: RunningDaemon, size: int) -> None:
    """No file of the daemon may grow beyond this; a write that would fails, as on a full disk (of its log too)."""
    assert daemon.process is not None
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def not_opened(daemon: RunningDaemon) -> str:
    """The reason for which its stores are not open yet, from /readyz; empty while the daemon does not answer."""
    try:
        status, body = daemon.get("/readyz")
    except OSError:
        return ""
    assert status == 503
    return str(json.loads(body)["checks"]["opened"])


def test_a_full_disk(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    start = int(time.time()) // 60 * 60 - 6000
    load, solar = readings(start, 100, 50.0), readings(start, 100, 8.0)
    taken = [("1", load[:20]), ("2", solar[:20])]
    kept = [("1", load[20:]), ("2", solar[20:])]
    for meter, values in taken:
        assert acknowledged(upload(daemon, SERIAL, meter, values))
    limit_files(daemon, 4096)
    for _ in range(2):
        for meter, values in kept:
            status, body = upload(daemon, SERIAL, meter, values)
            assert (status, body.splitlines()[0][:9]) == (503, b"FAILURE: ")
            assert b"SUCCESS" not in body.splitlines()

    def both_say_so() -> bool:
        status, body = daemon.get("/readyz")
        checks = json.loads(body)["checks"]
        reasons = [checks[name] for name in ("readings", "customers")]
        return status == 503 and all("full" in reason or "I/O" in reason for reason in reasons)

    wait_for(both_say_so, what="both reasons")
    assert daemon.get("/healthz")[0] == 200
    found, _ = stored(daemon, [f"{SERIAL}_1", f"{SERIAL}_2"])
    assert found == {f"{SERIAL}_1": load[:20], f"{SERIAL}_2": solar[:20]}

    limit_files(daemon, resource.RLIM_INFINITY)
    daemon.wait_ready()
    for meter, values in kept:
        assert acknowledged(upload(daemon, SERIAL, meter, values))
    computed = f"{SERIAL}_missing_meter"
    found = derived(daemon, dict.fromkeys((f"{SERIAL}_1", f"{SERIAL}_2", computed), 100))
    assert found[f"{SERIAL}_1"] == load
    assert found[f"{SERIAL}_2"] == solar
    assert [reading.P for reading in found[computed]] == [a.P - b.P for a, b in zip(load, solar, strict=True)]


def test_a_daemon_that_starts_on_a_full_disk_needs_no_restart(daemon: RunningDaemon, tmp_path: Path) -> None:
    """The files are new: not even their tables can be made until there is room."""
    daemon.kill()
    folder = tmp_path / "second"
    folder.mkdir()
    second = RunningDaemon(folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        second.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    try:
        wait_for(lambda: "customers.sqlite" in not_opened(second), 120, "the reason why it is not ready")
        limit_files(second, resource.RLIM_INFINITY)
        second.wait_ready()
        add_customer(second, SERIAL, load="1", solar="2")
        assert acknowledged(upload(second, SERIAL, "1", readings(int(time.time()) // 60 * 60 - 600, 5, 1.0)))
    finally:
        second.kill()
