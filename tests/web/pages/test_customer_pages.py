"""Pages of alerts, tariff, charges, checks, meters and loggers over real HTTP, as a browser without scripts sends them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import pytest_twisted

from cenergyd.acquisuite.config_files import ConfigFileUpload
from cenergyd.acquisuite.resolve import MeterFacts, Resolution
from cenergyd.customers.meter_history import dated_change
from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import ALERT, LOGGER
from cenergyd.hookspecs import Notification
from cenergyd.ingest.held_logs import HeldLog, HeldLogs
from cenergyd.ingest.held_meters import HeldMeters, Unread
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.front_end_settings import existing_alerts, existing_tariff
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.web.pages.tariff_presets import PRESETS
from tests.jobs.test_front_end_settings import EXISTING
from tests.web.harness import WebSide
from tests.web.pages.visitor import Visitor, error_beside, mount_pages

SERIAL = "001EC6001433"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TARIFF: Mapping[str, Any] = {
    "currency": "USD",
    "seasons": [{"name": "summer", "from": "06-01", "to": "09-30"}, {"name": "winter", "from": "10-01", "to": "05-31"}],
    "schedules": [
        {"season": "summer", "period": "peak", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "12:00", "to": "18:00"},
        {"season": "summer", "period": "off", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "00:00", "to": "12:00"},
        {"season": "summer", "period": "off", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "18:00", "to": "24:00"},
        {"season": "summer", "period": "off", "days": ["sat", "sun"]},
        {"season": "winter", "period": "off", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]},
    ],
    "holidays": ["2026-12-24", {"month": 7, "day": 4, "observed": True}, {"month": 11, "weekday": "thu", "nth": 4}],
    "energy": [
        {"season": "summer", "period": "peak", "import_per_kwh": "0.30", "export_per_kwh": "0.05"},
        {"season": "summer", "period": "off", "import_per_kwh": "0.15"},
        {"season": "winter", "period": "off", "import_per_kwh": "0.12"},
    ],
    "demand": [{"season": "summer", "per_kw": "12.00"}],
    "peak_demand": [{"season": "summer", "period": "peak", "per_kw": "8.00"}],
    "fixed": "25.00",
    "billing": {"day_of_month": 15},
}  # fmt: skip


async def begin(web: WebSide, *, operator: bool = False, **settings: str) -> tuple[Customer, Visitor, str]:
    mount_pages(web)
    given = {
        "name": "site", "time_zone": "America/New_York", "facility": "1", "solar": "2", "logger_serial_number": SERIAL,
        "logger_password": "x", **settings,
    }  # fmt: skip
    customer, client = await web.customer(**given)
    visitor = Visitor(web, web.operator_token if operator else str(client.token))
    await visitor.sign_in()
    return customer, visitor, f"/customers/{customer.id}"


async def stored(web: WebSide, customer: Customer) -> Customer:
    found = await web.customers.get(customer.id)
    assert found is not None
    return found


@pytest_twisted.ensureDeferred
async def test_rules_are_saved_with_every_fault_beside_its_field(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    await visitor.open(f"{base}/alerts")
    wrong = await visitor.submit(
        f"{base}/alerts",
        **{"net_load.enabled": "yes", "net_load.threshold_kw": "much", "power_factor.below": "7", "stuck_meter.after_minutes": "1"},
    )  # fmt: skip
    text = wrong.content.decode()
    assert wrong.status == 422
    assert "a number" in error_beside(text, "net_load.threshold_kw").lower()
    assert error_beside(text, "power_factor.below")
    assert error_beside(text, "stuck_meter.after_minutes")
    assert visitor.fields["net_load.threshold_kw"] == "much"
    assert "alerts" not in (await stored(web, customer)).extensions
    right = {"net_load.threshold_kw": "12,5", "power_factor.below": "0.8", "stuck_meter.after_minutes": "60"}
    saved = await visitor.submit(f"{base}/alerts", **right)
    assert saved.status == 303
    kept = (await stored(web, customer)).extensions["alerts"]
    assert kept["net_load"] | {"hysteresis_kw": 1.0} == kept["net_load"]
    assert (kept["net_load"]["enabled"], kept["net_load"]["threshold_kw"]) == (True, 12.5)
    assert kept["net_load"]["alert_frequency_in_minutes"] is None
    assert web.changes[-1][1].extensions["alerts"] == kept
    assert "Saved." in await visitor.open(f"{base}/alerts?done=saved")


@pytest_twisted.ensureDeferred
async def test_rules_that_two_people_change_are_shown_side_by_side(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    await visitor.open(f"{base}/alerts")
    await web.customers.update(
        customer.id,
        {"extensions": {"alerts": {"net_load": {"threshold_kw": 50}, "voltage": {"percent": 7}}}, "name": "renamed"},
    )
    late = await visitor.submit(f"{base}/alerts", **{"net_load.threshold_kw": "60", "voltage.enabled": "yes"})
    text = late.content.decode()
    assert late.status == 409
    assert "Somebody else changed these rules" in text
    assert visitor.fields["net_load.threshold_kw"] == "60"
    assert visitor.fields["voltage.percent"] == "7"
    assert (await visitor.submit(f"{base}/alerts")).status == 303
    kept = (await stored(web, customer)).extensions["alerts"]
    assert (kept["net_load"]["threshold_kw"], kept["voltage"]["percent"], kept["voltage"]["enabled"]) == (60, 7, True)


@pytest_twisted.ensureDeferred
async def test_channels_keep_their_secret_and_are_tested_and_removed(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    await visitor.open(f"{base}/alerts")
    wrong = await visitor.submit(f"{base}/alerts/channels", type="email", address="nobody")
    assert wrong.status == 422
    assert "e-mail address" in error_beside(wrong.content.decode(), "address")
    assert visitor.fields["address"] == "nobody"
    short = await visitor.submit(f"{base}/alerts/channels", type="webhook", address="https://example.org/", secret="x")
    assert error_beside(short.content.decode(), "secret")
    added = await visitor.submit(
        f"{base}/alerts/channels", type="webhook", address="https://example.org/", secret="very secret words"
    )
    assert added.status == 303
    text = await visitor.open(f"{base}/alerts")
    assert "very secret words" not in text
    assert (await visitor.submit(f"{base}/alerts", **{"voltage.enabled": "yes"})).status == 303
    kept = (await stored(web, customer)).extensions["alerts"]["channels"]
    assert kept == [{"type": "webhook", "url": "https://example.org/", "secret": "very secret words"}]
    await visitor.open(f"{base}/alerts")
    assert (await visitor.submit(f"{base}/alerts/channels/test")).status == 303
    (message,) = await web.context.outbox.deliveries(customer.id)
    queued = await web.context.outbox.document(message.key)
    assert queued is not None
    assert queued.body["channel"]["secret"] == "very secret words"
    text = await visitor.open(f"{base}/alerts")
    assert text.count("Queued") >= 2
    assert (await visitor.submit(f"{base}/alerts/channels/remove")).status == 303
    assert (await stored(web, customer)).extensions["alerts"]["channels"] == []
    gone = await visitor.submit(f"{base}/alerts/channels/test")
    assert gone.status == 409


@pytest_twisted.ensureDeferred
async def test_the_monthly_summary_is_off_until_it_is_switched_on(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    assert "Monthly summary" in await visitor.open(f"{base}/alerts")
    assert (await visitor.submit(f"{base}/alerts", **{"net_load.enabled": "yes"})).status == 303
    read = (await web.operator.get(f"customers/{customer.id}/alerts")).json["alerts"]
    assert (read["monthly_summary"], read["net_load"]["enabled"]) == ({"enabled": False}, True)
    await visitor.open(f"{base}/alerts")
    assert (await visitor.submit(f"{base}/alerts", **{"monthly_summary.enabled": "yes"})).status == 303
    answer = await web.operator.get(f"customers/{customer.id}/alerts")
    assert answer.json["alerts"]["monthly_summary"] == {"enabled": True}
    off = {**answer.json["alerts"], "monthly_summary": {"enabled": False}}
    put = await web.operator.put(f"customers/{customer.id}/alerts", off, headers={"If-Match": answer.etag})
    assert put.json["alerts"]["monthly_summary"] == {"enabled": False}


@pytest_twisted.ensureDeferred
async def test_failed_messages_are_sent_again_by_their_customer_only(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    outbox = web.context.outbox
    message = Notification("m1", customer.id, "voltage", EVIL, "text", {})
    key = await outbox.enqueue(message, {"type": "email", "to": "a@example.org"}, web.clock.now)
    claimed = await outbox.claim(await outbox.document(key), web.clock.now, 60)
    assert claimed is not None
    await outbox.settle(claimed, "refused", EVIL, web.clock.now)
    text = await visitor.open(f"{base}/alerts")
    assert "Send again" in text
    assert "<script>alert" not in text
    assert "<img" not in text
    other, stranger_client = await web.customer(name="other")
    stranger = Visitor(web, str(stranger_client.token))
    await stranger.sign_in()
    await stranger.open(f"/customers/{other.id}/alerts")
    assert (await stranger.submit(f"/customers/{other.id}/alerts/messages/again", message=key)).status == 404
    assert (await visitor.submit(f"{base}/alerts/messages/again", message=key)).status == 303
    assert (await outbox.delivery(key)).state == "queued"
    assert (await visitor.submit(f"{base}/alerts/messages/again", message=key)).status == 409


@pytest_twisted.ensureDeferred
async def test_alerts_show_their_history(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    now = web.clock.now
    entry = {
        "transition": "raised",
        "at": now - 60,
        "since": now - 120,
        "until": now - 60,
        "worst": 131.5,
        "reported": True,
    }
    state = {"active": True, "since": now - 120, "until": now - 60, "worst": 131.5, "history": [entry]}
    body = {"kind": "voltage", "series": f"{SERIAL}_1", "state": state, "unsent": []}
    await web.documents.put(ALERT, f"{customer.id}/voltage/{SERIAL}_1", body, owner=customer.id)
    text = await visitor.open(f"{base}/alerts")
    assert "Active" in text
    assert "131.5" in text
    assert "began" in text


@pytest_twisted.ensureDeferred
async def test_the_power_page_says_once_what_state_and_alert_both_say(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    silent = web.clock.now - 40 * 3600
    await web.documents.put(LOGGER, SERIAL, {"last_upload": silent}, due=silent)
    for kind, series in (("missed_upload", SERIAL), ("voltage", f"{SERIAL}_1")):
        body = {"kind": kind, "series": series, "state": {"active": True, "since": silent}, "unsent": []}
        await web.documents.put(ALERT, f"{customer.id}/{kind}/{series}", body, owner=customer.id)
    text = await visitor.open(f"{base}/power")
    assert text.count("Logger silent") == 1
    assert text.count("<strong>Alert: ") == 1
    assert "<strong>Alert: Voltage" in text


@pytest_twisted.ensureDeferred
async def test_the_power_page_reads_the_cache_while_it_agrees_with_the_store(web: WebSide) -> None:
    stored, cached = web.readings, MemoryReadingStore()
    current: list[bool] = []
    web.context = attrs.evolve(web.context, cached_readings=cached, is_current=lambda _: current[-1])
    _, visitor, base = await begin(web)
    hour = web.clock.now // 3600 * 3600
    web.clock.offset += hour + 1800 - web.clock.now
    for store, power in ((stored, 4.0), (cached, 6.0)):
        for meter in "12":
            rows = [Reading(hour + 60 * minute, P=power) for minute in range(30)]
            await store.write([SeriesReadings(f"{SERIAL}_{meter}", rows)])
    for is_current, power, energy in ((True, "6.00", "2.9"), (False, "4.00", "1.9")):
        current.append(is_current)
        text = await visitor.open(f"{base}/power")
        assert [value for value in ("6.00", "4.00") if f">{value}<" in text] == [power]
        assert [value for value in ("2.9", "1.9") if f">{value} " in text] == [energy]


@pytest_twisted.ensureDeferred
async def test_a_stored_tariff_survives_its_form(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    await web.customers.update(customer.id, {"extensions": {"tariff": TARIFF}})
    await visitor.open(f"{base}/tariff")
    before = (await web.operator.get(f"customers/{customer.id}/tariff")).json
    saved = await visitor.submit(f"{base}/tariff")
    assert saved.status == 303, error_beside(saved.content.decode(), "energy")
    assert (await web.operator.get(f"customers/{customer.id}/tariff")).json == before


@pytest_twisted.ensureDeferred
async def test_a_tariff_is_built_from_rows_without_scripts(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/tariff"
    await visitor.open(path)
    assert "schedules.0.period" not in visitor.fields
    await visitor.submit(path, add="schedules")
    await visitor.submit(path, add="schedules")
    days = {f"schedules.1.{day}": "1" for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
    typed = {"schedules.1.season": "", "schedules.1.period": "flat", **days, "schedules.1.to": "22"}
    hole = await visitor.submit(path, **typed)
    text = hole.content.decode()
    assert hole.status == 422
    assert "22:00 to 24:00" in error_beside(text, "schedules")
    assert "Mon 22:00 to 24:00: no period" in text
    # The price of the period that was just named is asked for.
    assert visitor.fields["energy.0.period"] == "flat"
    fuller = await visitor.submit(path, add="schedules")
    assert fuller.status == 200
    assert "schedules.2.period" in visitor.fields
    late = {name.replace(".1.", ".2."): value for name, value in typed.items()}
    wrong = await visitor.submit(path, **{**late, "schedules.2.from": "25:00", "schedules.2.to": ""})
    assert "time of day" in error_beside(wrong.content.decode(), "schedules.2.from")
    assert (await visitor.submit(path, **{"schedules.2.from": "21:00"})).status == 422
    assert "already" in error_beside(visitor.page.content.decode(), "schedules.2")
    assert "more than one period" in visitor.page.content.decode()
    done = await visitor.submit(
        path, **{"schedules.2.from": "10 pm", "currency": "eur", "energy.0.import_per_kwh": "0,20"}
    )
    assert done.status == 303, done.content
    tariff = (await stored(web, customer)).extensions["tariff"]
    assert [(entry["from"], entry["to"]) for entry in tariff["schedules"]] == [("00:00", "22:00"), ("22:00", "24:00")]
    assert (tariff["energy"][0]["import_per_kwh"], tariff["currency"]) == ("0.20", "EUR")
    await visitor.open(path)
    assert (await visitor.submit(path, remove="schedules.1")).status == 200
    assert "schedules.1.period" not in visitor.fields


@pytest_twisted.ensureDeferred
async def test_holidays_of_each_kind_and_their_faults(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/tariff"
    await visitor.open(path)
    for _ in range(3):
        await visitor.submit(path, add="holidays")
    typed = {
        "holidays.0.kind": "date", "holidays.0.when": "2026-13-01", "holidays.1.kind": "observed", "holidays.1.when": "7/4",
        "holidays.2.kind": "nth", "holidays.2.nth": "4", "holidays.2.weekday": "thu", "holidays.2.month": "11",
    }  # fmt: skip
    await visitor.submit(path, **typed)
    assert "such as 24 December 2026" in error_beside(visitor.page.content.decode(), "holidays.0.when")
    await visitor.submit(path, **{"holidays.0.when": "24 December 2026"})
    assert "such as 1 June" in error_beside(visitor.page.content.decode(), "holidays.1.when")
    await visitor.submit(path, **{"holidays.1.when": "31 June"})
    assert error_beside(visitor.page.content.decode(), "holidays.1.when")
    assert (await visitor.submit(path, **{"holidays.1.when": "July 4"})).status == 303
    assert (await stored(web, customer)).extensions["tariff"]["holidays"] == [
        "2026-12-24", {"month": 7, "day": 4, "observed": True}, {"month": 11, "weekday": "thu", "nth": 4},
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_a_common_tariff_needs_only_its_prices(name: str, web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/tariff"
    await visitor.open(path)
    assert (await visitor.submit(path, preset=name)).status == 200
    prices = {field: "0.25" for field in visitor.fields if field.endswith(".import_per_kwh")}
    assert len(prices) == {"flat": 1, "night": 2, "peak": 2, "seasons": 4}[name]
    assert (await visitor.submit(path, **prices)).status == 303
    tariff = (await stored(web, customer)).extensions["tariff"]
    assert [price["import_per_kwh"] for price in tariff["energy"]] == ["0.25"] * len(prices)
    text = await visitor.open(path)
    if name == "seasons":
        assert visitor.fields["seasons.0.from"] == "1 Jun"
    assert (await visitor.submit(path)).status == 303
    assert (await stored(web, customer)).extensions["tariff"] == tariff, text


@pytest_twisted.ensureDeferred
async def test_a_tariff_changed_meanwhile_is_not_overwritten(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/tariff"
    await visitor.open(path)
    # What else of the customer is changed does not matter.
    await web.customers.update(customer.id, {"name": "renamed"})
    assert (await visitor.submit(path, fixed="5")).status == 303
    await visitor.open(path)
    await web.customers.update(customer.id, {"extensions": {"tariff": TARIFF}})
    late = await visitor.submit(path, fixed="9")
    assert late.status == 409
    assert "Seasons, Weekly schedule" in late.content.decode()
    assert (await stored(web, customer)).extensions["tariff"]["fixed"] == "25.00"
    assert (await visitor.submit(path)).status == 303
    assert (await stored(web, customer)).extensions["tariff"]["fixed"] == "9"
    await visitor.open(path)
    assert (await visitor.submit(f"{path}/remove", was="old")).status == 409
    assert (await visitor.submit(f"{path}/remove")).status == 303
    assert (await stored(web, customer)).extensions.get("tariff") is None


@pytest_twisted.ensureDeferred
async def test_what_is_stored_wrongly_does_not_break_the_pages(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    await web.customers.update(customer.id, {"extensions": {"tariff": {"currency": EVIL}, "alerts": {"x": EVIL}}})
    for page in ("tariff", "alerts", "charges", "doctor"):
        text = await visitor.open(f"{base}/{page}")
        assert visitor.page.status == 200
        assert "<script>alert" not in text
    assert (await visitor.submit(f"{base}/tariff")).status in (303, 422)


@pytest_twisted.ensureDeferred
async def test_charges_with_and_without_a_tariff(web: WebSide) -> None:
    customer, visitor, base = await begin(web, time_zone="UTC")
    text = await visitor.open(f"{base}/charges")
    assert "No tariff is set" in text
    await web.customers.update(
        customer.id, {"extensions": {"tariff": {"fixed": "10", "energy": [{"season": "all", "period": "all", "import_per_kwh": "0.5"}]}}},
    )  # fmt: skip
    hour = web.clock.now // 3600 * 3600 - 3600
    fields = {"import_kwh": 8.0, "export_kwh": 0.0, "covered_seconds": 3600.0, "seconds": 3600}
    await web.readings.write_points(energy_series(f"{SERIAL}_1"), [FieldPoint(hour, fields)])
    text = await visitor.open(f"{base}/charges?basis=calendar")
    assert "8.00 kWh" in text
    assert "14.00 USD" in text
    assert "style=" not in text


@pytest_twisted.ensureDeferred
async def test_charges_by_registers_say_where_power_counted(web: WebSide) -> None:
    # In the middle of a month, so that the hours before are of the same one.
    today = datetime.fromtimestamp(web.clock.now, UTC)
    middle = (today.replace(day=1) + timedelta(days=45)).replace(day=15)
    web.clock.offset += int(middle.timestamp()) - web.clock.now
    customer, visitor, base = await begin(web, time_zone="UTC")
    await visitor.open(f"{base}/tariff")
    assert (await visitor.submit(f"{base}/tariff", energy_from="registers")).status == 303
    assert (await stored(web, customer)).extensions["tariff"]["energy_from"] == "registers"
    hour = web.clock.now // 3600 * 3600 - 7200
    by_power = {"import_kwh": 8.0, "export_kwh": 0.0, "covered_seconds": 3600.0, "seconds": 3600}
    counted = {**by_power, "register_import_kwh": 9.5, "register_export_kwh": 0.0, "register_seconds": 3600.0}
    points = [FieldPoint(hour, counted), FieldPoint(hour + 3600, by_power)]
    await web.readings.write_points(energy_series(f"{SERIAL}_1"), points)
    text = await visitor.open(f"{base}/charges?basis=calendar")
    assert "17.50 kWh" in text
    assert "registers for 50 % of the time that is known, power for 1 h" in text
    shown = (await web.operator.get(f"customers/{customer.id}/charges?basis=calendar")).json["this"]
    assert shown["energy_from"] == "registers"
    assert shown["registers"]["missing"] == [
        {"start": hour + 3600, "end": hour + 7200, "seconds": 3600, "reason": "no_registers"}
    ]


@pytest_twisted.ensureDeferred
async def test_the_energy_page_says_what_counts_a_cost(web: WebSide) -> None:
    """A bill by registers and a saving by power must not look as if they had the same source."""
    customer, visitor, base = await begin(web, time_zone="UTC")
    tariff = {"energy": [{"season": "all", "period": "all", "import_per_kwh": "0.5"}]}
    hour = web.clock.now // 86400 * 86400 - 86400
    by_power = {"import_kwh": 8.0, "export_kwh": 0.0, "covered_seconds": 3600.0, "seconds": 3600}
    counted = {**by_power, "register_import_kwh": 10.0, "register_export_kwh": 0.0, "register_seconds": 3600.0}
    await web.readings.write_points(energy_series(f"{SERIAL}_1"), [FieldPoint(hour, counted)])
    page = f"{base}/energy?view=day&date={datetime.fromtimestamp(hour, UTC).date().isoformat()}"
    await web.customers.update(customer.id, {"extensions": {"tariff": tariff}})
    text = await visitor.open(page)
    assert "Energy bought<" in text and "4.00 USD" in text
    await web.customers.update(customer.id, {"extensions": {"tariff": {**tariff, "energy_from": "registers"}}})
    text = await visitor.open(page)
    assert "Energy bought, by registers<" in text and "5.00 USD" in text


@pytest_twisted.ensureDeferred
async def test_checks_are_listed_worst_first(web: WebSide) -> None:
    _, visitor, base = await begin(web)
    text = await visitor.open(f"{base}/doctor")
    assert "has never uploaded" in text.lower() or "never" in text.lower()
    assert "badge bad" in text or "badge warn" in text


@pytest_twisted.ensureDeferred
async def test_a_role_becomes_a_sum_of_meters(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/meters"
    await visitor.open(path)
    await visitor.submit(path, since="2025-06-15T12:00", solar="2*")
    assert "1+4" in error_beside(visitor.page.content.decode(), "solar")
    await visitor.submit(path, since="2025-06-15T12:00", solar="2+1")
    assert "one role" in visitor.page.content.decode()
    await visitor.submit(path, solar="2+4*0.5", **{"columns.solar.P": "14"})
    assert "one meter" in error_beside(visitor.page.content.decode(), "columns.solar.P")
    assert (await visitor.submit(path, **{"columns.solar.P": ""})).status == 303
    kept = await stored(web, customer)
    assert kept.solar == "2+4*0.5"
    assert kept.extensions["history"][0]["solar"] == "2"
    assert "sum 2+4*0.5" in await visitor.open(path)
    settings = await visitor.open(f"{base}/settings")
    assert "will be computed" in settings
    assert 'value="2+4*0.5"' in settings


@pytest_twisted.ensureDeferred
async def test_meters_change_from_a_time_on(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/meters"
    await visitor.open(path)
    assert "datetime-local" in visitor.page.content.decode()
    await visitor.submit(path, since="", solar="3")
    assert "date and time" in error_beside(visitor.page.content.decode(), "since")
    await visitor.submit(path, since="2025-06-15T12:00", solar="300")
    assert "1 to 255" in error_beside(visitor.page.content.decode(), "solar")
    await visitor.submit(path, since="2999-06-15T12:00", solar="3")
    assert visitor.page.status == 422
    assert error_beside(visitor.page.content.decode(), "since")
    await visitor.submit(path, since="2025-06-15T12:00", solar="1")
    assert "one role" in visitor.page.content.decode()
    await visitor.submit(path, solar="2")
    assert "nothing is different" in error_beside(visitor.page.content.decode(), "since").lower()
    typed = {"solar": "3", "reversed.solar": "yes", "columns.solar.P": "2"}
    await visitor.submit(path, **typed)
    assert "a column from" in error_beside(visitor.page.content.decode(), "columns.solar.P").lower()
    assert (await visitor.submit(path, **{"columns.solar.P": "14"})).status == 303
    kept = await stored(web, customer)
    assert kept.solar == "3"
    assert kept.extensions["meters"] == {"reversed": ["solar"], "layouts": {"3": {"P": 14}}}
    assert kept.extensions["history"][0]["until"] == 1_750_003_200  # 12:00 in New York, in summer
    text = await visitor.open(path)
    assert "CT reversed" in text
    assert "P in column 14" in text
    await web.customers.update(customer.id, {"name": "renamed"})
    assert (await visitor.submit(path, since_kind="now", solar="4")).status == 409
    assert (await visitor.submit(path)).status == 303
    assert (await stored(web, customer)).solar == "4"


@pytest_twisted.ensureDeferred
async def test_a_logger_is_replaced_from_a_time_on(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/meters"
    await web.customer(name="neighbour", logger_serial_number="001EC6009999", facility="1", load="2")
    await web.readings.write([SeriesReadings("001EC6008888_1", [Reading(1_750_000_000, P=1.0)])])
    customer = await web.customers.update(customer.id, {"extensions": {"released": ["001EC6007777"]}})
    await visitor.open(path)
    noon = {"since": "2025-06-15T12:00"}
    assert (await visitor.submit(path, **noon, logger_serial_number="no serial!")).status == 422
    assert "letters" in error_beside(visitor.page.content.decode(), "logger_serial_number")
    # Another customer's logger, one with stored readings, and an unknown one: the answer does not distinguish them.
    for serial in ("001EC6009999", "001EC6008888", "001EC6005555"):
        assert (await visitor.submit(path, **noon, logger_serial_number=serial)).status == 403
        assert "has not released this logger" in error_beside(visitor.page.content.decode(), "logger_serial_number")
    assert await stored(web, customer) == customer
    assert (await visitor.submit(path, **noon, logger_serial_number="00:1e:c6:00:77:77")).status == 303
    kept = await stored(web, customer)
    assert kept.logger_serial_number == "001EC6007777"
    assert [(entry["until"], entry["logger_serial_number"]) for entry in kept.extensions["history"]] == [
        (1_750_003_200, SERIAL)
    ]
    assert kept.facility == "1"
    # A form that was opened before it had that field leaves the logger alone.
    await visitor.open(path)
    del visitor.fields["logger_serial_number"]
    assert (await visitor.submit(path, since_kind="now", solar="3")).status == 303
    assert (await stored(web, customer)).logger_serial_number == "001EC6007777"


@pytest_twisted.ensureDeferred
async def test_an_hour_is_explained_and_ranges_are_computed_again(web: WebSide) -> None:
    start = 1_750_003_200
    customer, visitor, base = await begin(web, operator=True, facility="", load="1")
    await web.readings.write(
        [
            SeriesReadings(f"{SERIAL}_1", [Reading(start, P=3.0), Reading(start + 60, P=3.0)]),
            SeriesReadings(f"{SERIAL}_2", [Reading(start, P=1.0)]),
            SeriesReadings(f"{SERIAL}_missing_meter", [Reading(start, P=2.0)]),
        ]
    )
    text = await visitor.open(f"{base}/meters?hour=2025-06-15T12:00")
    assert "Computed" in text
    assert "has not uploaded this time yet" in text
    assert "58 times" in text
    assert "date and time" in error_beside(await visitor.open(f"{base}/meters?hour=noon"), "hour")
    await visitor.submit(f"{base}/meters/backfill", start="2025-06-15T12:00", end="2025-06-15T11:00")
    assert "later" in error_beside(visitor.page.content.decode(), "end")
    done = await visitor.submit(f"{base}/meters/backfill", start="2025-06-15T12:00", end="2025-06-15T13:00")
    assert done.status == 303
    marked = await stored(web, customer)
    assert (marked.pending_start, marked.pending_end) == (start, start + 3600)


@pytest_twisted.ensureDeferred
async def test_config_files_of_a_logger_are_for_operators(web: WebSide) -> None:
    _, visitor, _ = await begin(web, operator=True)
    name = "loggerconfig.ini"
    for text in (b"ADMINPASSWORD=swordfish\nLOOPNAME=<b>one\n", b"ADMINPASSWORD=hunter2\nLOOPNAME=<b>two\n"):
        await web.archive.store(SERIAL, ConfigFileUpload(name=name, content=text, file_time=1_750_000_000))
    assert name in await visitor.open(f"/loggers/{SERIAL}")
    path = f"/loggers/{SERIAL}/config"
    shown = await visitor.open(f"{path}?name={name}&version=1")
    assert "LOOPNAME=&lt;b&gt;one" in shown
    diff = await visitor.open(f"{path}?name={name}&old=1&new=2")
    assert "+LOOPNAME=&lt;b&gt;two" in diff
    for secret in ("swordfish", "hunter2"):
        assert secret not in shown + diff
    assert (await visitor.submit(path, name=name, version="1")).status == 303
    assert "to be fetched" in await visitor.open(f"{path}?name={name}")
    assert await web.exchange.download(SERIAL, name) == b"ADMINPASSWORD=swordfish\nLOOPNAME=<b>one\n"
    assert (await visitor.submit(path, name=name, version="")).status == 303
    web.archive.remote = False
    assert (await visitor.submit(path, name=name, version="1")).status == 422
    assert "Send to the logger" not in await visitor.open(f"{path}?name={name}")
    for wrong in ("/etc/passwd", "nothing.ini"):
        await visitor.open(f"{path}?name={wrong}")
        assert visitor.page.status == 404
    await visitor.open("/loggers/NOBODY")
    assert visitor.page.status == 404
    _, client = await web.customer(name="somebody", logger_serial_number="001EC6000001")
    stranger = Visitor(web, str(client.token))
    await stranger.sign_in()
    await stranger.open(f"/loggers/{SERIAL}")
    assert stranger.page.status == 403


@pytest_twisted.ensureDeferred
async def test_forms_need_their_token_and_pages_their_customer(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    await visitor.open(f"{base}/alerts")
    fields = {key: value for key, value in visitor.fields.items() if key != "csrf"}
    for path in ("alerts", "alerts/channels", "alerts/channels/remove", "tariff", "tariff/remove", "meters"):
        assert (await visitor.send(f"{base}/{path}", fields)).status == 403, path
    assert (await visitor.send(f"{base}/meters/backfill", visitor.fields)).status == 403
    other, client = await web.customer(name="other")
    stranger = Visitor(web, str(client.token))
    await stranger.sign_in()
    for page in ("alerts", "tariff", "charges", "doctor", "meters"):
        await stranger.open(f"{base}/{page}")
        assert stranger.page.status == 404, page
    assert (await stored(web, customer)).extensions == {}
    assert other.id != customer.id


@pytest_twisted.ensureDeferred
async def test_the_columns_of_a_held_meter_are_chosen_by_its_rows(web: WebSide) -> None:
    customer, visitor, base = await begin(web, facility="1", solar="3")
    serial = customer.logger_serial_number
    meters = HeldMeters(web.documents, web.clock, logger_bytes=1 << 20, all_bytes=1 << 20)
    logs = HeldLogs(web.documents, meters, web.clock, 90)
    unknown = Resolution(state="unknown", reason="device class 98 is not in the table")
    for meter in ("1", "7"):
        log = HeldLog(serial=serial, meter=meter, received=1_750_000_000, format="log", device_name=EVIL)
        row = f"'2025-06-15 12:00:00',0,0,0,77.5,{EVIL[:10]},6.25\n"
        await logs.hold(log, row.encode(), Unread(MeterFacts(points=3), unknown, None))
    text = await visitor.open(f"{base}/meters")
    assert "Meter 7 is not understood" in text
    assert "77.5" in text
    assert EVIL not in text
    refused = await visitor.submit(f"{base}/meters/held", meter="7")
    assert "hoose the column of real power" in refused.content.decode()
    await visitor.open(f"{base}/meters")
    done = await visitor.submit(f"{base}/meters/held", meter="7", **{"column.6": "P", "column.4": "E_net"})
    assert done.status == 303
    kept = await web.customers.get(customer.id)
    assert kept is not None
    assert kept.extensions["meters"]["layouts"] == {"7": {"P": 6, "E_net": 4}}
    await visitor.submit(f"{base}/meters/held", meter="7", dismiss="yes")
    assert "Meter 7 is not understood" not in await visitor.open(f"{base}/meters")
    assert "Meter 1 is not understood" in await visitor.open(f"{base}/meters")


@pytest_twisted.ensureDeferred
async def test_nothing_is_called_good_that_was_not_checked(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    assert "has not uploaded yet" in await visitor.open(f"{base}/alerts")
    await web.customers.update(customer.id, {"extensions": {"alerts": {"x": EVIL}}})
    assert "Nothing is watched" in await visitor.open(f"{base}/alerts")
    now = web.clock.now
    await web.customers.update(customer.id, {"extensions": {"alerts": {}}})
    body = {"loop_name": "", "address": "192.0.2.1", "last_upload": now - 12 * 3600, "gaps": [[1, 900]]}
    await web.documents.put(LOGGER, SERIAL, body)
    assert "not all is well: logger silent" in await visitor.open(f"{base}/alerts")


@pytest_twisted.ensureDeferred
async def test_what_operators_are_notified_in_any_case_is_said(web: WebSide) -> None:
    customer, client = await web.customer(name="Mill", facility="1", solar="2", logger_serial_number=SERIAL)
    for alerted in (False, True):
        web.context = attrs.evolve(web.context, operators_alerted=alerted)
        mount_pages(web)
        visitor = Visitor(web, str(client.token))
        await visitor.sign_in()
        text = await visitor.open(f"/customers/{customer.id}/alerts")
        assert ("gets these messages in any case: Logger misses its upload, Meter stopped" in text) == alerted


@pytest_twisted.ensureDeferred
async def test_e_mail_is_offered_only_where_it_is_set_up(web: WebSide) -> None:
    object.__setattr__(web.context, "channels_set_up", frozenset({"webhook"}))
    _, visitor, base = await begin(web)
    text = await visitor.open(f"{base}/alerts")
    assert "E-mail is not set up" in text
    assert '<option value="email"' not in text
    assert '<option value="webhook"' in text


@pytest_twisted.ensureDeferred
async def test_a_change_of_meters_is_taken_back(web: WebSide) -> None:
    customer, visitor, base = await begin(web)
    path = f"{base}/meters"
    assert "Undo" not in await visitor.open(path)
    update = dated_change(await stored(web, customer), web.clock.now - 3600, {"facility": "9"}, web.clock.now)
    await web.customers.update(customer.id, update)
    assert "Undo" in await visitor.open(path)
    assert (await visitor.submit(f"{path}/take-back", at="17")).status == 422
    assert (await visitor.submit(f"{path}/take-back", etag="old")).status == 409
    await visitor.open(path)
    assert (await visitor.submit(f"{path}/take-back")).status == 303
    assert (await stored(web, customer)).facility == "1"
    assert "Undo" not in await visitor.open(f"{path}?done=without_change")


@pytest_twisted.ensureDeferred
async def test_what_the_front_end_keeps_is_shown_as_such_until_there_is_an_own_one(
    web: WebSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, visitor, base = await begin(web)
    get = web.customers.get

    async def with_existing(customer_id: str) -> Customer | None:
        found = await get(customer_id)
        return attrs.evolve(found, existing=EXISTING) if found is not None else None

    monkeypatch.setattr(web.customers, "get", with_existing)
    for page, value in (("alerts", "120.5"), ("tariff", "0.19")):
        text = await visitor.open(f"{base}/{page}")
        assert "From the existing settings of your front end" in text
        assert value in text
        own = {"alerts": existing_alerts, "tariff": existing_tariff}[page](Customer(id="x", existing=EXISTING)).value
        await web.customers.update(customer.id, {"extensions": {page: own}})
        text = await visitor.open(f"{base}/{page}")
        assert "From the existing settings" not in text
        assert value in text
