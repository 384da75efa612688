"""Slow, idle and too many connections; each bound of ``[server]`` holds, and well-behaved devices are served meanwhile."""

from __future__ import annotations

import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from tests.daemon_process import RunningDaemon
from tests.e2e.device import add_customer, readings, wait_for
from tests.hostile.conftest import BOUNDS, SERIAL, serving
from tests.hostile.wire import connect, exchange, log_request, memory, metric, read_all, status_of, still_serves

IDLE, WHOLE = 5, 7
MOST = int(BOUNDS["server.max_connections"])
MUCH = 12_000_000
PATIENCE = 120
"""Seconds: the machine may be busy."""


def dropped_after(
    daemon: RunningDaemon, links: dict[str, tuple[socket.socket, bytes]], begun: float
) -> tuple[dict[str, float], float]:
    """Trickle a byte now and then to each; when each was dropped, in seconds since a time at which no connection was made yet.

    And the longest time between two bytes, which depends on the load of the machine. It includes a request to the daemon: one that does
    not run for so long reads no bytes either, and takes their connections for idle ones.
    """
    ends: dict[str, float] = {}
    longest, last = 0.0, begun
    while len(ends) < len(links) and time.monotonic() - begun < PATIENCE:
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        with suppress(OSError):
            daemon.get("/healthz")
        for name, (link, trickle) in links.items():
            if name in ends:
                continue
            try:
                link.settimeout(0.02)
                if link.recv(1000) == b"":
                    ends[name] = time.monotonic() - begun
            except TimeoutError:
                pass
            except OSError:
                ends[name] = time.monotonic() - begun
            try:
                link.sendall(trickle)
            except OSError:
                ends.setdefault(name, time.monotonic() - begun)
        time.sleep(0.3)
    return ends, max(longest, time.monotonic() - last)


def readable(links: list[socket.socket], wanted: int, within: float) -> int:
    """How many have ended (nothing else can be read from these), as soon as there are ``wanted``."""
    poll = select.poll()
    for link in links:
        poll.register(link, select.POLLIN)
    end = time.monotonic() + within
    while (found := len(poll.poll(0))) < wanted and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    return max(found, len(poll.poll(0)))


def kept_alive(daemon: RunningDaemon, seconds: float) -> bool:
    """Whether requests on one connection, a short time apart, are answered for so long; begun anew where this machine was too slow for that."""
    begun = last = time.monotonic()
    with connect(daemon) as link:
        while (now := time.monotonic()) < begun + seconds:
            if now - last > IDLE - 2:
                return kept_alive(daemon, seconds)
            answer = b""
            with suppress(OSError):
                link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = link.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"):
                return time.monotonic() - last > IDLE - 2 and kept_alive(daemon, seconds)
            last = now
            time.sleep(0.5)
    return True


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon that closes no idle connection, however slow the machine is."""
    never = {"server.request_timeout_seconds": "600", "cenergyd.web.server.site.MAX_REQUEST_SECONDS": "600"}
    with serving(tmp_path_factory.mktemp("patient"), never) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon that closes slow and idle connections soon."""
    soon = {
        "server.request_timeout_seconds": str(IDLE), "cenergyd.web.server.site.MAX_REQUEST_SECONDS": str(WHOLE),
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("impatient"), soon) as running:
        yield running


