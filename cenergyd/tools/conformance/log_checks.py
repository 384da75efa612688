"""Checks of sections 5, 6 and 8 of the protocol, and of field observations (section 9): log files and their processing."""

from __future__ import annotations

from functools import cache

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import SHARK
from cenergyd.tools.conformance.client import Server
from cenergyd.tools.conformance.requests import START, accepted, first, kept, log, mode, rows, send_log
from cenergyd.tools.conformance.rules import rule


@rule("5", "File names with and without folder, number and .gz are accepted")
def file_names(server: Server) -> str | None:
    names = (
        "mb-240.log",
        "mb-240.4AB87D4F_1.log.gz",
        "modbus/mb-240.4AB87D4F_1.log.gz",
        "/mnt/main/log/modbus/mb-240.log",
    )
    return first(*(accepted(send_log(server, encode.gz(log()), name=name)) for name in names))


@rule("5", "The file name and MODBUSDEVICE must say the same meter: 406")
def meters_differ(server: Server) -> str | None:
    return kept(send_log(server, encode.gz(log()), MODBUSDEVICE="241"))


@rule("5", "gzip or plain is recognised by the first two bytes, not by the name")
def gz_or_plain(server: Server) -> str | None:
    return first(
        accepted(send_log(server, log(), name="modbus/mb-240.log.gz")),
        accepted(send_log(server, encode.gz(log()), name="mb-240.log")),
    )


@rule("5", "Lines end with CRLF or LF")
def line_ends(server: Server) -> str | None:
    return first(accepted(send_log(server, log())), accepted(send_log(server, log().replace(b"\r\n", b"\n"))))


@rule("5", "Rows with a device error are gaps; a file of nothing else is accepted")
def device_errors(server: Server) -> str | None:
    text = "".join(encode.error_row(START + 60 * i, code) + "\n" for i, code in enumerate((1, 110, 139, 160)))
    return accepted(send_log(server, text.encode()))


@rule("5", "Alarms are decimal, hex or empty")
def alarms(server: Server) -> str | None:
    lines = log().decode().splitlines()
    text = "\n".join(
        line.replace(",0,0,0,", f",0,{alarm},", 1) for line, alarm in zip(lines, ("0x02,0x00", ",", "3,4"), strict=True)
    )
    return accepted(send_log(server, (text + "\n").encode()))


@rule("5", "Missing values are empty or NULL")
def missing_values(server: Server) -> str | None:
    text = f"'2001-09-09 02:00:00',0,0,0,{',' * 9}NULL,,,1\n'2001-09-09 02:01:00',0,0,0{',' * 11}1.5,,,0.9\n"
    return accepted(send_log(server, text.encode()))


@rule("5", "Values that are not finite numbers are missing values")
def not_numbers(server: Server) -> str | None:
    line = log(rows(1)).decode().replace("1.5", "nan").replace("0.95", "inf").replace("120.25", "???")
    return accepted(send_log(server, (line + log(rows(1, START + 600)).decode()).encode()))


@rule("5", "Repeated rows and rows out of order are accepted")
def disorder(server: Server) -> str | None:
    lines = log().splitlines(keepends=True)
    return accepted(send_log(server, b"".join([lines[2], lines[0], lines[1], lines[0]])))


@rule("5", "If a power loss has cut the last line short, only that line is lost")
def cut_short(server: Server) -> str | None:
    text = log()
    return first(*(accepted(send_log(server, text[: len(text) - cut])) for cut in (1, 5, 40, 100)))


@rule("5", "A bad row does not affect the good ones")
def bad_row(server: Server) -> str | None:
    return accepted(send_log(server, b"rubbish,\xff\xfe\n" + log() + b"'2001-99-99 00:00:00',0,0,0,1\n"))


@rule("5", "A file with no readable row at all is refused: 406")
def no_readable_row(server: Server) -> str | None:
    return first(kept(send_log(server, b"rubbish\nmore rubbish\n")), kept(send_log(server, encode.gz(b"\x00" * 1000))))


@rule("5", "A header line is no error")
def header_line(server: Server) -> str | None:
    return accepted(send_log(server, b"time(utc),error,low alarm,high alarm,'a (kW)'\r\n" + log()))


@rule("5", "A file of many months of rows is accepted")
def large_file(server: Server) -> str | None:
    return accepted(send_log(server, months()))


@rule("5", "A gzip bomb is refused without harm")
def bomb(server: Server) -> str | None:
    return first(kept(send_log(server, gzip_bomb())), accepted(mode(server, "TEST")))


@rule("5", "Rows more than a day in the future or before 2000 are skipped, the others taken")
def clock_jumps(server: Server) -> str | None:
    jumped = log(rows(1, 4_000_000_000)) + log(rows(1, 900_000_000))
    return accepted(send_log(server, jumped + log()))


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


@rule("9", "Bytes after a whole gzip log are ignored")
def bytes_after_gzip(server: Server) -> str | None:
    return first(*(accepted(send_log(server, encode.gz(log()) + after)) for after in (b"\xff" * 90, b"\r\n", b"\0")))


@rule("8", "A Shark's layout (device class 35) is read")
def shark(server: Server) -> str | None:
    content = encode.log_text(rows(), SHARK, 120)
    fields = encode.log_fields(server.serial, server.password, "243", content, device_class="35", SENDDATATRACE="YES")
    response = server.form(fields, encode.log_filename("243"), content)
    return accepted(response)


@cache
def months() -> bytes:
    return encode.gz(log(rows(20_000)))


@cache
def gzip_bomb() -> bytes:
    return encode.gz(b"0" * 300_000_000)
