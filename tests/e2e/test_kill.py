"""SIGKILL in the middle of a load: every acknowledged reading and its derived point are there exactly once."""

from __future__ import annotations

import random
import threading
import time

from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import derived

SITES = 3
FILES = 25
ROWS = 15
KILLS = 4


class Logger:
    """Uploads its files in order, each until it is acknowledged, and may send one again as after a lost reply."""

    def __init__(self, daemon: RunningDaemon, serial: str, start: int) -> None:
        self._daemon, self.serial = daemon, serial
        self.files = [
            (meter, readings(start + 60 * ROWS * i, ROWS, base))
            for i in range(FILES)
            for meter, base in (("1", 90.0), ("2", 4.0))
        ]
        self.acknowledged: dict[str, list[Reading]] = {"1": [], "2": []}
        self.files_sent = 0

    def run(self) -> None:
        rng = random.Random(self.serial)
        for meter, values in self.files:
            while not self._send(meter, values, rng):
                time.sleep(0.05)
            self.acknowledged[meter] += values
            self.files_sent += 1

    def _send(self, meter: str, values: list[Reading], rng: random.Random) -> bool:
        try:
            sent = acknowledged(upload(self._daemon, self.serial, meter, values, version=rng.choice(["1.0", "1.1"])))
            if sent and rng.random() < 0.1:
                upload(self._daemon, self.serial, meter, values)
        except OSError:
            return False
        return sent


def test_nothing_acknowledged_is_lost(daemon: RunningDaemon) -> None:
    serials = [f"001EC60000{i:02X}" for i in range(SITES)]
    for serial in serials:
        add_customer(daemon, serial, load="1", solar="2")
    start = int(time.time()) // 60 * 60 - 60 * ROWS * FILES
    loggers = [Logger(daemon, serial, start) for serial in serials]
    threads = [threading.Thread(target=logger.run) for logger in loggers]
    for thread in threads:
        thread.start()
    rng = random.Random(1)
    whole = SITES * 2 * FILES
    for kill in range(KILLS):
        wanted = whole * (2 * kill + rng.random()) / (2 * KILLS)
        wait_for(lambda wanted=wanted: sum(logger.files_sent for logger in loggers) >= wanted, what="uploads")
        daemon.kill()
        daemon.start()
    for thread in threads:
        thread.join()
    names = [f"{serial}_{meter}" for serial in serials for meter in ("1", "2", "missing_meter")]
    found = derived(daemon, dict.fromkeys(names, FILES * ROWS))
    for logger in loggers:
        for meter in ("1", "2"):
            assert found[f"{logger.serial}_{meter}"] == logger.acknowledged[meter]
        assert [(r.time, r.P) for r in found[f"{logger.serial}_missing_meter"]] == [
            (a.time, a.P - b.P) for a, b in zip(logger.acknowledged["1"], logger.acknowledged["2"], strict=True)
        ]
