"""The list of all sites: filtered, sorted, counted and totalled. Works while the readings store is down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from heapq import merge
from math import fsum
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.model import ROLES, Role
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.documents.kinds import SITE
from cenergyd.documents.store import DocumentStore
from cenergyd.jobs.site_state.model import KINDS, IssueKind
from cenergyd.jobs.site_state.summary import DayEnergy, SiteSummary, summary_from_json
from cenergyd.runtime.clock import Clock
from cenergyd.runtime.yielding import Cooperate, without_yielding

T = TypeVar("T")

MAX_SITES = 200_000
AT_ONCE = 1000
"""Sites read by one query, whose documents take some 20 ms of the reactor's time."""
_SITES_OF_STEP = 500
"""Sites processed between two yields to the reactor: one or two milliseconds of work."""
_SORTED_AT_ONCE = 2000
"""Sites sorted between two yields to the reactor: some milliseconds of work."""
REUSED = 10
"""The list is valid for this many times as long as it took to read: few sites are read at every request, many sites rarely."""
OLDEST = 60.0
"""Maximum seconds between two reads of all sites; sites that this daemon evaluates are updated at once."""

Sort = Literal[
    "state", "name", "utility", "load", "solar",
    "load_today", "solar_today", "import_today", "export_today", "alerts", "last_upload",
]  # fmt: skip
SORTS: tuple[Sort, ...] = get_args(Sort)
"""``state``: worst first. ``utility``, ``load``, ``solar``: kW now. ``load_today``, ``solar_today``, ``import_today``, ``export_today``: kWh
today of load, of solar, from and to the grid."""
RENAMED_SORTS: Mapping[str, Sort] = {
    "used": "load_today", "made": "solar_today", "drawn": "import_today", "fed": "export_today"
}  # fmt: skip
"""Names of earlier versions, which still work."""
_RANKS: Mapping[IssueKind, int] = {kind: rank for rank, kind in enumerate(KINDS)}
_ENERGY: Mapping[str, tuple[Role, Literal["imported", "exported"]]] = {
    "load_today": ("load", "imported"),
    "solar_today": ("solar", "imported"),
    "import_today": ("utility", "imported"),
    "export_today": ("utility", "exported"),
}


@attrs.frozen(kw_only=True)
class FleetQuery:
    """Which sites, in which order."""

    state: IssueKind | Literal["problems", ""] = ""
    """One state, or ``problems``: every state except good and computing."""
    search: str = ""
    """Part of a name or serial number, any case."""
    sort: Sort = "state"
    descending: bool = False
    offset: int = 0
    limit: int = 100


log = Logger()


class FleetTotals(NamedTuple):
    """Totals of sites."""

    power: Mapping[Role, float]
    """kW now, of the sites with current values; roles that no site has are left out."""
    current: int
    """Number of sites whose power is known now."""
    energy: Mapping[Role, DayEnergy]
    """kWh so far in each site's day."""


class FleetPage(NamedTuple):
    """A page of the list, and the totals of all its pages."""

    sites: Sequence[SiteSummary]
    matching: int
    """Number of sites that match the query, on all pages."""
    counts: Mapping[IssueKind, int]
    """State -> number of the sites that match the search."""
    totals: FleetTotals
    """Totals of the sites that match the search, whatever their state."""


