"""Keeps every site's state up to date: a site is evaluated after new data or a change, and at the time at which its state may change by itself.

So the cost depends on what arrives, and a list of all sites only reads stored states. Several daemons may evaluate the same site; they write
the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from twisted.logger import Logger

from cenergyd.customers.model import ROLES, Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.documents.kinds import SITE
from cenergyd.documents.loggers import Uploads, uploads_in
from cenergyd.documents.store import Document, DocumentStore, NewDocument
from cenergyd.errors import InvalidField, Overloaded, StoreUnavailable
from cenergyd.jobs.energy.read import LONGEST_GAP
from cenergyd.jobs.rollups.report import energy_today
from cenergyd.jobs.site_state.gather import documents_of, series_of_roles, site_states
from cenergyd.jobs.site_state.model import SiteState
from cenergyd.jobs.site_state.summary import (
    DayEnergy,
    SiteSummary,
    differ_in_numbers_only,
    summary_from_json,
    summary_of,
    summary_to_json,
)
from cenergyd.readings.batching import BatchingReadingStore
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.runtime.yielding import CooperativeYield

INTERVAL = 5.0
"""Seconds between two checks for notifications."""
PASS_SECONDS = 15.0
"""Least seconds between two passes, so that the sites of a busy fleet share the queries."""
SETTLING = 8.0
"""Seconds from a notification to the evaluation: the activity of loggers and meters is stored with this delay."""
SECOND_EVALUATION = 90
"""Seconds from a notification to a second evaluation, unless the jobs have run before: then it follows at once. New numbers alone are stored
only then."""
CALM_SECONDS = 30.0
"""Seconds for which a good site with a regular upload waits for its jobs, so that it is evaluated only once."""
DUE_SECONDS = 60.0
"""Seconds between two searches for sites that are due and were evaluated by another daemon, or before the start."""
LONGEST = 3600
"""Maximum seconds between two evaluations of a site: another daemon may have changed its settings."""
BATCH = 200
DUE_AT_ONCE = 1000
AT_ONCE = 50
_ATTEMPTS = 5
"""Attempts to store a state that other daemons store at the same time; its uploads are then stored with the next one."""
COMPARE_EVERY = 60.0
"""Seconds between two comparisons with the list of customers."""

log = Logger()


class SiteEvaluation(NamedTuple):
    """A site's new and previous state."""

    customer: Customer
    state: SiteState
    before: SiteSummary | None
    """The stored result of the previous evaluation; None if there is none."""


Evaluated = Callable[[Sequence[SiteEvaluation]], Awaitable[Mapping[str, int]]]
"""Called with every evaluation; returns the number of active alerts by customer."""


SummariesStored = Callable[[Sequence[SiteSummary], Sequence[str]], None]
"""Called with the summaries that were written, and the ids of removed customers."""


def ignore_summaries(summaries: Sequence[SiteSummary], gone: Sequence[str]) -> None:
    """A :data:`SummariesStored` that does nothing."""


async def no_alerts(evaluations: Sequence[SiteEvaluation]) -> Mapping[str, int]:
    """An :data:`Evaluated` that does nothing."""
    return {}


class UnsavedUploads(Protocol):
    """Regular uploads that are stored with the states of sites (:class:`cenergyd.ingest.regular_uploads.RegularUploads`)."""

    def compare(self, serial: str, body: ReadOnlyJson) -> None:
        """A logger's document as it is stored now, which another daemon may have changed."""
        ...

    def unsaved(self, customer_id: str) -> Uploads | None:
        """The uploads of a customer's logger that are not stored yet."""
        ...

    def has_unsaved(self, customer_id: str) -> bool:
        """Whether there are any of a customer's logger."""
        ...

    def saved(self, customer_id: str, uploads: Uploads) -> None:
        """Record that these are stored."""
        ...


