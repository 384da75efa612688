"""AcquiSuite-XML."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.encode import xml_device, xml_message
from cenergyd.acquisuite.form import credentials
from cenergyd.acquisuite.layouts import SHARK, VERIS, Layout, LayoutTable
from cenergyd.acquisuite.points import describe_columns
from cenergyd.acquisuite.resolve import resolve
from cenergyd.acquisuite.upload import Mode
from cenergyd.acquisuite.xml import XmlDevice, parse_xml, parse_xml_steps
from cenergyd.errors import UploadError
from cenergyd.readings.model import Reading

FIELD = Path(__file__).parent.parent / "field"
NOW = 1700000000
EXAMPLE = b"""<DAS><mode>LOGFILEUPLOAD</mode><name/><serial>001EC605215F</serial><devices><device><name/><address>11</address><type/><class>35</class>
<numpoints>116</numpoints><records><record><time zone="UTC">2015-09-01 12:00:00</time><error text="Ok">0</error>
<point number="9" name="Watts, 3-Ph total" units="kW" value="0.011"/></record></records></device></devices></DAS>"""


def device_of(records: str) -> XmlDevice:
    body = f"<DAS><mode>LOGFILEUPLOAD</mode><serial>A</serial><devices><device><address>1</address><records>{records}</records></device></devices></DAS>"
    return parse_xml(body.encode()).devices[0]


def by_names(device: XmlDevice) -> Layout:
    found = resolve(device.facts(), None, LayoutTable())
    assert found.layout is not None
    assert found.layout.columns == describe_columns(device.points).columns
    return found.layout


def test_the_example_of_the_protocol_page() -> None:
    message = parse_xml(EXAMPLE)
    assert (message.mode, message.serial, message.name) == (Mode.LOGFILEUPLOAD, "001EC605215F", "")
    (device,) = message.devices
    assert (device.meter, device.device_class) == ("11", "35")
    expected = [Reading(1441108800, P=0.011)]
    assert device.parse(SHARK, latest=NOW).readings == expected
    by_name = by_names(device)
    assert by_name.columns == {"P": 13}
    assert device.parse(by_name, latest=NOW).readings == expected
    assert device.facts().points == 116


def test_credentials() -> None:
    assert credentials(parse_xml(EXAMPLE).as_form(), ("001ec605215f", "p")) == ("001EC605215F", "p")


def test_status() -> None:
    message = parse_xml(xml_message("AA", mode="STATUS", name="Roof", status={"uptime": "77", "firmwareversion": "v2"}))
    assert (message.mode, message.devices) == (Mode.STATUS, ())
    report = message.status()
    assert (report.uptime_seconds, report.firmware_version, report.loop_name) == (77, "v2", "Roof")


def test_status_of_a_real_message() -> None:
    body = (FIELD / "11-xml-status-inodes.xml").read_bytes().partition(b"-->\n")[2]
    report = parse_xml(body).status()
    assert (report.percent_inodes_in_use, report.percent_blocks_in_use, report.uptime_seconds) == (3, 58, 145200)


def test_records_follow_the_rules_of_rows() -> None:
    device = device_of(
        '<record><time zone="UTC">2015-09-01 12:00:00</time><error>0</error><point number="10" value="1.5"/><point number="13" value="98"/></record>'
        '<record><time>2015-09-01 12:01:00</time><error text="x">139</error><point number="10" value="0"/></record>'
        '<record><time zone="EST">2015-09-01 12:02:00</time><error>0</error><point number="10" value="1"/></record>'
        '<record><time>1999-09-01 12:02:00</time><error>0</error><point number="10" value="1"/></record>'
        '<record><time>2015-09-01 12:03:00</time><error>0</error><point number="10" value="1_0"/><point number="x" value="3"/></record>'
        '<record><time>2015-09-01 12:04:00</time><point number="10" value="NULL"/><point number="11" value="-2"/></record>'
    )
    log = device.parse(VERIS, latest=NOW)
    assert log.readings == [Reading(1441108800, P=1.5), Reading(1441109040, Q=-2)]
    assert log.error_codes == {139: 1}
    assert log.skipped == {"bad_time": 1, "before_2000": 1, "no_values": 1}


def test_a_far_column_costs_no_memory() -> None:
    device = device_of(
        '<record><time>2015-09-01 12:00:00</time><point number="10" value="1.5"/>'
        '<point number="249999996" value="7"/></record>'
    )
    tracemalloc.start()
    try:
        readings = device.parse(Layout.of("far", P=14, L1_V=250_000_000), latest=NOW).readings
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert readings == [Reading(1441108800, P=1.5)]


@pytest.mark.parametrize(
    "address", ["", "<address/>", "<address>0</address>", "<address>x</address>", "<serialnumber>0012AB</serialnumber>"]
)
def test_a_device_without_an_address_is_left_out_and_counted(address: str) -> None:
    sensor = f"<device><name>radio sensor</name>{address}<records><record><time>x</time></record></records></device>"
    message = parse_xml(xml_message("AA", [sensor, xml_device("3", [], VERIS)]))
    assert ([device.meter for device in message.devices], message.left_out) == (["3"], 1)
    message = parse_xml(xml_message("AA", [sensor]))
    assert (message.devices, message.left_out) == ((), 1)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"<DAS>", b"<das/>", b"<html/>", b"<DAS><mode>LOGFILEUPLOAD</mode><serial>A</serial></DAS>",
        b"<DAS><mode>CONFIGFILEUPLOAD</mode></DAS>", b"<DAS><mode>NONE</mode></DAS>",
        b'<!DOCTYPE DAS [<!ENTITY a "x">]>' + EXAMPLE, b"<!DOCTYPE DAS>" + EXAMPLE,
        b'<!DOCTYPE DAS SYSTEM "http://127.0.0.1/x.dtd">' + EXAMPLE,
        b"<DAS>" * 20, b'<?xml version="1.0" encoding="idna"?><DAS/>', b'<?xml version="1.0" encoding="nonsense"?><DAS/>',
    ],
)  # fmt: skip
def test_refused(body: bytes) -> None:
    with pytest.raises(UploadError):
        parse_xml(body)


def test_bounds() -> None:
    with pytest.raises(UploadError, match="more than the 10"):
        parse_xml(EXAMPLE, max_bytes=10)
    with pytest.raises(UploadError, match="too many elements"):
        parse_xml(EXAMPLE, max_elements=10)
    with pytest.raises(UploadError, match="too long"):
        parse_xml(b"<DAS a='" + b"x" * 300_000 + b"'/>")
    with pytest.raises(UploadError, match="255 devices"):
        parse_xml(xml_message("A", [xml_device("1", [], VERIS)] * 256))


READINGS = st.lists(
    st.tuples(
        st.integers(946684800, NOW),
        st.floats(-1e6, 1e6),
        st.none() | st.floats(-1, 1),
        st.none() | st.floats(0, 1000),
    ).map(lambda fields: Reading(*fields)),
    min_size=1,
    max_size=5,
    unique_by=lambda reading: reading.time,
)


@given(READINGS, st.sampled_from([VERIS, SHARK]), st.text("ab<>&'\"é", max_size=8))
@settings(max_examples=40)
def test_what_is_encoded_comes_back(readings: list[Reading], layout: Layout, name: str) -> None:
    body = xml_message("001EC6001433", [xml_device("7", readings, layout, name=name)], name=name)
    message = parse_xml(body)
    (device,) = message.devices
    assert message.name == device.name == name
    expected = sorted(readings)
    assert device.parse(layout, latest=NOW).readings == expected
    assert device.parse(by_names(device), latest=NOW).readings == expected


@given(st.binary(max_size=200), st.integers(0, len(EXAMPLE)), st.integers(0, 40))
@settings(max_examples=150)
def test_any_bytes_raise_nothing_but_upload_error(junk: bytes, at: int, length: int) -> None:
    for body in (junk, EXAMPLE[:at] + junk + EXAMPLE[at + length :], EXAMPLE[:at] + EXAMPLE[at + length :]):
        with suppress(UploadError):
            for device in parse_xml(body).devices:
                device.parse(SHARK, latest=NOW)


def test_a_long_message_comes_in_steps() -> None:
    readings = [Reading(NOW - 60 * n, n / 4, 0.5, 230.0, 1.0) for n in range(300)]
    body = xml_message("AA", [xml_device("1", readings, VERIS)])
    steps = parse_xml_steps(body)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            assert stop.value.devices[0].parse(VERIS, latest=NOW).readings == sorted(readings)
            break
        count += 1
    assert count == -(-len(body) // (16 * 1024)) > 3
