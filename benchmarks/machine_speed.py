"""How fast the machine is at the moment: the cores of a shared machine may be half as fast some minutes later."""

from __future__ import annotations

import time
from statistics import median

_STEPS = 150_000
_TIMES = 7


def work_seconds() -> float:
    """CPU seconds of a fixed piece of work, the median of some; call it while nothing else runs."""
    return median(_work() for _ in range(_TIMES))


def _work() -> float:
    began = time.process_time()
    found: dict[int, str] = {}
    for number in range(_STEPS):
        found[number * number % 5003] = f"P={number % 977}"
    return time.process_time() - began
