"""Starting in order, stopping in the opposite one within a deadline."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.runtime.ordered_services import CANCEL_SECONDS, LATE_SECONDS, OrderedServices


class Part(Service):
    def __init__(self, name: str, happened: list[str], *, stubborn: bool = False) -> None:
        self.name = name
        self.happened = happened
        self.gate: Deferred[None] = Deferred()
        self.stubborn = stubborn

    def startService(self) -> None:
        self.happened.append(f"start {self.name}")

    def stopService(self) -> Deferred[None]:
        self.happened.append(f"stop {self.name}")

        async def stopping() -> None:
            try:
                await self.gate
            except BaseException:
                self.happened.append(f"cancelled {self.name}")
                if self.stubborn:
                    await Deferred[None]()
                raise
            self.happened.append(f"ended {self.name}")

        return Deferred.fromCoroutine(stopping())


def tree(clock: Clock, *parts: Part) -> OrderedServices:
    services = OrderedServices(clock, 10)  # type: ignore[arg-type]
    for part in parts:
        part.setServiceParent(services)
    services.startService()
    return services


def test_the_last_is_stopped_first_and_each_has_ended_before_the_next() -> None:
    clock, happened = Clock(), list[str]()
    a, b = Part("a", happened), Part("b", happened)
    stopped = tree(clock, a, b).stopService()
    assert happened == ["start a", "start b", "stop b"]
    b.gate.callback(None)
    a.gate.callback(None)
    assert happened[3:] == ["ended b", "stop a", "ended a"]
    assert stopped.called
    assert not clock.getDelayedCalls()


def test_one_deadline_for_all() -> None:
    clock, happened = Clock(), list[str]()
    a, b, c = (Part(name, happened) for name in "abc")
    stopped = tree(clock, a, b, c).stopService()
    clock.advance(7)
    c.gate.callback(None)
    clock.advance(2.9)
    assert happened[-1] == "stop b"
    clock.advance(0.1)
    assert happened[-2:] == ["cancelled b", "stop a"]
    clock.advance(LATE_SECONDS - 0.1)
    assert happened[-1] == "stop a", "it may still store what it holds"
    clock.advance(0.1)
    assert happened[-1] == "cancelled a"
    assert stopped.called
    assert not clock.getDelayedCalls()


def test_a_part_that_ignores_its_cancellation_does_not_keep_the_others() -> None:
    clock, happened = Clock(), list[str]()
    a, b = Part("a", happened), Part("b", happened, stubborn=True)
    a.gate.callback(None)
    stopped = tree(clock, a, b).stopService()
    clock.advance(10)
    assert happened[-1] == "cancelled b"
    clock.advance(CANCEL_SECONDS)
    assert happened[-1] == "ended a"
    assert stopped.called


def test_a_part_that_fails_does_not_keep_the_others() -> None:
    clock, happened = Clock(), list[str]()
    a, b = Part("a", happened), Part("b", happened)
    a.gate.callback(None)
    stopped = tree(clock, a, b).stopService()
    b.gate.errback(ValueError("broken"))
    assert happened[-1] == "ended a"
    assert stopped.called


def test_a_clock_that_is_set_back_does_not_lengthen_the_stop() -> None:
    clock, happened = Clock(), list[str]()
    clock.advance(10_000)
    a, b = Part("a", happened), Part("b", happened)
    tree(clock, a, b).stopService()
    clock.rightNow = 100.0
    b.gate.callback(None)
    clock.advance(10)
    assert happened[-1] == "cancelled a"
