"""What the running daemon does beyond its bounds; docs/bounds.md lists all bounds and names their tests."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.config_files import ConfigFileUpload
from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.ingest.activity import LoggerActivity
from cenergyd.ingest.config_versions import ConfigVersionStore
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import PASSWORD, acknowledged, add_customer, readings, upload, wait_for
from tests.hostile.wire import read_all

SERIAL = "001EC6001433"
BODY, REQUEST_SECONDS, IDLE_SECONDS, CONNECTIONS = 65536, 8, 5, 10


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    one = RunningDaemon(
        tmp_path_factory.mktemp("bounds"),
        {
            "cenergyd.web.server.site.MAX_BODY_BYTES": str(BODY),
            # No connection is closed for being slow, however slow the machine is.
            "cenergyd.web.server.site.MAX_REQUEST_SECONDS": "600",
            "server.request_timeout_seconds": "600",
            "server.max_connections": str(CONNECTIONS),
            "cenergyd.ingest.receiver.MAX_CONCURRENT": "1",
            "cenergyd.ingest.receiver.MAX_FORM_FIELDS": "16",
            "cenergyd.ingest.receiver.MAX_FIELD_BYTES": "64",
            "cenergyd.web.views.context.MAX_JSON_BYTES": "1024",
            "cenergyd.web.views.context.PAGE_SIZE": "2",
        },
    )
    one.start()
    add_customer(one, SERIAL, load="1", solar="2")
    yield one
    one.kill()


def metric(daemon: RunningDaemon, name: str) -> float:
    _, text = daemon.get("/metrics")
    return next(float(line.split()[1]) for line in text.decode().splitlines() if line.startswith(f"cenergyd_{name} "))


def connect(daemon: RunningDaemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), timeout=120)


def test_a_body_is_refused_when_its_length_is_known(daemon: RunningDaemon) -> None:
    before = metric(daemon, "refused_bodies_total")
    with connect(daemon) as link:
        link.sendall(b"POST /consume HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % (BODY + 1))
        answer = read_all(link)  # without a byte of the body
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"FAILURE: " in answer
    assert metric(daemon, "refused_bodies_total") == before + 1


def test_a_body_without_a_length_is_refused_when_it_is_too_long(daemon: RunningDaemon) -> None:
    with connect(daemon) as link:
        link.sendall(b"POST /consume HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        link.sendall(b"%x\r\n" % BODY + bytes(BODY) + b"\r\n10\r\n" + bytes(16) + b"\r\n")
        assert read_all(link).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("head", [b"A: " + b"x" * 100_000, b"\r\n".join(b"H%d: x" % i for i in range(2000))])
def test_headers_are_bounded(daemon: RunningDaemon, head: bytes) -> None:
    with connect(daemon) as link:
        try:
            link.sendall(b"GET /consume HTTP/1.0\r\n" + head + b"\r\n\r\n")
        except OSError:
            pass
        else:
            assert b"SUCCESS" not in read_all(link)
    assert daemon.ready()


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon that closes connections soon."""
    one = RunningDaemon(
        tmp_path,
        {
            "cenergyd.web.server.site.MAX_REQUEST_SECONDS": str(REQUEST_SECONDS),
            "server.request_timeout_seconds": str(IDLE_SECONDS),
        },
    )
    one.start()
    add_customer(one, SERIAL, load="1", solar="2")
    yield one
    one.kill()


