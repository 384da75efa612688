"""The parts of Twisted's reactor that the daemon uses, as Protocols: mypy cannot check its zope interfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IReactorTime
from twisted.internet.task import deferLater


class Clock(Protocol):
    """A reactor, or a :class:`twisted.internet.task.Clock` in tests."""

    def seconds(self) -> float:
        """UTC seconds since 1970."""
        ...


class DelayedCall(Protocol):
    """A call that will be made."""

    def active(self) -> bool:
        """Whether it has been neither made nor cancelled."""
        ...

    def getTime(self) -> float:  # noqa: N802
        """When it is due, in the clock's seconds."""
        ...

    def reset(self, secondsFromNow: float) -> None:
        """Postpone it to this many seconds from now."""
        ...

    def cancel(self) -> None:
        """Cancel it."""
        ...


class Timers(Clock, Protocol):
    """A clock that can call later: Twisted's ``IReactorTime``."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> DelayedCall:  # noqa: N802
        """Call after ``delay`` seconds."""
        ...

    def getDelayedCalls(self) -> Sequence[DelayedCall]:  # noqa: N802
        """The calls that are still pending."""
        ...


class FromThreads(Protocol):
    """A reactor that other threads may call: Twisted's ``IReactorFromThreads``."""

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> object:  # noqa: N802
        """Call it in the reactor's thread."""
        ...


class Reactor(Timers, FromThreads, Protocol):
    """The running reactor: Twisted's ``IReactorCore``, ``IReactorTime``, ``IReactorFromThreads`` and its name resolver."""

    nameResolver: IHostnameResolver

    def run(self) -> None:
        """Run until something stops it."""
        ...

    def stop(self) -> None:
        """End :meth:`run`."""
        ...

    def callWhenRunning(self, callable: Callable[..., object], *args: object, **kwargs: object) -> object:  # noqa: N802
        """Call as soon as it runs."""
        ...

    def addSystemEventTrigger(  # noqa: N802
        self, phase: str, eventType: str, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> object:
        """Call at an event such as ``shutdown``."""
        ...


def twisted_clock(clock: Timers) -> IReactorTime:
    """The same clock, for Twisted's functions and mypy."""
    return cast(IReactorTime, clock)


def sleep(clock: Timers, seconds: float) -> Deferred[None]:
    """Fires after this many seconds; 0: in the next iteration of the reactor. May be cancelled."""
    return deferLater(twisted_clock(clock), seconds)
