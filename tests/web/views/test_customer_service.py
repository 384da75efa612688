"""Changes of meters and what fails in between; loggers whose readings are somebody else's."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_twisted

from cenergyd.customers.model import Customer, PendingMark
from cenergyd.errors import StoreUnavailable
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.web.server.problems import RequestProblem
from cenergyd.web.views.customer_service import FOREIGN_LOGGER, check_size
from tests.web.harness import Client, WebSide
from tests.web.pages.visitor import Visitor, mount_pages

SERIAL, OTHER, NEW = "001EC6001433", "001EC6009999", "001EC6000001"
START = 1_750_000_200
ANY = {"If-Match": "*"}


async def stored(web: WebSide, serial: str = SERIAL, meters: str = "123") -> None:
    """Readings of a logger's meters, three minutes each."""
    for meter in meters:
        readings = [Reading(START + 60 * n, P=float(meter)) for n in range(3)]
        await web.readings.write([SeriesReadings(f"{serial}_{meter}", readings)])


def failing(error: str) -> Any:
    """What a store that is down does."""

    async def call(*args: object, **more: object) -> None:
        raise StoreUnavailable(error)

    return call


async def pending(web: WebSide, customer: Customer) -> tuple[int | None, int | None]:
    now = await web.customers.get(customer.id)
    return now.pending_start, now.pending_end


async def by_settings(client: Client, customer: Customer) -> Any:
    return await client.patch(f"customers/{customer.id}/settings", {"solar": "3"}, headers=ANY)


async def by_replacing(client: Client, customer: Customer) -> Any:
    body = {"facility": "1", "solar": "3", "logger_serial_number": SERIAL}
    return await client.put(f"customers/{customer.id}", body, headers=ANY)


async def by_history(client: Client, customer: Customer) -> Any:
    body = {"solar": "3", "effective_from": START}
    return await client.post(f"customers/{customer.id}/meters", body, headers=ANY)


async def by_compat(client: Client, customer: Customer) -> Any:
    return await client.post("/settings", {"solar": "3"})


