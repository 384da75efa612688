"""Checks of sections 1 to 4 of the protocol: HTTP, credentials, modes, responses."""

from __future__ import annotations

from cenergyd.acquisuite import encode
from cenergyd.tools.conformance.client import Server
from cenergyd.tools.conformance.requests import (
    METER,
    accepted,
    basic_header,
    first,
    kept,
    log,
    mode,
    send_log,
    unauthorized,
)
from cenergyd.tools.conformance.rules import rule


@rule("1", "A GET of the URL gets a SUCCESS page")
def get(server: Server) -> str | None:
    return accepted(server.request("GET", {}))


@rule("1", "HTTP/1.0 without a Host header is served")
def http_1_0(server: Server) -> str | None:
    return accepted(send_log(server, encode.gz(log()), version="1.0"))


@rule("1", "HTTP/1.1 is served")
def http_1_1(server: Server) -> str | None:
    return accepted(send_log(server, encode.gz(log()), version="1.1"))


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
    return accepted(server.form({"MODE": "TEST"}, headers=basic_header(server.serial, server.password)))


@rule("2", "If both are there they must agree")
def both_must_agree(server: Server) -> str | None:
    fields = {"MODE": "TEST", "SERIALNUMBER": server.serial, "PASSWORD": server.password}
    return first(
        accepted(server.form(fields, headers=basic_header(server.serial, server.password))),
        unauthorized(server.form(fields, headers=basic_header(server.serial, server.password + "x"))),
    )


@rule("2", "An unknown serial number is 401 FAILURE")
def unknown_serial(server: Server) -> str | None:
    return unauthorized(mode(server, "TEST", SERIALNUMBER="00FFFFFFFFF0"))


@rule("2", "A wrong password is 401 FAILURE")
def wrong_password(server: Server) -> str | None:
    return unauthorized(mode(server, "TEST", PASSWORD=server.password + "x"))


@rule("2", "The reply never says which of the two was wrong")
def not_told(server: Server) -> str | None:
    one = mode(server, "TEST", SERIALNUMBER="00FFFFFFFFF1")
    other = mode(server, "TEST", PASSWORD=server.password + "y")
    return None if (one.status, one.body) == (other.status, other.body) else "the two responses differ"


@rule("2", "No credentials at all is 401")
def no_credentials(server: Server) -> str | None:
    return unauthorized(server.form({"MODE": "TEST"}))


@rule("3", "LOGFILEUPLOAD: SUCCESS")
def log_upload(server: Server) -> str | None:
    return accepted(send_log(server, encode.gz(log())))


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


@rule("3", "CONFIGFILEDOWNLOAD of a file that does not exist: a FAILURE that does not end the session")
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
    response = send_log(server, encode.gz(log()), SENDDATATRACE="YES")
    return first(accepted(response), None if len(response.body.splitlines()) > 2 else "the response has no trace")


@rule("3", "MD5CHECKSUM is that of the bytes as sent; another one is refused and the file kept")
def checksum(server: Server) -> str | None:
    content = encode.gz(log())
    return first(accepted(send_log(server, content)), kept(send_log(server, content, MD5CHECKSUM="0" * 32)))


@rule("4", "Sending a whole file again is no error")
def again(server: Server) -> str | None:
    content = encode.gz(log())
    return first(accepted(send_log(server, content)), accepted(send_log(server, content)))


@rule("4", "No failure page has SUCCESS alone on a line, whatever the device's texts are")
def no_success_in_failure(server: Server) -> str | None:
    hostile = "x\r\nSUCCESS\r\n"
    responses = (
        mode(server, hostile),
        send_log(server, b"garbage", LOOPNAME=hostile, MODBUSDEVICENAME=hostile),
        send_log(server, encode.gz(log()), name="mb-240.log\nSUCCESS\n.gz", MODBUSDEVICE="241"),
    )
    return first(*(kept(response) for response in responses))


@rule("4", "Refused data is 406, never one of the statuses that abandon the session")
def refused_is_406(server: Server) -> str | None:
    return first(
        kept(send_log(server, b"")),
        kept(send_log(server, b"\x1f\x8b broken")),
        kept(server.post("text/plain", b"hello")),
    )
