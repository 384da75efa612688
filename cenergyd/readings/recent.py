"""The newest readings of active loggers, cached in memory by the same writes that go to the store; the store remains authoritative.

An upload's readings are read again within seconds: by the derivation, then by the jobs. :class:`RecentReadings` stands in front of the store
and sees every write of this daemon. The cache is changed only when the store has acknowledged a write; after a write that failed, or whose
outcome is unknown, the series that it touches are removed from the cache. :class:`RecentReadings` itself reads from the store;
:attr:`RecentReadings.view` reads from the cache what is in it.

Other daemons and commands write too. They mark what they write in the customer's document before they acknowledge it, and a mark is derived
under a claim. So at each claim on a customer :meth:`RecentReadings.claimed` compares the claims that ended last
(:class:`~cenergyd.customers.model.RecentClaims`): if these are the ones that this daemon held last, nobody else has written, and the cache
agrees with the store. If others have held claims since, the readings from the earliest time on that these may have changed are removed from
the cache, and read again. If that is not known, the whole logger is removed. Therefore the cache may only be read by the holder of
such a claim, and by callers who have just read the customer and called :meth:`RecentReadings.is_current`: readings that are marked later are
derived, and evaluated, later.

Points that are read by some of their fields are cached as well. Jobs write points under the same claims, so the same events remove them, and
every write of their series does.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import attrs

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer, PendingWork
from cenergyd.readings.checks import storable
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings, is_computed
from cenergyd.readings.recent_points import RecentPoints
from cenergyd.readings.recent_series import RecentSeries
from cenergyd.readings.recent_view import RecentView
from cenergyd.readings.store import ReadingStore

MAX_BYTES = 48 * 2**20
"""Maximum bytes of all cached readings: the last hours of some 600 sites with meters that log once a minute, or the last quarter of an hour
of some 6,000."""
REACH_SECONDS = 8 * 3600
"""Only readings within this many seconds of now are cached."""
MAX_AGE_SECONDS = 6 * 3600
"""A cached series is read from the store again after this many seconds, because the store may have been changed by other means than cenergyd."""
MAX_POINTS_AGE_SECONDS = 3600
"""The same for points: a job that failed is repeated without a claim on the customer, maybe by another daemon."""
DAY = 86400
REMOVED_FROM = 900
"""Readings are removed from a time on that is a multiple of this, in UTC seconds, so that those of many loggers are read again by one query."""
_NOTHING = 1 << 62
"""A time after all readings."""
LOGGER_BYTES = 700
"""Memory of a logger besides its series."""
_METER = re.compile(r"[0-9A-Za-z]+_[0-9]+\Z")


class _Owner(NamedTuple):
    """The claim under which a logger's cached readings were last known to agree with the store."""

    customer_id: str
    derivation: str
    jobs: str | None
    """The claim of the job queue that had ended last."""


@attrs.define(slots=True)
class _Logger:
    owner: _Owner
    series: dict[str, RecentSeries] = attrs.field(factory=dict)
    points: dict[str, RecentPoints] = attrs.field(factory=dict)
    """By series; a series of points is not one of readings."""

    @property
    def size(self) -> int:
        """Estimated bytes in memory."""
        points = sum(each.size for each in self.points.values())
        return LOGGER_BYTES + points + sum(each.size for each in self.series.values())


@attrs.define(slots=True, eq=False)
class PendingRead:
    """A read from the store in progress, whose result may be cached."""

    names: frozenset[str]
    changed: set[str] = attrs.field(factory=set)
    """Series that were changed meanwhile: it is unknown whether the result has the change."""