def test_slow_senders_are_dropped_by_max_request_seconds_and_idle_ones_by_request_timeout(
    impatient: RunningDaemon,
) -> None:
    daemon = impatient
    head = b"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n"
    starts = {
        "silent": (b"", b""),
        "half a request line": (b"POST /con", b""),
        "trickled header lines": (head, b"X-A: b\r\n"),
        "one endless header line": (head + b"X-A: ", b"b"),
        "silent in the body": (head + b"Content-Length: 100\r\n\r\nabc", b""),
        "trickled body": (head + b"Content-Length: 100000\r\n\r\n", b"a"),
        "trickled chunks": (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    }
    dropped = metric(daemon, "dropped_slow_total")
    kept: list[bool] = []
    keeping = threading.Thread(target=lambda: kept.append(kept_alive(daemon, WHOLE + 3)))
    keeping.start()
    with ExitStack() as stack:
        links = {}
        begun = time.monotonic()
        for name, (start, trickle) in starts.items():
            link = stack.enter_context(connect(daemon))
            if start:
                link.sendall(start)
            links[name] = (link, trickle)
        ends, pause = dropped_after(daemon, links, begun)
    assert ends.keys() == starts.keys()
    for name, seconds in ends.items():
        # One whose trickle came late is dropped as an idle one.
        assert seconds > (WHOLE if starts[name][1] and pause < IDLE - 1 else IDLE) - 1, (name, seconds)
    assert metric(daemon, "dropped_slow_total") >= dropped + (4 if pause < IDLE - 1 else 0)
    keeping.join()
    assert kept == [True], "max_request_seconds counts for each request, not for a connection that is kept alive"
    still_serves(daemon, SERIAL)


def emptied(daemon: RunningDaemon) -> None:
    """Wait until it has closed what other tests left open."""
    wait_for(lambda: metric(daemon, "connections") <= 1, what="the end of other connections")


@pytest.fixture
def idle(daemon: RunningDaemon) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        emptied(daemon)
        yield [stack.enter_context(connect(daemon, f"127.0.0.{1 + n % 6}")) for n in range(MOST + 30)]


def test_connections_beyond_max_connections_are_closed_at_once(
    daemon: RunningDaemon, idle: list[socket.socket]
) -> None:
    assert readable(idle, 30, within=60) == 30  # not one of those that are allowed
    for link in idle:
        link.close()
    daemon.wait_ready()
    still_serves(daemon, SERIAL)
    assert metric(daemon, "refused_connections_total") >= 30


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as root allows: a login is often given 1,024."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_idle_connections_cost_little_memory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Thousands of silent connections (10,000 in benchmarks/idle_connections.py), and uploads continue meanwhile."""
    running = RunningDaemon(tmp_path_factory.mktemp("idle"), {"server.max_connections": "3000"})
    running.start()
    try:
        add_customer(running, SERIAL, load="1", solar="2")
        still_serves(running, SERIAL)
        before = memory(running)
        with ExitStack() as stack:
            for number in range(1000):
                link = stack.enter_context(connect(running, f"127.0.0.{1 + number % 8}"))
                if number % 2:
                    link.sendall(b"POST /consume HTTP/1.1\r\nHost: x\r\n")
            still_serves(running, SERIAL)
            assert metric(running, "connections") >= 1000
            assert memory(running) - before < 1000 * 16
    finally:
        running.kill()


def test_a_client_that_never_reads_its_answers_is_dropped(daemon: RunningDaemon) -> None:
    """Requests in a row without reading a byte: what waits to be sent is bounded, and the connection ends."""
    before = memory(daemon)
    with connect(daemon) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(IDLE)
        ask = b"GET /static/app.css HTTP/1.1\r\nHost: x\r\n\r\n" * 100
        sent = 0
        with suppress(OSError):
            while sent < MUCH:
                sent += link.send(ask)
        assert sent < MUCH, "all was read, and each answer is ten times as long"
        assert memory(daemon) - before < 40_000
    still_serves(daemon, SERIAL)


@pytest.mark.parametrize("path", ["/consume", "/", "/readyz", "/metrics", "/api/v1/customers", "/static/app.css", "*"])
def test_unknown_methods_are_refused(daemon: RunningDaemon, path: str) -> None:
    for method in ("BREW", "TRACE", "CONNECT", "G\x00T", "PUT", "DELETE", "OPTIONS"):
        answer = asked(daemon, method, path)
        assert 400 <= status_of(answer) < 500 or status_of(answer) in (501, 505) or method == "OPTIONS", answer
        assert b"Traceback" not in answer


def asked(daemon: RunningDaemon, method: str, path: str) -> bytes:
    with connect(daemon) as link:
        link.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
        return read_all(link)


def test_one_address_cannot_take_every_connection(daemon: RunningDaemon) -> None:
    with ExitStack() as stack:
        emptied(daemon)
        links = [stack.enter_context(connect(daemon, "127.0.0.66")) for _ in range(MOST // 4 + 10)]
        assert readable(links, 10, within=60) == 10
        still_serves(daemon, SERIAL)


HOARDED = {
    "silent": b"",
    "half a head": b"POST /consume HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n<DAS>",
    "kept alive": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("addresses", [1, 8], ids=["of one address", "of all"])
@pytest.mark.parametrize("kind", HOARDED)
def test_many_connections_from_an_address_lock_out_no_logger_behind_it(
    daemon: RunningDaemon, kind: str, addresses: int
) -> None:
    """Carrier NAT: the attacker's connections fill the address's share, and loggers behind it upload all the same, as often as they come."""
    content = encode.gz(encode.log_text(readings(int(time.time()) // 60 * 60 - 600, 2, 5.0), VERIS))
    emptied(daemon)
    before = metric(daemon, "refused_connections_total")
    with ExitStack() as stack:
        for number in range(MOST + 5 if addresses > 1 else MOST // 4):
            link = stack.enter_context(connect(daemon, f"127.0.0.{77 + number % addresses}"))
            with suppress(OSError):
                link.sendall(HOARDED[kind])
        for _ in range(5):
            assert status_of(exchange(daemon, log_request(SERIAL, content), "127.0.0.77")) == 200
        assert metric(daemon, "refused_connections_total") > before
