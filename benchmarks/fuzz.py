"""Coverage-guided fuzzing of what devices send: forms, logs, XML messages, config files.

    .venv/bin/pip install atheris
    .venv/bin/python benchmarks/fuzz.py form|log|xml|config|credentials [libFuzzer options, such as -max_total_time=120]

A parser may return a value or raise the package's own error; any other error ends the run and leaves the input in a file crash-... in the
current folder. Returned values are checked: readings must be storable, and texts bounded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["cenergyd.acquisuite", "multipart", "defusedxml"]):
    from cenergyd.acquisuite import config_files, encode, form, layouts, log_file, points, replies, resolve, upload, xml
from cenergyd.errors import CenergydError

NOW = 1_800_000_000
LIMIT = 1 << 20
TABLE = layouts.LayoutTable()


def check_log(log: log_file.ParsedLog) -> None:
    previous = -1
    for reading in log.readings:
        assert previous < reading.time <= NOW + 86400
        previous = reading.time
        assert all(value is None or math.isfinite(value) for value in reading[1:5])


def fuzz_log(data: bytes) -> None:
    content = encode.gz(data[1:]) if data[:1] == b"\1" else data
    check_log(log_file.parse_log(content, layouts.VERIS, now=NOW, max_inflated_bytes=LIMIT, max_future_seconds=86400))


def fuzz_form(data: bytes) -> None:
    kind, _, body = data.partition(b"\n")
    found = form.parse_form(
        body, kind or b"multipart/form-data; boundary=b", max_fields=64, max_field_bytes=4096, max_total_bytes=LIMIT
    )
    assert len(found.fields) + len(found.files) <= 64
    upload.read_mode(found)
    upload.read_status(found.fields)
    header = upload.read_log_header(found)
    assert header.meter.isdigit()


def fuzz_xml(data: bytes) -> None:
    message = xml.parse_xml(data, max_bytes=LIMIT)
    for device in message.devices:
        check_log(device.parse(layouts.SHARK, latest=NOW + 86400))
        resolve.resolve(device.facts(), None, TABLE)
    message.status()


def fuzz_config(data: bytes) -> None:
    points.describe_columns(config_files.parse_meter_config(data).points)
    shown = config_files.redact(data)
    assert isinstance(shown, str)
    config_files.diff(data, data[1:])
    config_files.parse_manifest(data)


def fuzz_credentials(data: bytes) -> None:
    form.credentials(form.Form(), form.basic_credentials(data))
    text = data.decode("latin-1")
    assert b"SUCCESS" not in replies.failure(text).split(b"\n")[0].split()[:1]
    assert b"SUCCESS" not in replies.failure(text).splitlines()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "log": fuzz_log, "form": fuzz_form, "xml": fuzz_xml, "config": fuzz_config, "credentials": fuzz_credentials,
}  # fmt: skip
SEEDS = {
    "log": b"'2026-01-31 18:30:00',0,0,0," + b",".join([b"1.5"] * 71) + b"\r\n'2026-01-31 18:31:00',139,0x02,0\r\n",
    "form": b"multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name=\"MODE\"\r\n\r\nLOGFILEUPLOAD\r\n"
    b"--b\r\nContent-Disposition: form-data; name=\"LOGFILE\"; filename=\"mb-001.log\"\r\n\r\nx\r\n--b--\r\n",
    "xml": b"<DAS><mode>LOGFILEUPLOAD</mode><serial>001EC605215F</serial><devices><device><address>11</address><class>35</class>"
    b"<records><record><time zone=\"UTC\">2015-09-01 12:00:00</time><error>0</error><point number=\"9\" units=\"kW\" value=\"0.1\"/>"
    b"</record></records></device></devices></DAS>",
    "config": b"POINT00NAME=Volts A-N\r\nPOINT00UNITS=Volts\r\nPASSWORD=x\r\nPOINT09NAME=kW\r\nCONFIGFILE,modbus/mb-001.ini,0,X\r\n",
    "credentials": b"Basic MDAxRUM2MDAxNDMzOnB3",
}  # fmt: skip


def main() -> None:
    name = sys.argv.pop(1)
    target = TARGETS[name]
    folder = Path(f"/tmp/cenergyd-fuzz-{name}")
    folder.mkdir(exist_ok=True)
    (folder / "seed").write_bytes(SEEDS[name])
    target_or_error(target, SEEDS[name])

    atheris.Setup([*sys.argv, "-max_len=4096", str(folder)], lambda data: target_or_error(target, data))
    atheris.Fuzz()


def target_or_error(target: Callable[[bytes], None], data: bytes) -> None:
    with suppress(CenergydError):
        target(data)


if __name__ == "__main__":
    main()
