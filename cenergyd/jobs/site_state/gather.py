"""Reads the facts about sites, in a few queries however many sites there are.

Nearly all of it is in documents, so a site's state is known while the readings store is down. If that answers, its newest readings are used
as well, because documents are written some seconds later and a crash may lose the last ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import attrs

from cenergyd.customers.meter_sum import is_sum
from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.customers.ownership import owns, without_foreign
from cenergyd.derivation.status import reached_before, results_of, stored_range
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.documents.kinds import ALERT, HELD_METER, LOGGER, REJECTED, SITE
from cenergyd.documents.loggers import Uploads, uploads_in, with_uploads
from cenergyd.documents.meters import known_meters
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import InvalidField
from cenergyd.ingest.activity_record import CURRENT, OUTAGE
from cenergyd.ingest.upload_interval import usual_gap
from cenergyd.jobs.alerts.rules import alerts_of
from cenergyd.jobs.site_state.evaluate import evaluate, is_silent
from cenergyd.jobs.site_state.model import (
    ComputedFacts,
    HeldSummary,
    LoggedError,
    LoggerFacts,
    MeterStatus,
    Outage,
    PendingRange,
    Refusal,
    SiteFacts,
    SiteState,
    SumFacts,
)
from cenergyd.jobs.site_state.solar_zero import may_be_dark, solar_zero_since
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.yielding import Cooperate, without_yielding


class SiteDocuments(NamedTuple):
    """The documents about some sites."""

    sites: Mapping[str, Document]
    """By customer."""
    loggers: Mapping[str, Document]
    """By serial number."""
    held: Mapping[str, Document]
    """Meters with held logs, by series."""
    alerts: Mapping[str, Document]
    """Of one customer, if they were asked for."""


async def documents_of(
    customers: Sequence[Customer], documents: DocumentStore, *, alerts_of: str | None = None
) -> SiteDocuments:
    """The documents about the sites of customers, in one round trip.

    :param alerts_of: id of the customer whose alerts are read as well.
    """
    serials = [customer.logger_serial_number for customer in customers if customer.logger_serial_number]
    found = await documents.get_kinds(
        {
            SITE: [customer.id for customer in customers],
            LOGGER: serials,
            HELD_METER: series_of_roles(customers) if serials else [],
        },
        owned={} if alerts_of is None else {ALERT: alerts_of},
    )
    return SiteDocuments(found[SITE], found[LOGGER], found[HELD_METER], found.get(ALERT, {}))


class _StoredFacts(NamedTuple):
    """The data read for all sites."""

    loggers: Mapping[str, Document]
    meters: Mapping[str, Document]
    derivations: Mapping[str, ReadOnlyJson]
    held: Mapping[str, Document]
    last: Mapping[str, Reading]


def series_of_roles(customers: Iterable[Customer]) -> list[str]:
    """The series of every role that has one now, measured or computed, and of the meters of sums, each once."""
    return list(dict.fromkeys(series for customer in customers for series in customer.role_series))


async def gather(
    customers: Sequence[Customer],
    documents: DocumentStore,
    last: Mapping[str, Reading] | None = None,
    stored: SiteDocuments | None = None,
    uploads: Mapping[str, Uploads] | None = None,
) -> list[SiteFacts]:
    """The facts about each customer's site, without refused uploads (:func:`with_refusals`).

    :param last: the newest reading of each series (:func:`series_of_roles`); None if the readings store does not answer.
    :param stored: the documents about the sites; None: they are read.
    :param uploads: the regular uploads of their loggers, by customer; None: the stored ones.
    """
    if stored is None:
        stored = await documents_of(customers, documents)
    if uploads is None:
        uploads = {key: found for key, site in stored.sites.items() if (found := uploads_in(site)) is not None}
    loggers = dict(stored.loggers)
    for customer in customers:
        if (logger := loggers.get(customer.logger_serial_number)) is not None:
            loggers[logger.key] = with_uploads(logger, uploads.get(customer.id))
    known = _StoredFacts(
        loggers,
        await known_meters(documents, series_of_roles(customers), loggers),
        await results_of(customers, documents),
        stored.held,
        last or {},
    )
    return [_facts(customer, known) for customer in customers]


async def with_refusals(sites: Sequence[SiteFacts], documents: DocumentStore, now: int) -> list[SiteFacts]:
    """The facts with the last refused upload of those loggers that do not upload."""
    serials = [each.customer.logger_serial_number for each in sites if is_silent(each.logger, now)]
    rejected = await documents.get_many(REJECTED, serials) if any(serials) else {}
    return [
        attrs.evolve(each, refusal=_refusal(rejected[serial]))
        if (serial := each.customer.logger_serial_number) in rejected
        else each
        for each in sites
    ]


async def site_states(
    customers: Sequence[Customer],
    documents: DocumentStore,
    now: int,
    last: Mapping[str, Reading] | None = None,
    readings: ReadingStore | None = None,
    *,
    stored: SiteDocuments | None = None,
    uploads: Mapping[str, Uploads] | None = None,
    pause: Cooperate = without_yielding,
) -> list[SiteState]:
    """The state of each customer's site at ``now``.

    :param last: see :func:`gather`.
    :param stored: see :func:`gather`.
    :param uploads: see :func:`gather`.
    :param readings: the store from which the last days of solar meters without power by day are read; None: they are not checked.
    :param pause: awaited before each site: two hundred take 20 ms.
    """
    states = []
    for facts in await with_refusals(await gather(customers, documents, last, stored, uploads), documents, now):
        await pause()
        known = facts
        if readings is not None and last is not None and may_be_dark(facts, now):
            since = await solar_zero_since(facts.customer, facts, readings, now)
            known = attrs.evolve(facts, solar_zero_since=since)
        states.append(evaluate(known, now))
    return states


def _facts(customer: Customer, known: _StoredFacts) -> SiteFacts:
    serial = customer.logger_serial_number
    known = known._replace(last=without_foreign(customer, known.last))
    result = known.derivations.get(customer.id, {})
    meters = tuple(
        _meter(customer, role, series, known) for role in ROLES for series in customer.measured_series_of(role)
    )
    return SiteFacts(
        customer=customer,
        logger=attrs.evolve(_logger(known.loggers.get(serial), meters), own_limit=_own_limit(customer)),
        meters=meters,
        sums=tuple(_sum(customer, role, known) for role in ROLES if is_sum(customer.current.meter_of(role))),
        computed=_computed(customer, result, known.last),
        backlog=_backlog(customer, result),
    )


def _logger(document: Document | None, meters: Sequence[MeterStatus]) -> LoggerFacts:
    # A crash may lose the time of an upload, but not its readings.
    newest = max((meter.last_time for meter in meters if meter.last_time is not None), default=None)
    if document is not None and (uploaded := _int(document.body.get("last_upload"))) is not None:
        known = max(uploaded, newest or 0) if document.body.get(CURRENT) else uploaded
        outage = document.body.get(OUTAGE)
        return LoggerFacts(
            last_upload=known,
            usual_gap=usual_gap(document.body.get("gaps") or ()),
            outage=Outage(*outage) if outage else None,
        )
    return LoggerFacts(last_upload=newest)


def _own_limit(customer: Customer) -> int | None:
    try:
        settings = alerts_of(customer)
    except InvalidField:
        return None
    return settings.silent_logger.after_minutes * 60 if settings and settings.silent_logger.enabled else None


def _sum(customer: Customer, role: Role, known: _StoredFacts) -> SumFacts:
    reading = known.last.get(customer.series_of(role) or "")
    power = reading.P if reading else None
    if power is not None and role in customer.current.reversed_roles:
        power = -power
    return SumFacts(role=role, last_time=reading.time if reading else None, power=power)


def _meter(customer: Customer, role: Role, series: str, known: _StoredFacts) -> MeterStatus:
    document = known.meters.get(series)
    body: Mapping[str, object] = document.body if document else {}
    time, values = _int(body.get("last_time")), body.get("last")
    if time is not None and not owns(customer, customer.logger_serial_number, time):
        body, time, values = {}, None, None  # these are from the time of the logger's previous customer
    power = values.get("P") if isinstance(values, Mapping) else None
    reading = known.last.get(series)
    if reading is not None and reading.time >= (time or 0):
        time, power = reading.time, reading.P
    if power is not None and role in customer.current.reversed_roles:
        power = -power
    return MeterStatus(
        role=role,
        meter=series.rpartition("_")[2],
        last_time=time,
        power=power,
        last_upload=_int(body.get("last_upload")),
        interval=_int(body.get("interval")),
        error=_error(body.get("error")),
        held=_held(known.held.get(series)),
    )


def _held(document: Document | None) -> HeldSummary | None:
    """The logs that are held unread; whatever the device is, a role needs it."""
    body: Mapping[str, object] = document.body if document else {}
    logs, since = _int(body.get("logs")), _int(body.get("since"))
    return HeldSummary(since, logs) if logs and since is not None else None


def _error(stored: object) -> LoggedError | None:
    return LoggedError(int(stored["code"]), int(stored["time"])) if isinstance(stored, Mapping) else None


def _computed(customer: Customer, result: Mapping[str, object], last: Mapping[str, Reading]) -> ComputedFacts | None:
    role = customer.missing_role
    if role is None or not customer.logger_serial_number:
        return None
    reading = last.get(customer.series_of(role) or "")
    failure = result.get("failure")
    failed: Mapping[str, object] = failure if isinstance(failure, Mapping) else {}
    return ComputedFacts(
        role=role,
        last_time=reading.time if reading else reached_before(result),
        power=reading.P if reading else None,
        failing_plugin=str(failed.get("plugin") or ""),
        failing_since=_int(failed.get("since")),
        no_plugin=bool(result.get("no_plugin")),
    )


def _backlog(customer: Customer, result: Mapping[str, object]) -> PendingRange | None:
    time_range = stored_range(result)
    if time_range is not None:
        start, end, done = (_int(time_range.get(name)) for name in ("start", "end", "done"))
        if start is not None and end is not None and done is not None and done < end:
            return PendingRange(start, end, done)
    if customer.pending_start is not None and customer.pending_end is not None:
        return PendingRange(customer.pending_start, customer.pending_end, customer.pending_start)
    return None


def _refusal(document: Document) -> Refusal:
    return Refusal(_int(document.body.get("time")) or 0, str(document.body.get("reason") or "refused"))


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
