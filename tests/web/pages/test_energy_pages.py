"""The energy page: periods of the calendar, bars, totals, unknown times."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.documents.kinds import LOGGER
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.energy.meter_periods import MeterEnergy, MeterWindow
from cenergyd.jobs.energy.periods import EnergyWindow, RoleEnergy
from cenergyd.jobs.energy.self_consumption import shares_of
from cenergyd.readings.model import FieldPoint
from cenergyd.web.api.meter_energy import PARTS
from cenergyd.web.pages.energy import compared, kinds_of, meter_rows, period_of
from cenergyd.web.pages.energy_chart import HEIGHT, WIDTH, bar_parts, chart_of
from tests.web.harness import WebSide
from tests.web.pages.visitor import Visitor, mount_pages

SERIAL = "001EC6001433"


def test_periods_of_the_calendar() -> None:
    day = date(2026, 11, 24)
    assert period_of("week", day)[1:] == (date(2026, 11, 23), date(2026, 11, 30))
    assert period_of("month", date(2026, 12, 5))[1:] == (date(2026, 12, 1), date(2027, 1, 1))
    assert period_of("year", day)[1:] == (date(2026, 1, 1), date(2027, 1, 1))
    assert compared(period_of("month", date(2026, 1, 5)), "previous")[1:] == (date(2025, 12, 1), date(2026, 1, 1))
    assert compared(period_of("day", date(2028, 2, 29)), "last_year").first == date(2027, 2, 28)
    before = compared(period_of("week", day), "last_year")
    assert (before.first.weekday(), (period_of("week", day).first - before.first).days) == (0, 364)


def test_what_bridged_and_interpolated_energy_is_distinguished() -> None:
    roles: Any = {
        "utility": RoleEnergy(5.0, 0.0, 3600, 0, bridged_import_kwh=2.0, bridged_seconds=1800),
        "solar": RoleEnergy(3.0, 0.0, 3600, 0, interpolated_import_kwh=0.25, interpolated_seconds=120),
    }
    assert kinds_of(EnergyWindow(0, 3600, 3600, roles)) == ["Utility: 2.00 kWh bridged", "Solar: 0.25 kWh interpolated"]
    assert kinds_of(EnergyWindow(0, 3600, 3600, {})) == []


def test_shares() -> None:
    def of(imported: float, exported: float = 0.0, covered: float = 1.0) -> dict[str, float]:
        return {"import_kwh": imported, "export_kwh": exported, "covered_seconds": covered}

    found = shares_of({"utility": of(2, 1), "solar": of(4), "load": of(5)})
    assert (found.self_consumption, found.self_sufficiency) == (0.75, 0.6)
    assert shares_of({"utility": of(2, 1), "solar": None, "load": of(0)}) == (None, None)
    assert shares_of({}) == (None, None)


kwh = st.none() | st.floats(0, 1e6)


@given(st.lists(st.tuples(kwh, kwh, kwh, kwh), max_size=31), st.lists(kwh, max_size=31))
def test_bars_stay_within_the_picture(rows: Any, loads: Any) -> None:
    def window(imported: Any, exported: Any, solar: Any, load: Any) -> EnergyWindow:
        roles: Any = {}
        if imported is not None and exported is not None:
            roles["utility"] = RoleEnergy(imported, exported, 1800, 0)
        if solar is not None:
            roles["solar"] = RoleEnergy(solar, 0, 3600, 0)
        if load is not None:
            roles["load"] = RoleEnergy(load, 0, 3600, 3600)
        return EnergyWindow(0, 3600, 3600, roles)

    windows = [window(*row) for row in rows]
    before = [window(None, None, None, load) for load in loads[: len(windows)]]
    names = [str(number) for number in range(len(windows))]
    chart = chart_of(windows, before, names, names)
    for bar, each in zip(chart.bars, windows, strict=True):
        for rect in (*bar.rects, *([bar.before] if bar.before else [])):
            assert -1e-6 <= rect.y <= rect.y + rect.height <= HEIGHT + 1e-6
            assert 0 <= rect.x <= rect.x + rect.width <= WIDTH
        assert bar.incomplete == ("utility" in each.roles)
        up = sum(rect.height for rect in bar.rects if rect.style.split()[0] in ("own", "imported"))
        part = bar_parts(each)
        assert (up > 0) == bool((part.own or 0) + (part.imported or 0) > 0) or up < 1e-6


@pytest_twisted.ensureDeferred
async def test_the_page_and_the_api(web: WebSide) -> None:
    mount_pages(web)
    made, client = await web.customer(
        name="Roof", time_zone="America/Denver", facility="1", solar="2", logger_serial_number=SERIAL
    )
    token, _ = await web.tokens.add("customer", "owner", web.clock.now, customer_id=made.id)
    visitor = Visitor(web, token)
    await visitor.sign_in()
    base = f"/customers/{made.id}/energy"
    assert "No energy data" in await visitor.open(base)
    midnight = 1750053600  # 2025-06-16 in Denver
    for meter, imported, exported in (("1", 1.0, 2.0), ("2", 3.0, 0.0), ("missing_meter", 2.0, 0.0)):
        points = [
            FieldPoint(midnight + 3600 * n, {"import_kwh": imported, "export_kwh": exported, "covered_seconds": 1800.0, "seconds": 3600})
            for n in range(24)
        ]  # fmt: skip
        await web.readings.write_points(energy_series(f"{SERIAL}_{meter}"), points)
    for view in ("day", "week", "month", "year"):
        text = await visitor.open(f"{base}?view={view}&date=2025-06-16")
        assert "24 kWh" in text or "24.0 kWh" in text, view
        assert "48.0 kWh" in text
        assert "33 %" in text, "one of three kWh of the sun was used here"
        assert 'class="hatched"' in text
        assert "Load computed" in text
    assert "A day such as" in await visitor.open(f"{base}?date=nonsense")
    params = {"start": "2025-06-16", "end": "2025-06-17", "step": "day"}
    (window,) = (await client.get(f"customers/{made.id}/energy", params=params)).json["windows"]
    load = window["roles"]["load"]
    known = [load[name] for name in ("import_kwh", "export_kwh", "covered_seconds", "computed_seconds")]
    assert known == [48.0, 0.0, 43200.0, 43200.0]
    sheet = (await client.get(f"customers/{made.id}/energy.csv", params={**params, "step": "hour"})).content.decode()
    assert len(sheet.splitlines()) == 25
    assert (await client.get(f"customers/{made.id}/energy", params={**params, "end": "x"})).status == 422
    await web.customers.update(made.id, {"time_zone": "Mars/Olympus"})
    assert "Energy cannot be calculated" in await visitor.open(base)


@pytest_twisted.ensureDeferred
async def test_each_meter_of_a_sum_by_page_api_and_csv(web: WebSide) -> None:
    mount_pages(web)
    made, client = await web.customer(
        name="Roofs", time_zone="UTC", facility="1", solar="2+4*0.5", logger_serial_number=SERIAL
    )
    neighbour, stranger = await web.customer(name="Other", facility="1", solar="2", logger_serial_number="AA01")
    midnight = 1750032000  # 2025-06-16
    for name, kwh, hours in (("1", 1.0, 24), ("2", 3.0, 24), ("4", 1.5, 12), ("solar_sum", 4.5, 12)):
        points = [
            FieldPoint(midnight + 3600 * n, {"import_kwh": kwh, "export_kwh": 0.0, "covered_seconds": 3600.0, "seconds": 3600})
            for n in range(hours)
        ]  # fmt: skip
        await web.readings.write_points(energy_series(f"{SERIAL}_{name}"), points)
    await web.documents.put(LOGGER, SERIAL, {"meters": {f"{SERIAL}_4": {"name": "East <roof>"}}})
    token, _ = await web.tokens.add("customer", "owner", web.clock.now, customer_id=made.id)
    visitor = Visitor(web, token)
    await visitor.sign_in()
    text = await visitor.open(f"/customers/{made.id}/energy?date=2025-06-16")
    table = text[text.index('id="energy-meters"') :]
    rows = [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr>(.*?)</tr>", table)][1:]
    cells = [[cell for cell in row.split("|") if cell] for row in rows]
    assert cells == [
        ["Meter 1", "Utility", "24.0", "0.0", "100 %"],
        ["Meter 2", "Solar", "72.0", "0.0", "100 %"],
        ["Meter 4 \u00d7 0.5", "East &lt;roof&gt;", "Solar", "18.0", "0.0", "50 %"],
    ]
    params = {"start": "2025-06-16", "end": "2025-06-17", "step": "day"}
    path = f"customers/{made.id}/energy/meters"
    found = (await client.get(path, params=params)).json["meters"]
    assert [(each["series"], each["name"], each["factor"]) for each in found] == [
        (f"{SERIAL}_1", "", 1.0), (f"{SERIAL}_2", "", 1.0), (f"{SERIAL}_4", "East <roof>", 0.5),
    ]  # fmt: skip
    assert [each["windows"][0]["covered_seconds"] for each in found] == [86400.0, 86400.0, 43200.0]
    hours = (await client.get(path, params={**params, "step": "hour"})).json["meters"][2]["windows"]
    assert [each["import_kwh"] for each in hours] == [1.5] * 12 + [None] * 12
    sheet = (await client.get(f"{path}.csv", params={**params, "step": "hour"})).content.decode().splitlines()
    assert len(sheet) == 1 + 3 * 24
    assert sheet[-1] == f"solar,{SERIAL},4,2025-06-16T23:00:00Z,2025-06-16T23:00:00+00:00,3600" + "," * len(PARTS)
    assert (await client.get(path, params={**params, "step": "week"})).status == 422
    assert (await stranger.get(path, params=params)).status in (403, 404), "only its owner and operators see it"
    assert (await stranger.get(f"customers/{neighbour.id}/energy/meters", params=params)).status == 200


def test_what_a_sum_does_with_a_meter_is_reported_in_words() -> None:
    nothing = MeterWindow(3600.0, None)
    meters = [
        MeterEnergy("solar", SERIAL, "2", 1.0, [nothing]),
        MeterEnergy("solar", SERIAL, "4", -1.0, [nothing]),
        MeterEnergy("solar", "AA01", "6", -0.25, [nothing]),
    ]
    rows = meter_rows(meters, {})
    assert [row.name for row in rows] == [
        f"Meter 2, of logger {SERIAL}",
        f"Meter 4, subtracted, of logger {SERIAL}",
        "Meter 6 \u00d7 0.25, subtracted, of logger AA01",
    ]
    assert {(row.forward, row.backward, row.known) for row in rows} == {("\u2013", "\u2013", "0 %")}
