"""Inputs from the field, sent as devices send them to a running daemon on each pair of stores. The files state the expected results."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable
from typing import Any

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.times import device_time
from cenergyd.readings.model import Reading
from tests.daemon_process import raw_post
from tests.e2e.device import PASSWORD, acknowledged, wait_for
from tests.e2e.stored import processed, stored
from tests.field.conftest import OperatedDaemon
from tests.field.test_field import HERE, content

Answer = tuple[int, bytes]


def log(
    operated: OperatedDaemon, serial: str, meter: str, file: bytes, device_class: str = "", name: str = ""
) -> Answer:
    form = encode.log_fields(serial, PASSWORD, meter, file, device_class=device_class)
    kind, body = encode.multipart_form(form, name or encode.log_filename(meter), file)
    return raw_post(operated.daemon.port, "/consume", kind, body)


def config(operated: OperatedDaemon, serial: str, meter: str, file: bytes, device_class: str = "") -> Answer:
    form = {
        "MODE": "CONFIGFILEUPLOAD", "SERIALNUMBER": serial, "PASSWORD": PASSWORD, "MODBUSDEVICE": meter,
        "MODBUSDEVICECLASS": device_class, "MD5CHECKSUM": encode.md5(file), "FILETIME": "2023-11-14 22:13:20",
    }  # fmt: skip
    kind, body = encode.multipart_form(form, f"modbus/mb-{int(meter):03d}.ini", file, "CONFIGFILE")
    return raw_post(operated.daemon.port, "/consume", kind, body)


def manifest(operated: OperatedDaemon, serial: str) -> list[str]:
    kind, body = encode.multipart_form({"MODE": "CONFIGFILEMANIFEST", "SERIALNUMBER": serial, "PASSWORD": PASSWORD})
    return raw_post(operated.daemon.port, "/consume", kind, body)[1].decode().splitlines()


def xml(operated: OperatedDaemon, serial: str, body: bytes) -> Answer:
    pair = base64.b64encode(f"{serial}:{PASSWORD}".encode()).decode()
    link = http.client.HTTPConnection("127.0.0.1", operated.daemon.port, timeout=120)
    link.request("POST", "/consume", body, {"Content-Type": "text/xml", "Authorization": f"Basic {pair}"})
    reply = link.getresponse()
    answer = reply.status, reply.read()
    link.close()
    return answer


def in_xml(answer: Answer) -> bool:
    return answer[0] == 200 and b"<result>SUCCESS</result>" in answer[1]


def readings(operated: OperatedDaemon, series: str, count: int) -> list[Reading]:
    return processed(operated.daemon, {series: count})[series]


def session(device_class: str) -> Callable[[OperatedDaemon], None]:
    """A first session of an H8036 in the order in which devices send: its log before its description."""

    def play(operated: OperatedDaemon) -> None:
        serial = f"F0102{device_class}"
        operated.operator.add_customer(serial, facility="12")
        first = content("01-first-session-h8036.txt")
        assert acknowledged(log(operated, serial, "12", first, device_class, "modbus/mb-012.4AB87D4F_1.log.gz"))
        assert "CONFIGFILE,modbus/mb-012.ini,," in manifest(operated, serial)
        assert acknowledged(config(operated, serial, "12", content("02-h8036.ini"), device_class))
        wanted = Reading(1598031000, P=6.219, L1_V=282.2, Q=8.781, E_net=7675835.5)
        assert readings(operated, f"{serial}_12", 1) == [wanted]
        assert acknowledged(log(operated, serial, "12", first, device_class))
        assert readings(operated, f"{serial}_12", 1) == [wanted]

    return play


def header(operated: OperatedDaemon) -> None:
    operated.operator.add_customer("F03", facility="1")
    assert acknowledged(log(operated, "F03", "1", content("03-acquilite-class15-with-header.log"), "15"))
    assert readings(operated, "F03_1", 1) == [Reading(1715529600, P=123.288, L1_PF=0.981, Q=24.194, E_net=141743)]


def kw_tot(operated: OperatedDaemon) -> None:
    operated.operator.add_customer("FIELDION86", facility="100")
    assert in_xml(xml(operated, "FIELDION86", content("04-ion8600-kw-tot-mx.xml")))
    assert readings(operated, "FIELDION86_100", 1) == [Reading(1724261400, P=-0.4)]


def water(operated: OperatedDaemon) -> None:
    customer = operated.operator.add_customer("FIELDIO37", facility="1")
    assert in_xml(xml(operated, "FIELDIO37", content("05-io-module-pulse-counter.xml")))
    assert stored(operated.daemon, ["FIELDIO37_37"])[0]["FIELDIO37_37"] == []
    # It is not reported as a meter whose columns must be chosen.
    assert operated.operator.ask("GET", f"customers/{customer}/held-meters")["meters"] == []


def without_address(operated: OperatedDaemon) -> None:
    operated.operator.add_customer("XMLADDR", facility="5")
    answer = xml(operated, "XMLADDR", content("06-device-with-serialnumber-only.xml"))
    assert in_xml(answer)
    assert b"1 device(s) without a Modbus address left out" in answer[1]
    assert readings(operated, "XMLADDR_5", 1) == [Reading(1704067200, P=4.5, E_net=1)]
    assert in_xml(xml(operated, "XMLADDR", content("11-xml-status-inodes.xml")))

    def reported() -> object:
        status = operated.operator.ask("GET", "loggers/XMLADDR")["status"]
        return status and status["fields"]["percent_inodes_in_use"]

    wait_for(lambda: reported() is not None, what="the status")
    assert reported() == 3


def after_gzip(number: str, name: str) -> Callable[[OperatedDaemon], None]:
    def play(operated: OperatedDaemon) -> None:
        customer = operated.operator.add_customer(f"F{number}", facility="1")
        chosen = {"effective_from": 0, "layouts": {"1": {"P": 14}}}
        operated.operator.ask("POST", f"customers/{customer}/meters", chosen)
        assert acknowledged(log(operated, f"F{number}", "1", (HERE / name).read_bytes()))
        assert [each.P for each in readings(operated, f"F{number}_1", 1)] == [1.5]

    return play


def period_changed(operated: OperatedDaemon) -> None:
    """72 kWh: 12 h at 6 kW."""
    customer = operated.operator.add_customer("F09", facility="1", solar="2")
    start = 1_763_596_800  # 2025-11-20T00:00Z
    times = [60 * k for k in range(360)] + [900 * k for k in range(24, 49)]
    file = "".join(f"'{device_time(start + time)}',0,0,0,6.0\n" for time in times)
    chosen = {"effective_from": 0, "layouts": {"1": {"P": 4}}}
    operated.operator.ask("POST", f"customers/{customer}/meters", chosen)
    assert acknowledged(log(operated, "F09", "1", encode.gz(file.encode())))
    readings(operated, "F09_1", len(times))
    asked = "energy?step=hour&start=2025-11-20&end=2025-11-21"
    hours = operated.operator.ask("GET", f"customers/{customer}/{asked}")["windows"]
    energies = [hour["roles"]["utility"]["import_kwh"] for hour in hours[:12]]
    assert energies == pytest.approx([6.0] * 12)


def gzipped_config(operated: OperatedDaemon) -> None:
    operated.operator.add_customer("F10", facility="1")
    packed = (HERE / "10-config-file-gzipped.ini.gz").read_bytes()
    assert config(operated, "F10", "1", packed[:-20])[0] == 406
    assert "CONFIGFILE,loggerconfig.ini,," in manifest(operated, "F10")
    assert acknowledged(config(operated, "F10", "1", packed))
    assert f"CONFIGFILE,modbus/mb-001.ini,{encode.md5(packed)},2023-11-14 22:13:20" in manifest(operated, "F10")
    assert acknowledged(log(operated, "F10", "1", content("01-first-session-h8036.txt"), "77"))
    assert [each.P for each in readings(operated, "F10_1", 1)] == [6.219]


FILES: dict[str, Callable[[OperatedDaemon], Any]] = {
    "01-02": session("2"),
    "01-02-class-unknown": session("77"),
    "03": header,
    "04": kw_tot,
    "05": water,
    "06-11": without_address,
    "07": after_gzip("07", "07-whole-gzip-then-ff.log.gz"),
    "08": after_gzip("08", "08-whole-gzip-then-crlf.log.gz"),
    "09": period_changed,
    "10": gzipped_config,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_what_it_says(operated: OperatedDaemon, name: str) -> None:
    FILES[name](operated)
