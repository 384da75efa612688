"""Readings over HTTP: resolutions, gaps, computed and estimated, CSV, latest values, status."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
import pytest_twisted

from cenergyd.customers.model import Customer, PendingMark
from cenergyd.readings.model import Reading, SeriesReadings
from tests.web.harness import Client, WebSide

SERIAL = "001EC6001433"
START = 1_750_000_200  # a multiple of 300


async def site(web: WebSide, minutes: int = 120, step: int = 60) -> tuple[Customer, Client]:
    """A customer with utility and solar measured and load computed."""
    made, client = await web.customer(
        name="site", time_zone="America/New_York", facility="1", solar="2", logger_serial_number=SERIAL
    )
    times = range(START, START + minutes * 60, step)
    await web.readings.write(
        [
            SeriesReadings(f"{SERIAL}_1", [Reading(t, P=float(i), L1_PF=0.9, L1_V=240.0) for i, t in enumerate(times)]),
            SeriesReadings(f"{SERIAL}_2", [Reading(t, P=2.0 * i) for i, t in enumerate(times)]),
            SeriesReadings(
                f"{SERIAL}_missing_meter",
                [Reading(t, P=3.0 * i, Q=1.0, estimated=i % 2 == 1) for i, t in enumerate(times)],
            ),
        ]
    )
    return made, client


def curves_by_role(answer: Any) -> dict[str, Any]:
    return {curve["role"]: curve for curve in answer["curves"]}


async def read(client: Client, customer: Customer, **query: Any) -> Any:
    params = {"start": str(START), "end": str(START + 7200)} | query
    return await client.get(f"customers/{customer.id}/readings", params=params)


@pytest_twisted.ensureDeferred
async def test_single_readings(web: WebSide) -> None:
    customer, client = await site(web)
    answer = (await read(client, customer)).json
    assert (answer["resolution"], answer["next_start"]) == (None, None)
    curves = curves_by_role(answer)
    assert set(curves) == {"utility", "load", "solar"}
    load = curves["load"]
    assert (load["series"], load["computed"]) == (f"{SERIAL}_missing_meter", True)
    assert not curves["utility"]["computed"]
    assert load["time"] == list(range(START, START + 7200, 60))
    assert load["P"] == {"mean": [3.0 * i for i in range(120)]}
    assert load["estimated"] == [i % 2 == 1 for i in range(120)]
    assert curves["solar"]["L1_PF"] == {"mean": [None] * 120}
    assert curves["utility"]["L1_V"]["mean"][0] == 240.0
    assert (load["gap_seconds"], load["gaps"]) == (150, [])


@pytest_twisted.ensureDeferred
async def test_windows_have_min_mean_max(web: WebSide) -> None:
    customer, client = await site(web)
    answer = (await read(client, customer, resolution="300", role="load")).json
    assert answer["resolution"] == 300
    (load,) = answer["curves"]
    assert load["time"] == list(range(START, START + 7200, 300))
    assert load["readings"] == [5] * 24
    assert load["P"]["min"][1] == 15.0
    assert load["P"]["mean"][1] == pytest.approx(21.0)
    assert load["P"]["max"][1] == 27.0
    assert all(load["estimated"])


@pytest.mark.parametrize(
    "web",
    [{"constants": {"views.curve_reader.TARGET_POINTS": 100, "views.curve_reader.MAX_POINTS": 500}}],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_auto_is_bounded_for_every_range(web: WebSide) -> None:
    customer, client = await site(web, minutes=700)
    for end in (1, 60, 3600, 6000, 7200, 40000, 86400, 10**7, 10**9):
        answer = (await read(client, customer, end=str(START + end))).json
        for curve in answer["curves"]:
            assert 1 <= len(curve["time"]) <= 500
            assert sum(curve["readings"]) == min(700, max(1, -(-end // 60))), end
    whole = (await read(client, customer, start="0", end=str(1 << 34))).json
    assert whole["resolution"] % 86400 == 0


@pytest.mark.parametrize(
    "web",
    [{"constants": {"views.curve_reader.TARGET_POINTS": 100, "views.curve_reader.MAX_POINTS": 500}}],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_seconds_are_summarised_where_single_ones_are_too_many(web: WebSide) -> None:
    customer, client = await site(web, minutes=90, step=1)
    answer = (await read(client, customer, end=str(START + 5400))).json
    assert answer["resolution"] == 60
    assert sum(curves_by_role(answer)["load"]["readings"]) == 5400


@pytest.mark.parametrize(
    "web",
    [{"constants": {"views.curve_reader.TARGET_POINTS": 100, "views.curve_reader.MAX_POINTS": 100}}],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_raw_comes_in_pieces_without_loss(web: WebSide) -> None:
    customer, client = await site(web, minutes=250)
    await web.readings.write([SeriesReadings(f"{SERIAL}_1", [Reading(START + 30, P=1.5)])])
    start: int | None = START
    times: dict[str, list[int]] = {"utility": [], "load": [], "solar": []}
    pieces = 0
    while start is not None:
        answer = (await read(client, customer, start=str(start), end=str(START + 15000), resolution="raw")).json
        for role, curve in curves_by_role(answer).items():
            assert len(curve["time"]) <= 100
            times[role] += curve["time"]
        start = answer["next_start"]
        pieces += 1
    expected = list(range(START, START + 15000, 60))
    assert times["load"] == times["solar"] == expected
    assert times["utility"] == sorted([*expected, START + 30])
    assert pieces == 3


@pytest_twisted.ensureDeferred
async def test_only_some_channels(web: WebSide) -> None:
    customer, client = await site(web)
    for query in ({}, {"resolution": "300"}):
        curve = curves_by_role((await read(client, customer, channel=["Q", "P"], **query)).json)["load"]
        assert {"P", "Q"} <= set(curve)
        assert not {"L1_PF", "L1_V"} & set(curve)
    params = {"start": str(START), "end": str(START + 60), "channel": "P"}
    lines = (await client.get(f"customers/{customer.id}/readings.csv", params=params)).content.decode().splitlines()
    assert lines[0].endswith(",estimated,P_kW")
    refused = await read(client, customer, channel="energy")
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, "channel")


@pytest_twisted.ensureDeferred
async def test_energy_registers_come_with_single_readings(web: WebSide) -> None:
    customer, client = await site(web)
    registers = [Reading(START + 60 * i, E_net=5.0 + i, E_import=9.0 + i, E_export=4.0) for i in range(120)]
    await web.readings.write([SeriesReadings(f"{SERIAL}_1", registers)])
    utility = curves_by_role((await read(client, customer)).json)["utility"]
    assert utility["E_net"] == {"mean": [5.0 + i for i in range(120)]}
    assert utility["E_export"] == {"mean": [4.0] * 120}
    only = (await read(client, customer, role="utility", channel="E_import")).json["curves"][0]
    assert only["E_import"]["mean"][1] == 10.0
    assert "P" not in only
    windows = (await read(client, customer, role="utility", resolution="300")).json["curves"][0]
    assert "E_net" not in windows
    refused = await read(client, customer, channel="E_net", resolution="300")
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, "channel")
    latest = (await client.get(f"customers/{customer.id}/latest")).json["roles"]["utility"]
    assert (latest["E_net"], latest["E_import"], latest["E_export"]) == (124.0, 128.0, 4.0)
    params = {"start": str(START), "end": str(START + 60), "role": "utility"}
    answer = await client.get(f"customers/{customer.id}/readings.csv", params=params)
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["E_net_kWh"], row["E_import_kWh"], row["E_export_kWh"]) == ("5.0", "9.0", "4.0")


@pytest_twisted.ensureDeferred
async def test_gaps_stay_gaps(web: WebSide) -> None:
    customer, client = await site(web)
    await web.readings.replace(f"{SERIAL}_1", START + 600, START + 3600, [])
    answer = (await read(client, customer, role="utility")).json
    (curve,) = answer["curves"]
    assert curve["gaps"] == [[START + 540, START + 3600]]
    assert not any(START + 600 <= time < START + 3600 for time in curve["time"])
    (coarse,) = (await read(client, customer, role="utility", resolution="300")).json["curves"]
    assert coarse["gaps"] == [[START + 300, START + 3600]]
    assert coarse["time"][:3] == [START, START + 300, START + 3600]


@pytest_twisted.ensureDeferred
async def test_series_of_the_own_logger_only(web: WebSide) -> None:
    customer, client = await site(web)
    await web.readings.write([SeriesReadings(f"{SERIAL}_7", [Reading(START, P=7.0)])])
    await web.readings.write([SeriesReadings("OTHER_1", [Reading(START, P=666.0)])])
    answer = (await read(client, customer, series=f"{SERIAL}_7")).json
    assert [(curve["role"], curve["P"]["mean"]) for curve in answer["curves"]] == [(None, [7.0])]
    for name in ("OTHER_1", SERIAL, f"{SERIAL}1_1", "", f"{SERIAL}_1' OR 1=1", "../x"):
        refused = await read(client, customer, series=name)
        assert (refused.status, refused.json["errors"][0]["field"]) == (422, "series"), name
    both = (await read(client, customer, series=[f"{SERIAL}_7", f"{SERIAL}_missing_meter"], role="load")).json
    assert [(curve["role"], curve["computed"]) for curve in both["curves"]] == [
        ("load", True), (None, False), (None, True),
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_a_reversed_meter_is_read_with_the_other_sign(web: WebSide) -> None:
    customer, client = await site(web)
    await web.customers.update(customer.id, {"extensions": {"meters": {"reversed": ["utility"]}}})
    (raw,) = (await read(client, customer, role="utility")).json["curves"]
    assert raw["P"]["mean"][:3] == [0.0, -1.0, -2.0]
    assert raw["L1_PF"]["mean"][0] == 0.9
    (windows,) = (await read(client, customer, role="utility", resolution="300")).json["curves"]
    assert (windows["P"]["min"][1], windows["P"]["max"][1]) == (-9.0, -5.0)
    latest = (await client.get(f"customers/{customer.id}/latest")).json
    assert latest["roles"]["utility"]["P"] == -119.0


async def changed_site(web: WebSide) -> tuple[Customer, Client]:
    """Since minute 50 the utility meter is 3, its CT the wrong way round; before it was computed from load 1 and solar 2."""
    customer, client = await site(web)
    times = range(START, START + 7200, 60)
    await web.readings.write([SeriesReadings(f"{SERIAL}_3", [Reading(t, P=-100.0) for t in times[50:]])])
    history = [{"until": START + 3000, "facility": "", "load": "1", "solar": "2"}]
    meters = {
        "facility": "3",
        "load": "1",
        "solar": "",
        "extensions": {"history": history, "meters": {"reversed": ["utility"]}},
    }
    return await web.customers.update(customer.id, meters), client


@pytest_twisted.ensureDeferred
async def test_a_curve_follows_its_role_through_a_change_of_meters(web: WebSide) -> None:
    customer, client = await changed_site(web)
    curves = curves_by_role((await read(client, customer)).json)
    utility = curves["utility"]
    assert utility["P"]["mean"] == [3.0 * i for i in range(50)] + [100.0] * 70
    assert (utility["series"], utility["computed"]) == (f"{SERIAL}_3", False)
    assert utility["segments"] == [
        {"start": START, "end": START + 3000, "series": f"{SERIAL}_missing_meter", "computed": True, "reversed": False},
        {"start": START + 3000, "end": START + 7200, "series": f"{SERIAL}_3", "computed": False, "reversed": True},
    ]
    assert curves["solar"]["P"]["mean"] == [2.0 * i for i in range(50)] + [3.0 * i for i in range(50, 120)]
    assert (len(curves["load"]["segments"]), curves["load"]["P"]["mean"]) == (1, [float(i) for i in range(120)])
    assert utility["gaps"] == []


@pytest_twisted.ensureDeferred
async def test_a_window_in_which_meters_change_is_one_point(web: WebSide) -> None:
    customer, client = await changed_site(web)
    (curve,) = (await read(client, customer, role="utility", resolution="1000")).json["curves"]
    assert curve["time"] == [START // 1000 * 1000 + 1000 * n for n in range(len(curve["time"]))]
    assert sum(curve["readings"]) == 120
    at = next(n for n, time in enumerate(curve["time"]) if time + 1000 > START + 3000)
    single = {START + 60 * i: 3.0 * i if i < 50 else 100.0 for i in range(120)}
    mine = [value for time, value in single.items() if 0 <= time - curve["time"][at] < 1000]
    assert mine[0] == 3.0 * 47 and mine[-1] == 100.0  # it holds readings of both
    assert curve["P"]["mean"][at] == pytest.approx(sum(mine) / len(mine))
    assert (curve["P"]["min"][at], curve["P"]["max"][at]) == (min(mine), max(mine))
    whole = await client.get(
        f"customers/{customer.id}/readings.csv", params={"start": START, "end": START + 7200, "role": "utility"}
    )
    rows = list(csv.DictReader(io.StringIO(whole.content.decode())))
    assert [row["computed"] for row in rows] == ["yes"] * 50 + ["no"] * 70
    assert [row["series"] for row in rows[49:51]] == [f"{SERIAL}_missing_meter", f"{SERIAL}_3"]


@pytest.mark.parametrize(
    "web",
    [{"constants": {"views.curve_reader.TARGET_POINTS": 40, "views.curve_reader.MAX_POINTS": 40}}],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_pieces_of_single_readings_go_on_over_a_change_of_meters(web: WebSide) -> None:
    customer, client = await changed_site(web)
    start: int | None = START
    found: dict[str, list[float]] = {"utility": [], "load": [], "solar": []}
    while start is not None:
        answer = (await read(client, customer, start=str(start), resolution="raw")).json
        for role, curve in curves_by_role(answer).items():
            assert len(curve["time"]) <= 40
            found[role] += curve["P"]["mean"]
        start = answer["next_start"]
    assert found["utility"] == [3.0 * i for i in range(50)] + [100.0] * 70
    assert found["load"] == [float(i) for i in range(120)]
    assert found["solar"] == [2.0 * i for i in range(50)] + [3.0 * i for i in range(50, 120)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"start": ""}, "start"),
        ({"end": "now"}, "end"),
        ({"end": str(START)}, "end"),
        ({"start": "-1"}, "start"),
        ({"start": "9" * 400}, "start"),
        ({"start": ["1", "2"]}, "start"),
        ({"resolution": "0"}, "resolution"),
        ({"resolution": "fine"}, "resolution"),
        ({"resolution": "1", "end": str(START + 10**7)}, "resolution"),
        ({"role": "grid"}, "role"),
        ({"role": ["load"] * 17}, "series"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_wrong_parameters(web: WebSide, query: dict[str, Any], field: str) -> None:
    customer, client = await web.customer(name="x", facility="1", load="2", logger_serial_number="A")
    answer = await read(client, customer, **query)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


@pytest_twisted.ensureDeferred
async def test_csv_of_a_site_whose_stored_zone_is_unknown_has_utc(web: WebSide) -> None:
    # The collection is shared with a front end that may store what it likes.
    customer, client = await site(web)
    await web.customers.update(customer.id, {"time_zone": "Mars/Olympus"})
    answer = await client.get(f"customers/{customer.id}/readings.csv", params={"start": START, "end": START + 60})
    assert answer.status == 200
    (row, *_) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert row["time_local"].endswith("+00:00")


@pytest_twisted.ensureDeferred
async def test_csv(web: WebSide) -> None:
    customer, client = await site(web, minutes=3)
    params = {"start": str(START), "end": str(START + 180)}
    answer = await client.get(f"customers/{customer.id}/readings.csv", params=params)
    assert answer.header("Content-Type") == "text/csv; charset=utf-8"
    assert answer.header("Content-Disposition") == f'attachment; filename="readings-{START}-{START + 180}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert len(rows) == 9
    assert rows[3:6] == [
        {
            "time_utc": "2025-06-15T15:11:00Z", "time_local": "2025-06-15T11:11:00-04:00", "role": role,
            "series": f"{SERIAL}_{meter}", "computed": computed, "estimated": estimated,
            "P_kW": p, "L1_PF": pf, "L1_V": v, "Q_kvar": q, "E_net_kWh": "", "E_import_kWh": "", "E_export_kWh": "",
        }
        for role, meter, computed, estimated, p, pf, v, q in [
            ("utility", "1", "no", "no", "1.0", "0.9", "240.0", ""),
            ("load", "missing_meter", "yes", "yes", "3.0", "", "", "1.0"),
            ("solar", "2", "no", "no", "2.0", "", "", ""),
        ]
    ]  # fmt: skip
    windows = await client.get(f"customers/{customer.id}/readings.csv", params={**params, "resolution": "60"})
    first = next(csv.DictReader(io.StringIO(windows.content.decode())))
    assert (first["readings"], first["P_kW_min"], first["P_kW_mean"], first["P_kW_max"]) == ("1", "0.0", "0.0", "0.0")


@pytest_twisted.ensureDeferred
async def test_latest_and_nothing_at_all(web: WebSide) -> None:
    customer, client = await site(web)
    latest = (await client.get(f"customers/{customer.id}/latest")).json["roles"]
    assert latest["load"] == {
        "series": f"{SERIAL}_missing_meter", "computed": True, "time": START + 7140, "P": 357.0, "L1_PF": None,
        "L1_V": None, "Q": 1.0, "estimated": True, "E_net": None, "E_import": None, "E_export": None,
    }  # fmt: skip
    bare, bare_client = await web.customer(name="bare")
    empty = (await bare_client.get(f"customers/{bare.id}/latest")).json
    assert empty["roles"] == {"utility": None, "load": None, "solar": None}
    assert (await read(bare_client, bare)).json["curves"] == []
    csv_answer = await bare_client.get(f"customers/{bare.id}/readings.csv", params={"start": "0", "end": "1"})
    assert csv_answer.content.count(b"\r\n") == 1


@pytest_twisted.ensureDeferred
async def test_status_and_overview(web: WebSide) -> None:
    customer, client = await site(web)
    await web.documents.put(
        "logger", SERIAL, {"loop_name": "<b>roof", "address": "192.0.2.1", "last_upload": START + 7200}
    )
    status = (await client.get(f"customers/{customer.id}/status")).json
    assert status["logger"] == {
        "serial": SERIAL, "loop_name": "<b>roof", "address": "192.0.2.1", "last_upload": START + 7200,
    }  # fmt: skip
    assert status["derivation"] == {
        "state": "current", "pending_start": None, "pending_end": None, "last_measured": START + 7140,
        "last_computed": START + 7140, "lag_seconds": 0, "waiting_for": None, "waiting_since": None, "missing": None,
        "failure": None, "no_plugin": False,
    }  # fmt: skip
    newer = [Reading(START + 9000, P=1.0)]
    await web.readings.write([SeriesReadings(f"{SERIAL}_1", newer)])
    waiting = (await client.get(f"customers/{customer.id}/status")).json["derivation"]
    assert (waiting["state"], waiting["lag_seconds"]) == ("waiting", 1860), "by the newer meter"
    await web.readings.write([SeriesReadings(f"{SERIAL}_2", newer)])
    await web.customers.derivation_queue.mark([PendingMark(customer.id, START + 9000, START + 9001)])
    behind = (await client.get(f"customers/{customer.id}/status")).json["derivation"]
    assert (behind["state"], behind["pending_start"], behind["lag_seconds"]) == ("pending", START + 9000, 1860)
    gap = {"role": "solar", "start": START, "end": START + 61, "readings": 2}
    failure = {"plugin": "mine", "message": "secret path /x", "since": START}
    result = {
        "waiting_for": "solar",
        "waiting_since": START + 5,
        "missing": gap,
        "failure": failure,
        "no_plugin": False,
    }
    await web.documents.put("derivation", customer.id, result, owner=customer.id)
    answer = await client.get(f"customers/{customer.id}/status")
    failing = answer.json["derivation"]
    assert (failing["state"], failing["failure"]) == ("failing", {"plugin": "mine", "since": START})
    assert (failing["waiting_for"], failing["missing"]) == ("solar", gap)
    assert b"secret" not in answer.content
    await web.documents.delete("derivation", customer.id)
    bare, _ = await web.customer(name="bare")
    overview = (await web.operator.get("overview")).json
    states = {entry["customer_id"]: entry["state"]["kind"] for entry in overview["customers"]}
    assert states == {customer.id: "settings_incomplete", bare.id: "settings_incomplete"}
    assert overview["pending"] == {"customers": 1, "oldest": START + 9000}
    assert overview["rejected"] == 0


@pytest_twisted.ensureDeferred
async def test_the_overview_is_filtered_sorted_and_paged(web: WebSide) -> None:
    now = web.clock.now
    for number, name in enumerate(("zoo", "Bakery", "mill")):
        serial = f"AA{number}"
        made, _ = await web.customer(
            name=name, facility="1", solar="2", logger_serial_number=serial, logger_password="x"
        )
        uploaded = now - 300 if name != "mill" else now - 86400
        await web.documents.put("logger", serial, {"last_upload": uploaded, "gaps": [[1, 900]]}, due=uploaded)
        readings = [Reading(uploaded - 60, float(number))]
        await web.readings.write(
            [SeriesReadings(f"{serial}_{meter}", readings) for meter in ("1", "2", "missing_meter")]
        )
        await web.evaluate(made)

    async def names(**query: Any) -> list[str]:
        answer = await web.operator.get("overview", params=query)
        return [entry["name"] for entry in answer.json["customers"]]

    assert await names() == ["mill", "Bakery", "zoo"], "problems first, then by name"
    assert await names(state="good") == ["Bakery", "zoo"]
    assert await names(state="problems") == ["mill"]
    assert await names(sort="solar", order="descending") == ["Bakery", "zoo", "mill"], "what is old is not known now"
    assert await names(sort="solar_today") == await names(sort="made"), "its earlier name"
    assert await names(search="aa2") == ["mill"]
    page = (await web.operator.get("overview", params={"limit": 2})).json
    assert (page["next"], page["matching"], page["counts"]["good"]) == ("2", 3, 2)
    assert page["totals"]["power"]["solar"] == 1.0
    assert page["customers"][0]["state"]["issues"][0]["title"] == "Logger silent"
    assert await names(limit=2, cursor=page["next"]) == ["zoo"]
    for wrong in ({"state": "bad"}, {"sort": "x"}, {"order": "up"}, {"cursor": "x"}):
        assert (await web.operator.get("overview", params=wrong)).status == 422


@pytest_twisted.ensureDeferred
async def test_loggers_meters_status_and_rejected(web: WebSide) -> None:
    customer, client = await site(web)
    assert (await web.operator.get(f"loggers/{SERIAL}")).status == 404
    await web.documents.put("logger", SERIAL, {"loop_name": "loop", "address": "192.0.2.1", "last_upload": 5})
    await web.documents.put("logger_status", SERIAL, {"time": 6, "fields": {"UPTIME": "77"}}, owner=SERIAL)
    meter = {"name": "Main", "device_type": "E50", "device_class": "8", "last_upload": 5}
    others = {"rows": 3, "time": 5}
    await web.documents.put(
        "meter",
        f"{SERIAL}_1",
        {**meter, "last_time": 4, "last": {"P": 1.5, "L1_PF": None}, "other_rows": others},
        owner=SERIAL,
    )
    await web.documents.put("meter", f"{SERIAL}_9", {**meter, "last_time": None, "last": None}, owner=SERIAL)
    await web.documents.put("meter", "OTHER_1", meter, owner="OTHER")
    await web.documents.put(
        "rejected", "<SERIAL>", {"time": 7, "address": "192.0.2.9", "reason": "unknown", "count": 3}
    )
    own = (await client.get(f"customers/{customer.id}/logger")).json
    assert own["status"] == {"time": 6, "fields": {"UPTIME": "77"}}
    assert [entry["other_rows"] for entry in own["meters"]] == [others, None]
    assert [(entry["meter"], entry["last"]) for entry in own["meters"]] == [
        ("1", {"P": 1.5, "L1_PF": None, "L1_V": None, "Q": None}), ("9", None),
    ]  # fmt: skip
    assert (await web.operator.get(f"loggers/{SERIAL}")).json == own
    assert own["customer_id"] == customer.id
    listed = (await web.operator.get("loggers")).json
    assert [entry["serial"] for entry in listed["loggers"]] == [SERIAL]
    rejected = (await web.operator.get("rejected")).json
    assert rejected == {
        "rejected": [{"serial": "<SERIAL>", "time": 7, "address": "192.0.2.9", "count": 3, "reason": "unknown"}],
        "next": None,
    }
    bare, bare_client = await web.customer(name="bare")
    assert (await bare_client.get(f"customers/{bare.id}/logger")).status == 404