WAYS = (by_settings, by_replacing, by_history, by_compat)


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_a_change_comes_with_its_window(web: WebSide, way: Any) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    await stored(web)
    before = web.clock.now
    assert (await way(client, customer)).status == 200
    since, until = await pending(web, customer)
    assert since == START
    assert until is not None
    assert until > before


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_without_the_readings_nothing_is_changed(web: WebSide, way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    await stored(web)
    for method in ("first", "last"):
        monkeypatch.setattr(web.readings, method, failing("no readings"))
    assert (await way(client, customer)).status == 503
    assert await web.customers.get(customer.id) == customer
    assert not web.changes
    # The same request again, when the store is back.
    monkeypatch.undo()
    assert (await way(client, customer)).status == 200
    assert (await pending(web, customer))[0] == START


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_a_fault_between_settings_and_mark_leaves_neither(
    web: WebSide, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    await stored(web)

    def broken(db: Any, marks: Any) -> None:
        assert db.execute("SELECT solar FROM customer WHERE id = ?", (customer.id,)).fetchone() == ("3",)
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(web.customers.derivation_queue, "mark_within", broken)
    assert (await way(client, customer)).status == 503
    assert await web.customers.get(customer.id) == customer
    monkeypatch.undo()
    assert (await way(client, customer)).status == 200
    assert (await pending(web, customer))[0] == START


@pytest_twisted.ensureDeferred
async def test_a_lost_answer_leaves_change_and_window(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    await stored(web)
    update = web.customers.update

    async def lost(*args: Any, **more: Any) -> None:
        await update(*args, **more)
        raise StoreUnavailable("the connection ended before the answer")

    monkeypatch.setattr(web.customers, "update", lost)
    assert (await by_settings(client, customer)).status == 503
    monkeypatch.undo()
    # Taken by a derivation with the new settings before the client tries again.
    (work,) = await web.customers.derivation_queue.claim("c", web.clock.now, 60, 10)
    assert (work.customer.solar, work.start) == ("3", START)
    await web.customers.derivation_queue.finish([work])
    assert (await by_settings(client, customer)).status == 200
    assert await pending(web, customer) == (None, None)


@pytest_twisted.ensureDeferred
async def test_a_derivation_under_way_does_not_take_the_mark_with_it(web: WebSide) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    await stored(web)
    queue, now = web.customers.derivation_queue, web.clock.now
    await queue.mark([PendingMark(customer.id, START, now)])
    (old,) = await queue.claim("old", now, 60, 10)
    assert (await by_settings(client, customer)).status == 200
    assert await queue.finish([old]) == [True]
    (work,) = await queue.claim("new", now, 60, 10)
    assert (work.customer.solar, work.start) == ("3", START)


@pytest_twisted.ensureDeferred
async def test_a_forced_change_meets_another_one(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    await stored(web)
    first = web.readings.first

    async def meanwhile(series: Any, since: int = 0) -> Any:
        monkeypatch.undo()
        await web.customers.update(customer.id, {"facility": "", "load": "1"})
        return await first(series, since)

    monkeypatch.setattr(web.readings, "first", meanwhile)
    assert (await by_settings(client, customer)).status == 200
    now = await web.customers.get(customer.id)
    assert (now.facility, now.load, now.solar, now.pending_start) == ("", "1", "3", START)


@pytest_twisted.ensureDeferred
async def test_a_new_customer_comes_with_its_window(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    await stored(web)
    body = {"facility": "1", "solar": "2", "logger_serial_number": SERIAL}
    monkeypatch.setattr(web.readings, "first", failing("no readings"))
    assert (await web.operator.post("customers", body)).status == 503
    assert await web.customers.count() == 0
    monkeypatch.undo()
    monkeypatch.setattr(web.customers.derivation_queue, "mark_within", lambda db, marks: 1 // 0)
    assert (await web.operator.post("customers", body)).status == 500
    assert await web.customers.count() == 0
    monkeypatch.undo()
    made = await web.operator.post("customers", body)
    assert made.status == 201
    assert (await web.customers.get(made.json["id"])).pending_start == START


@pytest_twisted.ensureDeferred
async def test_what_is_no_meter_needs_no_readings(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    monkeypatch.setattr(web.readings, "first", failing("no readings"))
    renamed = await client.patch(f"customers/{customer.id}", {"name": "x", "solar": "2"}, headers=ANY)
    assert renamed.status == 200
    assert (await client.delete(f"customers/{customer.id}/tariff", headers=ANY)).status == 204
    assert await pending(web, customer) == (None, None)


@pytest_twisted.ensureDeferred
async def test_old_computed_readings_count_too(web: WebSide) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    await stored(web)
    await web.readings.write([SeriesReadings(f"{SERIAL}_missing_meter", [Reading(START - 600, P=1.0)])])
    assert (await by_settings(client, customer)).status == 200
    assert (await pending(web, customer))[0] == START - 600


async def serial_by_patch(client: Client, customer: Customer, serial: str) -> Any:
    body = {"logger_serial_number": serial}
    return await client.patch(f"customers/{customer.id}/settings", body, headers=ANY)


async def serial_by_put(client: Client, customer: Customer, serial: str) -> Any:
    body = {"facility": "1", "logger_serial_number": serial}
    return await client.put(f"customers/{customer.id}", body, headers=ANY)


async def serial_by_history(client: Client, customer: Customer, serial: str) -> Any:
    return await client.post(f"customers/{customer.id}/meters", {"logger_serial_number": serial}, headers=ANY)


async def serial_by_compat(client: Client, customer: Customer, serial: str) -> Any:
    return await client.post("/settings", {"logger_serial_number": serial})


SERIAL_WAYS = (serial_by_patch, serial_by_put, serial_by_history, serial_by_compat)


@pytest.mark.parametrize("way", SERIAL_WAYS)
@pytest.mark.parametrize("written", [OTHER, OTHER.lower(), "00:1e:c6:00:99:99"])
@pytest_twisted.ensureDeferred
async def test_a_loggers_old_readings_are_private(web: WebSide, way: Any, written: str) -> None:
    await stored(web, OTHER)
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    refused = await way(client, customer, written)
    assert (refused.status, refused.json["code"]) == (403, "logger_not_released")
    assert refused.json["errors"] == [{"field": "logger_serial_number", "detail": FOREIGN_LOGGER}]
    assert await web.customers.get(customer.id) == customer
    # The same for an unknown logger.
    unknown = await way(client, customer, NEW)
    assert (unknown.status, unknown.json) == (
        403,
        {**refused.json, "request_id": unknown.json.get("request_id")}
        if "request_id" in refused.json
        else refused.json,
    )
    await web.customers.update(customer.id, {"extensions": {"released": [NEW]}})
    fresh = await way(client, customer, NEW)
    assert (fresh.status, fresh.json["logger_serial_number"]) == (200, NEW)


@pytest.mark.parametrize("way", SERIAL_WAYS[:3])
@pytest_twisted.ensureDeferred
async def test_operators_assign_any_logger(web: WebSide, way: Any) -> None:
    await stored(web, OTHER)
    customer, _ = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    assert (await way(web.operator, customer, OTHER)).json["logger_serial_number"] == OTHER


@pytest_twisted.ensureDeferred
async def test_present_and_former_loggers_are_free(web: WebSide) -> None:
    for serial in (SERIAL, NEW):
        await stored(web, serial)
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    assert (await serial_by_put(client, customer, SERIAL)).status == 200
    assert (await serial_by_history(web.operator, customer, NEW)).status == 200
    assert (await serial_by_patch(client, customer, SERIAL)).status == 200


@pytest_twisted.ensureDeferred
async def test_the_page_shows_it_at_the_field(web: WebSide) -> None:
    mount_pages(web)
    await stored(web, OTHER)
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    path = f"/customers/{customer.id}/settings"
    own, operator = Visitor(web, client.token or ""), Visitor(web, web.operator_token)
    await own.sign_in()
    await own.open(path)
    refused = await own.submit(path, logger_serial_number=OTHER)
    text = refused.content.decode()
    beside = re.search(r'id="logger_serial_number-error">(.*?)</p>', text, re.DOTALL)
    assert refused.status == 403
    assert beside is not None
    assert FOREIGN_LOGGER in beside[1]
    assert own.fields["logger_serial_number"] == OTHER
    assert await web.customers.get(customer.id) == customer
    await operator.sign_in()
    await operator.open(path)
    assert (await operator.submit(path, logger_serial_number=OTHER)).status == 303
    assert (await web.customers.get(customer.id)).logger_serial_number == OTHER


@pytest_twisted.ensureDeferred
async def test_the_meters_page_marks_before_it_changes(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    mount_pages(web)
    await stored(web)
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    path = f"/customers/{customer.id}/meters"
    visitor = Visitor(web, client.token or "")
    await visitor.sign_in()
    await visitor.open(path)
    form = {**visitor.fields, "solar": "3", "since_kind": "always"}
    monkeypatch.setattr(web.readings, "first", failing("no readings"))
    assert (await visitor.send(path, form)).status == 503
    assert await web.customers.get(customer.id) == customer
    monkeypatch.undo()
    assert (await visitor.send(path, form)).status == 303
    assert (await pending(web, customer))[0] == START


@pytest_twisted.ensureDeferred
async def test_the_api_document_names_the_answer(web: WebSide) -> None:
    paths = (await web.anybody().get("openapi.json")).json["paths"]
    one = "/customers/{customer_id}"
    for path, method in ((one, "patch"), (one, "put"), (f"{one}/settings", "put"), (f"{one}/meters", "post")):
        described = paths[path][method]
        assert "403" in described["responses"]
        assert "logger_not_released" in described["description"]


def test_the_whole_of_a_customers_settings_is_bounded() -> None:
    small, large = Customer(id="a"), Customer(id="a", extensions={"history": [{"layouts": "x" * 1000}] * 600})
    check_size(small, small)
    check_size(large, small)
    check_size(large, large)
    with pytest.raises(RequestProblem) as caught:
        check_size(small, large)
    assert caught.value.details.status == 422
