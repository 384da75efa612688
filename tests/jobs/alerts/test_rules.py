from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField
from cenergyd.jobs.alerts.rules import (
    RULES,
    AlertSettings,
    alerts_of,
    alerts_to_json,
    channel_id,
    edit_alerts,
    parse_alerts,
    public_channel,
)

HOOK = {"type": "webhook", "url": "https://example.org/x", "secret": "0123456789"}


def test_a_customer_without_the_section_has_no_alerts_and_an_empty_section_switches_nothing_on() -> None:
    assert alerts_of(Customer(id="1")) is None
    settings = parse_alerts({})
    assert not any(settings.rule(kind).enabled for kind in RULES)
    assert settings.voltage.nominal_voltage == 120
    assert settings.channels == ()


def test_a_rules_own_throttle_wins_over_the_general_one() -> None:
    settings = parse_alerts(
        {"alert_frequency_in_minutes": 30, "net_load": {"enabled": True, "alert_frequency_in_minutes": 5}}
    )
    assert settings.frequency_seconds("net_load") == 300
    assert settings.frequency_seconds("voltage") == 1800


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "alerts"),
        ({"netload": {}}, "alerts.netload"),
        ({"net_load": {"threshold": 1}}, "alerts.net_load.threshold"),
        ({"net_load": {"threshold_kw": "50"}}, "alerts.net_load.threshold_kw"),
        ({"net_load": {"threshold_kw": True}}, "alerts.net_load.threshold_kw"),
        ({"net_load": {"threshold_kw": float("nan")}}, "alerts.net_load.threshold_kw"),
        ({"net_load": {"threshold_kw": float("inf")}}, "alerts.net_load.threshold_kw"),
        ({"net_load": {"threshold_kw": -1}}, "alerts.net_load.threshold_kw"),
        ({"net_load": {"enabled": 1}}, "alerts.net_load.enabled"),
        ({"power_factor": {"below": 1.2}}, "alerts.power_factor.below"),
        ({"power_factor": {"role": "wind"}}, "alerts.power_factor.role"),
        ({"voltage": {"nominal_voltage": 0}}, "alerts.voltage.nominal_voltage"),
        ({"silent_logger": {"after_minutes": 1}}, "alerts.silent_logger.after_minutes"),
        ({"silent_logger": {"after_minutes": 60.5}}, "alerts.silent_logger.after_minutes"),
        ({"alert_frequency_in_minutes": 0}, "alerts.alert_frequency_in_minutes"),
        ({"alert_frequency_in_minutes": None}, "alerts.alert_frequency_in_minutes"),
        ({"net_load": {"threshold_kw": 10**4000}}, "alerts.net_load.threshold_kw"),
        ({"power_factor": {"role": ["utility"]}}, "alerts.power_factor.role"),
        ({"channels": [{"type": "email", "to": "a@b.c\n"}]}, "alerts.channels.0.to"),
        ({"channels": [{"type": "email", "to": "\ud800@b.c"}]}, "alerts.channels.0.to"),
        ({"channels": {}}, "alerts.channels"),
        ({"channels": ["a@b.c"]}, "alerts.channels.0"),
        ({"channels": [{"to": "a@b.c"}]}, "alerts.channels.0.type"),
        ({"channels": [{"type": "email"}]}, "alerts.channels.0.to"),
        ({"channels": [{"type": "email", "to": "a@b.c", "cc": "x@y.z"}]}, "alerts.channels.0.cc"),
        ({"channels": [{"type": "email", "to": "a@b.c\r\nBcc: x@y.z"}]}, "alerts.channels.0.to"),
        ({"channels": [{"type": "email", "to": "a@b.c,x@y.z"}]}, "alerts.channels.0.to"),
        ({"channels": [{"type": "email", "to": "a@b.c> SIZE=1"}]}, "alerts.channels.0.to"),
        ({"channels": [{"type": "sms", "to": "5551234567"}]}, "alerts.channels.0.to"),
        ({"channels": [{"type": "webhook", "url": "ftp://example.org"}]}, "alerts.channels.0.url"),
        ({"channels": [{"type": "webhook", "url": "https://u:p@example.org"}]}, "alerts.channels.0.url"),
        ({"channels": [{"type": "webhook", "url": "https://example.org:0/"}]}, "alerts.channels.0.url"),
        ({"channels": [{"type": "webhook", "url": "https://[::1"}]}, "alerts.channels.0.url"),
        ({"channels": [{**HOOK, "secret": "short"}]}, "alerts.channels.0.secret"),
        ({"channels": [{"type": "sms", "to": "+15551234567"}] * 2}, "alerts.channels.1"),
        ({"channels": [{"type": "chat", "room": ["a"]}]}, "alerts.channels.0.room"),
        ({"channels": [{"type": "chat", "room": "a" * 5000}]}, "alerts.channels.0"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_its_path(value: Any, field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_alerts(value)
    assert caught.value.field == field


def test_another_partys_channel_is_taken_as_it_is() -> None:
    chat = {"type": "chat", "room": "energy", "silent": True}
    assert parse_alerts({"channels": [chat]}).channels == (chat,)


def test_secrets_do_not_come_out_and_are_kept_by_an_editor_who_cannot_see_them() -> None:
    stored = edit_alerts(None, {"channels": [HOOK, {"type": "email", "to": "a@b.cd"}]})
    assert stored["channels"][0]["secret"] == "0123456789"
    shown = alerts_to_json(parse_alerts(stored), secrets=False)
    assert "0123456789" not in json.dumps(shown)
    assert shown["channels"][0]["has_secret"] is True
    assert "0123456789" not in repr(parse_alerts(stored))
    assert edit_alerts(stored, shown) == stored
    replaced = edit_alerts(stored, {"channels": [{**shown["channels"][0], "secret": "another-one"}]})
    assert replaced["channels"] == [{**HOOK, "secret": "another-one"}]
    # An editor must not be able to send the secret to a URL of their own.
    moved = edit_alerts(stored, {"channels": [{**shown["channels"][0], "url": "https://evil.example"}]})
    assert "secret" not in moved["channels"][0]
    assert "has_secret" not in moved["channels"][0]
    dropped = edit_alerts(stored, {"channels": [{"type": "webhook", "url": HOOK["url"]}]})
    assert "secret" not in dropped["channels"][0]


def test_the_name_of_a_channel_does_not_depend_on_its_secret() -> None:
    assert channel_id(HOOK) == channel_id({**HOOK, "secret": "x" * 20}) == channel_id(public_channel(HOOK))
    assert channel_id(HOOK) != channel_id({**HOOK, "url": "https://example.org/y"})


def _rules() -> st.SearchStrategy[dict[str, Any]]:
    minutes = st.integers(10, 1440)
    rules = {
        "net_load": {"threshold_kw": st.floats(0, 1e6), "hysteresis_kw": st.floats(0, 1e6)},
        "power_factor": {"below": st.floats(0, 1), "min_kw": st.floats(0.001, 100), "role": st.sampled_from(["load", "solar"])},
        "voltage": {"nominal_voltage": st.floats(1, 1e6), "percent": st.floats(0.1, 100)},
        "silent_logger": {"after_minutes": minutes},
        "stuck_meter": {"after_minutes": minutes},
        "implausible": {"noise_kw": st.floats(0, 10)},
    }  # fmt: skip
    common = {"enabled": st.booleans(), "alert_frequency_in_minutes": st.none() | st.integers(1, 43200)}
    return st.fixed_dictionaries(
        {}, optional={kind: st.fixed_dictionaries({}, optional={**common, **own}) for kind, own in rules.items()}
    )


@given(_rules())
def test_settings_survive_the_way_through_json(value: dict[str, Any]) -> None:
    settings = parse_alerts(value)
    assert parse_alerts(json.loads(json.dumps(alerts_to_json(settings, secrets=True)))) == settings
    for kind, rule in value.items():
        assert {key: getattr(settings.rule(kind), key) for key in rule} == rule


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
       | st.dictionaries(st.sampled_from([*RULES, "channels", "type", "to", "url", "enabled"]), inner, max_size=4)))  # fmt: skip
def test_any_json_is_taken_or_refused_by_name(value: Any) -> None:
    try:
        assert isinstance(parse_alerts(value), AlertSettings)
    except InvalidField as error:
        assert error.field.startswith("alerts")


def test_every_rule_is_a_field_of_the_settings() -> None:
    assert {*RULES, "plugin_rules", "channels", "alert_frequency_in_minutes", "monthly_summary"} == {
        f.name for f in msgspec.structs.fields(AlertSettings)
    }
