"""Makes, lists and undoes corrections of readings; everything that depends on the readings is then computed again.

A correction is stored with a due time, which means that its times are still to be marked for derivation; then all daemons are notified,
the times are marked, and the due time is removed. If that is interrupted, a check every minute (:meth:`Corrector.finish`) completes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import attrs
from twisted.logger import Logger

from cenergyd.customers.claims import PendingQueue
from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer, PendingMark, PendingWork, TimeRange
from cenergyd.customers.ownership import FOREVER
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.kinds import CORRECTIONS
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict, Incompatible, InvalidField, NotFound
from cenergyd.readings.corrected import CorrectedReadings, as_measured, ever_corrected
from cenergyd.readings.correction_cache import CorrectionCache, announce_corrections, corrections_in, serial_of
from cenergyd.readings.corrections import (
    MAX_ACTIVE,
    Correction,
    CorrectionMap,
    bounded,
    check_correction,
    correction_map,
    ended,
    to_body,
    undone,
    with_correction,
)
from cenergyd.readings.model import series_name
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.periodic import PeriodicService

FUTURE_SECONDS = 86400
"""A shift may move readings this far beyond now, because this daemon's clock and the logger's may differ."""
FOLLOW_UP_SECONDS = 60
_TRIES = 5
_METER = re.compile(r"[0-9]{1,3}\Z")
_MAX_SERIES = 300
_ID = re.compile(r"(?P<series>[0-9A-Za-z]{1,32}_[0-9]{1,3})\.(?P<number>[0-9]{1,9})\Z")

log = Logger()


class Listed(NamedTuple):
    """A correction and the series that it belongs to."""

    series: str
    correction: Correction

    @property
    def id(self) -> str:
        """Its id for users: ``001EC6001433_2.7``."""
        return f"{self.series}.{self.correction.number}"


async def corrections_over(
    readings: ReadingStore, documents: DocumentStore, series: Iterable[str], start: int, end: int
) -> list[Listed]:
    """The active corrections that change readings of series within a range, by series and number.

    Nothing is read for series that were never corrected.
    """
    return [
        Listed(name, each)
        for name in sorted(await ever_corrected(readings, sorted(set(series))))
        for each in corrections_in(await documents.get(CORRECTIONS, name))
        if each.is_active and each.touches(start, end)
    ]


@attrs.frozen(kw_only=True)
class CorrectionRequest:
    """A requested correction."""

    meter: str
    """Meter id."""
    kind: str
    start: int
    end: int
    factor: float | None = None
    seconds: int | None = None
    reason: str
    serial: str = ""
    """The logger's serial number; '' is the customer's present logger."""


@attrs.frozen(kw_only=True)
class Corrector:
    """Changes and lists the corrections of customers' meters. Methods raise StoreUnavailable."""

    customers: CustomerStore
    readings: ReadingStore
    documents: DocumentStore

    async def listed(self, customer: Customer) -> list[Listed]:
        """Every correction of a customer's meters, active or undone, the latest first."""
        found = [
            Listed(document.key, each)
            for serial in owned_serials(customer)
            for document in await self.documents.find(CORRECTIONS, owner=serial, limit=_MAX_SERIES)
            for each in corrections_in(document)
            if _concerns(customer, serial, each)
        ]
        return sorted(found, key=lambda each: (each.correction.at, each.series, each.correction.number), reverse=True)

    async def add(self, customer: Customer, wanted: CorrectionRequest, by: str, now: int) -> Listed:
        """Make a correction.

        :raises InvalidField: it is not possible, or the logger was not the customer's for the whole time.
        :raises Incompatible: it overlaps another one, a shift would move readings onto others, or there are too many.
        :raises Conflict: others keep changing the meter's corrections.
        """
        series = await self._series(customer, wanted)
        mine = [each for each in await self.listed(customer) if each.correction.is_active]
        if len(mine) >= MAX_ACTIVE:
            raise Incompatible(f"{MAX_ACTIVE} corrections are active, the maximum: undo some")
        for _ in range(_TRIES):
            document = await self.documents.get(CORRECTIONS, series)
            before = corrections_in(document)
            new = Correction(
                number=_last_number(document) + 1, kind=wanted.kind, start=wanted.start, end=wanted.end,  # type: ignore[arg-type]
                factor=wanted.factor, seconds=wanted.seconds, reason=wanted.reason.strip(),
                customer_id=customer.id, by=by, at=now,
            )  # fmt: skip
            after = with_correction(before, new)
            if new.kind == "shift":
                await self._check_room(series, correction_map(before), new, now)
            if await self._change(series, document, customer.id, after, number=new.number, now=now):
                _log("made", by, Listed(series, new))
                return Listed(series, new)
        raise Conflict("the corrections of this meter are being changed by others: try again")

    async def undo(self, customer: Customer, correction_id: str, by: str, now: int) -> Listed:
        """Undo a correction, as if it had never been made.

        :raises NotFound: the customer has no such correction.
        :raises Incompatible: it is already undone, or a later one depends on it.
        :raises Conflict: others keep changing the meter's corrections.
        """
        asked = _ID.match(correction_id)
        known = {each.id: each for each in await self.listed(customer)}
        if asked is None or correction_id not in known:
            raise NotFound("there is no such correction")
        series, number = asked["series"], int(asked["number"])
        for _ in range(_TRIES):
            document = await self.documents.get(CORRECTIONS, series)
            before = corrections_in(document)
            if number not in {each.number for each in before}:
                raise NotFound("there is no such correction")
            after = undone(before, number, by, now)
            (changed,) = [each for each in after if each.number == number]
            if await self._change(series, document, customer.id, after, number=number, now=now):
                _log("undone", by, Listed(series, changed))
                return Listed(series, changed)
        raise Conflict("the corrections of this meter are being changed by others: try again")

    async def finish(self, now: int, older_than: int = FOLLOW_UP_SECONDS) -> int:
        """Complete changes that were interrupted; returns their number."""
        documents = await self.documents.find(CORRECTIONS, due_before=now - older_than, limit=100)
        for document in documents:
            await self._announce_and_mark(document)
        return len(documents)

    async def _series(self, customer: Customer, wanted: CorrectionRequest) -> str:
        check_correction(
            kind=wanted.kind, start=wanted.start, end=wanted.end,
            factor=wanted.factor, seconds=wanted.seconds, reason=wanted.reason,
        )  # fmt: skip
        serial = wanted.serial or customer.logger_serial_number
        if not _METER.match(wanted.meter):
            raise InvalidField("meter", "the id of a measured meter is needed, such as 2")
        if serial not in owned_serials(customer):
            raise InvalidField("logger_serial_number", "no logger of this customer")
        shift = wanted.seconds or 0
        for name, start, end in (
            ("start", wanted.start, wanted.end),
            ("seconds", wanted.start + shift, wanted.end + shift),
        ):
            if not owns_throughout(customer, serial, start, end):
                raise InvalidField(name, "the logger was not this customer's for the whole time")
        series = series_name(serial, wanted.meter)
        if not await as_measured(self.readings).first([series]):
            raise InvalidField("meter", f"meter {wanted.meter} has stored no readings")
        return series

    async def _check_room(self, series: str, view: CorrectionMap, new: Correction, now: int) -> None:
        """Raise Incompatible if the meter has other readings at the shifted times, InvalidField if these are in the future."""
        seen = CorrectedReadings(as_measured(self.readings), _GivenCorrections({series: view}))
        last = (await seen.last([series], new.end)).get(series)
        if last is not None and last.time >= new.start and last.time + (new.seconds or 0) > now + FUTURE_SECONDS:
            raise InvalidField("seconds", "readings would be in the future")
        start, end = new.target
        for since, until in ((start, min(end, new.start)), (max(start, new.end), end)):
            if since < until:
                other = (await seen.first([series], since)).get(series)
                if other is not None and other.time < until:
                    raise Incompatible(
                        f"the meter has other readings at the shifted times, the first at {other.time}: void them first"
                    )

    async def _change(
        self,
        series: str,
        document: Document | None,
        customer_id: str,
        after: Sequence[Correction],
        *,
        number: int,
        now: int,
    ) -> bool:
        """Store a series' corrections after a change, announce it and mark its times; False if another writer was first."""
        (extent,) = [each.extent for each in after if each.number == number]
        time_range = await self._affected(series, extent, corrections_in(document), after)
        body: dict[str, object] = dict(document.body) if document is not None else {}
        unmarked = document.body.get("unmarked", ()) if document is not None else ()
        marks = [*unmarked, *([] if time_range is None else [[customer_id, *time_range]])]
        body |= {
            "corrections": [to_body(each) for each in bounded(after, customer_id)],
            "last_number": max([_last_number(document), *(each.number for each in after)]),
            "unmarked": marks,
        }
        version = document.version if document is not None else 0
        try:
            stored = await self.documents.put(
                CORRECTIONS, series, body, owner=serial_of(series), due=now, expected_version=version
            )
        except Conflict:
            return False
        await self._announce_and_mark(stored)
        return True

    async def _announce_and_mark(self, stored: Document) -> None:
        await announce_corrections(self.documents, [stored.key])
        await refresh(self.readings)
        marks = [PendingMark(*each) for each in stored.body.get("unmarked", ())]
        if marks:
            await self.customers.derivation_queue.mark(marks)
        body = {name: value for name, value in stored.body.items() if name != "unmarked"}
        try:
            await self.documents.put(CORRECTIONS, stored.key, body, owner=stored.owner, expected_version=stored.version)
        except Conflict:
            log.debug("a later change of {series} marks its times", series=stored.key)

    async def _affected(
        self, series: str, extent: tuple[int, int], before: Sequence[Correction], after: Sequence[Correction]
    ) -> TimeRange | None:
        """The times that a change can affect; None if there are no readings."""
        times: list[int] = []
        for corrections in (before, after):
            seen = CorrectedReadings(
                as_measured(self.readings), _GivenCorrections({series: correction_map(corrections)})
            )
            first, last = await seen.first([series]), await seen.last([series])
            times += [each.time for each in (*first.values(), *last.values())]
        if not times:
            return None
        start, end = max(extent[0], min(times), 0), min(extent[1], max(times) + 1)
        return TimeRange(start, end) if start < end else None