class FleetReader:
    """All sites' summaries in memory: read at the start, updated when this daemon evaluates a site, and re-read for changes by other daemons."""

    def __init__(self, documents: DocumentStore, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._sites: dict[str, SiteSummary] = {}
        self._read_at = self._fresh_until = float("-inf")
        self._reading: list[Deferred[None]] | None = None
        self._taken: dict[str, SiteSummary | None] = {}
        """Sites that were evaluated or removed (None) while the store is being read."""

    async def page(self, query: FleetQuery, cooperate: Cooperate = without_yielding) -> FleetPage:
        """A page of the list.

        :param cooperate: awaited every few milliseconds of computation.
        """
        return await list_page(await self.sites(), query, int(self._clock.seconds()), cooperate)

    async def sites(self) -> Sequence[SiteSummary]:
        """All sites, unordered. Only callers before the end of the first read have to wait."""
        now = self._clock.seconds()
        if self._read_at > now or self._read_at == float("-inf"):
            await self._read()
        elif now >= self._fresh_until and self._reading is None:
            Deferred.fromCoroutine(self._read()).addErrback(_later)
        return list(self._sites.values())

    async def refresh(self) -> None:
        """Read all sites again if that is due; called regularly."""
        if not self._read_at <= self._clock.seconds() < self._read_at + max(OLDEST, self._fresh_until - self._read_at):
            await self._read()

    def counts(self) -> dict[IssueKind, int]:
        """Number of sites in each state, as far as they have been read."""
        counts = Counter(site.state.kind for site in self._sites.values())
        return {kind: counts[kind] for kind in KINDS}

    def take(self, summaries: Iterable[SiteSummary], gone: Iterable[str] = ()) -> None:
        """Update sites that were just evaluated, and remove sites whose customers are gone."""
        changed: dict[str, SiteSummary | None] = {site.customer_id: site for site in summaries}
        changed |= dict.fromkeys(gone)
        if self._reading is not None:
            self._taken |= changed
        _apply(self._sites, changed)

    def forget(self) -> None:
        """Read all sites again at the next request, because this daemon has changed something that is not evaluated yet."""
        self._read_at = self._fresh_until = float("-inf")

    async def _read(self) -> None:
        if self._reading is not None:
            waiting: Deferred[None] = Deferred()
            self._reading.append(waiting)
            return await waiting
        self._reading = []
        self._taken = {}
        fault: Failure | None = None
        try:
            began = self._clock.seconds()
            sites = await self._stored()
            _apply(sites, self._taken)
            self._sites = sites
            self._read_at = self._clock.seconds()
            self._fresh_until = self._read_at + REUSED * (self._read_at - began)
        except Exception:
            fault = Failure()
            raise
        finally:
            others, self._reading = self._reading, None
            for other in others:
                other.callback(fault)  # a Failure makes it an errback

    async def _stored(self) -> dict[str, SiteSummary]:
        sites: dict[str, SiteSummary] = {}
        after: str | None = None
        read = 0
        while read < MAX_SITES:
            documents = await self._documents.find(SITE, after_key=after, limit=AT_ONCE)
            summaries = (summary_from_json(document.body) for document in documents)
            sites |= {summary.customer_id: summary for summary in summaries if summary is not None}
            if len(documents) < AT_ONCE:
                break
            read, after = read + AT_ONCE, documents[-1].key
        return sites


def _apply(sites: dict[str, SiteSummary], changed: Mapping[str, SiteSummary | None]) -> None:
    for key, summary in changed.items():
        if summary is None:
            sites.pop(key, None)
        else:
            sites[key] = summary


async def list_page(
    sites: Sequence[SiteSummary], query: FleetQuery, now: int, cooperate: Cooperate = without_yielding
) -> FleetPage:
    """A page of the list at ``now``, in steps of a few milliseconds."""
    words, days = query.search.casefold(), _Days(now)
    found: list[SiteSummary] = []
    counts: Counter[IssueKind] = Counter()
    totals = _Totals(days)
    for batch in _batches(sites, _SITES_OF_STEP):
        matching = [site for site in batch if words in f"{site.name}\0{site.serial}".casefold()] if words else batch
        found += matching
        counts.update(site.state.kind for site in matching)
        totals.add(matching)
        await cooperate()
    wanted = [site for site in found if _is_wanted(site, query.state)]
    await cooperate()
    ordered = await _ordered(wanted, query, days, cooperate)
    page = ordered[query.offset : query.offset + query.limit]
    return FleetPage(page, len(wanted), {kind: counts[kind] for kind in KINDS}, totals.result())


async def _ordered(
    sites: Sequence[SiteSummary], query: FleetQuery, days: _Days, cooperate: Cooperate
) -> Sequence[SiteSummary]:
    ordered = await _sorted(
        sites, lambda site: (_RANKS[site.state.kind], site.title.casefold(), site.customer_id), False, cooperate
    )
    if query.sort == "state":
        return ordered[::-1] if query.descending else ordered
    key = _KEYS[query.sort]
    known: list[tuple[Any, SiteSummary]] = []
    unknown: list[SiteSummary] = []
    for batch in _batches(ordered, _SITES_OF_STEP):
        for site in batch:
            value = key(site, days)
            if value is None:
                unknown.append(site)
            else:
                known.append((value, site))
        await cooperate()
    by_value = await _sorted(known, itemgetter(0), query.descending, cooperate)
    return [site for _, site in by_value] + unknown


async def _sorted(items: Sequence[T], key: Callable[[T], Any], reverse: bool, cooperate: Cooperate) -> list[T]:
    """As ``sorted``, in steps: each batch by itself, then merged."""
    runs = []
    for batch in _batches(items, _SORTED_AT_ONCE):
        runs.append(sorted(batch, key=key, reverse=reverse))
        await cooperate()
    if len(runs) <= 1:
        return runs[0] if runs else []
    merged: list[T] = []
    for number, item in enumerate(merge(*runs, key=key, reverse=reverse)):
        merged.append(item)
        if number % _SITES_OF_STEP == 0:
            await cooperate()
    return merged


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def energy_now(site: SiteSummary, now: int) -> Mapping[Role, DayEnergy]:
    """A site's energy of today by role; empty if the stored energy is of another day."""
    return {each.role: each for each in _Days(now).energy(site)}


def _later(failure: Failure) -> None:
    log.warn("the list of sites cannot be read, the previous one is used: {reason}", reason=failure.getErrorMessage())


class _Totals:
    """The totals of the sites added so far."""

    def __init__(self, days: _Days) -> None:
        self._days = days
        self._power: dict[Role, list[float]] = {role: [] for role in ROLES}
        self._imported: dict[Role, list[float]] = {role: [] for role in ROLES}
        self._exported: dict[Role, list[float]] = {role: [] for role in ROLES}
        self._current = 0

    def add(self, sites: Sequence[SiteSummary]) -> None:
        """Further sites."""
        for site in sites:
            powers = [(each.role, each.present_power(self._days.now)) for each in site.state.roles]
            known = [(role, power) for role, power in powers if power is not None]
            self._current += bool(known)
            for role, value in known:
                self._power[role].append(value)
            for each in self._days.energy(site):
                self._imported[each.role].append(each.imported)
                self._exported[each.role].append(each.exported)

    def result(self) -> FleetTotals:
        """The totals."""
        energy = {role: DayEnergy(role, fsum(self._imported[role]), fsum(self._exported[role])) for role in ROLES}
        power = {role: fsum(values) for role, values in self._power.items() if values}
        return FleetTotals(power, self._current, energy)


class _Days:
    """The present date at each site."""

    def __init__(self, now: int) -> None:
        self.now = now
        self._utc = datetime.fromtimestamp(now, UTC)
        self._days: dict[str, str] = {}

    def energy(self, site: SiteSummary) -> Sequence[DayEnergy]:
        day = self._days.get(site.time_zone)
        if day is None:
            day = self._utc.astimezone(zone_or_utc(site.time_zone)).date().isoformat()
            self._days[site.time_zone] = day
        return site.energy if site.energy_day == day else ()


def _is_wanted(site: SiteSummary, state: str) -> bool:
    if state == "problems":
        return site.state.kind not in ("good", "computing")
    return not state or site.state.kind == state


def _energy_key(name: str) -> Callable[[SiteSummary, _Days], object]:
    role, way = _ENERGY[name]

    def key(site: SiteSummary, days: _Days) -> float | None:
        return next((getattr(each, way) for each in days.energy(site) if each.role == role), None)

    return key


def _power_key(role: Role) -> Callable[[SiteSummary, _Days], object]:
    return lambda site, days: site.power(role, days.now)


_KEYS: Mapping[str, Callable[[SiteSummary, _Days], object]] = {
    "name": lambda site, _: site.title.casefold(),
    "alerts": lambda site, _: site.alerts,
    "last_upload": lambda site, _: site.state.last_upload,
    **{role: _power_key(role) for role in ROLES},
    **{name: _energy_key(name) for name in _ENERGY},
}
