"""The newest readings of active loggers, kept in memory by the same writes that go to the store; the store stays the truth.

An upload's readings are read again within seconds: by the derivation, then by the jobs. :class:`RecentReadings` stands in front of the store
and sees every write of this daemon. Only when the store has acknowledged one are the kept readings changed; after a write that failed, or
whose outcome nobody knows, those of its series are forgotten. It reads from the store; :attr:`RecentReadings.view` reads from memory what is held.

Other daemons and commands write too. What they write they mark in the customer's document before they acknowledge it, and a mark is
derived under a claim. So :meth:`RecentReadings.claimed` compares, at each claim on a customer, which claims ended last
(:class:`~cenergyd.customers.model.RecentClaims`): if it was this daemon's last one, nobody else has written, and memory has
what the store has. Otherwise the logger is forgotten and read again. Only who holds such a claim may read from memory, or who has just read the
customer and asked :meth:`RecentReadings.is_current`. Readings that are marked after that are derived, and evaluated, after it.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import attrs

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer
from cenergyd.readings.checks import storable
from cenergyd.readings.model import Reading, SeriesReadings, is_computed
from cenergyd.readings.recent_rows import RecentRows
from cenergyd.readings.recent_view import RecentView
from cenergyd.readings.store import ReadingStore

MAX_BYTES = 48 * 2**20
"""What is kept in all: the last hours of some 600 sites with meters that log once a minute, or the last quarter of an hour of some 6,000."""
REACH_SECONDS = 8 * 3600
"""Only readings within so many seconds of now are kept."""
LONGEST_KEPT = 6 * 3600
"""After so many seconds a series is read from the store again: somebody may have changed the store by other means than cenergyd."""
DAY = 86400
LOGGER_BYTES = 700
"""What a logger takes in memory beside its series."""
_METER = re.compile(r"[0-9A-Za-z]+_[0-9]+\Z")


class _Owner(NamedTuple):
    """The claim under which a logger's readings were last known to be what the store holds."""

    customer_id: str
    derivation: str
    jobs: str | None
    """The claim of the job queue that had ended last."""


@attrs.define(slots=True)
class _Logger:
    owner: _Owner
    series: dict[str, RecentRows] = attrs.field(factory=dict)


@attrs.define(slots=True, eq=False)
class Fill:
    """A read from the store in progress, whose result may be kept."""

    names: frozenset[str]
    spoiled: set[str] = attrs.field(factory=set)
    """Series that were changed meanwhile: whether the result has the change is not known."""


