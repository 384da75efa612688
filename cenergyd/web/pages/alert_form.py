"""The form of alert rules between two requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from cenergyd.customers.model import ROLES
from cenergyd.errors import InvalidField
from cenergyd.jobs.alerts.rules import RULES, AlertSettings, alerts_to_json, parse_alerts
from cenergyd.web.pages.draft import BASE_PREFIX, Difference
from cenergyd.web.pages.texts import ROLE_NAMES, sentence

GENERAL = "alert_frequency_in_minutes"
ON, OFF = "yes", ""


class Input(NamedTuple):
    """One field of a rule."""

    name: str
    label: str
    unit: str = ""
    hint: str = ""


class RuleText(NamedTuple):
    """How a rule is written for people."""

    kind: str
    title: str
    text: str
    inputs: tuple[Input, ...]


_FREQUENCY = Input(GENERAL, "At most one in", "min", "Empty: as for all.")
_METER = Input("role", "Meter")
RULE_TEXTS: tuple[RuleText, ...] = (
    RuleText(
        "net_load", "Net load too high", "The mean of a minute of what is drawn from the grid is above the threshold.",
        (
            Input("threshold_kw", "Threshold", "kW"),
            Input("hysteresis_kw", "Ends below it by", "kW"),
            _FREQUENCY,
        ),
    ),
    RuleText(
        "power_factor", "Power factor too low", "The power factor of a minute is below the bound.",
        (
            Input("below", "Bound", "", "From 0 to 1."),
            Input("hysteresis", "Ends above it by"),
            Input("min_kw", "Not evaluated under", "kW", "Near zero power it means nothing."),
            _METER,
            _FREQUENCY,
        ),
    ),
    RuleText(
        "voltage", "Voltage out of range", "The mean voltage of a minute is further from nominal than this.",
        (
            Input("nominal_voltage", "Nominal voltage", "V"),
            Input("percent", "Further than", "%"),
            Input("hysteresis_percent", "Ends when nearer by", "%"),
            _METER,
            _FREQUENCY,
        ),
    ),
    RuleText(
        "silent_logger", "Silent logger", "The logger has not uploaded for so long.",
        (Input("after_minutes", "After", "min", "Well above the logger's own upload interval."), _FREQUENCY),
    ),
    RuleText(
        "stuck_meter", "Stuck meter", "A meter repeats exactly the same values, other than zero power.",
        (Input("after_minutes", "After", "min"), _FREQUENCY),
    ),
    RuleText(
        "implausible", "Implausible readings", "Solar is negative in daylight, or load is negative: likely swapped meters or a reversed CT.",
        (Input("noise_kw", "Noise", "kW", "What is nearer to zero is not evaluated."), _FREQUENCY),
    ),
    RuleText(
        "missed_upload", "Logger misses its upload", "The logger misses the time at which it usually uploads, by its own rhythm.",
        (_FREQUENCY,),
    ),
    RuleText(
        "stopped_meter", "Meter stopped", "A meter gives no readings, or errors, though its logger uploads.", (_FREQUENCY,),
    ),
    RuleText(
        "solar_zero", "No solar power", "Solar gives nothing though the sun is up, unlike on the days before.", (_FREQUENCY,),
    ),
    RuleText(
        "not_computed", "Not computed", "Both other meters have readings, but the third one is not computed.", (_FREQUENCY,),
    ),
)  # fmt: skip
RULE_TITLES: Mapping[str, str] = {rule.kind: rule.title for rule in RULE_TEXTS} | {"test": "Test message"}
FIELDS: tuple[str, ...] = (
    GENERAL,
    *(f"{rule.kind}.{name}" for rule in RULE_TEXTS for name in ("enabled", *(each.name for each in rule.inputs))),
)
_INTEGERS = frozenset({GENERAL, "after_minutes"})


@attrs.frozen
class RulesDraft:
    """The form as it is shown."""

    values: Mapping[str, str]
    base: Mapping[str, str]
    """The stored values that it was filled with."""
    errors: Mapping[str, str] = attrs.field(factory=dict)
    differences: Sequence[Difference] = ()

    @property
    def conflict(self) -> bool:
        """Somebody else changed a field of it meanwhile."""
        return bool(self.differences)


def field_label(name: str) -> str:
    """What a person calls a field."""
    kind, _, part = name.rpartition(".")
    if not kind:
        return "At most one in"
    rule = next(each for each in RULE_TEXTS if each.kind == kind)
    label = next((each.label for each in rule.inputs if each.name == part), "on or off")
    return f"{rule.title}: {label[0].lower()}{label[1:]}"


def stored_values(settings: AlertSettings | None) -> dict[str, str]:
    """The fields of what is stored, as text."""
    body = alerts_to_json(settings or AlertSettings(), secrets=False)
    return {name: _text(_at(body, name)) for name in FIELDS}


def draft_of(settings: AlertSettings | None) -> RulesDraft:
    """A form of what is stored."""
    values = stored_values(settings)
    return RulesDraft(values, values)


def draft_from(form: Mapping[str, str]) -> RulesDraft:
    """A form as it was sent."""
    values = {name: form.get(name, "").strip() for name in FIELDS}
    return RulesDraft(values, {name: form.get(BASE_PREFIX + name, "") for name in FIELDS})


def checked(draft: RulesDraft) -> RulesDraft:
    """The form with every fault beside its field."""
    errors: dict[str, str] = {}
    for name in FIELDS:
        kind, _, part = name.rpartition(".")
        value = _value(part, draft.values[name])
        try:
            parse_alerts({kind: {part: value}} if kind else {part: value})
        except InvalidField as error:
            errors[name] = sentence(str(error))
    return attrs.evolve(draft, errors=errors)


def rules_json(draft: RulesDraft) -> dict[str, object]:
    """The rules as the API takes them, without channels."""
    body: dict[str, Any] = {kind: {} for kind in RULES}
    for name in FIELDS:
        kind, _, part = name.rpartition(".")
        (body[kind] if kind else body)[part] = _value(part, draft.values[name])
    return body


def merged(draft: RulesDraft, settings: AlertSettings | None) -> RulesDraft:
    """The form beside what is stored now: fields that only others changed are theirs, those changed here stay as typed."""
    now = stored_values(settings)
    differences = [
        Difference(name, shown(draft.base[name]), shown(now[name]), shown(draft.values[name]))
        for name in FIELDS
        if now[name] != draft.base[name] and now[name] != draft.values[name]
    ]
    kept = {name: draft.values[name] if draft.values[name] != draft.base[name] else now[name] for name in FIELDS}
    return attrs.evolve(draft, values=kept, base=now, differences=differences)


def shown(text: str) -> str:
    """A value in a table."""
    return {ON: "on", OFF: "(empty)"}.get(text, ROLE_NAMES.get(text, text))


def _at(body: Mapping[str, Any], name: str) -> object:
    for part in name.split("."):
        body = body[part]
    return body


def _text(value: object) -> str:
    if isinstance(value, bool):
        return ON if value else OFF
    if value is None:
        return ""
    return format(value, ".10g") if isinstance(value, float) else str(value)


def _value(part: str, text: str) -> object:
    """What a field's text means; what means nothing stays text, and is refused by the check."""
    if part == "enabled":
        return text == ON
    if part == "role":
        return text if text in ROLES else ""
    if part == GENERAL and not text:
        return None
    try:
        return int(text) if part in _INTEGERS else float(text.replace(",", "."))
    except ValueError:
        return text
