"""Alerts based on a site's state, raised and ended at each evaluation of every site.

Operators are notified (``[alerts] operators``), and customers who have switched the rule on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import ALERT
from cenergyd.hookspecs import JobContext, WindowVerdict
from cenergyd.jobs.alerts.job import SILENT, AlertKey, Evaluation, apply_verdicts, settings_or_none
from cenergyd.jobs.alerts.rules import AlertSettings
from cenergyd.jobs.site_state.model import Issue, IssueKind, SiteState
from cenergyd.jobs.site_state.service import SiteEvaluation

KIND_OF_ISSUE: Mapping[IssueKind, str] = {
    "logger_silent": "missed_upload",
    "meter_error": "stopped_meter",
    "meter_stopped": "stopped_meter",
    "solar_zero": "solar_zero",
    "not_computed": "not_computed",
    "meter_not_understood": "meter_not_understood",
}
MAX_COUNTED = 100


class _AlertIssue(NamedTuple):
    key: AlertKey
    issue: Issue
    value: float | None
    """A number for the message: an error code, or minutes of silence."""


class SiteAlerts:
    """Raises and ends alerts by the states of sites.

    :param context: returns a job's context with the present time.
    """

    def __init__(self, context: Callable[[], JobContext]) -> None:
        self._context = context

    async def evaluated(self, evaluations: Sequence[SiteEvaluation]) -> Mapping[str, int]:
        """Process evaluations; returns the number of active alerts of each customer whose alerts may have changed."""
        context = self._context()
        counts: dict[str, int] = {}
        for evaluation in evaluations:
            touched = await self._one(evaluation, context)
            if touched or "alerts" in evaluation.customer.extensions:
                found = await context.documents.find(ALERT, owner=evaluation.customer.id, limit=MAX_COUNTED)
                counts[evaluation.customer.id] = sum(1 for each in found if each.body["state"]["active"])
        return counts

    async def _one(self, evaluation: SiteEvaluation, context: JobContext) -> bool:
        customer, state, before = evaluation
        settings = settings_or_none(customer) or AlertSettings()
        now = _alert_issues(customer, state, settings, context.now)
        # Every earlier issue, however long it lasted, is over unless it still exists.
        then = _alert_issues(customer, before.state, settings, None) if before else {}
        alerting = Evaluation(customer, settings, context)
        for text in {**then, **now}:
            trouble = now.get(text)
            verdict = WindowVerdict(context.now, "clear")
            if trouble is not None:
                verdict = WindowVerdict(context.now, "breach", trouble.value, trouble.value or 0.0)
            key = (trouble or then[text]).key
            known = await context.documents.get(ALERT, text)
            await apply_verdicts(alerting, key, [verdict], known, began=trouble.issue.since if trouble else None)
        return bool(now or then)


def alerts_of_state(customer: Customer, state: SiteState) -> set[tuple[str, str]]:
    """Kind and series of every alert that only repeats the state."""
    found = set()
    for issue in state.issues:
        series = _series_of(customer, issue) or ""
        if issue.kind in KIND_OF_ISSUE:
            found.add((KIND_OF_ISSUE[issue.kind], series))
        if issue.kind == "logger_silent":
            found.add((SILENT, series))
    return found


def _alert_issues(
    customer: Customer, state: SiteState, settings: AlertSettings, now: int | None
) -> dict[str, _AlertIssue]:
    """The issues for which there are alerts, by the key of the alert's document.

    :param now: a silence counts for the customer's own rule once it has lasted as long as the rule says; None: it counts from the start.
    """
    found: dict[str, _AlertIssue] = {}
    for issue in state.issues:
        series = _series_of(customer, issue)
        for kind in _kinds_of(issue, state, settings, now) if series else ():
            key = AlertKey(customer.id, kind, series or "")
            minutes = None if now is None or state.last_upload is None else round((now - state.last_upload) / 60, 1)
            found[key.text()] = _AlertIssue(key, issue, minutes if kind == SILENT else issue.code)
    return found


def _kinds_of(issue: Issue, state: SiteState, settings: AlertSettings, now: int | None) -> Iterator[str]:
    if issue.kind in KIND_OF_ISSUE:
        yield KIND_OF_ISSUE[issue.kind]
    rule = settings.silent_logger
    if issue.kind != "logger_silent" or not rule.enabled or state.last_upload is None:
        return
    if now is None or now - state.last_upload >= rule.after_minutes * 60:
        yield SILENT


def _series_of(customer: Customer, issue: Issue) -> str | None:
    """The series that an issue concerns: of the logger, of a role, or of a meter of a sum."""
    if issue.role is None:
        return customer.logger_serial_number
    measured = f"{customer.logger_serial_number}_{issue.meter}"
    return measured if measured in customer.measured_series_of(issue.role) else customer.series_of(issue.role)
