"""Deletes readings, and what is computed from them, after ``[readings] keep_days``, in small steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from cenergyd.customers.claims import PendingQueue
from cenergyd.readings.retention import computed_since, freed_before
from cenergyd.runtime.clock import Timers, sleep
from cenergyd.runtime.periodic import PeriodicService

if TYPE_CHECKING:
    from cenergyd.storage.sqlite.old_rows import OldRows

INTERVAL_SECONDS: Final = 900.0
STEP_ROWS: Final = 2000
"""Rows freed in one transaction: 8 ms of the writing thread, measured on a busy machine; 25 ms at the 90th percentile."""
STEP_SECONDS: Final = 2.0
"""Seconds between finding rows and freeing them. A late upload is stored before it is marked as pending; its mark is stored by then."""
log = Logger()

Oldest = Callable[[], Awaitable[int | None]]


class Retention(PeriodicService):
    """For an embedded readings store; on a server, its retention policy does this. Several daemons on one store do not disturb each other.

    Nothing is freed while a reading of that age still waits for derivation or a job. Held logs are not readings yet.

    :param rows: None where the store is a server.
    :param waiting: each returns the time of the oldest reading that still waits for something.
    """

    name = "retention"

    def __init__(
        self, clock: Timers, rows: OldRows | None, keep_days: Mapping[str, int], waiting: Sequence[Oldest]
    ) -> None:
        super().__init__(clock, self.free_old, INTERVAL_SECONDS, what="freeing old readings", log=log)
        self._rows = rows
        self._keep_days = keep_days
        self._waiting = waiting
        self.freed: Counter[str] = Counter()
        """Rows freed, by kind."""
        self.reusable_bytes: int | None = None
        """Free space in the store's file at the last check."""
        self.reason = ""
        """Why nothing is freed, for people."""

    async def free_old(self) -> None:
        """Free all that is old enough now."""
        if self._rows is None:
            return
        self.reason = ""
        before = self.freed.total()
        for kind, days in self._keep_days.items():
            await self._free(self._rows, kind, freed_before(days, int(self._clock.seconds())))
        self.reusable_bytes = await self._rows.reusable_bytes()
        if self.freed.total() > before:
            log.info("freed {rows} rows after their retention time", rows=self.freed.total() - before)

    async def _free(self, rows: OldRows, kind: str, before: int) -> None:
        series: int | None = 0
        while series is not None and self.running:
            found = await rows.find(kind, before, series, STEP_ROWS)
            if found.keys:
                await sleep(self._clock, STEP_SECONDS)
                if not self.running or await self._is_needed():
                    return
                await rows.delete(kind, found.keys)
                self.freed[kind] += len(found.keys)
            series = found.next_series

    async def _is_needed(self) -> bool:
        """Whether readings older than the retention time still wait for something."""
        border = computed_since(self._keep_days, int(self._clock.seconds()))
        for oldest in self._waiting:
            time = await oldest()
            if border is not None and time is not None and time < border:
                self.reason = "old readings still wait to be derived, or for a job"
                log.info("nothing is freed: {reason}", reason=self.reason)
                return True
        return False


def oldest_pending(queue: PendingQueue) -> Oldest:
    """The oldest pending reading of a queue."""

    async def oldest() -> int | None:
        return (await queue.summary()).oldest

    return oldest
