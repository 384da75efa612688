"""Synchronous calls are timed, and a slow or hanging plugin is named."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from cenergyd.runtime import hook_times, plugin_hangs
from cenergyd.runtime.hook_times import HookTimes
from cenergyd.runtime.isolation import Implementation, PluginManager
from cenergyd.runtime.plugin_hangs import HangWatch


class SetPerfCounter:
    """``perf_counter`` under control of a test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SetPerfCounter:
    made = SetPerfCounter()
    monkeypatch.setattr(hook_times, "perf_counter", made)
    return made


def test_a_slow_call_is_counted_and_named_once_a_minute(time: SetPerfCounter, logged: list[dict[str, Any]]) -> None:
    manager = PluginManager()

    def slow(seconds: float) -> None:
        time.now += seconds

    for seconds in (0.01, 0.5, 0.5):
        manager.call(Implementation("lazy", "cenergyd_job", slow, ("seconds",)), {"seconds": seconds})
    assert manager.times.slow == {"lazy": 2}
    assert manager.times.seconds["lazy"] == pytest.approx(1.01)
    (event,) = logged
    assert (event["plugin"], event["hook"], event["seconds"]) == ("lazy", "cenergyd_job", 0.5)
    time.now += 60
    manager.call(Implementation("lazy", "cenergyd_job", slow, ("seconds",)), {"seconds": 1})
    assert len(logged) == 2


def test_each_step_of_a_coroutine_counts_and_what_it_waits_for_does_not(time: SetPerfCounter) -> None:
    manager, gate = PluginManager(), Deferred[None]()

    async def work() -> None:
        time.now += 0.2
        await succeed(None)
        time.now += 0.3
        await gate
        time.now += 0.4

    done = Deferred.fromCoroutine(manager.settled(Implementation("p", "cenergyd_job", work, ()), work(), 60, Clock()))
    time.now += 100
    gate.callback(None)
    assert done.called
    assert manager.times.seconds["p"] == pytest.approx(0.9)
    assert manager.times.slow["p"] == 2  # a Deferred that has fired is no wait


def test_a_call_within_a_call_is_the_others_and_the_first_goes_on() -> None:
    times = HookTimes()
    first = times.enter("outer", "cenergyd_job")
    second = times.enter("inner", "cenergyd_notify")
    assert times.current is not None
    assert times.current.plugin == "inner"
    times.leave(second)
    assert times.current is not None
    assert times.current.plugin == "outer"
    times.leave(first)
    assert times.current is None


def test_a_call_that_hangs_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_hangs, "HANGING", 0.0)
    monkeypatch.setattr(plugin_hangs, "_CHECK_SECONDS", 0.01)
    manager, logged = PluginManager(), threading.Event()
    events: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if "where" in event:  # not that it was slow, which is logged as well on a busy machine
            events.append(event)
            logged.set()

    def hanging() -> None:
        assert logged.wait(120)  # by the thread, while this call has not returned

    watch = HangWatch(manager.times)
    globalLogPublisher.addObserver(observe)
    watch.start()
    try:
        manager.call(Implementation("stuck", "cenergyd_periodic", hanging, ()), {})
    finally:
        watch.stop()
        globalLogPublisher.removeObserver(observe)
    (event,) = events
    assert (event["plugin"], event["hook"]) == ("stuck", "cenergyd_periodic")
    assert ".py:" in event["where"]
