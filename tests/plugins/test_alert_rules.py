"""Alerts that plugins raise are declared, checked, offered and reported like the built-in ones; a faulty one does not affect others."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from msgspec import Meta

from cenergyd.customers.model import Role
from cenergyd.daemon.plugins import find_plugins
from cenergyd.documents.kinds import ALERT
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import AlertRule, AlertRuleType, WindowVerdict, hookimpl
from cenergyd.jobs.alerts.plugin_alerts import MAX_VERDICTS
from cenergyd.jobs.alerts.rules import MAX_PLUGIN_RULE_BYTES, MAX_PLUGIN_RULES, parse_alerts
from cenergyd.jobs.guarded_stores import NotAllowed
from cenergyd.testing import NOON, PluginTest, make_customer
from cenergyd.testing.plugins import wait_for

CHANNELS = [{"type": "email", "to": "a@example.org"}]


class Freezer(AlertRule, frozen=True, kw_only=True):
    above: Annotated[float, Meta(ge=-50, le=50, title="Warmer than", extra={"unit": "°C"})] = -18.0
    minutes: Annotated[int, Meta(ge=1, le=60)] = 10
    room: Annotated[str, Meta(max_length=20, description="Where it stands.")] = "kitchen"
    role: Role = "load"


FREEZER = AlertRuleType("freezer", "Freezer too warm", "It is warmer than this.", Freezer)


class Plugin:
    """A plugin that returns the verdicts that the test sets."""

    kind = "freezer"

    def __init__(self) -> None:
        self.series = ""
        self.verdicts: Any = []
        self.rule: AlertRule | None = None

    @hookimpl
    def cenergyd_alert_rules(self) -> list[AlertRuleType]:
        return [FREEZER]

    @hookimpl
    async def cenergyd_job(self, customer: Any, context: Any) -> None:
        self.rule = context.alert_rule(self.kind)
        await context.alert(self.kind, self.series or customer.series_of("load"), self.verdicts, "The freezer is warm.")


@pytest.fixture
def plugin() -> PluginTest:
    made = PluginTest(Plugin(), "cold")
    made.now = NOON + 600
    return made


def run(plugin: PluginTest, rule: Mapping[str, Any], **changes: Any) -> Plugin:
    alerts = plugin.check_alerts({"plugin_rules": {"freezer": rule}, "channels": CHANNELS})
    module: Any = plugin.manager.get_plugin("cold")
    for name, value in changes.items():
        setattr(module, name, value)
    plugin.job(make_customer("load", extensions={"alerts": alerts}), NOON, NOON + 600)
    found: Plugin = module
    return found


WARM = [WindowVerdict(NOON, "breach", -2.0, 1.0)]


def test_raised_once_with_the_plugins_words(plugin: PluginTest) -> None:
    for _ in range(2):
        module = run(plugin, {"enabled": True, "above": -10}, verdicts=WARM)
    assert module.rule == Freezer(enabled=True, above=-10.0)
    (message,) = plugin.messages
    assert message.kind == "freezer"
    assert "Freezer too warm" in message.subject and "The freezer is warm." in message.text
    run(plugin, {"enabled": True}, verdicts=[WindowVerdict(NOON + 60, "clear", -20.0)])
    assert "over" in plugin.messages[1].subject


def test_off_is_off(plugin: PluginTest) -> None:
    assert run(plugin, {"enabled": False}, verdicts=WARM).rule is None
    assert plugin.messages == [] and wait_for(plugin.documents.find(ALERT)) == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kind": "other"}, LookupError),
        ({"series": "AA01_9"}, NotAllowed),
        ({"verdicts": [(NOON, "breach")]}, ValueError),
        ({"verdicts": [WindowVerdict(NOON, "bad")]}, ValueError),  # type: ignore[arg-type]
        ({"verdicts": WARM * (MAX_VERDICTS + 1)}, ValueError),
    ],
)
def test_what_a_plugin_may_not_do_is_its_own_error(plugin: PluginTest, changes: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(plugin, {"enabled": True}, **changes)
    assert plugin.messages == []


def declaring(*rules: Any) -> Any:
    class Declares:
        @hookimpl
        def cenergyd_alert_rules(self) -> Any:
            return list(rules) or "nonsense"

    return Declares()


class NoDefault(AlertRule, frozen=True, kw_only=True):
    above: float


class WrongType(AlertRule, frozen=True, kw_only=True):
    above: list[int] = []


@pytest.mark.parametrize(
    "rules",
    [
        (), ("freezer",), (FREEZER, FREEZER), (FREEZER._replace(kind="No Name"),), (FREEZER._replace(kind="net_load"),),
        (FREEZER._replace(kind="test"),), (FREEZER._replace(fields=SimpleNamespace),), (FREEZER._replace(fields=NoDefault),),
        (FREEZER._replace(fields=WrongType),),
    ],
)  # fmt: skip
def test_a_wrong_declaration_leaves_the_plugin_out(rules: Any) -> None:
    manager = find_plugins(extra=[("cold", declaring(*rules))])
    (info,) = [each for each in manager.infos if each.name == "cold"]
    assert info.state == "failed" and "cenergyd_alert_rules" in info.problem
    assert manager.rules_by_kind() == {}


def test_two_plugins_cannot_declare_the_same_kind() -> None:
    manager = find_plugins(extra=[("a", declaring(FREEZER)), ("b", declaring(FREEZER))])
    assert {each.name: each.state for each in manager.infos if each.name in "ab"} == {"a": "loaded", "b": "failed"}


def test_rules_are_checked_where_declared_and_bounded_where_not() -> None:
    types = {"freezer": FREEZER}
    stored = parse_alerts({"plugin_rules": {"freezer": {"above": 3}}}, rules=types).plugin_rules
    assert stored["freezer"]["minutes"] == 10 and stored["freezer"]["enabled"] is False
    gone = {"of_old": {"enabled": True, "x": 1, "alert_frequency_in_minutes": 5}}
    settings = parse_alerts({"plugin_rules": gone}, rules=types)
    assert settings.plugin_rules == gone
    assert settings.rule("of_old").enabled and settings.frequency_seconds("of_old") == 300
    assert not settings.rule("never_heard_of").enabled
    for field, wrong in (
        ("alerts.plugin_rules.freezer.above", {"freezer": {"above": 99}}),
        ("alerts.plugin_rules.freezer.role", {"freezer": {"role": "sun"}}),
        ("alerts.plugin_rules", {"net_load": {}}),
        ("alerts.plugin_rules", {"No": {}}),
        ("alerts.plugin_rules.a.enabled", {"a": {"enabled": 3}}),
        ("alerts.plugin_rules.a.x", {"a": {"x": []}}),
        ("alerts.plugin_rules.a", {"a": {"x": "y" * MAX_PLUGIN_RULE_BYTES}}),
        ("alerts.plugin_rules", {f"a{n}": {} for n in range(MAX_PLUGIN_RULES + 1)}),
    ):
        with pytest.raises(InvalidField) as caught:
            parse_alerts({"plugin_rules": wrong}, rules=types)
        assert caught.value.field == field
