"""A role that is a sum of meters, from uploads to energy, on both pairs of stores; it becomes one while the daemon runs."""

from __future__ import annotations

import http.client
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, upload, wait_for
from tests.e2e.stored import derived

SERIAL = "001EC6001433"
SUM, MISSING = f"{SERIAL}_solar_sum", f"{SERIAL}_missing_meter"
HOUR = 3600
PATIENCE = 180
"""Seconds: the machine may be busy with others."""


def get(daemon: RunningDaemon, token: str, path: str) -> Any:
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    link.request("GET", f"/api/v1/{path}", headers={"Authorization": f"Bearer {token}"})
    reply = link.getresponse()
    content = reply.read()
    link.close()
    assert reply.status == 200, content
    return json.loads(content) if "json" in (reply.getheader("Content-Type") or "") else content.decode()


def rows(start: int, power: float, *, lost: range = range(0)) -> list[Reading]:
    """Three hours of a constant power, with a register that counts it."""
    return [
        Reading(start + 60 * i, P=power, L1_PF=1.0, L1_V=120.0, Q=0.0, E_net=power * i / 60)
        for i in range(181)
        if i not in lost
    ]


def test_a_role_becomes_a_sum_and_everything_follows(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, facility="1", solar="2")
    token = daemon.run("token", "add", "--operator", "o").stdout.strip()
    start = int(time.time()) // HOUR * HOUR - 4 * HOUR
    assert acknowledged(upload(daemon, SERIAL, "1", rows(start, 1.0)))
    assert acknowledged(upload(daemon, SERIAL, "2", rows(start, 6.0)))
    # Meter 4 lost the better part of an hour: the sum has a gap, and its energy is bridged by both registers.
    assert acknowledged(upload(daemon, SERIAL, "4", rows(start, 8.0, lost=range(70, 110))))
    found = derived(daemon, {MISSING: 181}, PATIENCE)
    assert {each.P for each in found[MISSING]} == {7.0}
    changed = daemon.run("customers", "set", SERIAL, "--solar", "2+4*0.5")
    assert changed.returncode == 0, changed.stderr
    found = derived(daemon, {SUM: 141, MISSING: 141}, PATIENCE)
    assert {each.P for each in found[SUM]} == {10.0}
    assert {each.P for each in found[MISSING]} == {11.0}
    assert found[SUM][-1].E_net == 10.0 * 3

    (customer,) = get(daemon, token, "customers")["customers"]
    base = f"customers/{customer['id']}"
    first = datetime.fromtimestamp(start, UTC).date()
    query = f"{base}/energy?step=hour&start={first}&end={first + timedelta(days=2)}"

    def hours() -> list[dict[str, Any]]:
        windows = get(daemon, token, query)["windows"]
        return [each["roles"] for each in windows if start <= each["start"] < start + 3 * HOUR]

    wanted = {"solar": 10.0, "load": 11.0, "utility": 1.0}

    def known() -> bool:
        got = [{role: (each.get(role) or {}).get("import_kwh") or 0.0 for role in wanted} for each in hours()]
        return len(got) == 3 and all(abs(each[role] - wanted[role]) < 1e-6 for each in got for role in wanted)

    wait_for(known, PATIENCE, "the energy of three hours")
    assert hours()[1]["solar"]["bridged_seconds"] > 0
    # Each meter by itself, as it counts in the sum; the gap of meter 4 is its own, bridged by its own register.
    of_meters = get(daemon, token, query.replace("/energy?", "/energy/meters?"))["meters"]
    assert [(each["role"], each["meter"], each["factor"]) for each in of_meters] == [
        ("utility", "1", 1.0), ("solar", "2", 1.0), ("solar", "4", 0.5),
    ]  # fmt: skip
    for meter, kwh in zip(of_meters, (1.0, 6.0, 4.0), strict=True):
        mine = [each for each in meter["windows"] if start <= each["start"] < start + 3 * HOUR]
        assert [round(each["import_kwh"], 6) for each in mine] == [kwh] * 3
        assert (mine[1]["bridged_seconds"] > 0) == (meter["meter"] == "4")
        assert meter["windows"][-1]["import_kwh"] is None, "nothing is known of tomorrow"
    sheet = get(daemon, token, query.replace("/energy?", "/energy/meters.csv?")).splitlines()
    assert len(sheet) == 1 + 3 * len(of_meters[0]["windows"])
    assert sheet[0].startswith("role,logger,meter,start_utc,start_local,seconds_passed,import_kwh")
    csv = get(daemon, token, f"{base}/readings.csv?role=solar&start={start}&end={start + 120}&resolution=raw")
    assert SUM in csv
    why = get(daemon, token, f"{base}/explain?start={start + 80 * 60}&end={start + 81 * 60}")["minutes"]
    assert [(each["why"], each["series"]) for each in why] == [("missing", SUM), ("missing", MISSING)]
    assert why[0]["text"] == "meter 4 of the sum 2+4*0.5 gave no reading"

    # What is voided of one meter is a gap of the sum, until that is undone.
    within = ["--from", iso(start + 600), "--to", iso(start + 1200), "--reason", "a test"]
    voided = daemon.run("readings", "void", SERIAL, "2", *within)
    assert voided.returncode == 0, voided.stderr
    derived(daemon, {SUM: 131, MISSING: 131}, PATIENCE)
    undone = daemon.run("readings", "undo", SERIAL, voided.stdout.split()[0])
    assert undone.returncode == 0, undone.stderr
    found = derived(daemon, {SUM: 141, MISSING: 141}, PATIENCE)
    assert {each.P for each in found[SUM]} == {10.0}


def iso(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
