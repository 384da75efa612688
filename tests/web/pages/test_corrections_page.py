"""The page of corrections over real HTTP: a plain form, the list, and undoing."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest_twisted

from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.web.pages.corrections import wanted_of
from tests.web.harness import WebSide
from tests.web.pages.visitor import Visitor, error_beside, mount_pages

SERIAL = "001EC6001433"
START = 1_750_003_200


@pytest_twisted.ensureDeferred
async def test_a_customer_corrects_and_undoes_without_scripts(web: WebSide) -> None:
    mount_pages(web)
    customer, client = await web.customer(
        name="Mill", load="1", solar="2", logger_serial_number=SERIAL, time_zone="America/New_York"
    )
    path = f"/customers/{customer.id}/corrections"
    visitor = Visitor(web, str(client.token))
    await visitor.sign_in()
    assert "no readings of this customer" in await visitor.open(path)
    rows = [Reading(START + 60 * k, 2.0) for k in range(60)]
    await web.readings.write([SeriesReadings(f"{SERIAL}_{meter}", rows) for meter in ("1", "9", "missing_meter")])

    shown = await visitor.open(f"{path}?start={START + 600}&end={START + 1200}")
    assert "1 (Load)" in shown
    assert 'value="9"' in shown
    assert "missing_meter" not in shown
    assert 'value="2025-06-15T12:10:00"' in shown
    form = {"meter": "1", "kind": "scale"}
    refused = await visitor.submit(path, **form, factor="much", reason="")
    assert refused.status == 422
    assert error_beside(refused.content.decode(), "factor") == "A number is needed, such as 2 or 0.5."
    refused = await visitor.submit(path, **form, factor="2", reason="")
    assert "A reason is needed" in error_beside(refused.content.decode(), "reason")
    refused = await visitor.submit(path, **form, factor="2", reason="x", to="never")
    assert "Choose a date and time" in error_beside(refused.content.decode(), "to")
    refused = await visitor.submit(path, meter="1", kind="shift", seconds="60", reason="x", to="2025-06-15T12:20:00")
    assert "void them first" in refused.content.decode()

    hostile = "<script>alert(1)</script>"
    made = await visitor.submit(path, **form, factor="2,5", reason=hostile, seconds="")
    assert (made.status, made.header("Location")) == (303, f"{path}?done=made#list")
    listed = await visitor.open(f"{path}?done=made")
    assert "Times 2.5" in listed
    assert "customer: a customer" in listed
    assert hostile not in listed
    found = (await web.readings.read([f"{SERIAL}_1"], START + 540, START + 1260))[f"{SERIAL}_1"]
    assert [reading.P for reading in found] == [2.0, *[5.0] * 10, 2.0]

    undone = await visitor.send(f"{path}/undo", {**visitor.fields, "correction": f"{SERIAL}_1.1"})
    assert undone.status == 303
    assert "Undone by customer: a customer" in await visitor.open(path)
    again = await visitor.send(f"{path}/undo", {**visitor.fields, "correction": f"{SERIAL}_1.1"})
    assert again.status == 422
    assert "It is already undone." in again.content.decode()
    assert (await visitor.send(f"{path}/undo", {**visitor.fields, "correction": "x"})).status == 404
    assert (await visitor.send(path, {**visitor.fields, "csrf": "x"})).status == 403

    other, _ = await web.customer(name="Other")
    await visitor.open(f"/customers/{other.id}/corrections")
    assert visitor.page is not None
    assert visitor.page.status == 404


def test_times_of_an_hour_that_comes_twice_are_kept_where_they_are_as_shown() -> None:
    zone = ZoneInfo("America/New_York")
    second = 1_793_512_800  # 2026-11-01T01:00 EST, after 01:00 EDT an hour before
    typed = {
        "meter": "1", "kind": "void", "from": "2026-11-01T01:00:00", "to": "2026-11-01T02:00:00",
        "start": str(second + 3600 - 3600), "end": "", "factor": "", "seconds": "", "reason": "x",
    }  # fmt: skip
    wanted = wanted_of(typed, zone)
    assert (wanted.start, wanted.end) == (second, second + 3600)
    assert wanted_of({**typed, "start": "1"}, zone).start == second - 3600
