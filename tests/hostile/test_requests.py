"""Hostile requests: too large, too many, bombs, smuggling, traversal, guessing; each is refused at a bounded cost."""

from __future__ import annotations

import gzip
import json
import select
import time
import zlib
from contextlib import ExitStack

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.ingest.credentials import LOGGER_PACE
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, acknowledged, add_customer, readings, upload
from tests.e2e.stored import stored
from tests.hostile.conftest import BOUNDS, SERIAL
from tests.hostile.wire import (
    connect,
    exchange,
    form_request,
    log_request,
    memory,
    peak_memory,
    processor_time,
    read_all,
    status_of,
    still_serves,
)

MIB = 1 << 20
MAX_BODY = int(BOUNDS["cenergyd.web.server.site.MAX_BODY_BYTES"])
FIELDS = {"MODE": "TEST", "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD}


def refused(answer: bytes, status: int) -> None:
    _, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == status, answer[:300]
    assert b"SUCCESS" not in body.splitlines()
    assert b"Traceback" not in body


def post(length: int, extra: str = "") -> bytes:
    return (
        f"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {length}\r\n{extra}\r\n"
    ).encode()


def test_a_body_above_max_body_bytes_is_refused_before_it_is_sent(daemon: RunningDaemon) -> None:
    refused(exchange(daemon, post(MAX_BODY + 1)), 413)
    refused(exchange(daemon, post(10**15)), 413)
    still_serves(daemon, SERIAL)


def test_a_chunked_body_above_max_body_bytes_is_refused(daemon: RunningDaemon) -> None:
    before = memory(daemon)
    head = b"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
    refused(exchange(daemon, head + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 64), 413)
    assert memory(daemon) - before < 30_000


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: a\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n" + b" a" * 9_000 + b"\r\n" * 2,
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n" + (b" " + b"a" * 8_000 + b"\r\n") * 500 + b"\r\n",
    ],
    ids=["path", "one-header", "many-headers", "long-fold", "many-folds"],
)
def test_huge_headers_are_refused(daemon: RunningDaemon, head: bytes) -> None:
    before = memory(daemon)
    answer = exchange(daemon, head)
    assert status_of(answer) in (0, 400, 414, 431), answer[:100]
    assert memory(daemon) - before < 10_000
    still_serves(daemon, SERIAL)


def test_form_variables_beyond_max_form_fields_and_max_field_bytes_are_refused(daemon: RunningDaemon) -> None:
    refused(exchange(daemon, form_request({**FIELDS, **{f"V{i}": "" for i in range(20)}})), 406)
    refused(exchange(daemon, form_request({**FIELDS, "LOOPNAME": "x" * 257})), 406)
    refused(exchange(daemon, form_request({**FIELDS, "N" * 5000: "x"})), 406)
    refused(exchange(daemon, form_request({**FIELDS, **{f"V{i}": "" for i in range(9000)}})), 406)
    encoded = "&".join(f"a{i}=" for i in range(200_000)).encode()
    kind = "Content-Type: application/x-www-form-urlencoded"
    head = f"POST /consume HTTP/1.0\r\n{kind}\r\nContent-Length: {len(encoded[:MAX_BODY])}\r\n\r\n".encode()
    refused(exchange(daemon, head + encoded[:MAX_BODY]), 406)
    still_serves(daemon, SERIAL)


