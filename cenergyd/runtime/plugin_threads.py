"""Threads for the synchronous clients of plugins: a few for each, so that a hanging plugin does not affect others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from cenergyd.errors import Overloaded
from cenergyd.runtime.clock import FromThreads

PER_PLUGIN = 4
"""Threads of one plugin."""
MAX_CALLS = 100
"""Calls of one plugin that run or wait for a thread; further ones are refused."""
STOP_SECONDS = 1.0
"""Seconds for which the stop waits for running calls; then the process ends without them."""

P = ParamSpec("P")
T = TypeVar("T")


class PluginThreads:
    """Creates a pool for each plugin that needs one.

    :param reactor: the reactor that results return to.
    """

    def __init__(self, reactor: FromThreads) -> None:
        self._reactor = reactor
        self._pools: dict[str, _Pool] = {}
        self._calls: dict[str, int] = {}

    def run(self, plugin: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``function`` in a thread of the plugin's; fires with what it returns or raises.

        When cancelled, the Deferred fires at once, but the function continues: a thread cannot be stopped from outside.
        Raises Overloaded if MAX_CALLS run or wait already.
        """
        calls = self._calls.get(plugin, 0)
        if calls >= MAX_CALLS:
            raise Overloaded(f"{calls} calls of plugin {plugin} run in threads or wait for one")
        self._calls[plugin] = calls + 1
        pool = self._pools.get(plugin)
        if pool is None:
            pool = self._pools[plugin] = _Pool(0, PER_PLUGIN, f"plugin {plugin}")
            pool.start()

        def counted() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                self._reactor.callFromThread(self._ended, plugin)

        return deferToThreadPool(cast(IReactorFromThreads, self._reactor), pool, counted)

    def stop(self) -> None:
        """End the threads, after what they run now, but within STOP_SECONDS. Blocks, so call it at the very end."""
        pools, self._pools = self._pools, {}
        stops = [threading.Thread(target=pool.stop, daemon=True) for pool in pools.values()]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join(STOP_SECONDS)

    def _ended(self, plugin: str) -> None:
        self._calls[plugin] -= 1


class _Pool(ThreadPool):
    threadFactory: Any = staticmethod(
        partial(threading.Thread, daemon=True)
    )  # a plugin that hangs must not keep the process alive