class CorrectionFollowUp(PeriodicService):
    """Checks every minute for interrupted changes of corrections, and completes them."""

    def __init__(self, clock: Timers, corrector: Corrector) -> None:
        async def finish() -> None:
            await corrector.finish(int(clock.seconds()))

        super().__init__(clock, finish, FOLLOW_UP_SECONDS, what="completing corrections", log=log)


async def refresh(readings: ReadingStore) -> None:
    """Make a store apply every correction that is stored by now. Raises StoreUnavailable."""
    cache = cache_of(readings)
    if cache is not None:
        await cache.refresh()


def cache_of(readings: ReadingStore) -> CorrectionCache | None:
    """The correction cache of a store; None if the store applies no corrections."""
    cache = readings.corrections if isinstance(readings, CorrectedReadings) else None
    return cache if isinstance(cache, CorrectionCache) else None


async def end_corrections(readings: ReadingStore, serial: str, until: int, now: int) -> None:
    """End all corrections of a logger at the time from which it belongs to another customer. Raises StoreUnavailable, Conflict."""
    cache = cache_of(readings)
    if cache is None:
        return
    for document in await cache.documents.find(CORRECTIONS, owner=serial, limit=_MAX_SERIES):
        before = corrections_in(document)
        after = ended(before, until, "the logger was given up", now)
        if after != before:
            body = {**document.body, "corrections": [to_body(each) for each in after]}
            await cache.documents.put(
                CORRECTIONS, document.key, body, owner=serial, due=document.due, expected_version=document.version
            )
            await announce_corrections(cache.documents, [document.key])
    await cache.refresh()


