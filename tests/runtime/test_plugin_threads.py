"""Threads of plugins: bounded for each, and none keeps the daemon from ending."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults

from cenergyd.errors import Overloaded
from cenergyd.runtime.plugin_threads import MAX_CALLS, PER_PLUGIN, PluginThreads

HANGS = """
import threading, time
from twisted.internet import reactor
from cenergyd.runtime import plugin_threads
plugin_threads.STOP_SECONDS = 0.1
threads = plugin_threads.PluginThreads(reactor)
def hang():
    reactor.callFromThread(reactor.stop)
    threading.Event().wait()
reactor.callWhenRunning(lambda: threads.run("p", hang) and None)
reactor.addSystemEventTrigger("after", "shutdown", threads.stop)
reactor.run()
"""


@pytest.fixture
def threads() -> Iterator[PluginThreads]:
    made = PluginThreads(reactor)  # type: ignore[arg-type]
    yield made
    made.stop()


@pytest_twisted.ensureDeferred
async def test_what_is_returned_or_raised_comes_back(threads: PluginThreads) -> None:
    assert await threads.run("p", lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run("p", lambda: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        await threads.run("p", _interrupted)


def _interrupted() -> None:
    raise KeyboardInterrupt


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_takes_nothing_from_another_and_is_bounded(threads: PluginThreads) -> None:
    gate = threading.Event()
    running = [threads.run("slow", gate.wait, 60) for _ in range(MAX_CALLS)]
    with pytest.raises(Overloaded, match="plugin slow"):
        threads.run("slow", gate.wait)
    assert await threads.run("quick", threading.get_ident) != threading.get_ident()
    assert sum(thread.name.count("plugin slow") for thread in threading.enumerate()) <= PER_PLUGIN
    # Given up, but not ended: its place is free only when the function has returned.
    running[0].cancel()
    with pytest.raises(CancelledError):
        await running[0]
    with pytest.raises(Overloaded):
        threads.run("slow", gate.wait)
    gate.set()
    await gatherResults(running[1:])
    assert await threads.run("slow", gate.is_set)


def test_a_hanging_call_does_not_keep_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