def test_a_file_in_many_small_pieces_costs_no_more_than_one(daemon: RunningDaemon) -> None:
    """Line ends and dashes are where a form's parser must look twice."""
    for content in (
        b"\r\n" * (MAX_BODY // 2 - 2000),
        b"\r\n-" * (MAX_BODY // 3 - 2000),
        b"\r\n--" * (MAX_BODY // 4 - 2000),
    ):
        begun = processor_time(daemon)
        refused(exchange(daemon, log_request(SERIAL, content)), 406)
        assert processor_time(daemon) - begun < 6
    still_serves(daemon, SERIAL)


def bomb(megabytes: int, unit: bytes = b"\0") -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = unit * (MIB // len(unit))
    return b"".join(packer.compress(piece) for _ in range(megabytes)) + packer.flush()


ROW = encode.log_text(readings(1_600_000_000, 1, 1.0), VERIS)
BOMBS = {
    "zeros": lambda: bomb(60),
    "line ends": lambda: bomb(60, b"\n"),
    "one row again and again": lambda: bomb(60, ROW),
    "quotes": lambda: bomb(60, b"'"),
    "commas": lambda: bomb(60, b","),
    "many members": lambda: gzip.compress(b"", mtime=0) * 45_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_gzip_bombs_are_refused_at_max_inflated_bytes(daemon: RunningDaemon, name: str) -> None:
    content = BOMBS[name]()
    assert len(content) < MAX_BODY - 5000
    before = memory(daemon)
    begun = processor_time(daemon)
    refused(exchange(daemon, log_request(SERIAL, content)), 406)
    assert processor_time(daemon) - begun < 10
    assert memory(daemon) - before < 40_000
    still_serves(daemon, SERIAL)


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(10))
XML = {
    "billion laughs": f"<!DOCTYPE d [{LAUGHS}]><DAS><mode>STATUS</mode><serial>&l9;</serial></DAS>",
    "quadratic blowup": f'<!DOCTYPE d [<!ENTITY a "{"x" * 50_000}">]><DAS><mode>{"&a;" * 50_000}</mode></DAS>',
    "external entity": '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><DAS><mode>&x;</mode></DAS>',
    "external dtd": '<!DOCTYPE d SYSTEM "http://127.0.0.1:1/x.dtd"><DAS><mode>STATUS</mode></DAS>',
    "deep": "<a>" * 150_000,
    "wide": "<DAS>" + "<a/>" * 200_000,
    "many attributes": "<DAS " + " ".join(f'a{i}=""' for i in range(80_000)) + "/>",
    "one long name": "<" + "a" * 900_000 + "/>",
    "unclosed comment": "<DAS><!-- " + "x" * 900_000,
    "null bytes": "<DAS>\0</DAS>",
    "utf-7": '<?xml version="1.0" encoding="utf-7"?><DAS/>',
}


@pytest.mark.parametrize("name", XML)
def test_xml_bombs_are_refused(daemon: RunningDaemon, name: str) -> None:
    body = XML[name].encode()
    before = memory(daemon)
    begun = processor_time(daemon)
    answer = exchange(
        daemon,
        f"POST /consume HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body,
    )
    refused(answer, 406)
    assert b"root:" not in answer
    assert processor_time(daemon) - begun < 8
    assert memory(daemon) - before < 60_000
    still_serves(daemon, SERIAL)


SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    ],
    ids=lambda framing: framing.decode().strip().replace("\r\n", " + "),
)
def test_smuggled_requests_are_never_answered(daemon: RunningDaemon, framing: bytes) -> None:
    """Where framing is ambiguous the connection ends: what follows is no second request."""
    head = b"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n" + framing + b"\r\n"
    answer = exchange(daemon, head + b"0\r\n\r\n" + SMUGGLED)
    assert status_of(answer) == 400, answer[:300]
    assert b"cenergyd_uploads_total" not in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "chunk", [b"5;\r\nabc", b"-1\r\n", b"0x5\r\nabcde\r\n", b"+5\r\nabcde\r\n", b"f" * 100 + b"\r\n", b"zz\r\n"]
)
def test_broken_chunks_end_the_connection(daemon: RunningDaemon, chunk: bytes) -> None:
    head = b"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(daemon, head + chunk + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert status_of(answer) in (0, 400, 413), answer[:300]
    assert b"cenergyd_uploads_total" not in answer


@pytest.mark.parametrize("base", ["/static/", "/", "/api/v1/"])
@pytest.mark.parametrize(
    "path",
    [
        "../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "....//....//etc/passwd",
        "..%5c..%5cetc%5cpasswd", "%00/etc/passwd", "/etc/passwd", "%252e%252e%252fetc%252fpasswd", "..%c0%af..%c0%afetc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_outside(daemon: RunningDaemon, base: str, path: str) -> None:
    answer = exchange(daemon, f"GET {base}{path} HTTP/1.0\r\n\r\n".encode())
    assert b"root:" not in answer
    assert 300 <= status_of(answer) < 500 or path.startswith("%00"), answer[:200]


@pytest.mark.parametrize(
    "filename", ["../../../../tmp/mb-001.log", "/etc/mb-001.log", "mb-001.log\0.gz", "..\\mb-001.log", "mb-../001.log"]
)
def test_names_of_files_write_nowhere_else(daemon: RunningDaemon, filename: str) -> None:
    """A name from a device is only read for the meter's number."""
    before = {path for path in daemon.folder.rglob("*") if "sqlite" not in path.name}
    content = encode.gz(encode.log_text(readings(int(time.time()) // 60 * 60 - 600, 2, 5.0), VERIS))
    fields = encode.log_fields(SERIAL, PASSWORD, "1", content)
    kind, body = encode.multipart_form(fields, "NAME", content)
    body = body.replace(b'"NAME"', f'"{filename}"'.encode())
    head = f"POST /consume HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert status_of(exchange(daemon, head + body)) in (200, 406)
    assert {path for path in daemon.folder.rglob("*") if "sqlite" not in path.name} == before


def test_guesses_are_slowed_and_devices_at_the_guessers_address_still_upload(daemon: RunningDaemon) -> None:
    serial, other = "001EC6700002", "001EC6700003"
    for name in (serial, other):
        add_customer(daemon, name, load="1", solar="2")
    content = encode.gz(encode.log_text(readings(int(time.time()) // 60 * 60 - 600, 2, 5.0), VERIS))
    guesser, neighbour = "127.0.0.7", "127.0.0.8"
    for number in range(5):
        refused(exchange(daemon, log_request(serial, content, f"guess {number}"), guesser), 401)
    # Not cached yet and from the attacker's address: it waits its turn, and is served.
    assert status_of(exchange(daemon, log_request(serial, content), guesser)) == 200
    begun = time.monotonic()
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(daemon, guesser)) for _ in range(25)]
        for number, link in enumerate(crowd):
            link.sendall(log_request(serial, content, f"more {number}"))
        # The attackers' turns come a second apart; cached passwords and other loggers do not wait for them.
        assert status_of(exchange(daemon, log_request(serial, content), guesser)) == 200
        assert status_of(exchange(daemon, log_request(serial, content), neighbour)) == 200
        assert status_of(exchange(daemon, log_request(other, content), guesser)) == 200
        answered = [link for link in crowd if select.select([link], [], [], 0)[0]]
        assert 200 not in [status_of(read_all(link)) for link in answered]
        assert len(answered) <= 1 + (time.monotonic() - begun) / LOGGER_PACE
    add_customer(daemon, "001EC6700004", load="1", solar="2")
    assert status_of(exchange(daemon, log_request("001EC6700004", content), guesser)) == 200


def test_the_list_of_rejected_serials_is_bounded(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = RunningDaemon(
        tmp_path_factory.mktemp("rejected"),
        {"cenergyd.ingest.activity.MAX_REJECTED": "20", "credentials.max_failures_per_address": "100000"},
    )
    running.start()
    try:
        before = memory(running)
        for number in range(300):
            fields = {"MODE": "TEST", "SERIALNUMBER": f"AB{number:010X}", "PASSWORD": "x"}
            refused(exchange(running, form_request(fields)), 401)
        assert memory(running) - before < 10_000
        add_customer(running, SERIAL, load="1", solar="2")
        still_serves(running, SERIAL)
    finally:
        running.kill()


def test_a_large_form_of_somebody_unknown_is_refused_by_its_first_parts(daemon: RunningDaemon) -> None:
    content = b"x" * (MAX_BODY - 5000)
    before = memory(daemon)
    refused(exchange(daemon, log_request("AB00000000", content), "127.0.0.31"), 401)
    refused(exchange(daemon, form_request({"MODE": "LOGFILEUPLOAD"}, content), "127.0.0.31"), 401)
    assert memory(daemon) - before < 20_000


def test_a_large_xml_message_of_somebody_unknown_is_refused_at_its_first_device(daemon: RunningDaemon) -> None:
    record = "<record><time>2026-01-01 00:00:00</time>" + '<point number="10" value="1"/>' * 20 + "</record>"
    head = "<DAS><mode>LOGFILEUPLOAD</mode><serial>AB00000000</serial><devices><device><address>1</address><records>"
    body = (head + record * (900_000 // len(record)) + "<broken").encode()
    request = f"POST /consume HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    # Not 406 for what is broken at its end: it was not read that far.
    refused(exchange(daemon, request + body, "127.0.0.32"), 401)


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/customers", "/settings", "/sign-in", "/healthz", "/static/app.css", "/consume/x"]
)
def test_a_body_to_any_other_path_is_small(daemon: RunningDaemon, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    refused(exchange(daemon, f"{head}Content-Length: 200000\r\n\r\n".encode()), 413)
    refused(
        exchange(
            daemon, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + (b"8000\r\n" + b"x" * 32768 + b"\r\n") * 6
        ),
        413,
    )


def test_hostile_requests_stored_nothing_and_did_not_fill_the_memory(daemon: RunningDaemon) -> None:
    """Last in the file: what the daemon holds after everything above."""
    still_serves(daemon, SERIAL)
    found, _ = stored(daemon, [f"{SERIAL}_1"])
    assert all(abs(reading.time - time.time()) < 7200 for reading in found[f"{SERIAL}_1"])
    assert peak_memory(daemon) < 400_000
    assert "Traceback" not in daemon.log()
    assert PASSWORD not in daemon.log()
    assert json.loads(daemon.get("/readyz")[1])["ready"]
    assert acknowledged(upload(daemon, SERIAL, "1", readings(int(time.time()) // 60 * 60 - 600, 2, 5.0)))
