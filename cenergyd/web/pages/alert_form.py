"""The form of alert rules between two requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import attrs
from msgspec import inspect

from cenergyd.customers.model import ROLES
from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import AlertRule, AlertRuleType
from cenergyd.jobs.alerts.rules import AlertSettings, RuleTypes, alerts_to_json, parse_alerts
from cenergyd.runtime.structs import read, to_json
from cenergyd.web.pages.settings_draft import BASE_PREFIX, Difference
from cenergyd.web.pages.texts import ROLE_NAMES, sentence

GENERAL = "alert_frequency_in_minutes"
ON, OFF = "yes", ""


class Input(NamedTuple):
    """One field of a rule."""

    name: str
    label: str
    unit: str = ""
    hint: str = ""
    holds: Literal["number", "whole", "text"] = "number"


class RuleText(NamedTuple):
    """A rule's texts on the page."""

    kind: str
    title: str
    text: str
    inputs: tuple[Input, ...]


_FREQUENCY = Input(GENERAL, "At most one in", "min", "Leave empty to use the general value.")
_METER = Input("role", "Meter")
SUMMARY = "monthly_summary"
"""Not an alert, but switched on in the same form."""
RULE_TEXTS: tuple[RuleText, ...] = (
    RuleText(
        "net_load", "Net load too high", "Power from the grid, averaged over a minute, is above the threshold.",
        (
            Input("threshold_kw", "Threshold", "kW"),
            Input("hysteresis_kw", "Ends below it by", "kW"),
            _FREQUENCY,
        ),
    ),
    RuleText(
        "power_factor", "Power factor too low", "The power factor, over a minute, is too low.",
        (
            Input("below", "Bound", "", "From 0 to 1."),
            Input("hysteresis", "Ends above it by"),
            Input("min_kw", "Ignored below", "kW", "Near zero power the power factor means nothing."),
            _METER,
            _FREQUENCY,
        ),
    ),
    RuleText(
        "voltage", "Voltage out of range", "Voltage, averaged over a minute, is further from nominal than this.",
        (
            Input("nominal_voltage", "Nominal voltage", "V"),
            Input("percent", "Further than", "%"),
            Input("hysteresis_percent", "Ends when closer by", "%"),
            _METER,
            _FREQUENCY,
        ),
    ),
    RuleText(
        "silent_logger", "Silent logger", "The logger has not uploaded for this long.",
        (Input("after_minutes", "After", "min", "Well above the logger's own upload interval."), _FREQUENCY),
    ),
    RuleText(
        "stuck_meter", "Stuck meter", "A meter repeats exactly the same values, and they are not zero.",
        (Input("after_minutes", "After", "min"), _FREQUENCY),
    ),
    RuleText(
        "implausible", "Implausible readings", "Solar is negative in daylight, or load is negative: probably swapped meters or a reversed CT.",
        (Input("noise_kw", "Noise", "kW", "Smaller values are ignored."), _FREQUENCY),
    ),
    RuleText(
        "missed_upload", "Logger misses its upload", "The logger did not upload when it usually does.",
        (_FREQUENCY,),
    ),
    RuleText(
        "stopped_meter", "Meter stopped", "A meter gives no readings, or only errors, although its logger uploads.", (_FREQUENCY,),
    ),
    RuleText(
        "solar_zero", "No solar power", "No solar power although the sun is up, unlike on previous days.", (_FREQUENCY,),
    ),
    RuleText(
        "not_computed", "Not computed", "Both other meters have readings, but the third one is not computed.", (_FREQUENCY,),
    ),
    RuleText(
        "meter_not_understood", "Meter not understood", "A meter's logs are held unread because its columns are not known.",
        (_FREQUENCY,),
    ),
    RuleText(
        SUMMARY, "Monthly summary", "At the start of each month, last month's energy by e-mail: totals, shares, cost and savings.", (),
    ),
)  # fmt: skip
RULE_TITLES: Mapping[str, str] = {rule.kind: rule.title for rule in RULE_TEXTS} | {"test": "Test message"}
_PLUGINS = "plugin_rules."
_INTEGERS = frozenset({GENERAL, "after_minutes"})


@attrs.frozen
class Rules:
    """The built-in rules, and those that plugins declare."""

    types: RuleTypes = attrs.field(factory=dict)

    @property
    def texts(self) -> tuple[RuleText, ...]:
        """Texts of all rules; the ``kind`` of a plugin's rule is its path in the settings."""
        return (*RULE_TEXTS, *map(_plugin_text, self.types.values()))

    @property
    def titles(self) -> Mapping[str, str]:
        """Kind of alert -> its title."""
        return {**RULE_TITLES, **{kind: declared.label for kind, declared in self.types.items()}}

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all fields of the form."""
        parts = ((rule.kind, ("enabled", *(each.name for each in rule.inputs))) for rule in self.texts)
        return (GENERAL, *(f"{kind}.{name}" for kind, names in parts for name in names))

    def label(self, name: str) -> str:
        """A field's name for people."""
        rule, each = self._input(name)
        if rule is None:
            return "At most one in"
        label = each.label if each is not None else "on or off"
        return f"{rule.title}: {label[0].lower()}{label[1:]}"

    def value(self, name: str, text: str) -> object:
        """The value of a field's text; text that cannot be converted is returned as it is, and the check refuses it."""
        part = name.rpartition(".")[2]
        _, each = self._input(name)
        if part == "enabled":
            return text == ON
        if part == "role":
            return text if text in ROLES else ""
        if part == GENERAL and not text:
            return None
        if each is not None and each.holds == "text":
            return text
        whole = part in _INTEGERS or (each is not None and each.holds == "whole")
        try:
            return int(text) if whole else float(text.replace(",", "."))
        except ValueError:
            return text

    def _input(self, name: str) -> tuple[RuleText | None, Input | None]:
        kind, _, part = name.rpartition(".")
        rule = next((each for each in self.texts if each.kind == kind), None)
        return rule, next((each for each in rule.inputs if each.name == part), None) if rule is not None else None


