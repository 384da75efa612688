"""Corrections over real HTTP: by operators and customers, of one's own meters only."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cenergyd.readings.model import Reading, SeriesReadings
from tests.web.harness import Client, WebSide

SERIAL = "001EC6001433"
START = 1_750_003_200


async def a_site(web: WebSide, serial: str = SERIAL) -> tuple[str, Client]:
    customer, client = await web.customer(load="1", solar="2", logger_serial_number=serial)
    rows = [Reading(START + 60 * k, 2.0) for k in range(60)]
    await web.readings.write([SeriesReadings(f"{serial}_{meter}", rows) for meter in "12"])
    return f"customers/{customer.id}", client


def wanted(**more: Any) -> dict[str, Any]:
    return {
        "meter": "1",
        "kind": "void",
        "start": START + 600,
        "end": START + 1200,
        "reason": "a phase was off",
        **more,
    }


async def powers(client: Client, path: str, query: str = "") -> list[float]:
    answer = await client.get(f"{path}/readings?start={START}&end={START + 7200}&role=load&resolution=raw{query}")
    assert answer.status == 200, answer.content
    return [P for curve in answer.json["curves"] for P in curve["P"]["mean"]]


@pytest_twisted.ensureDeferred
async def test_a_customer_voids_and_undoes(web: WebSide) -> None:
    path, client = await a_site(web)
    made = await client.post(f"{path}/corrections", wanted())
    assert made.status == 201, made.content
    assert made.json["made_by"] == "customer: a customer"
    assert (made.json["meter"], made.json["reason"], made.json["undone_at"]) == ("1", "a phase was off", None)
    assert len(await powers(client, path)) == 50
    assert len(await powers(client, path, "&original=1")) == 60
    csv = f"{path}/readings.csv?start={START}&end={START + 3600}&role=load&resolution=raw"
    assert (await client.get(csv)).content.count(b"\r\n") == 51
    assert (await client.get(f"{csv}&original=1")).content.count(b"\r\n") == 61
    summed = await client.get(f"{path}/readings?start={START}&end={START + 3600}&role=load&resolution=900")
    assert summed.json["curves"][0]["readings"] == [10, 10, 15, 15]
    pending = await web.customers.get(path.partition("/")[2])
    assert (pending.pending_start, pending.pending_end) == (START + 600, START + 1200)

    web.clock.offset = 100
    undone = await web.operator.delete(f"{path}/corrections/{made.json['id']}")
    assert undone.status == 200
    assert undone.json["undone_by"] == "operator: the operator"
    assert len(await powers(client, path)) == 60
    listed = (await client.get(f"{path}/corrections")).json["corrections"]
    assert listed == [undone.json]
    again = await client.delete(f"{path}/corrections/{made.json['id']}")
    assert (again.status, again.json["code"], again.json["detail"]) == (409, "incompatible", "it is already undone")


@pytest_twisted.ensureDeferred
async def test_scale_and_shift(web: WebSide) -> None:
    path, client = await a_site(web)
    assert (await client.post(f"{path}/corrections", wanted(kind="scale", factor=-1.5))).status == 201
    assert sorted(set(await powers(client, path))) == [-3.0, 2.0]
    meets = await client.post(f"{path}/corrections", wanted(kind="shift", seconds=60))
    assert meets.status == 409
    assert "void them first" in meets.json["detail"]
    assert (await client.post(f"{path}/corrections", wanted(kind="shift", seconds=3600))).status == 201
    latest = await client.get(f"{path}/latest")
    assert latest.json["roles"]["load"]["time"] == START + 3600 + 1140
    assert latest.json["roles"]["load"]["P"] == -3.0


@pytest_twisted.ensureDeferred
async def test_curves_name_the_corrections_behind_them(web: WebSide) -> None:
    """Those of the meter itself, and of the meters that a computed curve is made of; none over other times, undone, or as measured."""
    path, client = await a_site(web)
    void = (await client.post(f"{path}/corrections", wanted())).json
    scale = (await client.post(f"{path}/corrections", wanted(meter="2", kind="scale", factor=2))).json
    computed = [Reading(START + 60 * k, 1.0) for k in range(60)]
    await web.readings.write([SeriesReadings(f"{SERIAL}_missing_meter", computed)])

    async def named(role: str, start: int = START, query: str = "") -> list[list[str]]:
        found = await client.get(f"{path}/readings?start={start}&end={START + 3600}&role={role}{query}")
        return [[each["id"] for each in curve["corrections"]] for curve in found.json["curves"]]

    assert await named("load") == [[void["id"]]]
    assert await named("solar") == [[scale["id"]]]
    assert await named("utility") == [[void["id"], scale["id"]]]
    assert await named("load", START + 1200) == [[]]
    assert await named("load", query="&original=1") == [[]]
    await client.delete(f"{path}/corrections/{void['id']}")
    assert await named("utility") == [[scale["id"]]]

    minutes = (await client.get(f"{path}/explain?start={START + 540}&end={START + 660}")).json["minutes"]
    of_solar = [source["corrections"] for each in minutes for source in each["sources"] if source["role"] == "solar"]
    assert of_solar == [[], [scale["id"]]]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"factor": 0}, "factor"),
        ({"factor": 1e300, "kind": "scale"}, "factor"),
        ({"factor": "2", "kind": "scale"}, "factor"),
        ({"factor": True, "kind": "scale"}, "factor"),
        ({"factor": -0.0, "kind": "scale"}, "factor"),
        ({"seconds": 1.5, "kind": "shift"}, "seconds"),
        ({"seconds": -(1 << 40), "kind": "shift"}, "seconds"),
        ({"start": -5}, "start"),
        ({"end": 1 << 40}, "end"),
        ({"end": START}, "end"),
        ({"meter": "missing_meter"}, "meter"),
        ({"meter": "77"}, "meter"),
        ({"meter": "1/../../x"}, "meter"),
        ({"kind": "delete"}, "kind"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 301}, "reason"),
        ({"reason": "a\u202eb"}, "reason"),
        ({"reason": "a\u0000b"}, "reason"),
        ({"logger_serial_number": "001EC6009999"}, "logger_serial_number"),
        ({"extra": 1}, "extra"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_is_a_problem_that_names_the_field(
    web: WebSide, given: dict[str, Any], field: str
) -> None:
    path, client = await a_site(web)
    answer = await client.post(f"{path}/corrections", wanted(**given))
    assert answer.status == 422, answer.content
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert (await client.get(f"{path}/corrections")).json == {"corrections": []}


@pytest_twisted.ensureDeferred
async def test_nobody_reaches_anothers_meters(web: WebSide) -> None:
    path, client = await a_site(web)
    other, thief = await a_site(web, "001EC6005678")
    made = await client.post(f"{path}/corrections", wanted())
    assert (await thief.get(f"{path}/corrections")).status == 404
    assert (await thief.post(f"{path}/corrections", wanted())).status == 404
    assert (await thief.delete(f"{path}/corrections/{made.json['id']}")).status == 404
    assert (await thief.delete(f"{other}/corrections/{made.json['id']}")).status == 404
    assert (await thief.post(f"{other}/corrections", wanted(logger_serial_number=SERIAL))).status == 422
    assert (await web.anybody().get(f"{path}/corrections")).status == 401
    assert (await thief.get(f"{other}/corrections")).json == {"corrections": []}
    assert len(await powers(client, path)) == 50
