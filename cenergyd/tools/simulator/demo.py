"""The demo of ``cenergyd run --demo``: a simulated site that uploads to this daemon, and a status line every few seconds."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Reactor, twisted_clock
from cenergyd.settings.sections import Settings
from cenergyd.tools.simulator.fleet import Fleet, FleetPlan
from cenergyd.tools.simulator.http import Target
from cenergyd.tools.simulator.site import SimulatedSite, make_sites

BACKLOG: Final = 86400
"""Seconds of history that the site has at the start, so that a day can be displayed."""
INTERVAL: Final = 10
"""Seconds between its readings and uploads."""
_CATCH_UP_WITHIN: Final = 3600
log = Logger()


class DemoDaemon(Protocol):
    """The parts of the daemon that the demo needs."""

    settings: Settings
    readings: ReadingStore
    addresses: list[str]


class Demo:
    """Runs beside a started daemon.

    :param register: adds the site's customer, with this password for its logger, to the daemon's stores.
    :param print_line: prints a line.
    """

    def __init__(
        self,
        reactor: Reactor,
        daemon: DemoDaemon,
        register: Callable[[SimulatedSite, str], Awaitable[Customer]],
        print_line: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._daemon = daemon
        self._register = register
        self._print_line = print_line
        self._site: SimulatedSite = next(make_sites(1, seed=1))
        self._uploading: Deferred[object] | None = None
        self._status_loop = LoopingCall(self._print_status_safely)
        self._status_loop.clock = twisted_clock(reactor)
        self._told = 0

    async def start(self) -> None:
        """Register the site and start uploading."""
        # The password is new at every start and is not shown, so nobody can use it for uploads to a daemon that is left running.
        password = secrets.token_urlsafe(18)
        now = int(self._reactor.seconds())
        self._customer = await self._register(self._site, password)
        url = self._daemon.addresses[0].rstrip("/")
        self._print_line(
            f"\n  {url}/   simulated site: {self._site.name}, its {self._site.missing} meter is computed\n"
        )
        target = Target(self._reactor, url + self._daemon.settings.upload.path)
        fleets = [
            # First the history in large files, then the present in real time.
            self._fleet(target, password, now - BACKLOG, now, _CATCH_UP_WITHIN),
            self._fleet(target, password, now, None, INTERVAL),
        ]
        self._uploading = Deferred.fromCoroutine(self._run(fleets))
        self._uploading.addErrback(self._ended)
        self._status_loop.start(INTERVAL / 2)

    async def stop(self) -> None:
        """Stop uploading."""
        if self._status_loop.running:
            self._status_loop.stop()
        if self._uploading is not None:
            self._uploading.cancel()

    def _fleet(self, target: Target, password: str, start: int, end: int | None, upload_every: int) -> Fleet:
        plan = FleetPlan(
            start=start, end=end, interval=60 if end else INTERVAL, upload_every=upload_every, introduce=end is None
        )
        return Fleet(self._reactor, plan, target, [self._site], password=password)

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("the simulated site stopped uploading", failure)

    async def _run(self, fleets: list[Fleet]) -> None:
        for fleet in fleets:
            await fleet.run()

    async def _print_status_safely(self) -> None:
        try:
            await self._print_status()
        except Exception:
            log.failure("the demo cannot read the derived readings")

    async def _print_status(self) -> None:
        customer = self._customer
        series = {role: customer.series_of(role) for role in ROLES}
        computed = series[self._site.missing]
        assert computed is not None
        latest = (await self._daemon.readings.last([computed])).get(computed)
        if latest is None or latest.time <= self._told:
            return
        self._told = latest.time
        names = [name for name in series.values() if name]
        found = await self._daemon.readings.read(names, latest.time, latest.time + 1)
        self._print_line(line(customer, latest.time, {role: found[name] for role, name in series.items() if name}))


def line(customer: Customer, time: int, readings: Mapping[Role, Sequence[Reading]]) -> str:
    """``14:30:10  utility 1.23 kW (computed)  load 3.21 kW  solar 1.98 kW``, in the customer's zone."""
    moment = datetime.fromtimestamp(time, ZoneInfo(customer.time_zone))
    parts = [f"{moment:%H:%M:%S %Z}"]
    for role in ROLES:
        power = readings[role][0].P if readings.get(role) else None
        mark = " (computed)" if role == customer.missing_role else ""
        parts.append(f"{role} {'-' if power is None else f'{power:z.2f}'} kW{mark}")
    return "   ".join(parts)
