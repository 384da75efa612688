"""What the daemon's parts need of a reactor for time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


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

    def cancel(self) -> None:
        """Do not make it."""
        ...


class Timers(Clock, Protocol):
    """A clock that can call later: Twisted's ``IReactorTime``, in a form that mypy understands."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> DelayedCall:  # noqa: N802
        """Call after ``delay`` seconds."""
        ...