class RecentReadings:
    """A :class:`~cenergyd.readings.store.ReadingStore` in front of another one; see the module's docstring.

    :ivar view: the same readings, from the cache where possible; who may use it is in the module's docstring.
    :param seconds: the time now, UTC seconds.
    :param max_bytes: maximum estimated bytes in the cache; what was changed longest ago is removed first.
    """

    def __init__(self, store: ReadingStore, seconds: Callable[[], float], max_bytes: int = MAX_BYTES) -> None:
        self.store = store
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._loggers: OrderedDict[str, _Logger] = OrderedDict()
        """By serial number; the one changed longest ago comes first."""
        self._changing: Counter[str] = Counter()
        self._mixed: set[str] = set()
        """Series touched by several writes in progress, which the store may execute in any order."""
        self._pending_reads: list[PendingRead] = []
        self.size = 0
        """Estimated bytes in the cache."""
        self.view = cast(ReadingStore, RecentView(self))
        self.from_cache = self.from_store = 0
        """Number of series read from the cache, and from the store."""

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def view_on(self, store: ReadingStore) -> ReadingStore:
        """As :attr:`view`, with another store that reads what is not cached, such as one that merges calls."""
        return cast(ReadingStore, RecentView(self, store))

    def claimed(self, work: PendingWork, start: int) -> None:
        """A customer was claimed for derivation: remove from the cache what somebody else may have changed.

        :param work: with the customer as read under the claim.
        :param start: the earliest time of readings that may have changed by marks that are derived now, UTC seconds.
        """
        now, customer, claim = int(self._seconds()), work.customer, work.claim
        claims = customer.claims
        reach = 2 * REACH_SECONDS
        periods = setup_periods(customer, now - reach, now + reach)
        for serial in {period.serial for period in periods if period.serial}:
            logger = self._loggers.get(serial)
            # Late readings of a time at which the logger was another customer's are marked for that customer.
            is_whole = all(period.serial == serial for period in periods)
            if not is_whole or claims is None:
                self._forget_logger(serial)
                continue
            changed = None if logger is None else _changed_since(logger.owner, customer, start)
            if logger is None or changed is None:
                self._forget_logger(serial)
                logger = self._loggers[serial] = _Logger(_Owner(customer.id, claim, claims.jobs))
                self.size += LOGGER_BYTES
            elif changed < _NOTHING:
                self._forget_since(serial, logger, changed - changed % REMOVED_FROM)
            logger.owner = _Owner(customer.id, claim, claims.jobs)
        self._make_room()

    def is_current(self, customer: Customer) -> bool:
        """Whether the cached readings of a customer's logger agree with the store as of when the customer was read, so that the cache may be used."""
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
            with self._updating(name) as cached:
                if cached is not None:
                    cached.merge(storable(readings))

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """As the store's."""
        await self.replace_many([(series, start, end, readings)])

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """As the store's."""
        with self._change(item[0] for item in items):
            await self.store.replace_many(items)
        for name, start, end, readings in items:
            with self._updating(name) as cached:
                if cached is not None:
                    cached.replace(start, end, storable(readings))

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """As the store's."""
        with self._change_of_points([series]):
            await self.store.write_points(series, points)

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """As the store's."""
        with self._change_of_points([series]):
            await self.store.replace_points(series, start, end, points)

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        """As the store's."""
        with self._change_of_points(item[0] for item in items):
            await self.store.replace_points_many(items, field)

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """As the store's."""
        with self._change_of_points(item[0] for item in items):
            await self.store.merge_points_many(items)

    def cached_points(self, asked: tuple[str, int, int], fields: Sequence[str]) -> list[FieldPoint] | None:
        """The points of a range (series, start, end) as they were read last; None if they are not cached."""
        logger = self._loggers.get(asked[0].partition("_")[0])
        cached = None if logger is None else logger.points.get(asked[0])
        if cached is None or not cached.holds(asked, fields):
            return None
        if not 0 <= self._seconds() - cached.since < MAX_POINTS_AGE_SECONDS:
            self._forget(asked[0])
            return None
        return cached.points()

    def add_points(self, asked: tuple[str, int, int], fields: Sequence[str], points: Sequence[FieldPoint]) -> None:
        """Cache the points of a range as they were just read from the store."""
        logger = self._loggers.get(asked[0].partition("_")[0])
        if logger is not None:
            self._forget(asked[0])
            logger.points[asked[0]] = RecentPoints.of(asked, fields, points, self._seconds())
            self.size += logger.points[asked[0]].size
            self._make_room()

    def cached(self, series: str) -> RecentSeries | None:
        """The cached part of a series; None if there is none."""
        logger = self._loggers.get(series.partition("_")[0])
        cached = None if logger is None else logger.series.get(series)
        if cached is not None and not 0 <= self._seconds() - cached.since < MAX_AGE_SECONDS:
            self._forget(series)
            return None
        return cached

    def may_cache(self, series: str, start: int, end: int) -> bool:
        """Whether a range of a series may be cached."""
        now = self._seconds()
        is_near = now - REACH_SECONDS <= start and end <= now + REACH_SECONDS
        return is_near and series.partition("_")[0] in self._loggers and _is_cacheable(series)

    @contextmanager
    def reading(self, names: Iterable[str]) -> Iterator[PendingRead]:
        """Read from the store within this context, to cache the series that are not ``changed`` meanwhile."""
        pending = PendingRead(frozenset(names))
        self._pending_reads.append(pending)
        try:
            yield pending
        finally:
            self._pending_reads.remove(pending)

    def add(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """Cache a range as it was just read from the store."""
        logger = self._loggers.get(series.partition("_")[0])
        if logger is None:
            return
        cached = logger.series.get(series)
        if cached is not None and start <= cached.end and cached.start <= end:
            with self._updating(series):
                cached.extend(start, end, readings)
            return
        self._forget(series)
        cached = logger.series[series] = RecentSeries(start, end, readings, self._seconds())
        self.size += cached.size
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

    @contextmanager
    def _change_of_points(self, series: Iterable[str]) -> Iterator[None]:
        """Points are removed from the cache by every write of their series."""
        names = list(dict.fromkeys(series))
        try:
            with self._change(names):
                yield
        finally:
            for name in names:
                self._forget(name)

    def _changed(self, name: str) -> None:
        for pending in self._pending_reads:
            pending.changed.add(name)
        if name in self._mixed:
            self._forget(name)
        self._changing[name] -= 1
        if not self._changing[name]:
            del self._changing[name]
            self._mixed.discard(name)

    @contextmanager
    def _updating(self, name: str) -> Iterator[RecentSeries | None]:
        """The cached part of a series, to be changed like the store."""
        serial = name.partition("_")[0]
        logger = self._loggers.get(serial)
        cached = None if logger is None else logger.series.get(name)
        if cached is None:
            yield None
            return
        before = cached.size
        yield cached
        self.size += cached.size - before
        self._loggers.move_to_end(serial)
        self._make_room()

    def _forget(self, name: str) -> None:
        logger = self._loggers.get(name.partition("_")[0])
        if logger is not None:
            for cached in (logger.series.pop(name, None), logger.points.pop(name, None)):
                self.size -= 0 if cached is None else cached.size

    def _forget_logger(self, serial: str) -> None:
        logger = self._loggers.pop(serial, None)
        if logger is not None:
            self.size -= logger.size
        self._reads_changed(serial)

    def _forget_since(self, serial: str, logger: _Logger, time: int) -> None:
        for name in list(logger.points):
            self._forget(name)  # readings affect results that are older
        for name, cached in list(logger.series.items()):
            before = cached.size
            if cached.forget_since(time):
                self.size += cached.size - before
            else:
                self._forget(name)
        self._reads_changed(serial)

    def _reads_changed(self, serial: str) -> None:
        """Nothing that is being read of a logger may be cached."""
        for pending in self._pending_reads:
            pending.changed.update(name for name in pending.names if name.startswith(f"{serial}_"))

    def _make_room(self) -> None:
        """Remove from the cache points and all but the newest readings of the loggers that were changed longest ago, then these loggers."""
        while self.size > self._max_bytes and self._loggers:
            serial, logger = next(iter(self._loggers.items()))
            before = logger.size
            if logger.points or sum(cached.shorten() for cached in logger.series.values()):
                logger.points.clear()
                self.size -= before - logger.size
                self._loggers.move_to_end(serial)
            else:
                self._forget_logger(serial)


def _changed_since(owner: _Owner, customer: Customer, start: int) -> int | None:
    """The earliest time of readings that others may have changed since a claim; :data:`_NOTHING` if there are none, None if it is not known.

    :param start: that of the marks that are derived now.
    """
    claims = customer.claims
    if claims is None or not claims.jobs_idle or (owner.customer_id, owner.jobs) != (customer.id, claims.jobs):
        return None
    if owner.derivation == claims.derivation:
        return _NOTHING
    ended = [each.claim for each in claims.ended]
    if owner.derivation not in ended:
        return None
    later = [each.start for each in claims.ended[ended.index(owner.derivation) + 1 :]]
    # Without a last claim the marks that are derived now may be anybody's; with one, they were made with the claim on them.
    return min([*later, *([start] if claims.derivation is None else [])], default=_NOTHING)


def _is_cacheable(series: str) -> bool:
    """Whether a series is a meter's or a computed one: only those are marked when they change."""
    return bool(_METER.match(series)) or is_computed(series)
