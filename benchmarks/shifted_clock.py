"""Runs a program whose wall clock a benchmark sets: ``python shifted_clock.py FILE MODULE ...`` is ``python -m MODULE ...``.

So the quarters of an hour can follow each other at once and every upload still comes when its readings are new, as in reality. FILE holds
the seconds to add to the machine's time. ``time.time()`` is replaced before anything else is imported, so Twisted's reactor and its
timers follow; ``time.monotonic()`` does not.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

_SECONDS = struct.Struct("d")


class ShiftedClock:
    """The clock of the programs that run with a file.

    :param path: the file, which is made.
    :param began: their time now, UTC seconds; None: the machine's.
    """

    def __init__(self, path: Path, began: float | None = None) -> None:
        self.path = path
        path.write_bytes(bytes(_SECONDS.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _SECONDS.size)
        if began is not None:
            self.set(began)

    def set(self, seconds: float) -> None:
        """Make it this time, UTC seconds."""
        _SECONDS.pack_into(self._shared, 0, seconds - time.time())

    def forward(self, seconds: float) -> None:
        """Set it forward by some seconds."""
        _SECONDS.pack_into(self._shared, 0, _SECONDS.unpack_from(self._shared)[0] + seconds)


def main() -> None:
    """Run the program."""
    path, module = sys.argv[1:3]
    with Path(path).open("rb") as file:
        added = memoryview(mmap.mmap(file.fileno(), _SECONDS.size, prot=mmap.PROT_READ)).cast("d")
    machine = time.time
    time.time = lambda: machine() + added[0]
    # This folder would come before the modules of the checkout that is run.
    sys.path[0] = ""
    sys.argv[:] = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
