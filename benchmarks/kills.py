"""Repeated SIGKILL while loggers upload: no acknowledged reading may be lost, duplicated or left without its derived reading.

    .venv/bin/python benchmarks/kills.py [KILLS=1000] [SECONDS=0]

The daemon runs on embedded stores. It is killed at a random time (up to 0.15 s) after it has acknowledged some uploads, and restarted at
once, while the loggers keep sending. SECONDS ends the run early; 0: never. At the end the stores are compared with what was acknowledged.
A daemon that is started N times spends most of its time importing modules, so one process imports everything and is forked for each run.
A complete daemon is killed nevertheless.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted.internet import selectreactor

# Unlike epoll, select() has no state in the kernel that forks would share. This must precede any import that installs the default reactor.
selectreactor.install()

from cenergyd.readings.model import Reading  # noqa: E402
from tests.daemon_process import RunningDaemon  # noqa: E402
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for  # noqa: E402
from tests.e2e.stored import stored  # noqa: E402

SITES = 5
ROWS = 15
ACKNOWLEDGED_BEFORE_KILL = 6
YEARS = 3


class ForkedDaemon(RunningDaemon):
    """A daemon whose runs are forks of one process that has imported everything. Create it before any thread is started."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self.pid = 0
        self._parent = os.fork()
        if self._parent == 0:
            os.close(self._orders)
            os.close(self._answers)
            self._serve(orders, answers)
        os.close(orders)
        os.close(answers)

    def _serve(self, orders: int, answers: int) -> None:
        """In the forked process: start a new daemon for each byte received; end, with the daemon, when the pipe is closed."""
        import cenergyd.commands.run
        import cenergyd.daemon.service  # noqa: F401
        from cenergyd.daemon.plugins import build_plugin_manager
        from cenergyd.testing.tuned import set_constant

        build_plugin_manager()
        gc.freeze()
        pid = 0
        while os.read(orders, 1):
            if pid:
                os.waitpid(pid, 0)
            pid = os.fork()
            if pid == 0:
                log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.chdir(self.folder)
                words = self.arguments("run")
                cut = words.index("--")
                for constant in words[2:cut]:
                    set_constant(constant)
                sys.argv = ["cenergyd", *words[cut + 1 :]]
                from cenergyd.cli import main

                main()
                os._exit(0)
            os.write(answers, pid.to_bytes(8, "little"))
        if pid:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def launch(self) -> None:
        """Start; does not wait until it is ready."""
        os.write(self._orders, b"s")
        self.pid = int.from_bytes(os.read(self._answers, 8), "little")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the running daemon and end the process from which it was forked."""
        os.close(self._orders)
        os.waitpid(self._parent, 0)


class Logger(threading.Thread):
    """Uploads one file after another, each until it is acknowledged, and occasionally one again, as after a lost response."""

    def __init__(self, daemon: RunningDaemon, serial: str, start: int) -> None:
        super().__init__()
        self._daemon, self.serial, self._start = daemon, serial, start
        self.taken: dict[str, list[Reading]] = {"1": [], "2": []}
        self.files = self.tries = 0
        self.finish = threading.Event()
        self._rng = random.Random(serial)

    def run(self) -> None:
        number = 0
        while not self.finish.is_set():
            for meter, base in (("1", 90.0), ("2", 4.0)):
                values = readings(self._start + 60 * ROWS * number, ROWS, base)
                while not self._send(meter, values):
                    time.sleep(0.05)
                self.taken[meter] += values
                self.files += 1
            number += 1

    def _send(self, meter: str, values: list[Reading]) -> bool:
        self.tries += 1
        try:
            sent = acknowledged(
                upload(self._daemon, self.serial, meter, values, version=self._rng.choice(["1.0", "1.1"]))
            )
            if sent and self._rng.random() < 0.1:
                upload(self._daemon, self.serial, meter, values)
        except OSError:
            return False
        return sent


def main(kills: int, seconds: float) -> int:
    folder = Path(tempfile.mkdtemp(prefix="cenergyd-kills-"))
    daemon = ForkedDaemon(folder)
    serials = [f"001EC69000{i:02X}" for i in range(SITES)]
    other = RunningDaemon(folder)  # makes the databases with a start of its own
    for serial in serials:
        add_customer(other, serial, load="1", solar="2")
    start = int(time.time()) // 60 * 60 - YEARS * 365 * 86400
    loggers = [Logger(daemon, serial, start) for serial in serials]
    begun = time.monotonic()
    done = 0
    rng = random.Random(1)
    daemon.launch()
    for logger in loggers:
        logger.start()
    while done < kills and not (seconds and time.monotonic() - begun > seconds):
        before = sum(logger.files for logger in loggers)
        while sum(logger.files for logger in loggers) < before + ACKNOWLEDGED_BEFORE_KILL:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        daemon.kill()
        daemon.launch()
        done += 1
        if done % 50 == 0:
            print(f"{done} kills in {time.monotonic() - begun:.0f} s", flush=True)
    for logger in loggers:
        logger.finish.set()
    for logger in loggers:
        logger.join()
    lasted = time.monotonic() - begun
    try:
        return report(daemon, loggers, done, lasted)
    finally:
        daemon.close()


def report(daemon: RunningDaemon, loggers: list[Logger], kills: int, lasted: float) -> int:
    """Compare and print; the exit code."""
    wanted = {f"{one.serial}_{meter}": values for one in loggers for meter, values in one.taken.items()}
    derived = {
        f"{one.serial}_missing_meter": [
            (a.time, (a.P or 0.0) - (b.P or 0.0)) for a, b in zip(one.taken["1"], one.taken["2"], strict=True)
        ]
        for one in loggers
    }
    wait_for(lambda: stored(daemon, [])[1] == 0, 300, "an empty queue of derivations")
    found, _ = stored(daemon, [*wanted, *derived])
    lost = sum(len(set(values) - set(found[name])) for name, values in wanted.items())
    other = sum(len(found[name]) for name in wanted) - sum(map(len, wanted.values())) + lost
    wrong = sum(
        len(set(values) ^ {(reading.time, reading.P) for reading in found[name]}) for name, values in derived.items()
    )
    files, tries = sum(one.files for one in loggers), sum(one.tries for one in loggers)
    print(
        f"{kills} SIGKILLs in {lasted:.0f} s ({lasted / max(kills, 1):.2f} s each)\n"
        f"{files} uploads acknowledged of {tries} sent, {sum(map(len, wanted.values()))} readings\n"
        f"lost: {lost}   stored but never acknowledged or doubled: {other}   not or wrongly derived: {wrong}"
    )
    return 1 if lost or other or wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, float(sys.argv[2]) if len(sys.argv) > 2 else 0))