class SiteStateService(PeriodicService):
    """Evaluates sites and stores the results, one document of kind ``site`` per customer.

    :param uploads: regular uploads to store with the states.
    :param evaluated: raises and ends the alerts that depend on states.
    :param cached_readings: the same readings, from the cache where possible (:mod:`cenergyd.readings.recent`), for customers for whom
        ``is_current`` is true; it merges calls for those that are not cached.
    :param max_gap: the ini's ``[rollups] max_gap_seconds``.
    """

    name = "site_states"

    def __init__(
        self,
        *,
        clock: Timers,
        customers: CustomerStore,
        documents: DocumentStore,
        readings: ReadingStore,
        evaluated: Evaluated = no_alerts,
        stored: SummariesStored = ignore_summaries,
        max_gap: int = LONGEST_GAP,
        cached_readings: ReadingStore | None = None,
        is_current: Callable[[Customer], bool] = lambda customer: False,
        uploads: UnsavedUploads | None = None,
    ) -> None:
        super().__init__(clock, self.tick, INTERVAL, what="evaluating the states of sites", log=log, longest_rest=30.0)
        self._customers = customers
        self._documents = documents
        self._readings: ReadingStore = BatchingReadingStore(readings, clock)
        self._cached_readings = cached_readings or self._readings
        self._is_current = is_current
        self._evaluated = evaluated
        self._stored = stored
        self._max_gap = max_gap
        self._uploads = uploads
        self._changed_at: dict[str, float] = {}
        self._again: dict[str, float] = {}
        """Customer id -> time of the second evaluation after a notification."""
        self._finished: set[str] = set()
        """Customers with a notification whose jobs have run since."""
        self._due: dict[str, int] = {}
        """Customer id -> when the state may change by itself, of the sites that this daemon has evaluated."""
        self._good: set[str] = set()
        """Customers whose sites were good when they were evaluated here."""
        self._passed = self._compared = self._searched = float("-inf")

    def site_changed(self, customer_id: str) -> None:
        """Notify the service of new data or changed settings of a customer."""
        self._changed_at.setdefault(customer_id, self._clock.seconds())
        self._finished.discard(customer_id)

    def finished(self, customer_id: str) -> None:
        """Notify the service that a customer's jobs have run: rollups and energy are stored."""
        if customer_id in self._changed_at:
            self._finished.add(customer_id)
        if customer_id in self._again:
            self._again[customer_id] = min(self._again[customer_id], self._clock.seconds())

    async def tick(self) -> None:
        """One pass: evaluate sites with notifications, and sites that are due."""
        now = self._clock.seconds()
        if 0 <= now - self._passed < PASS_SECONDS:
            return
        fresh = {key for key, since in self._changed_at.items() if self._is_time(key, since, now)}
        others = {key for key in await self._due_at(now) if key not in self._changed_at}
        if now - self._compared >= COMPARE_EVERY or now < self._compared:
            for key in await self._unknown():  # its logger may be uploading for the first time, to any daemon
                self.site_changed(key)
            self._compared = now
        others.update(key for key, at in self._again.items() if at <= now or at > now + SECOND_EVALUATION)
        for batch in _batches(fresh | others):
            final = self._finished.intersection(fresh)
            await self.evaluate(batch, numbers_later=fresh - others - final)
            final &= self._finished  # without those that have changed again
            for key in (others | final).intersection(batch):
                self._again.pop(key, None)
            for key in fresh.intersection(batch):
                self._changed_at.pop(key, None)
                if key not in final:
                    self._again.setdefault(key, now + SECOND_EVALUATION)
            self._finished -= final.intersection(batch)
            self._passed = now

    def _is_time(self, customer_id: str, since: float, now: float) -> bool:
        """Whether a site with a notification is evaluated now."""
        if since > now:
            return True  # the clock was set back
        calm = customer_id in self._good and self._uploads is not None and self._uploads.has_unsaved(customer_id)
        wait = CALM_SECONDS if calm and customer_id not in self._finished else SETTLING
        return since <= now - wait

    async def _due_at(self, now: float) -> set[str]:
        """The customers whose sites' states may have changed by themselves."""
        mine = [key for key, due in self._due.items() if due <= now]
        found = set(mine)
        for key, site in (await self._documents.get_many(SITE, mine) if mine else {}).items():
            if site.due is not None and site.due > now:  # another daemon has evaluated it since
                self._due[key] = site.due
                found.discard(key)
        if not 0 <= now - self._searched < DUE_SECONDS:
            stored = await self._documents.find(SITE, due_before=int(now) + 1, limit=DUE_AT_ONCE)
            self._searched = now if len(stored) < DUE_AT_ONCE else float("-inf")
            found |= {document.key for document in stored}
        return found

    async def evaluate(self, customer_ids: Sequence[str], *, numbers_later: Collection[str] = ()) -> None:
        """Evaluate some customers now.

        :param numbers_later: those whose state is not stored if it differs from the stored one only in numbers, because it is
            evaluated again soon.
        """
        now = int(self._clock.seconds())
        customers = await self._customers.get_many(customer_ids)
        await self._forget([each for each in customer_ids if each not in customers])
        known = list(customers.values())
        if not known:
            return
        stored = await documents_of(known, self._documents)
        before = stored.sites
        if self._uploads is not None:
            for logger in stored.loggers.values():
                self._uploads.compare(logger.key, logger.body)
        current = {each.id for each in known if self._is_current(each)}
        last = await self._last(known, current)
        uploads = {each.id: found for each in known if (found := self._uploads_of(each.id, before.get(each.id)))}
        pause = CooperativeYield(self._clock)
        states = await site_states(
            known, self._documents, now, last, self._readings, stored=stored, uploads=uploads, pause=pause
        )
        olds = [summary_from_json(before[each.id].body) if each.id in before else None for each in known]
        evaluations = [SiteEvaluation(*each) for each in zip(known, states, olds, strict=True)]
        alerts = await self._evaluated(evaluations)
        energies = await self._energies(evaluations, now, current, last)
        summaries = [
            summary_of(
                customer, state, energy_day=day, energy=energy, alerts=alerts.get(customer.id, old.alerts if old else 0)
            )
            for (customer, state, old), (day, energy) in zip(evaluations, energies, strict=True)
        ]
        await self._store(self._to_store(evaluations, summaries, now, numbers_later), before)
        self._stored(summaries, ())

    def _to_store(
        self,
        evaluations: Sequence[SiteEvaluation],
        summaries: Sequence[SiteSummary],
        now: int,
        numbers_later: Collection[str],
    ) -> list[NewDocument]:
        """The documents to store; for all states it is noted when they are due."""
        items = []
        for (customer, state, old), summary in zip(evaluations, summaries, strict=True):
            due = self._due[customer.id] = min(now + LONGEST, state.next_change or now + LONGEST)
            (self._good.add if state.kind == "good" else self._good.discard)(customer.id)
            if old is None or customer.id not in numbers_later or not differ_in_numbers_only(old, summary):
                items.append(NewDocument(customer.id, summary_to_json(summary), state.kind, due))
        return items

    async def _forget(self, customer_ids: Sequence[str]) -> None:
        """Delete the states of removed customers."""
        gone = list(await self._documents.get_many(SITE, customer_ids)) if customer_ids else []
        for each in customer_ids:
            self._due.pop(each, None)
            self._good.discard(each)
        for each in gone:
            await self._documents.delete(SITE, each)
        self._stored((), gone)

    def _uploads_of(self, customer_id: str, stored: Document | None) -> Uploads | None:
        """The stored regular uploads of a customer's logger, and those since to this daemon."""
        known, new = uploads_in(stored), self._uploads.unsaved(customer_id) if self._uploads else None
        return new.joined(known) if new is not None else known

    async def _store(self, items: Sequence[NewDocument], before: Mapping[str, Document]) -> None:
        """Store states with the regular uploads. If another daemon has stored one meanwhile, its uploads are kept as well."""
        left = {item.key: item for item in items}
        for _ in range(_ATTEMPTS):
            uploads = {key: found for key in left if (found := self._uploads_of(key, before.get(key)))}
            new = [
                (
                    item._replace(body={**item.body, **(uploads[key].to_json() if key in uploads else {})}),
                    before.get(key),
                )
                for key, item in left.items()
            ]
            stored = await self._documents.replace_many(SITE, [(item, old.version if old else 0) for item, old in new])
            for (item, _), is_stored in zip(new, stored, strict=True):
                if is_stored:
                    del left[item.key]
                    if self._uploads is not None and item.key in uploads:
                        self._uploads.saved(item.key, uploads[item.key])
            if not left:
                return
            before = await self._documents.get_many(SITE, list(left))
        log.info("{sites} states of sites are also being stored by other daemons", sites=len(left))

    def _store_of(self, customer: Customer, current: Collection[str]) -> ReadingStore:
        return self._cached_readings if customer.id in current else self._readings

    async def _last(self, customers: Sequence[Customer], current: Collection[str]) -> Mapping[str, Reading] | None:
        found: dict[str, Reading] = {}
        try:
            for store in (self._cached_readings, self._readings):
                series = series_of_roles([each for each in customers if self._store_of(each, current) is store])
                if series:
                    found |= await store.last(series)
        except (StoreUnavailable, Overloaded):
            return None
        return found

    async def _energies(
        self,
        evaluations: Sequence[SiteEvaluation],
        now: int,
        current: Collection[str],
        last: Mapping[str, Reading] | None,
    ) -> list[tuple[str, tuple[DayEnergy, ...]]]:
        """The energy of each site's day."""
        work = [self._energy(each, now, self._store_of(each.customer, current), last) for each in evaluations]
        return await gather_limited(work, AT_ONCE, CooperativeYield(self._clock))  # cached readings wait for nothing

    async def _energy(
        self,
        evaluation: SiteEvaluation,
        now: int,
        readings: ReadingStore,
        last: Mapping[str, Reading] | None,
    ) -> tuple[str, tuple[DayEnergy, ...]]:
        customer, _, old = evaluation
        kept = (old.energy_day, old.energy) if old else ("", ())
        if last is None or not customer.logger_serial_number:
            return kept
        newest = {series: last.get(series) for series in customer.role_series}
        try:
            # A site is evaluated when it has new readings: what is kept is for those who look at it in between.
            found = await energy_today(customer, readings, now, max_gap=self._max_gap, last=newest, keep=False)
        except InvalidField:
            return "", ()  # its stored time zone is unknown, and so is its day
        except (StoreUnavailable, Overloaded):
            return kept
        energies = [(role, each) for role in ROLES if (each := found["energy"][role]) and each["covered_seconds"]]
        return found["date"], tuple(DayEnergy(role, each["import_kwh"], each["export_kwh"]) for role, each in energies)

    async def _unknown(self) -> list[str]:
        """Ids of customers without an evaluation, and of evaluations without a customer; only searched for if their numbers differ."""
        if await self._customers.count() == await self._documents.count(SITE):
            return []
        found: list[str] = []
        after: str | None = None
        while page := await self._customers.page(after=after, limit=BATCH):
            ids = [customer.id for customer in page]
            known = await self._documents.get_many(SITE, ids)
            found += [each for each in ids if each not in known]
            after = ids[-1]
        return found or await self._orphans()

    async def _orphans(self) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while documents := await self._documents.find(SITE, after_key=after, limit=BATCH):
            ids = [document.key for document in documents]
            known = await self._customers.get_many(ids)
            found += [each for each in ids if each not in known]
            after = ids[-1]
        return found


def _batches(ids: Iterable[str]) -> Iterable[Sequence[str]]:
    every = list(ids)
    return [every[start : start + BATCH] for start in range(0, len(every), BATCH)]
