"""The main path over real sockets and real stores: an AcquiSuite uploads, the missing meter appears."""

from __future__ import annotations

import base64
import http.client
import time
from pathlib import Path

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import SHARK
from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import PASSWORD, acknowledged, add_customer, readings, upload
from tests.e2e.stored import derived, stored

SERIAL = "001EC6001433"
SAMPLES = Path(__file__).parent.parent / "samples"


def now_minute() -> int:
    return int(time.time()) // 60 * 60


def test_two_meters_become_three(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    start = now_minute() - 3600
    load, solar = readings(start, 30, 100.0), readings(start, 30, 7.0)
    assert acknowledged(upload(daemon, SERIAL, "1", load, version="1.0"))
    assert acknowledged(upload(daemon, SERIAL, "2", solar, version="1.1"))
    missing = f"{SERIAL}_missing_meter"
    found = derived(daemon, {f"{SERIAL}_1": 30, f"{SERIAL}_2": 30, missing: 30})
    assert found[f"{SERIAL}_1"] == load
    assert found[f"{SERIAL}_2"] == solar
    assert [(r.time, r.P, r.L1_V) for r in found[missing]] == [
        (a.time, a.P - b.P, 120.5) for a, b in zip(load, solar, strict=True)
    ]


def test_late_hour_is_derived_without_a_command(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", facility="2")
    start = now_minute() - 7200
    missing = f"{SERIAL}_missing_meter"
    assert acknowledged(upload(daemon, SERIAL, "1", readings(start, 120, 50.0)))
    assert acknowledged(upload(daemon, SERIAL, "2", readings(start + 3600, 60, 20.0)))
    derived(daemon, {missing: 60})
    assert acknowledged(upload(daemon, SERIAL, "2", readings(start, 60, 20.0)))
    assert all(r.P == 30.0 for r in derived(daemon, {missing: 120})[missing])


def test_the_real_sample_uploads(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, facility="1", solar="2")
    content = (SAMPLES / "mb-001.log.gz").read_bytes()
    fields = encode.log_fields(SERIAL, PASSWORD, "1", content, device_class="10")
    kind, body = encode.multipart_form(fields, "modbus/mb-001.40A24A00_1.log.gz", content)
    assert acknowledged(raw_post(daemon.port, "/consume", kind, body))
    rows = stored(daemon, [f"{SERIAL}_1"])[0][f"{SERIAL}_1"]
    assert len(rows) == 26
    assert rows[0] == Reading(1084376700, P=123.288, L1_PF=0.981, L1_V=None, Q=24.194, E_net=141713)


def test_shark_layout_by_device_class_and_basic_credentials(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, facility="7", solar="2")
    values = readings(now_minute() - 600, 5, 3.0)
    content = encode.log_text(values, SHARK, 120)
    fields = encode.log_fields(SERIAL, PASSWORD, "7", content, device_class="35")
    del fields["SERIALNUMBER"], fields["PASSWORD"]
    kind, body = encode.multipart_form(fields, "mb-007.log", content)
    basic = base64.b64encode(f"{SERIAL}:{PASSWORD}".encode()).decode()
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    link.request("POST", "/consume", body, {"Content-Type": kind, "Authorization": f"Basic {basic}"})
    reply = link.getresponse()
    assert acknowledged((reply.status, reply.read()))
    link.close()
    assert stored(daemon, [f"{SERIAL}_7"])[0][f"{SERIAL}_7"] == values


@pytest.mark.parametrize(
    ("serial", "password", "fields", "status"),
    [
        (SERIAL, "wrong", {}, 401),
        ("001EC6FFFFFF", PASSWORD, {}, 401),
        (SERIAL, PASSWORD, {"MODE": "NONSENSE"}, 406),
        (SERIAL, PASSWORD, {"MODBUSDEVICE": "9"}, 406),
        (SERIAL, PASSWORD, {"MD5CHECKSUM": "0" * 32}, 406),
    ],
)
def test_refusals(daemon: RunningDaemon, serial: str, password: str, fields: dict[str, str], status: int) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    got, body = upload(daemon, serial, "1", readings(now_minute() - 60, 1, 1.0), password=password, **fields)
    assert got == status
    assert body.startswith(b"FAILURE: ")
    assert b"SUCCESS" not in body.splitlines()
    assert stored(daemon, [f"{SERIAL}_1"])[0][f"{SERIAL}_1"] == []


def test_status_test_and_get(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    for mode in ("STATUS", "TEST", "MODE_TEST"):
        form = {"MODE": mode, "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD, "UPTIME": "77"}
        kind, body = encode.multipart_form(form)
        assert acknowledged(raw_post(daemon.port, "/consume", kind, body))
    assert acknowledged(daemon.get("/consume"))


def test_password_is_in_no_log(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    upload(daemon, SERIAL, "1", readings(now_minute() - 60, 1, 1.0))
    upload(daemon, SERIAL, "1", readings(now_minute() - 60, 1, 1.0), password="battery staple")
    assert PASSWORD not in daemon.log()
    assert "battery staple" not in daemon.log()
