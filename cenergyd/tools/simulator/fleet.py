"""Many simulated loggers that upload to one URL at any speed. Acknowledged logs are written to a report."""

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
"""Additional upload sessions at the end, for logs that were delayed by faults."""


@attrs.frozen(slots=True, kw_only=True)
class FleetPlan:
    """What the loggers of a fleet record and upload, and when. Times are UTC seconds."""

    start: int
    end: int | None
    """None: no end, runs until stopped."""
    interval: int = 60
    """Seconds between two rows of a log."""
    upload_every: int = 900
    """Seconds between two upload sessions of a logger."""
    speed: float = 0.0
    """Simulated seconds per second; 0: as fast as possible. The simulated time never passes the present time."""
    concurrency: int = 16
    """Concurrent upload sessions."""
    meter: Meter = METERS["veris"]
    faults: Faults = NO_FAULTS
    introduce: bool = False
    """Send STATUS before the logs of the first session and exchange config files after them."""

    def sessions(self, offset: int) -> Iterator[int]:
        """The times at which a logger uploads; ``offset`` distributes the loggers of a fleet. The last one is at the end."""
        time = self.start + self.upload_every - offset % self.upload_every
        while self.end is None or time < self.end:
            yield time
            time += self.upload_every
        yield self.end

    @property
    def sessions_per_site(self) -> int | None:
        """The number of sessions; None without an end."""
        return None if self.end is None else -(-(self.end - self.start) // self.upload_every)


class Fleet:
    """Runs loggers; :meth:`run` returns when all logs are uploaded, or loggers have given up.

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
        """Run to the plan's end; cancel to stop earlier."""
        self._began = self._reactor.seconds()
        running = [Deferred.fromCoroutine(self._run_logger(index, one)) for index, one in enumerate(self.loggers)]
        try:
            await gatherResults(running, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return self.counts

    @property
    def unsent(self) -> int:
        """Number of logs that were not acknowledged."""
        return sum(len(one.flash) for one in self.loggers)

    async def _run_logger(self, index: int, logger: SimulatedLogger) -> None:
        # At full speed all sessions are due at once, so offsets are not needed and all files cover the same times.
        offset = (logger.site.seed % self._plan.upload_every) if self._plan.speed and len(self.loggers) > 1 else 0
        for time in self._plan.sessions(offset):
            await self._until(time)
            await self._slots.run(self._session, logger, time)
            self._progress()
        for _ in range(_LAST_SESSIONS):
            if not logger.flash:
                return
            if not await self._slots.run(logger.upload_all):
                return  # the server ends sessions, so further ones would fail the same way
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
    """Writes JSON lines: first the sites, then a line for each acknowledged log, which is flushed at once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def begin(self, sites: Sequence[SimulatedSite]) -> None:
        """Write a line for each site: its serial number and the roles of its meters."""
        for site in sites:
            self._line({"site": site.serial, "name": site.name, "missing": site.missing, **site.fields})

    def acknowledged(self, log: SimulatedLog) -> None:
        """Write the readings of one log that the server acknowledged."""
        rows = [[reading.time, *reading.values] for reading in log.readings]
        self._line({"series": log.series, "columns": ["time", *VALUES], "readings": rows})

    def _line(self, value: object) -> None:
        self._out.write(json.dumps(value, separators=(",", ":")) + "\n")
        self._out.flush()
