"""Effective-dated meters, explanations, backfill and config files over real HTTP."""

from __future__ import annotations

import pytest_twisted

from cenergyd.acquisuite.config_files import ConfigFileUpload
from cenergyd.acquisuite.resolve import MeterFacts, Resolution
from cenergyd.ingest.held_logs import HeldLog, HeldLogs
from cenergyd.ingest.held_meters import HeldMeters, Unread
from cenergyd.readings.model import Reading, SeriesReadings
from tests.web.harness import WebSide

SERIAL = "001EC6001433"
START = 1_750_000_200


@pytest_twisted.ensureDeferred
async def test_a_meter_changes_at_a_time_and_history_keeps_its_meaning(web: WebSide) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    path = f"customers/{customer.id}/meters"
    change = {"effective_from": START, "solar": "3", "reversed": ["solar"]}
    done = await client.post(path, change, headers={"If-Match": f'"{customer.etag}"'})
    assert done.status == 200, done.content
    assert done.json["solar"] == "3"
    shown = (await client.get(path)).json["setups"]
    assert [(item["since"], item["solar"], item["reversed"]) for item in shown] == [
        (None, "2", []),
        (START, "3", ["solar"]),
    ]
    late = await client.post(path, {"solar": "4"}, headers={"If-Match": f'"{customer.etag}"'})
    assert late.status == 412
    future = await client.post(path, {"effective_from": 1 << 32, "solar": "4"}, headers={"If-Match": "*"})
    assert future.status == 422
    unknown = await client.post(path, {"roof": "4"}, headers={"If-Match": "*"})
    assert unknown.status == 422


@pytest_twisted.ensureDeferred
async def test_a_role_becomes_a_sum_of_meters(web: WebSide) -> None:
    customer, client = await web.customer(facility="1", solar="2", logger_serial_number=SERIAL)
    path = f"customers/{customer.id}/meters"
    wrong = await client.post(path, {"solar": "2+"}, headers={"If-Match": "*"})
    assert wrong.status == 422
    assert "1+4" in wrong.json["errors"][0]["detail"]
    done = await client.post(path, {"effective_from": START, "solar": "02 + 4*0.50"}, headers={"If-Match": "*"})
    assert done.status == 200, done.content
    assert done.json["solar"] == "2+4*0.5"
    shown = (await client.get(path)).json["setups"]
    assert [(item["since"], item["solar"], item["missing_role"]) for item in shown] == [
        (None, "2", "load"),
        (START, "2+4*0.5", "load"),
    ]
    series = f"{SERIAL}_solar_sum"
    await web.readings.write([SeriesReadings(f"{SERIAL}_2", [Reading(START - 60, P=7.0), Reading(START, P=1.0)])])
    await web.readings.write([SeriesReadings(f"{SERIAL}_4", [Reading(START + 1, P=4.0)])])
    await web.readings.write([SeriesReadings(series, [Reading(START, P=3.0)])])
    answer = await client.get(f"customers/{customer.id}/explain?start={START}&end={START + 120}")
    points = [item for item in answer.json["minutes"] if item["series"] == series]
    assert [item["why"] for item in points] == ["computed", "no_readings"]
    assert points[0]["sources"] == [
        {"role": "solar", "series": f"{SERIAL}_2", "time": START, "factor": 1.0, "corrections": []},
        {"role": "solar", "series": f"{SERIAL}_4", "time": START + 1, "factor": 0.5, "corrections": []},
    ]
    curves = await client.get(
        f"customers/{customer.id}/readings?role=solar&start={START - 60}&end={START + 60}&resolution=raw"
    )
    (curve,) = curves.json["curves"]
    assert [segment["series"] for segment in curve["segments"]] == [f"{SERIAL}_2", series]


@pytest_twisted.ensureDeferred
async def test_explains_points_and_gaps(web: WebSide) -> None:
    customer, client = await web.customer(load="1", solar="2", logger_serial_number=SERIAL)
    await web.readings.write(
        [
            SeriesReadings(f"{SERIAL}_1", [Reading(START, P=3.0), Reading(START + 60, P=3.0)]),
            SeriesReadings(f"{SERIAL}_2", [Reading(START, P=1.0)]),
            SeriesReadings(f"{SERIAL}_missing_meter", [Reading(START, P=2.0)]),
        ]
    )
    answer = await client.get(f"customers/{customer.id}/explain?start={START}&end={START + 180}")
    assert answer.status == 200, answer.content
    assert [item["why"] for item in answer.json["minutes"]] == ["computed", "waiting", "no_readings"]
    assert answer.json["minutes"][0]["formula"].startswith("physical/")
    assert (await client.get(f"customers/{customer.id}/explain?start=0&end=99999999")).status == 422