async def widened(works: Sequence[PendingWork], readings: ReadingStore, queue: PendingQueue) -> list[PendingWork]:
    """Claimed work after reading all corrections. Work whose readings a shift moves outside its range is marked again and left out.

    Raises StoreUnavailable.
    """
    cache = cache_of(readings)
    if cache is None:
        return list(works)
    await cache.refresh()
    kept = []
    for work in works:
        start, end = work.start, work.end
        for serial in owned_serials(work.customer) if cache.knows_any else ():
            for view in (await cache.of_serial(serial)).values():
                start, end = view.reach(start, end)
        if (start, end) == (work.start, work.end):
            kept.append(work)
        else:
            await queue.mark([PendingMark(work.customer.id, start, end)])
            await queue.finish([work])
    return kept


def owned_serials(customer: Customer) -> list[str]:
    """Serial numbers of the loggers that a customer owns or owned."""
    return sorted({period.serial for period in setup_periods(customer, 0, FOREVER) if period.serial})


def owns_throughout(customer: Customer, serial: str, start: int, end: int) -> bool:
    """Whether a logger is the customer's at every time of a range."""
    reached = start
    for period in setup_periods(customer, start, end):
        if period.serial == serial and period.start == reached:
            reached = period.end
    return reached == end


def _concerns(customer: Customer, serial: str, each: Correction) -> bool:
    """Whether a correction is a customer's own, or a removed customer's that affects times that are now theirs."""
    if each.customer_id == customer.id:
        return True
    return any(period.serial == serial for period in setup_periods(customer, *each.extent))


def _last_number(document: Document | None) -> int:
    return int(document.body.get("last_number", 0)) if document is not None else 0


def _log(what: str, by: str, listed: Listed) -> None:
    each = listed.correction
    log.info(
        "correction {id} {what} by {by}: {kind} of {start} to {end}",
        id=listed.id, what=what, by=by, kind=each.kind, start=each.start, end=each.end,
    )  # fmt: skip


@attrs.frozen
class _GivenCorrections:
    """Corrections that are given instead of read."""

    given: Mapping[str, CorrectionMap]

    async def maps(self, series: Sequence[str]) -> Mapping[str, CorrectionMap]:
        return {name: self.given[name] for name in series if name in self.given}

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        return frozenset(name for name in series if name in self.given)
