"""Processes that end with the tests that started them, even where the tests are killed and no fixture can end anything."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_SETPRIV = shutil.which("setpriv")
_prctl = ctypes.CDLL(None).prctl


def ending_with_tests(words: Sequence[str | Path]) -> list[str]:
    """The command line, to be started by the main thread: the kernel kills its process when that thread's process ends."""
    prefix = [_SETPRIV, "--pdeathsig", "KILL", "--"] if _SETPRIV else []
    return [*prefix, *map(os.fspath, words)]


def end_with(parent: int, between: int) -> None:
    """Have the kernel kill this process when ``parent`` ends. It is that one's child once ``between``, which forked it, has ended."""
    while os.getppid() == between:
        time.sleep(0.0005)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
