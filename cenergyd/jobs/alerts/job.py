"""Alerts of customers: evaluates readings, stores states, sends messages.

One document of kind ``alert`` per customer, kind of alert and series holds the state and the messages still to be queued (``unsent``). Both
change in one compare-and-set, and messages are queued only after that, with ids that the outbox accepts only once. So two daemons that
evaluate the same readings send one message, and a crash at any point neither loses nor repeats one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import attrs
from twisted.logger import Logger

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.documents.kinds import ALERT, HELD_METER
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict, InvalidField
from cenergyd.hookspecs import JobContext, Notification, WindowVerdict
from cenergyd.ingest.held_meters import is_not_understood
from cenergyd.jobs.alerts.checks import (
    MINUTE,
    QUARTER,
    check_implausible,
    check_net_load,
    check_power_factor,
    check_stuck,
    check_voltage,
    closed,
    stuck_resolution,
)
from cenergyd.jobs.alerts.rules import NOT_UNDERSTOOD, RULES, SITE_RULES, AlertSettings, alerts_of
from cenergyd.jobs.alerts.state import AlertEvent, AlertState, Limits, state_from_json, state_to_json, step
from cenergyd.jobs.alerts.text import PluginAlertText, write_message
from cenergyd.jobs.messages.site_name import site_name
from cenergyd.readings.signs import sign_corrected_summary
from cenergyd.readings.store import Summary

SILENT = "silent_logger"
"""The alert by the customer's own rule for a silent logger; raised with the site's state (:mod:`.site_alerts`)."""
CHECK_AGAIN_SECONDS = 3600
"""Seconds between checks of an active alert: its rule or meter may have been removed."""
KEEP_DAYS = 30
"""Days after which an idle alert is deleted."""
TRIES = 10
log = Logger()


class AlertKey(NamedTuple):
    """Identifies an alert."""

    customer_id: str
    kind: str
    series: str

    def text(self) -> str:
        """The key of its document."""
        return f"{self.customer_id}/{self.kind}/{self.series}"


class AlertView(NamedTuple):
    """An alert for display."""

    kind: str
    series: str
    state: AlertState


class Evaluation(NamedTuple):
    """A customer, its alert settings, and the job's context."""

    customer: Customer
    settings: AlertSettings
    context: JobContext


async def alerts_for(documents: DocumentStore, customer_id: str) -> list[AlertView]:
    """A customer's alerts that are active or have a history, active ones first."""
    limit = len(RULES) * len(ROLES) * 4
    return alert_views(await documents.find(ALERT, owner=customer_id, limit=limit))


def alert_views(found: Iterable[Document]) -> list[AlertView]:
    """The alerts that documents hold, active ones first."""
    views = [AlertView(d.body["kind"], d.body["series"], state_from_json(d.body["state"])) for d in found]
    return sorted(views, key=lambda view: (not view.state.active, -view.state.since, view.kind))