def _plugin_text(declared: AlertRuleType) -> RuleText:
    described = inspect.type_info(declared.fields)
    assert isinstance(described, inspect.StructType)
    own = (field for field in described.fields if field.name not in AlertRule.__struct_fields__)
    inputs = (*map(_plugin_input, own), _FREQUENCY)
    return RuleText(_PLUGINS + declared.kind, declared.label, declared.text, inputs)


def _plugin_input(field: inspect.Field) -> Input:
    node = field.type
    schema: Mapping[str, object] = {}
    extra: Mapping[str, object] = {}
    if isinstance(node, inspect.Metadata):
        schema, extra, node = node.extra_json_schema or {}, node.extra or {}, node.type
    holds: Literal["number", "whole", "text"] = "number"
    if isinstance(node, inspect.IntType):
        holds = "whole"
    elif isinstance(node, inspect.StrType | inspect.LiteralType):
        holds = "text"
    label = schema.get("title") or field.name.replace("_", " ").capitalize()
    return Input(field.name, str(label), str(extra.get("unit", "")), str(schema.get("description", "")), holds)


@attrs.frozen
class RulesDraft:
    """The form as it is shown."""

    values: Mapping[str, str]
    base: Mapping[str, str]
    """The stored values that it was filled with."""
    rules: Rules = Rules()
    errors: Mapping[str, str] = attrs.field(factory=dict)
    differences: Sequence[Difference] = ()

    @property
    def conflict(self) -> bool:
        """Whether somebody else has changed a field meanwhile."""
        return bool(self.differences)


def stored_rule_values(settings: AlertSettings | None, rules: Rules) -> dict[str, str]:
    """The fields of what is stored, as text."""
    body = alerts_to_json(settings or AlertSettings(), secrets=False)
    body["plugin_rules"] = {kind: _as_declared(body, declared) for kind, declared in rules.types.items()}
    return {name: _text(_at(body, name)) for name in rules.fields}


def draft_of(settings: AlertSettings | None, rules: Rules) -> RulesDraft:
    """A form of what is stored."""
    values = stored_rule_values(settings, rules)
    return RulesDraft(values, values, rules)


def draft_from(form: Mapping[str, str], rules: Rules) -> RulesDraft:
    """A form as it was sent."""
    values = {name: form.get(name, "").strip() for name in rules.fields}
    return RulesDraft(values, {name: form.get(BASE_PREFIX + name, "") for name in rules.fields}, rules)


def checked(draft: RulesDraft) -> RulesDraft:
    """The form with every fault beside its field."""
    errors: dict[str, str] = {}
    for name, text in draft.values.items():
        try:
            parse_alerts(_put({}, name, draft.rules.value(name, text)), rules=draft.rules.types)
        except InvalidField as error:
            errors[name] = sentence(str(error))
    return attrs.evolve(draft, errors=errors)


def rules_json(draft: RulesDraft, stored: AlertSettings | None) -> dict[str, object]:
    """The rules as the API takes them, without channels; rules of plugins that are not loaded stay as they are stored."""
    kept = stored.plugin_rules if stored is not None else {}
    body: JsonObject = {"plugin_rules": {kind: rule for kind, rule in kept.items() if kind not in draft.rules.types}}
    for name, text in draft.values.items():
        _put(body, name, draft.rules.value(name, text))
    return body


def merged_draft(draft: RulesDraft, settings: AlertSettings | None) -> RulesDraft:
    """The form merged with what is stored now: fields that only others changed take their values, fields changed here stay as typed."""
    now = stored_rule_values(settings, draft.rules)
    differences = [
        Difference(name, shown(draft.base[name]), shown(now[name]), shown(draft.values[name]))
        for name in draft.rules.fields
        if now[name] != draft.base[name] and now[name] != draft.values[name]
    ]
    kept = {
        name: draft.values[name] if draft.values[name] != draft.base[name] else now[name] for name in draft.rules.fields
    }
    return attrs.evolve(draft, values=kept, base=now, differences=differences)


def shown(text: str) -> str:
    """A value in a table."""
    return {ON: "on", OFF: "(empty)"}.get(text, ROLE_NAMES.get(text, text))


def _as_declared(body: ReadOnlyJson, declared: AlertRuleType) -> object:
    """A plugin's rule with all its fields; the defaults where what is stored does not fit (the plugin has changed)."""
    try:
        return to_json(read(body["plugin_rules"].get(declared.kind, {}), declared.fields))
    except InvalidField:
        return to_json(declared.fields())


def _put(body: JsonObject, name: str, value: object) -> JsonObject:
    place = body
    *parts, last = name.split(".")
    for part in parts:
        place = place.setdefault(part, {})
    place[last] = value
    return body


def _at(body: ReadOnlyJson, name: str) -> object:
    for part in name.split("."):
        body = body[part]
    return body


def _text(value: object) -> str:
    if isinstance(value, bool):
        return ON if value else OFF
    if value is None:
        return ""
    return format(value, ".10g") if isinstance(value, float) else str(value)
