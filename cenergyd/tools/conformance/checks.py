"""The checks, section by section of the protocol. Each is a function of the server that returns None, or what is wrong.

Checks write under Modbus addresses 240 to 249 of the given logger, at times around 2001, so that they harm no real series.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

import attrs

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import SHARK, VERIS
from cenergyd.readings.model import Reading
from cenergyd.tools.conformance.client import Response, Server

Check = Callable[[Server], str | None]
METER: Final = "240"
START: Final = 1_000_000_020
"""2001-09-09 01:47:00 UTC."""
KEEPS: Final = (406,)
ABANDONS: Final = (401, 402, 403, 404, 407)


@attrs.frozen(slots=True)
class ProtocolRule:
    """One sentence of the protocol and how to check it."""

    section: str
    says: str
    check: Check


RULES: list[ProtocolRule] = []


def rule(section: str, says: str) -> Callable[[Check], Check]:
    """Register a check."""

    def register(check: Check) -> Check:
        RULES.append(ProtocolRule(section, says, check))
        return check

    return register


def rows(count: int = 3, start: int = START) -> list[Reading]:
    """Some readings."""
    return [Reading(start + 60 * i, P=1.5 + i, L1_PF=0.95, L1_V=120.25, Q=0.5) for i in range(count)]


def log(values: list[Reading] | None = None) -> bytes:
    """A plain log of readings."""
    return encode.log_text(rows() if values is None else values, VERIS)


def send(
    server: Server, content: bytes, *, meter: str = METER, version: str = "1.1", name: str | None = None, **more: str
) -> Response:
    """Upload a log file; ``more`` adds or replaces form variables."""
    fields = encode.log_fields(server.serial, server.password, meter, content, **more)
    return server.form(fields, name or encode.log_filename(meter), content, version=version)


def mode(server: Server, name: str, **more: str) -> Response:
    """A request without a file."""
    return server.form({"MODE": name, "SERIALNUMBER": server.serial, "PASSWORD": server.password, **more})


def accepted(response: Response) -> str | None:
    """None for SUCCESS."""
    return None if response.success else f"no SUCCESS but {response.status} {response.body[:100]!r}"


def kept(response: Response) -> str | None:
    """None where the device keeps the file and goes on."""
    if response.status in KEEPS and response.failure:
        return None
    return f"not 406 with FAILURE but {response.status} {response.body[:100]!r}"


def unauthorized(response: Response) -> str | None:
    """None for 401 FAILURE."""
    return (
        None
        if response.status == 401 and response.failure
        else f"not 401 with FAILURE but {response.status} {response.body[:100]!r}"
    )


def first(*faults: str | None) -> str | None:
    """The first fault."""
    return next((fault for fault in faults if fault), None)


@rule("1", "A GET of the URL gets a SUCCESS page")
def get(server: Server) -> str | None:
    return accepted(server.request("GET", {}))


@rule("1", "HTTP/1.0 without a Host header is served")
def http_1_0(server: Server) -> str | None:
    return accepted(send(server, encode.gz(log()), version="1.0"))


@rule("1", "HTTP/1.1 is served")
def http_1_1(server: Server) -> str | None:
    return accepted(send(server, encode.gz(log()), version="1.1"))


@rule("1", "A request that arrives in many small pieces is served")
def in_pieces(server: Server) -> str | None:
    content = encode.gz(log())
    kind, body = encode.multipart_form(
        encode.log_fields(server.serial, server.password, METER, content), encode.log_filename(METER), content
    )
    path = "/" + server.url.split("://", 1)[1].partition("/")[2]
    head = f"POST {path} HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with server.connect() as link:
        whole = head + body
        for start in range(0, len(whole), 97):
            link.sendall(whole[start : start + 97])
        received = b""
        while chunk := link.recv(65536):
            received += chunk
    return None if b"SUCCESS" in received.splitlines() else f"no SUCCESS but {received[:100]!r}"


@rule("2", "Serial number and password in the form are accepted")
def form_credentials(server: Server) -> str | None:
    return accepted(mode(server, "TEST"))


@rule("2", "The serial number is accepted in lower case")
def lower_case_serial(server: Server) -> str | None:
    return accepted(mode(server, "TEST", SERIALNUMBER=server.serial.lower()))


@rule("2", "ESERVERSERIAL, the older name, is accepted")
def older_name(server: Server) -> str | None:
    return accepted(server.form({"MODE": "TEST", "ESERVERSERIAL": server.serial, "PASSWORD": server.password}))


@rule("2", "The same pair may come as HTTP Basic credentials")
def basic(server: Server) -> str | None:
    return accepted(server.form({"MODE": "TEST"}, headers=_basic(server.serial, server.password)))


@rule("2", "If both are there they must agree")
def both_must_agree(server: Server) -> str | None:
    fields = {"MODE": "TEST", "SERIALNUMBER": server.serial, "PASSWORD": server.password}
    return first(
        accepted(server.form(fields, headers=_basic(server.serial, server.password))),
        unauthorized(server.form(fields, headers=_basic(server.serial, server.password + "x"))),
    )


@rule("2", "An unknown serial number is 401 FAILURE")
def unknown_serial(server: Server) -> str | None:
    return unauthorized(mode(server, "TEST", SERIALNUMBER="00FFFFFFFFF0"))


@rule("2", "A wrong password is 401 FAILURE")
def wrong_password(server: Server) -> str | None:
    return unauthorized(mode(server, "TEST", PASSWORD=server.password + "x"))


@rule("2", "Which of the two was wrong is never told")
def not_told(server: Server) -> str | None:
    one = mode(server, "TEST", SERIALNUMBER="00FFFFFFFFF1")
    other = mode(server, "TEST", PASSWORD=server.password + "y")
    return None if (one.status, one.body) == (other.status, other.body) else "the two responses differ"


@rule("2", "No credentials at all is 401")
def no_credentials(server: Server) -> str | None:
    return unauthorized(server.form({"MODE": "TEST"}))


@rule("3", "LOGFILEUPLOAD: SUCCESS")
def log_upload(server: Server) -> str | None:
    return accepted(send(server, encode.gz(log())))


@rule("3", "STATUS: SUCCESS")
def status(server: Server) -> str | None:
    more = {
        "UPTIME": "86400", "PERCENTBLOCKSINUSE": "12", "PERCENTINODESINUSE": "3", "UPLOADATTEMPT": "1", "LOOPNAME": "x",
        "ACQUISUITEVERSION": "v02.11", "USRVERSION": "1", "ROOTVERSION": "1", "KERNELVERSION": "2.6", "FIRMWAREVERSION": "1",
        "BOOTCOUNT": "17", "BATTERYGOOD": "YES", "GSMSIGNAL": "20",
    }  # fmt: skip
    return first(accepted(mode(server, "STATUS", **more)), accepted(mode(server, "STATUS")))


@rule("3", "TEST and MODE_TEST: SUCCESS")
def test_button(server: Server) -> str | None:
    return first(accepted(mode(server, "TEST")), accepted(mode(server, "MODE_TEST")))


@rule("3", "CONFIGFILEMANIFEST: lines CONFIGFILE,name,md5,time")
def manifest(server: Server) -> str | None:
    response = mode(server, "CONFIGFILEMANIFEST", LOOPNAME="x")
    lines = [line for line in response.body.decode("latin-1").splitlines() if line.strip()]
    good = [line for line in lines if line.startswith("CONFIGFILE,") and line.count(",") == 3]
    return None if response.status == 200 and good else f"{response.status} {response.body[:100]!r}"


@rule("3", "CONFIGFILEUPLOAD: SUCCESS once stored, and the manifest then names its md5")
def config_upload(server: Server) -> str | None:
    content = b"POINT00NAME=Conformance\nPOINT00UNITS=kWh\nPOINT10NAME=Real power\nPOINT10UNITS=kW\n"
    fields = {
        "MODE": "CONFIGFILEUPLOAD", "SERIALNUMBER": server.serial, "PASSWORD": server.password, "MODBUSDEVICE": METER,
        "MODBUSDEVICECLASS": encode.VERIS_CLASS, "MD5CHECKSUM": encode.md5(content), "FILETIME": "2001-09-09 01:00:00",
    }  # fmt: skip
    stored = server.form(fields, f"modbus/mb-{METER}.ini", content, file_field="CONFIGFILE")
    listed = mode(server, "CONFIGFILEMANIFEST")
    wanted = f"CONFIGFILE,modbus/mb-{METER}.ini,{encode.md5(content)},2001-09-09 01:00:00"
    named = wanted in listed.body.decode("latin-1").splitlines()
    return first(accepted(stored), None if named else f"the manifest lacks the line {wanted}")


@rule("3", "CONFIGFILEDOWNLOAD of a file that there is not: FAILURE that keeps the session going")
def config_download(server: Server) -> str | None:
    return kept(mode(server, "CONFIGFILEDOWNLOAD", MODBUSDEVICE="249", MODBUSDEVICECLASS="0"))


@rule("3", "Anything else, or none: 406 FAILURE")
def other_modes(server: Server) -> str | None:
    none = server.form({"SERIALNUMBER": server.serial, "PASSWORD": server.password})
    return first(kept(mode(server, "NONSENSE")), kept(none))


@rule("3", "Variable names are accepted in any case")
def any_case(server: Server) -> str | None:
    return accepted(server.form({"mode": "TEST", "SerialNumber": server.serial, "password": server.password}))


@rule("3", "SENDDATATRACE=YES: SUCCESS, with more lines for a person")
def trace(server: Server) -> str | None:
    response = send(server, encode.gz(log()), SENDDATATRACE="YES")
    return first(accepted(response), None if len(response.body.splitlines()) > 2 else "the response has no trace")


@rule("3", "MD5CHECKSUM is that of the bytes as sent; another one is refused and the file kept")
def checksum(server: Server) -> str | None:
    content = encode.gz(log())
    return first(accepted(send(server, content)), kept(send(server, content, MD5CHECKSUM="0" * 32)))


@rule("4", "Sending a whole file again is no error")
def again(server: Server) -> str | None:
    content = encode.gz(log())
    return first(accepted(send(server, content)), accepted(send(server, content)))


@rule("4", "SUCCESS stands alone on a line of no failure page, whatever the device's texts are")
def no_success_in_failure(server: Server) -> str | None:
    hostile = "x\r\nSUCCESS\r\n"
    responses = (
        mode(server, hostile),
        send(server, b"garbage", LOOPNAME=hostile, MODBUSDEVICENAME=hostile),
        send(server, encode.gz(log()), name="mb-240.log\nSUCCESS\n.gz", MODBUSDEVICE="241"),
    )
    return first(*(kept(response) for response in responses))


@rule("4", "Refused data is 406, never one of the statuses that abandon the session")
def refused_is_406(server: Server) -> str | None:
    return first(
        kept(send(server, b"")), kept(send(server, b"\x1f\x8b broken")), kept(server.post("text/plain", b"hello"))
    )


@rule("5", "File names with and without folder, number and .gz are accepted")
def file_names(server: Server) -> str | None:
    names = (
        "mb-240.log",
        "mb-240.4AB87D4F_1.log.gz",
        "modbus/mb-240.4AB87D4F_1.log.gz",
        "/mnt/main/log/modbus/mb-240.log",
    )
    return first(*(accepted(send(server, encode.gz(log()), name=name)) for name in names))


@rule("5", "The file name and MODBUSDEVICE must say the same meter: 406")
def meters_differ(server: Server) -> str | None:
    return kept(send(server, encode.gz(log()), MODBUSDEVICE="241"))


@rule("5", "gzip or plain is told by the first two bytes, not by the name")
def gz_or_plain(server: Server) -> str | None:
    return first(
        accepted(send(server, log(), name="modbus/mb-240.log.gz")),
        accepted(send(server, encode.gz(log()), name="mb-240.log")),
    )


@rule("5", "Lines end with CRLF or LF")
def line_ends(server: Server) -> str | None:
    return first(accepted(send(server, log())), accepted(send(server, log().replace(b"\r\n", b"\n"))))


@rule("5", "Rows with a device error are gaps; a file of nothing else is accepted")
def device_errors(server: Server) -> str | None:
    text = "".join(encode.error_row(START + 60 * i, code) + "\n" for i, code in enumerate((1, 110, 139, 160)))
    return accepted(send(server, text.encode()))


@rule("5", "Alarms are decimal, hex or empty")
def alarms(server: Server) -> str | None:
    lines = log().decode().splitlines()
    text = "\n".join(
        line.replace(",0,0,0,", f",0,{alarm},", 1) for line, alarm in zip(lines, ("0x02,0x00", ",", "3,4"), strict=True)
    )
    return accepted(send(server, (text + "\n").encode()))


@rule("5", "Missing values are empty or NULL")
def missing_values(server: Server) -> str | None:
    text = f"'2001-09-09 02:00:00',0,0,0,{',' * 9}NULL,,,1\n'2001-09-09 02:01:00',0,0,0{',' * 11}1.5,,,0.9\n"
    return accepted(send(server, text.encode()))


@rule("5", "Values that are no finite numbers are missing values")
def not_numbers(server: Server) -> str | None:
    line = log(rows(1)).decode().replace("1.5", "nan").replace("0.95", "inf").replace("120.25", "???")
    return accepted(send(server, (line + log(rows(1, START + 600)).decode()).encode()))


@rule("5", "Rows repeat and come out of order")
def disorder(server: Server) -> str | None:
    lines = log().splitlines(keepends=True)
    return accepted(send(server, b"".join([lines[2], lines[0], lines[1], lines[0]])))


@rule("5", "A last line cut short by a power loss costs nothing but itself")
def cut_short(server: Server) -> str | None:
    text = log()
    return first(*(accepted(send(server, text[: len(text) - cut])) for cut in (1, 5, 40, 100)))


@rule("5", "One bad row never costs the good ones")
def bad_row(server: Server) -> str | None:
    return accepted(send(server, b"rubbish,\xff\xfe\n" + log() + b"'2001-99-99 00:00:00',0,0,0,1\n"))


@rule("5", "A file with no readable row at all is refused: 406")
def no_readable_row(server: Server) -> str | None:
    return first(kept(send(server, b"rubbish\nmore rubbish\n")), kept(send(server, encode.gz(b"\x00" * 1000))))


@rule("5", "A header line is no error")
def header_line(server: Server) -> str | None:
    return accepted(send(server, b"time(utc),error,low alarm,high alarm,'a (kW)'\r\n" + log()))


@rule("5", "A file of many months of rows is accepted")
def large_file(server: Server) -> str | None:
    return accepted(send(server, _months()))


@rule("5", "A gzip bomb is refused without harm")
def bomb(server: Server) -> str | None:
    return first(kept(send(server, _bomb())), accepted(mode(server, "TEST")))


@rule("5", "Rows more than a day in the future or before 2000 are skipped, the others taken")
def clock_jumps(server: Server) -> str | None:
    jumped = log(rows(1, 4_000_000_000)) + log(rows(1, 900_000_000))
    return accepted(send(server, jumped + log()))


@rule("6", "The manifest asks for what is unknown: blank md5 and time for a meter that has uploaded")
def asks_for_unknown(server: Server) -> str | None:
    response = mode(server, "CONFIGFILEMANIFEST")
    lines = response.body.decode("latin-1").splitlines()
    return (
        None
        if any(line.startswith("CONFIGFILE,loggerconfig.ini,") for line in lines)
        else "loggerconfig.ini is not in it"
    )


@rule(
    "9",
    "Logs come before their description: an unknown meter's log is SUCCESS, and the manifest of that session names the meter",
)
def unknown_meter(server: Server) -> str | None:
    text = b"'2001-09-09 05:00:00',0,0,0,1,2.5,3\n"
    fields = encode.log_fields(server.serial, server.password, "248", text, device_class="9999")
    uploaded = server.form(fields, encode.log_filename("248", compressed=False), text)
    lines = mode(server, "CONFIGFILEMANIFEST").body.decode("latin-1").splitlines()
    named = any(line.startswith("CONFIGFILE,modbus/mb-248.ini,") for line in lines)
    return first(accepted(uploaded), None if named else "the manifest does not name meter 248")


@rule("9", "A device that measures no power: SUCCESS")
def no_power_meter(server: Server) -> str | None:
    text = b"'2001-09-09 05:00:00',0,0,0,999874,NULL\n"
    fields = encode.log_fields(server.serial, server.password, "249", text, device_class="27")
    return accepted(server.form(fields, encode.log_filename("249", compressed=False), text))


@rule("9", "XML devices without an address are left out, the others taken: SUCCESS")
def xml_without_address(server: Server) -> str | None:
    record = '<record><time zone="UTC">2001-09-09 05:00:00</time><error>0</error><point number="1" name="Real Power" units="kW" value="4.5"/></record>'
    devices = (
        f"<device><address>247</address><class>2</class><records>{record}</records></device>"
        f"<device><serialnumber>0012AB</serialnumber><class>1010</class><records>{record}</records></device>"
    )
    return _xml_success(_xml(server, "LOGFILEUPLOAD", f"<devices>{devices}</devices>"))


@rule("9", "Bytes after a whole gzip log are ignored")
def bytes_after_gzip(server: Server) -> str | None:
    return first(*(accepted(send(server, encode.gz(log()) + after)) for after in (b"\xff" * 90, b"\r\n", b"\0")))


@rule("7", "AcquiSuite-XML LOGFILEUPLOAD with several devices and records: text/xml SUCCESS")
def xml_upload(server: Server) -> str | None:
    record = (
        '<record><time zone="UTC">2001-09-09 03:0{0}:00</time><error text="Ok">0</error>'
        '<point number="9" name="Watts, 3-Ph total" units="kW" value="0.011"/>'
        '<point number="12" name="Power Factor, 3-Ph total" units="" value="0.9"/></record>'
    )
    device = (
        "<device><name>x</name><address>{0}</address><type>t</type><class>35</class><numpoints>116</numpoints><records>"
        + record.format(1) + record.format(2) + "</records></device>"
    )  # fmt: skip
    return _xml_success(_xml(server, "LOGFILEUPLOAD", f"<devices>{device.format(241)}{device.format(242)}</devices>"))


@rule("7", "AcquiSuite-XML STATUS: text/xml SUCCESS")
def xml_status(server: Server) -> str | None:
    return _xml_success(_xml(server, "STATUS", "<uptime>5</uptime>"))


@rule("7", "AcquiSuite-XML with wrong credentials: 401 and <result>FAILURE</result>")
def xml_wrong(server: Server) -> str | None:
    response = _xml(server, "STATUS", "", password=server.password + "x")
    good = response.status == 401 and b"<result>FAILURE" in response.body
    return None if good else f"{response.status} {response.body[:100]!r}"


@rule("7", "Entity expansion is off")
def xml_entities(server: Server) -> str | None:
    body = (
        '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
        f"<DAS><mode>STATUS</mode><name>&b;</name><serial>{server.serial}</serial></DAS>"
    )
    response = server.post("text/xml", body.encode(), headers=_basic(server.serial, server.password))
    return (
        None
        if response.status == 406 and b"<result>FAILURE" in response.body
        else f"{response.status} {response.body[:100]!r}"
    )


@rule("8", "A Shark's layout (device class 35) is read")
def shark(server: Server) -> str | None:
    content = encode.log_text(rows(), SHARK, 120)
    fields = encode.log_fields(server.serial, server.password, "243", content, device_class="35", SENDDATATRACE="YES")
    response = server.form(fields, encode.log_filename("243"), content)
    return accepted(response)


@cache
def _months() -> bytes:
    return encode.gz(log(rows(20_000)))


@cache
def _bomb() -> bytes:
    return encode.gz(b"0" * 300_000_000)


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _xml(server: Server, name: str, content: str, password: str | None = None) -> Response:
    body = f'<?xml version="1.0"?><DAS><mode>{name}</mode><name>x</name><serial>{server.serial}</serial>{content}</DAS>'
    return server.post(
        "text/xml", body.encode(), headers=_basic(server.serial, server.password if password is None else password)
    )


def _xml_success(response: Response) -> str | None:
    good = response.status == 200 and b"<result>SUCCESS</result>" in response.body
    typed = response.headers.get("content-type", "").startswith("text/xml")
    return (
        None if good and typed else f"{response.status} {response.headers.get('content-type')} {response.body[:100]!r}"
    )


def run(server: Server) -> Iterator[tuple[ProtocolRule, str | None]]:
    """Every rule with None or what is wrong."""
    for item in RULES:
        try:
            yield item, item.check(server)
        except Exception as error:
            yield item, f"{type(error).__name__}: {error}"
