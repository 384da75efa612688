"""The simulated logger keeps the device's side of the reply contract, against a real HTTP server."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import succeed

from cenergyd.acquisuite.layouts import VERIS
from cenergyd.acquisuite.log_file import parse_log
from cenergyd.acquisuite.meter_id import meter_id
from cenergyd.acquisuite.xml import parse_xml
from cenergyd.tools.errors import NoResponse
from cenergyd.tools.simulator.faults import Faults, parse_faults
from cenergyd.tools.simulator.http import Target, UploadResponse
from cenergyd.tools.simulator.logger import METERS, Counts, Disposition, SimulatedLog, SimulatedLogger, disposition_of
from cenergyd.tools.simulator.site import make_sites
from tests.servers import free_port
from tests.tools.simulator.server import Server

START = 1_780_000_200


@pytest_twisted.async_yield_fixture
async def server() -> Any:
    one = Server()
    yield one
    await one.stop()


def logger_for(server: Server, **options: Any) -> tuple[SimulatedLogger, list[SimulatedLog]]:
    acknowledged: list[SimulatedLog] = []
    one = SimulatedLogger(
        next(make_sites(1, 1)),
        password="secret",
        interval=60,
        start=START,
        post=Target(reactor, server.url).post,
        pause=lambda seconds: succeed(None),
        acknowledged=acknowledged.append,
        counts=Counts(),
        **options,
    )
    return one, acknowledged


@pytest.mark.parametrize(
    ("status", "body", "disposition"),
    [
        (200, b"SUCCESS\n", Disposition.DELETE),
        (200, b"hello\r\nSUCCESS\r\nbye\r\n", Disposition.DELETE),
        (200, b'<?xml version="1.0"?><DAS><result>SUCCESS</result></DAS>', Disposition.DELETE),
        (200, b"no SUCCESS here\n", Disposition.KEEP),
        (200, b"", Disposition.KEEP),
        (201, b"SUCCESS\n", Disposition.KEEP),
        (406, b"FAILURE: bad\n", Disposition.KEEP),
        (406, b"SUCCESS\n", Disposition.KEEP),
        (503, b"FAILURE: busy\n", Disposition.KEEP),
        *((status, b"SUCCESS\n", Disposition.ABANDON) for status in (401, 402, 403, 404, 407)),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, disposition: Disposition) -> None:
    assert disposition_of(UploadResponse(status, body)) is disposition


@pytest_twisted.ensureDeferred
async def test_uploads_all_and_deletes_on_success(server: Server) -> None:
    logger, acknowledged = logger_for(server)
    logger.record(START + 600)
    assert len(logger.flash) == 2
    await logger.session()
    assert logger.flash == []
    assert [log.series for log in acknowledged] == [f"{logger.site.serial}_2", f"{logger.site.serial}_3"]
    assert [form.fields["MODBUSDEVICE"] for form in server.forms] == ["2", "3"]
    for form, log in zip(server.forms, acknowledged, strict=True):
        file = form.files["LOGFILE"]
        assert form.fields["PASSWORD"] == "secret"
        assert meter_id(file.filename, form.fields["MODBUSDEVICE"]) == log.meter
        assert file.content[:2] == b"\x1f\x8b"
        parsed = parse_log(file.content, VERIS, now=START + 600, max_inflated_bytes=1 << 20)
        assert tuple(parsed.readings) == log.readings
        assert len(parsed.readings) == 10


@pytest_twisted.ensureDeferred
async def test_failure_keeps_the_file_and_tries_again_then_next_session(server: Server) -> None:
    logger, acknowledged = logger_for(server)
    logger.record(START + 60)
    first = logger.flash[0]
    server.answers = [(406, b"FAILURE: no\n")] * 3
    await logger.session()
    assert len(server.bodies) == 4  # three tries of the first, one of the second
    assert logger.flash == [first]
    assert server.bodies[0] == server.bodies[2]
    await logger.session()
    assert logger.flash == []
    assert len(acknowledged) == 2


@pytest_twisted.ensureDeferred
async def test_401_abandons_the_session(server: Server) -> None:
    logger, acknowledged = logger_for(server)
    logger.record(START + 60)
    server.answers = [(401, b"FAILURE: who\n")]
    await logger.session()
    assert len(server.bodies) == 1
    assert len(logger.flash) == 2
    assert acknowledged == []


@pytest_twisted.ensureDeferred
async def test_a_dropped_connection_is_a_failure(server: Server) -> None:
    logger, acknowledged = logger_for(server)
    logger.record(START + 60)
    server.answers = [None, (200, b"SUCCESS\n"), (200, b"SUCCESS\n")]
    await logger.session()
    assert len(server.bodies) == 3
    assert logger.flash == []
    assert len(acknowledged) == 2


@pytest_twisted.ensureDeferred
async def test_a_lost_reply_means_the_same_file_comes_again(server: Server) -> None:
    logger, acknowledged = logger_for(server, faults=Faults(lost_replies=1.0))
    logger.record(START + 60)
    await logger.session()
    assert len(logger.flash) == 2
    assert acknowledged == []
    assert logger._counts.lost_replies == 6
    logger._faults = Faults()
    await logger.session()
    assert logger.flash == []
    assert len(acknowledged) == 2


@pytest_twisted.ensureDeferred
async def test_resends_after_success_count_once(server: Server) -> None:
    logger, acknowledged = logger_for(server, faults=Faults(resends=1.0))
    logger.record(START + 60)
    await logger.session()
    assert len(server.bodies) == 4
    assert server.bodies[0] == server.bodies[1]
    assert len(acknowledged) == 2


@pytest_twisted.ensureDeferred
async def test_an_outage_grows_a_backlog(server: Server) -> None:
    logger, acknowledged = logger_for(server, faults=Faults(outages=1.0))
    for session in range(1, 4):
        logger.record(START + 300 * session)
        await logger.session()
    assert server.bodies == []
    assert len(logger.flash) == 6
    await logger.upload_all()
    assert logger.flash == []
    assert sum(len(log.readings) for log in acknowledged) == 2 * 15


@pytest.mark.parametrize("meter", list(METERS))
@pytest_twisted.ensureDeferred
async def test_every_kind_of_meter_in_every_encoding_is_read_as_sent(server: Server, meter: str) -> None:
    for encoding in ("gz", "plain", "xml"):
        server.bodies.clear()
        server.headers.clear()
        kind = METERS[meter]
        logger, acknowledged = logger_for(
            server,
            meter=kind,
            faults=Faults(encodings=(encoding,), error_rows=0.2),  # type: ignore[arg-type]
        )
        logger.record(START + 1200)
        await logger.session()
        layout = kind.layout
        for index, log in enumerate(acknowledged):
            if encoding == "xml":
                assert server.headers[index]["authorization"].startswith("Basic ")
                message = parse_xml(server.bodies[index])
                (device,) = message.devices
                assert message.serial == logger.site.serial
                assert tuple(device.parse(layout, latest=START + 1200).readings) == log.readings
                continue
            content = server.forms[index].files["LOGFILE"].content
            assert content == log.text or gzip.decompress(content) == log.text
            parsed = parse_log(content, layout, now=START + 1200, max_inflated_bytes=1 << 20)
            assert tuple(parsed.readings) == log.readings
            assert parsed.error_rows == 20 - len(log.readings)
        assert len(acknowledged) == 2


@pytest_twisted.ensureDeferred
async def test_clock_skew_moves_the_rows(server: Server) -> None:
    logger, _ = logger_for(server, faults=Faults(max_clock_skew=12))
    logger.record(START + 600)
    offsets = {(reading.time - START) % 60 for log in logger.flash for reading in log.readings}
    straight, _ = logger_for(server)
    straight.record(START + 600)
    wanted = {(reading.time - START) % 60 for log in straight.flash for reading in log.readings}
    assert len(offsets) == 1  # one clock, two meters
    assert offsets != wanted
    assert [log.readings[0].P for log in logger.flash] == [log.readings[0].P for log in straight.flash]


@pytest_twisted.ensureDeferred
async def test_http10_is_spoken(server: Server) -> None:
    logger, _ = logger_for(server, faults=Faults(http10_sites=1.0))
    logger.record(START + 60)
    await logger.session()
    assert server.versions == [b"HTTP/1.0"] * 2
    assert logger.flash == []


@pytest_twisted.ensureDeferred
async def test_introduces_itself_once(server: Server) -> None:
    logger, _ = logger_for(server, introduce=True)
    logger.record(START + 60)
    server.answers = [
        *[(200, b"SUCCESS\n")] * 3,
        (200, b"CONFIGFILE,loggerconfig.ini,,\nCONFIGFILE,modbus/mb-002.ini,,\n"),
    ]
    await logger.session()
    logger.record(START + 120)
    await logger.session()
    assert [form.fields["MODE"] for form in server.forms] == [
        "STATUS", *["LOGFILEUPLOAD"] * 2, "CONFIGFILEMANIFEST", *["CONFIGFILEUPLOAD"] * 2, *["LOGFILEUPLOAD"] * 2,
    ]  # fmt: skip
    uploaded = server.forms[4].files["CONFIGFILE"]
    assert uploaded.filename == "modbus/mb-002.ini"
    assert b"POINT10NAME=Total Net Instantaneous Real Power\r\nPOINT10UNITS=kW\r\n" in uploaded.content


@pytest_twisted.ensureDeferred
async def test_nobody_listens() -> None:
    with pytest.raises(NoResponse, match="refused"):
        await Target(reactor, f"http://127.0.0.1:{free_port()}/").post([], b"")


@pytest.mark.parametrize("url", ["ftp://x/", "nothing", "http:///x", "http://127.0.0.1:port/"])
def test_wrong_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Target(reactor, url)


def test_faults_by_name() -> None:
    assert parse_faults("none") == Faults()
    assert parse_faults("lost, http10") == Faults(lost_replies=0.05, http10_sites=0.5)
    assert parse_faults("all").outages > 0
    with pytest.raises(ValueError, match="not a fault; the faults are none, all, lost"):
        parse_faults("lots")