class RecentReadings:
    """A :class:`~cenergyd.readings.store.ReadingStore` in front of another one; see the module's docstring.

    :ivar view: the same readings, from memory where they are held. Not for everybody: see there.
    :param seconds: the time now, UTC seconds.
    :param max_bytes: estimated bytes that may be held; what was changed longest ago is forgotten first.
    """

    def __init__(self, store: ReadingStore, seconds: Callable[[], float], max_bytes: int = MAX_BYTES) -> None:
        self.store = store
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._loggers: OrderedDict[str, _Logger] = OrderedDict()
        """By serial number, that which was changed longest ago first."""
        self._changing: Counter[str] = Counter()
        self._mixed: set[str] = set()
        """Series that several writes in progress touch: in which order the store makes them is not known."""
        self._fills: list[Fill] = []
        self.size = 0
        """Estimated bytes that are held."""
        self.view = cast(ReadingStore, RecentView(self))
        self.answered = self.asked = 0
        """Series of reads that were answered from memory; that the store was asked for."""

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def claimed(self, customer: Customer, claim: str) -> None:
        """A customer was claimed for derivation: forget its logger unless nobody else can have changed its readings.

        :param customer: as read under the claim.
        """
        now, claims = int(self._seconds()), customer.claims
        reach = 2 * REACH_SECONDS
        periods = setup_periods(customer, now - reach, now + reach)
        for serial in {period.serial for period in periods if period.serial}:
            logger = self._loggers.get(serial)
            # Late readings of a logger that was another customer's are marked there.
            is_whole = all(period.serial == serial for period in periods)
            if not is_whole or claims is None:
                self._forget_logger(serial)
                continue
            before = None if logger is None else logger.owner
            goes_on = before == (customer.id, claims.derivation, claims.jobs) and claims.jobs_idle
            if logger is None or not goes_on:
                self._forget_logger(serial)
                logger = self._loggers[serial] = _Logger(_Owner(customer.id, claim, claims.jobs))
                self.size += LOGGER_BYTES
            logger.owner = _Owner(customer.id, claim, claims.jobs)
        self._make_room()

    def is_current(self, customer: Customer) -> bool:
        """Whether what is held of a customer's logger is what the store had when the customer was read, so that it may be read from memory."""
        claims, logger = customer.claims, self._loggers.get(customer.logger_serial_number)
        if claims is None or logger is None or claims.is_marked or not claims.jobs_idle:
            return False
        last = claims.derivation if claims.claim is None else claims.claim
        if logger.owner != (customer.id, last, claims.jobs):
            return False
        now = int(self._seconds())
        periods = setup_periods(customer, now - 2 * DAY, now + DAY)
        return all(period.serial == customer.logger_serial_number for period in periods)

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """As the store's."""
        with self._change(batch.series for batch in batches):
            await self.store.write(batches)
        for name, readings in batches:
            with self._updating(name) as rows:
                if rows is not None:
                    rows.merge(storable(readings))

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """As the store's."""
        await self.replace_many([(series, start, end, readings)])

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """As the store's."""
        with self._change(item[0] for item in items):
            await self.store.replace_many(items)
        for name, start, end, readings in items:
            with self._updating(name) as rows:
                if rows is not None:
                    rows.replace(start, end, storable(readings))

    def held(self, series: str) -> RecentRows | None:
        """What is held of a series."""
        logger = self._loggers.get(series.partition("_")[0])
        rows = None if logger is None else logger.series.get(series)
        if rows is not None and not 0 <= self._seconds() - rows.since < LONGEST_KEPT:
            self._forget(series)
            return None
        return rows

    def may_keep(self, series: str, start: int, end: int) -> bool:
        """Whether a range of a series may be kept."""
        now = self._seconds()
        is_near = now - REACH_SECONDS <= start and end <= now + REACH_SECONDS
        return is_near and series.partition("_")[0] in self._loggers and _is_kept(series)

    @contextmanager
    def filling(self, names: Iterable[str]) -> Iterator[Fill]:
        """Read from the store, to keep what was read unless it is spoiled."""
        fill = Fill(frozenset(names))
        self._fills.append(fill)
        try:
            yield fill
        finally:
            self._fills.remove(fill)

    def keep(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """Keep a range as it was just read from the store."""
        logger = self._loggers.get(series.partition("_")[0])
        if logger is None:
            return
        rows = logger.series.get(series)
        if rows is not None and start <= rows.end and rows.start <= end:
            with self._updating(series):
                rows.extend(start, end, readings)
            return
        self._forget(series)
        rows = logger.series[series] = RecentRows(start, end, readings, self._seconds())
        self.size += rows.size
        self._make_room()

    @contextmanager
    def _change(self, series: Iterable[str]) -> Iterator[None]:
        names = list(dict.fromkeys(series))
        for name in names:
            self._changing[name] += 1
            if self._changing[name] > 1:
                self._mixed.add(name)
        try:
            yield
        except BaseException:
            for name in names:
                self._forget(name)
            raise
        finally:
            for name in names:
                self._changed(name)

    def _changed(self, name: str) -> None:
        for fill in self._fills:
            fill.spoiled.add(name)
        if name in self._mixed:
            self._forget(name)
        self._changing[name] -= 1
        if not self._changing[name]:
            del self._changing[name]
            self._mixed.discard(name)

    @contextmanager
    def _updating(self, name: str) -> Iterator[RecentRows | None]:
        """What is held of a series, to be changed as the store was changed."""
        serial = name.partition("_")[0]
        logger = self._loggers.get(serial)
        rows = None if logger is None else logger.series.get(name)
        if rows is None:
            yield None
            return
        before = rows.size
        yield rows
        self.size += rows.size - before
        self._loggers.move_to_end(serial)
        self._make_room()

    def _forget(self, name: str) -> None:
        logger = self._loggers.get(name.partition("_")[0])
        rows = None if logger is None else logger.series.pop(name, None)
        if rows is not None:
            self.size -= rows.size

    def _forget_logger(self, serial: str) -> None:
        logger = self._loggers.pop(serial, None)
        if logger is not None:
            self.size -= LOGGER_BYTES + sum(rows.size for rows in logger.series.values())
        for fill in self._fills:
            fill.spoiled.update(name for name in fill.names if name.startswith(f"{serial}_"))

    def _make_room(self) -> None:
        """Of the loggers that were changed longest ago forget all but the newest readings, then everything."""
        while self.size > self._max_bytes and self._loggers:
            serial, logger = next(iter(self._loggers.items()))
            before = sum(rows.size for rows in logger.series.values())
            if sum(rows.shorten() for rows in logger.series.values()):
                self.size -= before - sum(rows.size for rows in logger.series.values())
                self._loggers.move_to_end(serial)
            else:
                self._forget_logger(serial)


def _is_kept(series: str) -> bool:
    """Whether a series is a meter's or computed: only those are marked when they change."""
    return bool(_METER.match(series)) or is_computed(series)
