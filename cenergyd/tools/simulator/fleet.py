"""Many simulated loggers against one URL, at any speed; acknowledged logs go into a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import attrs
from twisted.internet.defer import Deferred, FirstError, gatherResults

from cenergyd.readings.model import VALUES
from cenergyd.runtime.clock import Reactor, sleep
from cenergyd.runtime.concurrency import Slots
from cenergyd.tools.simulator.faults import NO_FAULTS, Faults
from cenergyd.tools.simulator.http import Target
from cenergyd.tools.simulator.logger import METERS, Counts, Meter, SimulatedLog, SimulatedLogger
from cenergyd.tools.simulator.site import SimulatedSite

_LAST_SESSIONS = 20
"""Upload sessions at the end to deliver logs that faults have held back."""


@attrs.frozen(slots=True, kw_only=True)
class FleetPlan:
    """What a fleet does. Times are UTC seconds."""

    start: int
    end: int | None
    """None: run until stopped."""
    interval: int = 60
    """Seconds between two rows of a log."""
    upload_every: int = 900
    """Seconds between two upload sessions of a logger."""
    speed: float = 0.0
    """Simulated seconds a second; 0: as fast as possible. Never past the present: a logger cannot know the future."""
    concurrency: int = 16
    """Upload sessions at once."""
    meter: Meter = METERS["veris"]
    faults: Faults = NO_FAULTS
    introduce: bool = False
    """Send STATUS and exchange config files first."""

    def sessions(self, offset: int) -> Iterator[int]:
        """When a logger uploads; ``offset`` keeps a fleet from doing so all at once. The last one is at the end."""
        time = self.start + self.upload_every - offset % self.upload_every
        while self.end is None or time < self.end:
            yield time
            time += self.upload_every
        yield self.end

    @property
    def sessions_per_site(self) -> int | None:
        """How many, or None without an end."""
        return None if self.end is None else -(-(self.end - self.start) // self.upload_every)


class Fleet:
    """Runs loggers; :meth:`run` returns when all have uploaded all they have, or have given up.

    :param acknowledged: called with each log that the server acknowledged.
    :param progress: called after each upload session.
    """

    def __init__(
        self,
        reactor: Reactor,
        plan: FleetPlan,
        target: Target,
        sites: Sequence[SimulatedSite],
        *,
        password: str,
        acknowledged: Callable[[SimulatedLog], None] = lambda log: None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.counts = Counts()
        self._reactor = reactor
        self._plan = plan
        self._began = reactor.seconds()
        self._slots = Slots(plan.concurrency)
        self._progress = progress
        self.loggers = [
            SimulatedLogger(
                site,
                password=password,
                interval=plan.interval,
                start=plan.start,
                post=target.post,
                pause=self._pause,
                acknowledged=acknowledged,
                counts=self.counts,
                meter=plan.meter,
                faults=plan.faults,
                introduce=plan.introduce,
            )
            for site in sites
        ]

    async def run(self) -> Counts:
        """Until the plan's end; cancel to stop earlier."""
        self._began = self._reactor.seconds()
        running = [Deferred.fromCoroutine(self._live(index, one)) for index, one in enumerate(self.loggers)]
        try:
            await gatherResults(running, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return self.counts

    @property
    def unsent(self) -> int:
        """Logs that no server has acknowledged."""
        return sum(len(one.flash) for one in self.loggers)

    async def _live(self, index: int, logger: SimulatedLogger) -> None:
        # At full speed all sessions are due at once anyway, and equal windows make equal files.
        offset = (logger.site.seed % self._plan.upload_every) if self._plan.speed and len(self.loggers) > 1 else 0
        for time in self._plan.sessions(offset):
            await self._until(time)
            await self._slots.run(self._session, logger, time)
            self._progress()
        for _ in range(_LAST_SESSIONS):
            if not logger.flash:
                return
            if not await self._slots.run(logger.upload_all):
                return  # a status that ends the session would only be repeated
            if logger.flash:
                await self._pause(0.5)

    async def _session(self, logger: SimulatedLogger, time: int) -> None:
        logger.record(time)
        await logger.session()

    async def _until(self, time: int) -> None:
        now = self._reactor.seconds()
        due = float(time)
        if self._plan.speed:
            due = max(due, self._began + (time - self._plan.start) / self._plan.speed)
        if due > now:
            await self._pause(due - now)

    async def _pause(self, seconds: float) -> None:
        await sleep(self._reactor, seconds)


class FleetReport:
    """Writes JSON lines: first what the fleet is, then a line for each acknowledged log, on disk as soon as possible."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def begin(self, sites: Sequence[SimulatedSite]) -> None:
        """One line a site: its serial and which role each meter plays."""
        for site in sites:
            self._line({"site": site.serial, "name": site.name, "missing": site.missing, **site.fields})

    def acknowledged(self, log: SimulatedLog) -> None:
        """The readings of one log that the server acknowledged."""
        rows = [[reading.time, *reading.values] for reading in log.readings]
        self._line({"series": log.series, "columns": ["time", *VALUES], "readings": rows})

    def _line(self, value: object) -> None:
        self._out.write(json.dumps(value, separators=(",", ":")) + "\n")
        self._out.flush()
