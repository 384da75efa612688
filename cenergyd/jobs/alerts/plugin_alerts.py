"""Alerts that plugins raise: their settings. Their states work as for built-in alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import ALERT
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import AlertRule, AlertRuleType, JobContext, WindowVerdict
from cenergyd.jobs.alerts.job import AlertKey, Evaluation, apply_verdicts, settings_or_none
from cenergyd.jobs.alerts.text import PluginAlertText
from cenergyd.jobs.guarded_stores import NotAllowed, serials_of
from cenergyd.runtime.structs import read

MAX_VERDICTS = 10_000
"""Maximum windows in one call: a week of minutes."""
MAX_TEXT = 500
_VERDICTS = ("breach", "clear", "hold")

RulesOfPlugin = Mapping[str, AlertRuleType]
"""The kinds of alerts that one plugin declares, by kind."""


def plugin_rule(rules: RulesOfPlugin, customer: Customer | None, kind: str) -> AlertRule | None:
    """A customer's settings of a plugin's alert; None if it is off, or if they do not match the plugin's present declaration."""
    declared = _declared(rules, kind)
    settings = settings_or_none(customer) if customer is not None else None
    stored = settings.plugin_rules.get(kind) if settings is not None else None
    if stored is None or stored.get("enabled") is not True:
        return None
    try:
        rule: AlertRule = read(stored, declared.fields)
    except InvalidField:
        return None
    return rule


async def raise_plugin_alert(
    rules: RulesOfPlugin,
    customer: Customer | None,
    context: JobContext,
    *,
    kind: str,
    series: str,
    verdicts: Sequence[WindowVerdict],
    text: str,
) -> None:
    """See :meth:`cenergyd.hookspecs.JobContext.alert`.

    :param context: a context that may write documents of alerts.
    """
    declared = _declared(rules, kind)
    if customer is None:
        raise NotAllowed(f"alert {kind}: context.for_customer(customer) gives a context that may raise it")
    if not any(series.startswith(f"{serial}_") for serial in serials_of(customer)):
        raise NotAllowed(f"alert {kind}: series {series[:100]} is not one of customer {customer.id}")
    _check_verdicts(kind, verdicts)
    settings = settings_or_none(customer)
    if settings is None or plugin_rule(rules, customer, kind) is None:
        return
    key = AlertKey(customer.id, kind, series)
    known = await context.documents.get(ALERT, key.text())
    words = PluginAlertText(declared.label, str(text)[:MAX_TEXT])
    await apply_verdicts(Evaluation(customer, settings, context), key, verdicts, known, words=words)


def _declared(rules: RulesOfPlugin, kind: str) -> AlertRuleType:
    if kind not in rules:
        raise LookupError(f"the plugin declares no alert {str(kind)[:50]} by cenergyd_alert_rules")
    return rules[kind]


def _check_verdicts(kind: str, verdicts: Sequence[WindowVerdict]) -> None:
    if len(verdicts) > MAX_VERDICTS:
        raise ValueError(f"alert {kind}: at most {MAX_VERDICTS} windows in one call")
    for each in verdicts:
        if not isinstance(each, WindowVerdict) or each.verdict not in _VERDICTS or not isinstance(each.time, int):
            raise ValueError(f"alert {kind}: each verdict is a WindowVerdict(time, 'breach', 'clear' or 'hold', value)")