async def evaluate_readings(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Evaluate new or changed readings of ``start <= time < end``; old ones are ignored."""
    settings = settings_or_none(customer)
    fresh_from = max(start, context.now - context.settings.alerts.max_age_seconds)
    if settings is None or end <= fresh_from:
        return
    evaluation = Evaluation(customer, settings, context)
    verdicts = await _evaluate(evaluation, fresh_from, min(end - 1, context.now))
    keys = {key.text(): key for key in verdicts}
    known = await context.documents.get_many(ALERT, list(keys)) if keys else {}
    for text, key in keys.items():
        await apply_verdicts(evaluation, key, verdicts[key], known.get(text))


async def maintain_alerts(context: JobContext) -> None:
    """Queue messages that a crash left unsent, check active alerts again, delete idle ones."""
    for document in await context.documents.find(ALERT, due_before=context.now + 1, limit=500):
        try:
            if document.body["unsent"]:
                await _send_unsent(document, context)
            elif document.body["state"]["active"]:
                await _check_again(document, context)
            else:
                await context.documents.delete(ALERT, document.key, expected_version=document.version)
        except Conflict:
            continue  # another daemon was faster


async def _evaluate(evaluation: Evaluation, first: int, last: int) -> dict[AlertKey, list[WindowVerdict]]:
    customer, settings, context = evaluation
    wanted = _wanted_roles(customer, settings)
    if not wanted:
        return {}
    # Begin a quarter of an hour earlier, to evaluate a window that had not ended at the last evaluation.
    start, end = first - first % QUARTER - QUARTER, last - last % QUARTER + QUARTER
    series = {role: name for role in wanted if (name := customer.series_of(role)) is not None}
    summaries = await context.readings.summarise(list(series.values()), start, end, MINUTE)
    minutes = {role: _sign_corrected(customer, role, summaries.get(name, ())) for role, name in series.items()}
    found: dict[AlertKey, list[WindowVerdict]] = {}
    for kind, role, verdicts in _check_minutes(evaluation, minutes):
        found[AlertKey(customer.id, kind, series[role])] = verdicts
    if settings.stuck_meter.enabled:
        for name, verdicts in (await _check_stuck(evaluation, last)).items():
            found[AlertKey(customer.id, "stuck_meter", name)] = verdicts
    return {key: verdicts for key, verdicts in found.items() if verdicts}


def _check_minutes(
    evaluation: Evaluation, minutes: Mapping[Role, Sequence[Summary]]
) -> Iterable[tuple[str, Role, list[WindowVerdict]]]:
    customer, settings, now = evaluation.customer, evaluation.settings, evaluation.context.now
    ended = {role: closed(windows, MINUTE, now) for role, windows in minutes.items()}
    if settings.net_load.enabled and "utility" in ended:
        yield "net_load", "utility", check_net_load(ended["utility"], settings.net_load)
    factor, voltage, implausible = settings.power_factor, settings.voltage, settings.implausible
    if factor.enabled and factor.role in ended:
        yield "power_factor", factor.role, check_power_factor(ended[factor.role], factor)
    if voltage.enabled and voltage.role in ended:
        yield "voltage", voltage.role, check_voltage(ended[voltage.role], voltage)
    if implausible.enabled:
        checkable: tuple[Role, ...] = ("solar", "load")
        for role in checkable:
            if role in minutes:
                yield (
                    "implausible",
                    role,
                    check_implausible(minutes[role], implausible, role, zone_or_utc(customer.time_zone), now),
                )


async def _check_stuck(evaluation: Evaluation, last: int) -> dict[str, list[WindowVerdict]]:
    customer, settings, context = evaluation
    measured = [name for role in ROLES for name in customer.measured_series_of(role)]
    resolution = stuck_resolution(settings.stuck_meter)
    start = last - settings.stuck_meter.after_minutes * 60 - resolution
    summaries = await context.readings.summarise(measured, start - start % resolution, last + 1, resolution)
    return {name: check_stuck(summaries.get(name, ()), settings.stuck_meter, last) for name in measured}


def _wanted_roles(customer: Customer, settings: AlertSettings) -> set[Role]:
    wanted: set[Role] = set()
    if not customer.logger_serial_number:
        return wanted
    if settings.net_load.enabled:
        wanted.add("utility")
    if settings.power_factor.enabled:
        wanted.add(settings.power_factor.role)
    if settings.voltage.enabled:
        wanted.add(settings.voltage.role)
    if settings.implausible.enabled:
        wanted |= {"solar", "load"}
    if settings.stuck_meter.enabled:
        wanted |= set(ROLES)
    return wanted


def _sign_corrected(customer: Customer, role: Role, windows: Sequence[Summary]) -> Sequence[Summary]:
    is_reversed = role in customer.current.reversed_roles and customer.current.meter_of(role)
    return [sign_corrected_summary(window) for window in windows] if is_reversed else windows


def settings_or_none(customer: Customer) -> AlertSettings | None:
    """A customer's settings; None if there are none, or if they are invalid, which is logged."""
    try:
        return alerts_of(customer)
    except InvalidField as error:
        log.warn(
            "alert settings of customer {customer} are invalid at {field}: {reason}",
            customer=customer.id, field=error.field, reason=str(error),
        )  # fmt: skip
        return None


async def _check_again(alert: Document, context: JobContext) -> None:
    customer = await context.customers.get(alert.owner or "")
    settings = settings_or_none(customer) if customer is not None else None
    kind, series = alert.body["kind"], alert.body["series"]
    if settings is None and kind in SITE_RULES:
        settings = AlertSettings()  # these kinds are evaluated for every site
    watched = settings is not None and (kind in SITE_RULES or settings.rule(kind).enabled)
    held = await context.documents.get(HELD_METER, series) if kind == NOT_UNDERSTOOD else None
    is_held = held is not None and is_not_understood(held.body)
    if customer is None or settings is None or not watched or not (is_held or _has(customer, kind, series)):
        # The rule was switched off, or the meter removed: no message that the alert is over is needed.
        await context.documents.delete(ALERT, alert.key, expected_version=alert.version)
        return
    state = state_from_json(alert.body["state"])
    if context.now - state.evaluated_until > KEEP_DAYS * 86400:
        await context.documents.delete(ALERT, alert.key, expected_version=alert.version)
    else:
        await _write(AlertKey(customer.id, kind, series), state, (), alert.version, context)


def _has(customer: Customer, kind: str, series: str) -> bool:
    if kind in (SILENT, "missed_upload"):
        return customer.logger_serial_number == series
    serial = customer.logger_serial_number
    is_plugins = kind not in RULES and bool(serial) and series.startswith(f"{serial}_")
    return is_plugins or customer.role_of(series) is not None


async def apply_verdicts(
    evaluation: Evaluation,
    key: AlertKey,
    verdicts: Sequence[WindowVerdict],
    known: Document | None,
    *,
    began: int | None = None,
    words: PluginAlertText | None = None,
) -> None:
    """Update an alert by verdicts, and queue its messages.

    :param known: its document as read.
    :param words: a plugin's texts for its own alert.
    :param began: when it began, if known better than from ``verdicts``.
    """
    settings, context = evaluation.settings, evaluation.context
    limits = Limits(settings.frequency_seconds(key.kind), context.settings.alerts.max_age_seconds)
    for _ in range(TRIES):
        old = state_from_json(known.body["state"]) if known else AlertState()
        new, event = step(old, verdicts, context.now, limits)
        if new is old:
            return
        if event is not None and began is not None and event.transition == "raised":
            new, event = attrs.evolve(new, since=began), event._replace(since=began)
        unsent = [*(known.body["unsent"] if known else ())]
        audience = _audience(evaluation, key.kind)
        if event is not None and audience:
            unsent.append(_notification(evaluation, key, event, audience, words)._asdict())
        try:
            written = await _write(key, new, unsent, known.version if known else 0, context)
        except Conflict:
            known = await context.documents.get(ALERT, key.text())
            continue
        _log_event(key, event)
        if unsent:
            await _send_unsent(written, context)
        return
    raise Conflict(f"the alert {key.text()} keeps being changed by others")


async def _write(
    key: AlertKey, state: AlertState, unsent: Sequence[Mapping[str, object]], version: int, context: JobContext
) -> Document:
    due = context.now + KEEP_DAYS * 86400
    if unsent:
        due = context.now
    elif state.active:
        due = context.now + CHECK_AGAIN_SECONDS
    body = {"kind": key.kind, "series": key.series, "state": state_to_json(state), "unsent": list(unsent)}
    return await context.documents.put(
        ALERT, key.text(), body, owner=key.customer_id, due=due, expected_version=version
    )


async def _send_unsent(document: Document, context: JobContext) -> None:
    for unsent in document.body["unsent"]:
        await context.notify(Notification(**unsent))
    key = AlertKey(document.owner or "", document.body["kind"], document.body["series"])
    try:
        await _write(key, state_from_json(document.body["state"]), (), document.version, context)
    except Conflict:
        return  # another daemon queues the same messages with the same ids


def _audience(evaluation: Evaluation, kind: str) -> list[str]:
    """The recipients: the customer's channels, the operators' channels."""
    audience = ["customer"] if evaluation.settings.channels and evaluation.settings.rule(kind).enabled else []
    if kind in SITE_RULES and evaluation.context.settings.alerts.operators:
        audience.append("operators")
    return audience


def _notification(
    evaluation: Evaluation, key: AlertKey, event: AlertEvent, audience: Sequence[str], words: PluginAlertText | None
) -> Notification:
    customer = evaluation.customer
    message = write_message(customer, evaluation.settings, key.kind, key.series, event, words=words)
    data = {
        "customer": customer.id,
        "site": site_name(customer),
        "logger_serial_number": customer.logger_serial_number,
        "kind": key.kind,
        "series": key.series,
        "audience": list(audience),
        **event._asdict(),
    }
    return Notification(f"alert-{secrets.token_hex(12)}", customer.id, key.kind, message.subject, message.text, data)


def _log_event(key: AlertKey, event: AlertEvent | None) -> None:
    if event is not None:
        log.info(
            "alert {kind} of customer {customer}, {series}: {transition}, value {value}",
            kind=key.kind, customer=key.customer_id, series=key.series, transition=event.transition, value=event.value,
        )  # fmt: skip
