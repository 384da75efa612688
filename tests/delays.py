"""Random delays, as of a busy machine, which show what waits for the wrong thing: ``CENERGYD_TEST_DELAYS=SEED``.

Calls in threads and MongoDB's answers are held back; processes of cenergyd start and stop late, and their reactors stall.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

NAME = "CENERGYD_TEST_DELAYS"
_MEAN_SECONDS = 0.02
_LONG_SECONDS = 0.7


def install(*, process: bool = False) -> None:
    """Delay what is done in this process, if the environment says so, and the whole of a process of cenergyd."""
    if NAME not in os.environ:
        return
    seed = os.environ[NAME], os.environ.get("PYTEST_CURRENT_TEST"), os.getpid() if process else 0
    chance = random.Random(repr(seed))
    _delay_threads(chance)
    _delay_mongodb(chance)
    if process:
        _delay_process(chance)


def _seconds(chance: random.Random) -> float:
    """Mostly none, now and then long."""
    drawn = chance.random()
    return _LONG_SECONDS if drawn < 0.005 else chance.expovariate(1 / _MEAN_SECONDS) if drawn < 0.3 else 0.0


def _delay_threads(chance: random.Random) -> None:
    from cenergyd.runtime.threads import BoundedPool

    run = BoundedPool.run

    async def late(pool: BoundedPool, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def slow() -> Any:
            time.sleep(_seconds(chance))
            try:
                return function(*args, **kwargs)
            finally:
                time.sleep(_seconds(chance))

        return await run(pool, slow)

    BoundedPool.run = late  # type: ignore[method-assign, assignment]


def _delay_mongodb(chance: random.Random) -> None:
    from twisted.internet import reactor
    from txmongo.protocol import MongoProtocol

    handle, timers = MongoProtocol.handle_msg, reactor  # type: Any, Any
    MongoProtocol.handle_msg = lambda *args: timers.callLater(_seconds(chance), handle, *args)


def _delay_process(chance: random.Random) -> None:
    from twisted.internet import reactor

    time.sleep(chance.choice([0, 0, 0.1, 1.0]))
    stalled: Any = reactor
    turn, terminate = stalled.runUntilCurrent, stalled.sigTerm

    def late_turn() -> None:
        time.sleep(chance.expovariate(10.0) if chance.random() < 0.02 else 0)
        turn()

    def late_end(*args: object) -> None:
        time.sleep(chance.choice([0, 0.2, 1.0]))
        terminate(*args)

    stalled.runUntilCurrent, stalled.sigTerm = late_turn, late_end
