"""Effective-dated meters, explanations, backfill and config files over real HTTP."""

from __future__ import annotations

import pytest_twisted

from cenergyd.acquisuite.configfiles import ConfigFileUpload
from cenergyd.readings.model import Reading, SeriesReadings
from tests.web.harness import World

SERIAL = "001EC6001433"
START = 1_750_000_200


@pytest_twisted.ensureDeferred
async def test_a_meter_changes_at_a_time_and_history_keeps_its_meaning(world: World) -> None:
    customer, client = await world.customer(facility="1", solar="2", logger_serial_number=SERIAL)
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
async def test_a_role_becomes_a_sum_of_meters(world: World) -> None:
    customer, client = await world.customer(facility="1", solar="2", logger_serial_number=SERIAL)
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
    await world.readings.write([SeriesReadings(f"{SERIAL}_2", [Reading(START - 60, P=7.0), Reading(START, P=1.0)])])
    await world.readings.write([SeriesReadings(f"{SERIAL}_4", [Reading(START + 1, P=4.0)])])
    await world.readings.write([SeriesReadings(series, [Reading(START, P=3.0)])])
    answer = await client.get(f"customers/{customer.id}/explain?start={START}&end={START + 120}")
    points = [item for item in answer.json["minutes"] if item["series"] == series]
    assert [item["why"] for item in points] == ["computed", "no_readings"]
    assert points[0]["sources"] == [
        {"role": "solar", "series": f"{SERIAL}_2", "time": START, "factor": 1.0},
        {"role": "solar", "series": f"{SERIAL}_4", "time": START + 1, "factor": 0.5},
    ]
    curves = await client.get(
        f"customers/{customer.id}/readings?role=solar&start={START - 60}&end={START + 60}&resolution=raw"
    )
    (curve,) = curves.json["curves"]
    assert [segment["series"] for segment in curve["segments"]] == [f"{SERIAL}_2", series]


@pytest_twisted.ensureDeferred
async def test_explains_points_and_gaps(world: World) -> None:
    customer, client = await world.customer(load="1", solar="2", logger_serial_number=SERIAL)
    await world.readings.write(
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
async def test_backfill_is_for_operators_and_marks_the_range(world: World) -> None:
    customer, client = await world.customer(load="1", solar="2", logger_serial_number=SERIAL)
    path = f"customers/{customer.id}/backfill"
    assert (await client.post(path, {"start": START, "end": START + 60})).status == 403
    assert (await world.operator.post(path, {"start": START, "end": START})).status == 422
    assert (await world.operator.post(path, {"start": START, "end": START + 60})).status == 202
    marked = await world.customers.get(customer.id)
    assert (marked.pending_start, marked.pending_end) == (START, START + 60)


@pytest_twisted.ensureDeferred
async def test_config_files_are_redacted_compared_and_queued(world: World) -> None:
    name = "loggerconfig.ini"
    for text in (b"ADMINPASSWORD=swordfish\nLOOPNAME=one\n", b"ADMINPASSWORD=hunter2\nLOOPNAME=two\n"):
        await world.archive.store(SERIAL, ConfigFileUpload(name=name, content=text, file_time=START))
    operator, base = world.operator, f"loggers/{SERIAL}/configs"
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
    assert await world.archive.download(SERIAL, name) == b"ADMINPASSWORD=swordfish\nLOOPNAME=one\n"
    assert (await operator.post(f"{base}/queue", {"name": name, "version": 9})).status == 404
    _, client = await world.customer(logger_serial_number=SERIAL)
    assert (await client.get(base)).status == 403
    assert (await operator.get("loggers/NOBODY/configs")).status == 404
