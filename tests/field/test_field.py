"""Small inputs from devices in the field, each with its correct result, which the file states."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted

from cenergyd.acquisuite import encode
from cenergyd.readings.model import Reading
from tests.ingest.conftest import kind, make_intake
from tests.ingest.intake import SERIAL, Intake, accepted

__all__ = ["kind", "make_intake"]
HERE = Path(__file__).parent


@pytest_twisted.async_yield_fixture
async def intake(make_intake) -> AsyncIterator[Intake]:
    made = await make_intake()
    made.clock.now = 1_790_000_000
    for serial in (SERIAL, "FIELDION86", "FIELDIO37", "XMLADDR"):
        await made.add_customer(serial)
    yield made


def content(name: str) -> bytes:
    """A file without the comment that says what is wanted."""
    text = (HERE / name).read_bytes()
    if text.startswith(b"<!--"):
        return text.partition(b"-->\n")[2]
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))


@pytest_twisted.ensureDeferred
async def test_01_02_a_first_session_of_an_h8036(intake: Intake) -> None:
    """P = 6.219, never 2.055: by class and width, and the same by the config file that comes later in the session."""
    log, meter = content("01-first-session-h8036.txt"), {"MODBUSDEVICECLASS": "2"}
    assert accepted(await intake.log(log, "12", filename="modbus/mb-012.4AB87D4F_1.log.gz", **meter))
    assert "CONFIGFILE,modbus/mb-012.ini,," in await intake.manifest()
    assert accepted(await intake.config(content("02-h8036.ini"), "12", "2"))
    await intake.held.work()
    expected = Reading(1598031000, P=6.219, L1_PF=None, L1_V=282.2, Q=8.781, E_net=7675835.5)
    assert await intake.stored("12") == [expected]
    assert accepted(await intake.log(log, "12", **meter))
    assert await intake.stored("12") == [expected]


@pytest_twisted.ensureDeferred
async def test_01_of_a_class_that_nobody_knows_it_waits_for_its_config_file(intake: Intake) -> None:
    log, meter = content("01-first-session-h8036.txt"), {"MODBUSDEVICECLASS": "77"}
    assert accepted(await intake.log(log, "12", **meter))
    assert await intake.stored("12") == []
    assert "CONFIGFILE,modbus/mb-012.ini,," in await intake.manifest()
    assert accepted(await intake.config(content("02-h8036.ini"), "12", "77"))
    await intake.held.work()
    assert [reading.P for reading in await intake.stored("12")] == [6.219]


@pytest_twisted.ensureDeferred
async def test_03_the_header_of_the_log_says_it(intake: Intake) -> None:
    """P = 123.288, never 122.376, which is kVA."""
    assert accepted(await intake.log(content("03-acquilite-class15-with-header.log"), MODBUSDEVICECLASS="15"))
    assert await intake.stored() == [Reading(1715529600, P=123.288, L1_PF=0.981, Q=24.194, E_net=141743)]


@pytest_twisted.ensureDeferred
async def test_04_kw_tot_is_not_kw_tot_mx(intake: Intake) -> None:
    """P = -0.4; no power factor of 89.123, and never the unbalance of 0.1 %."""
    assert accepted(await intake.xml(content("04-ion8600-kw-tot-mx.xml"), "FIELDION86"))
    assert await intake.stored("100", "FIELDION86") == [Reading(1724261400, P=-0.4)]


@pytest_twisted.ensureDeferred
async def test_05_a_water_counter_is_no_power(intake: Intake) -> None:
    assert accepted(await intake.xml(content("05-io-module-pulse-counter.xml"), "FIELDIO37"))
    assert await intake.stored("37", "FIELDIO37") == []
    (kept,) = await intake.meters.of_logger("FIELDIO37")
    assert (kept.state, kept.is_not_understood) == ("other", False)


@pytest_twisted.ensureDeferred
async def test_06_a_device_with_only_a_serial_number_is_left_out(intake: Intake) -> None:
    body = content("06-device-with-serialnumber-only.xml")
    reply = await intake.xml(body, "XMLADDR")
    assert reply.status == 200
    assert b"<result>SUCCESS</result>" in reply.body
    assert b"1 device(s) without a Modbus address left out" in reply.body
    assert await intake.stored("5", "XMLADDR") == [Reading(1704067200, P=4.5, E_net=1)]
    zero = body.replace(b"<serialnumber>0012AB</serialnumber>", b"<address>0</address>")
    assert (await intake.xml(zero, "XMLADDR")).status == 200


@pytest.mark.parametrize("name", ["07-whole-gzip-then-ff.log.gz", "08-whole-gzip-then-crlf.log.gz"])
@pytest_twisted.ensureDeferred
async def test_07_08_bytes_after_a_whole_gzip_file(intake: Intake, name: str) -> None:
    await intake.choose({"1": {"P": 14}}, 0)
    assert accepted(await intake.log((HERE / name).read_bytes()))
    assert [reading.P for reading in await intake.stored()] == [1.5]


@pytest_twisted.ensureDeferred
async def test_10_a_gzipped_config_file_is_inflated_and_learned(intake: Intake) -> None:
    packed = (HERE / "10-config-file-gzipped.ini.gz").read_bytes()
    assert accepted(await intake.config(packed))
    assert f"CONFIGFILE,modbus/mb-001.ini,{encode.md5(packed)},2023-11-14 22:13:20" in await intake.manifest()
    shown = await intake.configs.redacted(SERIAL, "modbus/mb-001.ini", 1)
    assert shown.startswith("POINT00NAME=")
    assert accepted(await intake.log(content("01-first-session-h8036.txt"), MODBUSDEVICECLASS="77"))
    assert [reading.P for reading in await intake.stored()] == [6.219]


@pytest_twisted.ensureDeferred
async def test_10_a_damaged_one_is_refused(intake: Intake) -> None:
    packed = (HERE / "10-config-file-gzipped.ini.gz").read_bytes()
    assert (await intake.config(packed[:-20])).status == 406
    assert "CONFIGFILE,loggerconfig.ini,," in await intake.manifest()


@pytest_twisted.ensureDeferred
async def test_11_inodes_of_an_xml_status(intake: Intake) -> None:
    assert (await intake.xml(content("11-xml-status-inodes.xml"), "XMLADDR")).status == 200
    await intake.activity.flush()
    found = await intake.documents.get("logger_status", "XMLADDR")
    assert found is not None
    assert found.body["fields"]["percent_inodes_in_use"] == 3
