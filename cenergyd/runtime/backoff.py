"""The back-off of a service whose store does not answer: longer each time, logged once per pause, ended when the store answers."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from cenergyd.runtime.clock import Clock

LONGEST_PAUSE = 60.0
"""Seconds between attempts while a store does not answer."""


class StoreBackoff:
    """When to try again.

    :param clock: UTC seconds.
    :param log: of the service.
    :param words: what the log says when it pauses and when it continues: ``("jobs pause", "jobs continue")``.
    :param count: called once for each pause, for the metrics.
    """

    def __init__(self, clock: Clock, log: Logger, words: tuple[str, str], count: Callable[[], None]) -> None:
        self._clock = clock
        self._log = log
        self._pauses, self._goes_on = words
        self._count = count
        self._seconds = 0.0
        self.until = 0.0
        """UTC seconds at which the pause is over."""

    @property
    def ready(self) -> bool:
        """Whether the service may try. A pause that seems longer than it was set means that the clock was set back."""
        return not 0 < self.until - self._clock.seconds() <= self._seconds

    def failed(self, error: Exception) -> None:
        """A store did not answer: pause, longer each time, and log it once per pause."""
        if not self.ready:
            return
        self._count()
        self._seconds = min(LONGEST_PAUSE, max(1.0, 2 * self._seconds))
        self.until = self._clock.seconds() + self._seconds
        self._log.warn(
            "{service} for {seconds} s: {reason}", service=self._pauses, seconds=self._seconds, reason=str(error)
        )

    def succeeded(self) -> None:
        """The stores answered: the back-off ends."""
        if self._seconds and self.ready:
            self._log.info("{service}: the stores answer again", service=self._goes_on)
            self._seconds = 0.0