@pytest_twisted.ensureDeferred
async def test_backfill_is_for_operators_and_marks_the_range(web: WebSide) -> None:
    customer, client = await web.customer(load="1", solar="2", logger_serial_number=SERIAL)
    path = f"customers/{customer.id}/backfill"
    assert (await client.post(path, {"start": START, "end": START + 60})).status == 403
    assert (await web.operator.post(path, {"start": START, "end": START})).status == 422
    assert (await web.operator.post(path, {"start": START, "end": START + 60})).status == 202
    marked = await web.customers.get(customer.id)
    assert (marked.pending_start, marked.pending_end) == (START, START + 60)


@pytest_twisted.ensureDeferred
async def test_config_files_are_redacted_compared_and_queued(web: WebSide) -> None:
    name = "loggerconfig.ini"
    for text in (b"ADMINPASSWORD=swordfish\nLOOPNAME=one\n", b"ADMINPASSWORD=hunter2\nLOOPNAME=two\n"):
        await web.archive.store(SERIAL, ConfigFileUpload(name=name, content=text, file_time=START))
    operator, base = web.operator, f"loggers/{SERIAL}/configs"
    (file,) = (await operator.get(base)).json["files"]
    assert (file["name"], file["number"]) == (name, 2)
    versions = (await operator.get(f"{base}/versions", params={"name": name})).json["versions"]
    assert [version["number"] for version in versions] == [2, 1]
    text = await operator.get(f"{base}/text", params={"name": name, "version": "1"})
    diff = await operator.get(f"{base}/diff", params={"name": name, "old": "1", "new": "2"})
    assert "LOOPNAME=one" in text.json["text"]
    assert "+LOOPNAME=two" in diff.json["diff"]
    assert b"swordfish" not in text.content + diff.content
    assert b"hunter2" not in text.content + diff.content
    assert (await operator.post(f"{base}/queue", {"name": name, "version": 1})).status == 204
    assert await web.exchange.download(SERIAL, name) == b"ADMINPASSWORD=swordfish\nLOOPNAME=one\n"
    assert (await operator.post(f"{base}/queue", {"name": name, "version": 9})).status == 404
    _, client = await web.customer(logger_serial_number=SERIAL)
    assert (await client.get(base)).status == 403
    assert (await operator.get("loggers/NOBODY/configs")).status == 404


@pytest_twisted.ensureDeferred
async def test_held_meters_are_listed_with_their_columns_and_chosen(web: WebSide) -> None:
    customer, client = await web.customer(facility="1", solar="3", logger_serial_number=SERIAL)
    meters = HeldMeters(web.documents, web.clock, logger_bytes=1 << 20, all_bytes=1 << 20)
    logs = HeldLogs(web.documents, meters, web.clock, 90)
    unknown = Resolution(state="unknown", reason="device class 98 is not in the table", doubts=("column 6 may be kW",))
    for meter in ("1", "7"):
        log = HeldLog(serial=SERIAL, meter=meter, received=1_750_000_000, format="log", device_name="<Main>")
        rows = b"'2025-06-15 12:00:00',0,0,0,77.5,9,6.25\n'2025-06-15 12:01:00',0,0,0,77.6,9,6.5\n"
        await logs.hold(log, rows, Unread(MeterFacts(points=3), unknown, None))
    path = f"customers/{customer.id}/held-meters"
    one, seven = (await client.get(path)).json["meters"]
    assert (one["meter"], seven["meter"]) == ("1", "7")
    assert (seven["state"], seven["reason"], seven["logs"]) == ("unknown", "device class 98 is not in the table", 1)
    assert (seven["device_name"], seven["doubts"]) == ("<Main>", ["column 6 may be kW"])
    assert [(c["column"], c["values"]) for c in seven["columns"]] == [
        (4, ["77.5", "77.6"]), (5, ["9", "9"]), (6, ["6.25", "6.5"]),
    ]  # fmt: skip
    for wrong in (
        {},
        {"columns": {"Q": 6}},
        {"columns": {"P": 6, "Q": 6}},
        {"columns": {"P": 3}},
        {"columns": {"P": 6}, "no_power_meter": True},
    ):
        assert (await client.post(f"{path}/7", wrong, headers={"If-Match": "*"})).status == 422, wrong
    assert (await client.post(f"{path}/9", {"columns": {"P": 6}}, headers={"If-Match": "*"})).status == 404
    assert (await client.post(f"{path}/7", {"columns": {"P": 6}}, headers={"If-Match": '"old"'})).status == 412
    done = await client.post(f"{path}/7", {"columns": {"P": 6, "E_net": 4}}, headers={"If-Match": f'"{customer.etag}"'})
    assert done.status == 200, done.content
    kept = await web.customers.get(customer.id)
    assert kept is not None
    assert kept.extensions["meters"]["layouts"] == {"7": {"P": 6, "E_net": 4}}
    assert (await client.post(f"{path}/7", {"no_power_meter": True}, headers={"If-Match": "*"})).status == 200
    assert [meter["meter"] for meter in (await client.get(path)).json["meters"]] == ["1"]
    _, other = await web.customer(name="other")
    assert (await other.get(path)).status in (403, 404)
