"""Tariff, alerts, messages, rollups, charges and setup checks over real HTTP."""

from __future__ import annotations

import pytest_twisted

from cenergyd.customers.model import Customer
from cenergyd.readings.model import FieldPoint
from tests.web.harness import Client, WebSide

SERIAL = "001EC6001433"


async def site(web: WebSide) -> tuple[Customer, Client]:
    return await web.customer(
        name="site", time_zone="America/New_York", facility="1", solar="2", logger_serial_number=SERIAL,
        logger_password="x",
    )  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_tariff_is_set_read_and_removed(web: WebSide) -> None:
    customer, client = await site(web)
    path = f"customers/{customer.id}/tariff"
    empty = await client.get(path)
    assert empty.json == {"tariff": None}
    wrong = await client.put(path, {"currency": "dollars"}, headers={"If-Match": empty.etag})
    assert wrong.status == 422
    assert wrong.json["errors"][0]["field"] == "tariff.currency"
    stored = await client.put(path, {"currency": "USD"}, headers={"If-Match": empty.etag})
    assert stored.status == 200, stored.content
    assert (await client.get(path)).json["tariff"]["currency"] == "USD"
    late = await client.put(path, {"currency": "EUR"}, headers={"If-Match": empty.etag})
    assert late.status == 412
    assert (await client.delete(path, headers={"If-Match": stored.etag})).status == 204
    assert (await client.get(path)).json == {"tariff": None}


@pytest_twisted.ensureDeferred
async def test_charges_without_data_have_their_periods(web: WebSide) -> None:
    customer, client = await site(web)
    answer = await client.get(f"customers/{customer.id}/charges?basis=calendar")
    assert answer.status == 200
    assert {"this", "last", "last_year"} <= set(answer.json)
    assert (await client.get(f"customers/{customer.id}/charges?basis=moon")).status == 422


@pytest_twisted.ensureDeferred
async def test_alert_settings_hide_secrets_and_keep_them(web: WebSide) -> None:
    customer, client = await site(web)
    path = f"customers/{customer.id}/alerts"
    empty = await client.get(path)
    channel = {"type": "webhook", "url": "https://example.org/hook", "secret": "very secret words"}
    stored = await client.put(path, {"channels": [channel]}, headers={"If-Match": empty.etag})
    assert stored.status == 200, stored.content
    assert b"very secret words" not in stored.content
    shown = stored.json["alerts"]
    assert shown["channels"][0]["has_secret"] is True
    again = await client.put(path, shown, headers={"If-Match": stored.etag})
    assert again.status == 200, again.content
    kept = await web.customers.get(customer.id)
    assert kept.extensions["alerts"]["channels"][0]["secret"] == "very secret words"
    wrong = await client.put(path, {"net_load": {"above_kw": "much"}}, headers={"If-Match": again.etag})
    assert wrong.status == 422


@pytest_twisted.ensureDeferred
async def test_a_test_message_is_queued_once_a_minute(web: WebSide) -> None:
    customer, client = await site(web)
    hook = {"type": "webhook", "url": "https://example.org/hook"}
    assert (await client.post(f"customers/{customer.id}/alerts/test", hook)).status == 202
    await client.post(f"customers/{customer.id}/alerts/test", hook)
    listed = (await client.get(f"customers/{customer.id}/alerts/messages")).json["messages"]
    assert [(message["kind"], message["state"]) for message in listed] == [("test", "queued")] * len(listed)
    assert 1 <= len(listed) <= 2
    assert (await client.get(f"customers/{customer.id}/alerts/states")).json == {"alerts": []}


@pytest_twisted.ensureDeferred
async def test_rollups_and_energy(web: WebSide) -> None:
    customer, client = await site(web)
    now = web.clock.now // 900 * 900
    await web.readings.write_points(f"{SERIAL}_1_15m", [FieldPoint(now - 900, {"P_mean": 4.0})])
    answer = await client.get(f"customers/{customer.id}/rollups?role=utility&resolution=15m")
    assert answer.json["windows"] == [{"series": f"{SERIAL}_1", "time": now - 900, "P_mean": 4.0}]
    await web.customers.update(customer.id, {"extensions": {"meters": {"reversed": ["utility"]}}})
    turned = (await client.get(f"customers/{customer.id}/rollups?role=utility&resolution=15m")).json
    assert [window["P_mean"] for window in turned["windows"]] == [-4.0]
    assert (await client.get(f"customers/{customer.id}/rollups?role=roof")).status == 422
    energy = (await client.get(f"customers/{customer.id}/energy/today")).json
    assert energy["energy"]["utility"]["import_kwh"] == 0.0
    assert (await client.get(f"customers/{customer.id}/net-load")).json == {"windows": []}


@pytest_twisted.ensureDeferred
async def test_doctor_reports_unseen_meters(web: WebSide) -> None:
    customer, client = await site(web)
    report = (await client.get(f"customers/{customer.id}/doctor")).json
    assert report["findings"]
    assert report["worst"] in ("warning", "error")


@pytest_twisted.ensureDeferred
async def test_other_customers_see_nothing(web: WebSide) -> None:
    customer, _ = await site(web)
    _, other = await web.customer(name="other")
    for path in ("tariff", "alerts", "charges", "doctor", "energy/today", "net-load", "alerts/states", "meters"):
        assert (await other.get(f"customers/{customer.id}/{path}")).status == 404