def test_slow_and_silent_senders_are_dropped(impatient: RunningDaemon) -> None:
    """A silent one after the idle time, one that trickles after the time for a whole request; the daemon goes on meanwhile."""
    daemon = impatient
    before = metric(daemon, "dropped_slow_total")
    begun = time.monotonic()
    ended: dict[str, float] = {}
    head = b"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n"

    def silent(name: str, first: bytes) -> None:
        with connect(daemon) as link:
            link.sendall(first)
            read_all(link)
        ended[name] = time.monotonic() - begun

    longest_pause = 0.0

    def trickle(name: str, first: bytes) -> None:
        nonlocal longest_pause
        with connect(daemon) as link:
            link.sendall(first)
            last = time.monotonic()
            try:
                while (now := time.monotonic()) < begun + 180:
                    longest_pause, last = max(longest_pause, now - last), now
                    link.sendall(b"x")
                    time.sleep(0.5)
            except OSError:
                ended[name] = time.monotonic() - begun

    threads = [
        threading.Thread(target=work, args=[name, first])
        for work, name, first in (
            (silent, "says nothing", b""),
            (silent, "no body", head),
            (trickle, "headers", b"POST /consume HTTP/1.1\r\nX: "),
            (trickle, "body", head),
        )
    ]
    for thread in threads:
        thread.start()
    assert acknowledged(upload(daemon, SERIAL, "1", readings(int(time.time()) // 60 * 60, 1, 1.0)))
    for thread in threads:
        thread.join()
    # Not sooner; how much later depends on the load of the machine. One whose trickle came late is dropped as a silent one.
    trickled = REQUEST_SECONDS if longest_pause < IDLE_SECONDS - 1 else IDLE_SECONDS
    least = {"says nothing": IDLE_SECONDS, "no body": IDLE_SECONDS, "headers": trickled, "body": trickled}
    assert ended.keys() == least.keys()
    for name, seconds in least.items():
        assert ended[name] > seconds - 1, (name, ended)
    assert metric(daemon, "dropped_slow_total") >= before + (2 if trickled == REQUEST_SECONDS else 0)


def test_connections_are_bounded(daemon: RunningDaemon) -> None:
    before = metric(daemon, "refused_connections_total")
    wait_for(lambda: metric(daemon, "connections") == 1, what="the end of other connections")
    links = [connect(daemon) for _ in range(CONNECTIONS)]
    try:
        # The one beyond the limit is served, and the oldest silent one is closed for it.
        with connect(daemon) as beyond:
            beyond.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert read_all(beyond).endswith(b"ok\n")
        assert read_all(links[0]) == b""
        links[1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read_all(links[1]).endswith(b"ok\n")
        assert metric(daemon, "refused_connections_total") == before + 1
    finally:
        for link in links:
            link.close()


def test_uploads_at_once_are_bounded(daemon: RunningDaemon) -> None:
    """While one upload waits for the disk, the next one gets 503, and both are accepted in the end."""
    answers: list[tuple[int, bytes]] = []
    values = readings(int(time.time()) // 60 * 60 - 600, 2, 1.0)
    with closing(sqlite3.connect(daemon.folder / "readings.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = threading.Thread(target=lambda: answers.append(upload(daemon, SERIAL, "1", values[:1])))
        first.start()
        wait_for(lambda: metric(daemon, "uploads_in_progress") == 1)
        link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
        content = encode.gz(b"x")
        kind, body = encode.multipart_form(encode.log_fields(SERIAL, PASSWORD, "1", content), "mb-001.log.gz", content)
        link.request("POST", "/consume", body, {"Content-Type": kind})
        reply = link.getresponse()
        assert reply.status == 503
        assert reply.getheader("Retry-After") == "60"
        assert reply.read().startswith(b"FAILURE: too much is waiting")
        link.close()
        other.execute("ROLLBACK")
    first.join()
    assert acknowledged(answers[0])
    assert acknowledged(upload(daemon, SERIAL, "1", values[1:]))


def test_forms_are_bounded(daemon: RunningDaemon) -> None:
    many = {"MODE": "TEST", "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD} | {f"X{i}": "1" for i in range(14)}
    long = {"MODE": "TEST", "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD, "LOOPNAME": "x" * 65}
    for form in (many, long):
        kind, body = encode.multipart_form(form)
        status, said = raw_post(daemon.port, "/consume", kind, body)
        assert (status, said[:9]) == (406, b"FAILURE: ")
    kind, body = encode.multipart_form({key: value[:64] for key, value in list(many.items())[:16]})
    assert acknowledged(raw_post(daemon.port, "/consume", kind, body))


def test_the_api_is_bounded(daemon: RunningDaemon) -> None:
    token = daemon.run("token", "add", "x", "--operator").stdout.strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    link.request("POST", "/api/v1/customers", json.dumps({"name": "x" * 1024}), headers)
    assert link.getresponse().status == 413
    link.close()
    assert daemon.get("/api/v1/customers?limit=2", headers)[0] == 200
    assert daemon.get("/api/v1/customers?limit=3", headers)[0] == 422


@pytest_twisted.async_yield_fixture
async def documents(tmp_path: Path) -> AsyncIterator[SqliteDocumentStore]:
    store = SqliteDocumentStore(reactor, tmp_path / "documents.sqlite")
    await store.open()
    yield store
    await store.close()


@pytest_twisted.ensureDeferred
async def test_rejected_serials_are_bounded(documents: SqliteDocumentStore) -> None:
    clock = Clock()
    activity = LoggerActivity(documents, clock, max_rejected=3)
    for flush in range(2):
        activity.rejected("A00", "192.0.2.1", "unknown")
        for i in range(10):
            activity.rejected(f"A{flush}{i}", "192.0.2.1", "unknown")
        await activity.flush()
    found = await documents.find("rejected", limit=100)
    assert [item.key for item in found] == ["A00", "A01", "A02"]
    assert found[0].body["count"] == 3, "those known are still counted"
    assert activity.rejected_total == 22


@pytest_twisted.ensureDeferred
async def test_versions_of_a_config_file_are_bounded(documents: SqliteDocumentStore) -> None:
    clock = Clock()
    layouts = MeterLayouts(LayoutTable({}), documents, clock)
    archive = ConfigVersionStore(documents, layouts, clock, remote=False, max_versions=3, max_bytes=1000)
    for i in range(7):
        await archive.store(SERIAL, ConfigFileUpload(name="loggerconfig.ini", content=b"X=%d\n" % i))
    kept = await archive.versions(SERIAL, "loggerconfig.ini")
    assert [version.number for version in kept] == [7, 6, 5]
    assert await archive.content(SERIAL, "loggerconfig.ini", 7) == b"X=6\n"
