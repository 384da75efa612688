"""What the web side needs of a reactor for time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A reactor, or a :class:`twisted.internet.task.Clock` in tests."""

    def seconds(self) -> float:
        """UTC seconds since 1970."""
        ...
