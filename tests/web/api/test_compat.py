"""``/settings`` as the existing front end uses it."""

from __future__ import annotations

import pytest_twisted

from tests.web.access.test_access import signed_in
from tests.web.harness import WebSide


@pytest_twisted.ensureDeferred
async def test_old_shape(web: WebSide) -> None:
    customer, client = await web.customer(name="x", facility="1", logger_serial_number="A1", logger_password="old")
    read = await client.get("/settings")
    assert read.json == {
        "facility": "1", "load": "", "solar": "", "logger_serial_number": "A1", "logger_password_set": True,
    }  # fmt: skip
    await web.customers.update(customer.id, {"extensions": {"released": ["B2"]}})
    written = await client.post(
        "/settings",
        {"facility": "1", "load": "2", "solar": "", "logger_serial_number": "b2", "logger_password": ""},
    )
    assert written.json == {**read.json, "load": "2", "logger_serial_number": "B2"}
    assert (await web.customers.get(customer.id)).logger_password == "old"
    await client.post("/settings", {"logger_password": "new one"})
    stored = await web.customers.get(customer.id)
    assert stored.logger_password.startswith("$argon2")
    assert (stored.name, stored.load) == ("x", "2")


@pytest_twisted.ensureDeferred
async def test_only_the_five_fields(web: WebSide) -> None:
    _, client = await web.customer(name="x")
    for field in ("name", "time_zone", "logger_password_set", "id"):
        answer = await client.post("/settings", {field: "y"})
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


@pytest_twisted.ensureDeferred
async def test_if_match_counts_where_it_is_sent(web: WebSide) -> None:
    _, client = await web.customer(name="x")
    read = await client.get("/settings")
    assert (await client.post("/settings", {"load": "1"}, headers={"If-Match": read.etag})).status == 200
    assert (await client.post("/settings", {"load": "2"}, headers={"If-Match": read.etag})).status == 412


@pytest_twisted.ensureDeferred
async def test_for_signed_in_customers(web: WebSide) -> None:
    assert (await web.anybody().get("/settings")).status == 401
    assert (await web.operator.get("/settings")).status == 403
    _, client = await web.customer(name="x")
    browser, csrf = await signed_in(web, client.token or "")
    assert (await browser.post("/settings", {"load": "1"})).status == 403
    assert (await browser.post("/settings", {"load": "1"}, headers={"X-CSRF-Token": csrf})).status == 200
