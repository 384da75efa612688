"""Runs a daemon and writes down where its reactor computed for long without a turn.

    python benchmarks/long_turns.py FILE MODULE.NAME=VALUE ... -- ARGUMENTS

As ``cenergyd/testing/tuned.py``; FILE gets a JSON object per line for each iteration of the reactor that took longer than LONG, and for each collection
of garbage that took so long in any thread. ``benchmarks/stalls.py --places`` uses it.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

LONG = 0.02
"""Seconds."""
_EVERY = 0.005
"""Seconds between two samples of the stacks."""
_DEEP = 6
_OURS = ("cenergyd", "benchmarks")


class TurnWatch:
    """Between two polls the reactor computes: how long, and, sampled by another thread, where."""

    def __init__(self, file: TextIO, poller: Any) -> None:
        self._file = file
        self._poller = poller
        self._main = threading.main_thread().ident
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._began: float | None = None
        self._before = (0.0, 0.0)
        self._places: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._collected = 0.0
        self._collecting: dict[int, float] = {}

    def start(self) -> None:
        """Begin, in the reactor's thread."""
        gc.callbacks.append(self._garbage)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *arguments: Any) -> Any:
        """Wait for sockets, as the poller would."""
        self._ended()
        try:
            return self._poller.poll(*arguments)
        finally:
            self._before = _times()
            self._began = time.perf_counter()

    def _ended(self) -> None:
        if self._began is None:
            return
        took, began = time.perf_counter() - self._began, self._began
        self._began = None
        if took >= LONG:
            cpu, ready = (now - before for now, before in zip(_times(), self._before, strict=True))
            self._write(
                turn=took, cpu=cpu, ready=ready, at=began, garbage=self._collected,
                places=self._places.most_common(3), others=self._others.most_common(3),
            )  # fmt: skip
        self._places.clear()
        self._others.clear()
        self._collected = 0.0

    def _write(self, **what: Any) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()

    def _garbage(self, phase: str, info: dict[str, int]) -> None:
        thread = threading.get_ident()
        if phase == "start":
            self._collecting[thread] = time.perf_counter()
            return
        took = time.perf_counter() - self._collecting.pop(thread, time.perf_counter())
        self._collected += took
        if took >= LONG:
            self._write(collection=took, generation=info["generation"], main=thread == self._main)

    def _look(self) -> None:
        mine = threading.get_ident()
        while True:
            time.sleep(_EVERY)
            began = self._began
            if began is None or time.perf_counter() - began < LONG / 4:
                continue
            for thread, frame in sys._current_frames().items():
                if thread == self._main:
                    self._places[_place(frame)] += 1
                elif thread != mine:
                    self._others[_place(frame)] += 1


def _place(frame: FrameType | None) -> str:
    """The innermost functions of this project, the innermost first, and the function that runs."""
    assert frame is not None
    found = [f"[{frame.f_code.co_name}]"]
    while frame is not None and len(found) < _DEEP:
        path = frame.f_code.co_filename
        if any(f"/{name}/" in path for name in _OURS):
            found.append(f"{Path(path).stem}.{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)


def _times() -> tuple[float, float]:
    """CPU time of this thread; time in which it was ready to run and had no processor, s."""
    with suppress(OSError):
        used, ready, _ = Path("/proc/thread-self/schedstat").read_text().split()
        return int(used) / 1e9, int(ready) / 1e9
    return time.thread_time(), 0.0


def main() -> None:
    """Run the daemon under watch."""
    from twisted.internet import reactor

    from cenergyd.cli import main as run
    from cenergyd.testing.tuned import set_constant

    cut = sys.argv.index("--")
    watch = TurnWatch(Path(sys.argv[1]).open("a", encoding="utf-8"), reactor._poller)  # noqa: SIM115
    reactor._poller = watch
    reactor.callWhenRunning(watch.start)
    for each in sys.argv[2:cut]:
        set_constant(each)
    sys.argv[1:] = sys.argv[cut + 1 :]
    run()


if __name__ == "__main__":
    main()
