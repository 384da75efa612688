"""Three daemons on one MongoDB and InfluxDB: one is killed, one freezes and wakes later; nothing is lost or done twice."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import derived
from tests.servers import PATIENT, RunningInflux, RunningMongo

SITES = 6
FILES = 6
ROWS = 15
PACE = 0.45
"""Seconds between two files of a site, so that uploads go on through all that happens."""


@pytest.fixture
def daemons(
    tmp_path: Path, influx: RunningInflux, mongo: RunningMongo, unique_name: str
) -> Iterator[list[RunningDaemon]]:
    settings = PATIENT | {
        "customers.url": f"{mongo.url}/{unique_name}",
        "readings.url": f"{influx.url}/{unique_name}",
        "cenergyd.derivation.service.CLAIM_SECONDS": "5",
        "derivation.plugin_timeout_seconds": "2",
        "derivation.interval_seconds": "2",
        "cenergyd.derivation.service.MAX_REST_SECONDS": "2",
        "cenergyd.ingest.credentials.CACHE_SECONDS": "1",
        "cenergyd.documents.change_notices.MAX_CACHE_SECONDS": "1",
    }
    running = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        running.append(RunningDaemon(folder, settings))
    for daemon in running:
        daemon.start()
    yield running
    for daemon in running:
        daemon.kill()


class Site:
    """A logger whose uploads a load balancer spreads over the daemons."""

    def __init__(self, serial: str, daemons: list[RunningDaemon], start: int) -> None:
        self.serial = serial
        self._daemons = itertools.cycle(daemons)
        self.sent: dict[str, list[Reading]] = {"1": [], "2": []}
        self._start = start
        self._failures = 0

    def run(self) -> None:
        for number in range(FILES):
            for meter, base in (("1", 50.0), ("2", 8.0)):
                values = readings(self._start + 60 * ROWS * number, ROWS, base)
                while not self._try(meter, values):
                    time.sleep(0.05)
                self.sent[meter] += values
            time.sleep(PACE)

    def _try(self, meter: str, values: list[Reading]) -> bool:
        # The frozen daemon never answers; where no other one does either, the machine is slow.
        timeout = 2.0 * (1 + self._failures // 4)
        try:
            taken = acknowledged(upload(next(self._daemons), self.serial, meter, values, timeout=timeout))
        except OSError:
            taken = False
        self._failures = 0 if taken else self._failures + 1
        return taken


def test_one_killed_and_one_frozen(daemons: list[RunningDaemon]) -> None:
    start = int(time.time()) // 60 * 60 - 60 * ROWS * FILES
    sites = [Site(f"001EC61000{i:02X}", daemons, start) for i in range(SITES)]
    for site in sites:
        add_customer(daemons[0], site.serial, load="1", solar="2")
    threads = [threading.Thread(target=site.run) for site in sites]
    for thread in threads:
        thread.start()
    time.sleep(2)
    daemons[1].freeze()
    time.sleep(1)
    daemons[2].kill()
    for thread in threads:
        thread.join()
    time.sleep(6)  # longer than a claim: the work of the dead and the frozen one has passed on
    daemons[1].thaw()
    names = [f"{site.serial}_{meter}" for site in sites for meter in ("1", "2", "missing_meter")]
    found = derived(daemons[0], dict.fromkeys(names, FILES * ROWS))
    for site in sites:
        assert found[f"{site.serial}_1"] == site.sent["1"]
        assert found[f"{site.serial}_2"] == site.sent["2"]
        assert [(r.time, r.P) for r in found[f"{site.serial}_missing_meter"]] == [
            (a.time, a.P - b.P) for a, b in zip(site.sent["1"], site.sent["2"], strict=True)
        ]
    daemons[1].wait_ready()


def test_settings_changed_at_one_daemon_count_at_the_others(daemons: list[RunningDaemon]) -> None:
    serial = "001EC6200000"
    add_customer(daemons[0], serial, load="1", solar="2")
    values = readings(int(time.time()) // 60 * 60 - 600, 2, 1.0)
    for daemon in daemons:
        assert acknowledged(upload(daemon, serial, "1", values))
    changed = daemons[0].run("customers", "set", serial, "--password-stdin", stdin="another one\n")
    assert changed.returncode == 0, changed.stderr
    for daemon in daemons:
        wait_for(lambda daemon=daemon: upload(daemon, serial, "1", values)[0] == 401, 120, "the old password's end")
        assert acknowledged(upload(daemon, serial, "1", values, password="another one"))
