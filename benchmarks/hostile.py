"""A mixed attack from twenty addresses beside a fleet of honest sites: peak memory, refused uploads, response times.

    .venv/bin/python -m benchmarks.hostile [--seconds 60] [--sites 200]

The attackers send 32 MiB forms slowly, post large XML messages without credentials, guess passwords and tokens, open idle connections, and send
gzip bombs with a right password. Each honest site uploads a log of fifteen rows every five seconds. All traffic is on the loopback network. The
attackers run in a separate process at low priority, so that their own computation does not slow down the honest sites.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing import Process, Queue
from pathlib import Path

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.testing.daemon import RunningDaemon
from tests.e2e.device import PASSWORD, readings
from tests.hostile.wire import log_request, peak_memory, read_all, status_of

ATTACKERS = 20
PRODUCTION = {"cenergyd.customers.passwords.MEMORY_KIB": "19456", "cenergyd.customers.passwords.ITERATIONS": "2"}
"""The cost of password hashes in production; RunningDaemon's default is lower."""
BOMBER = 99_999
"""Number of the attackers' own logger, which sends the right password."""
PERIOD = 5.0
"""Seconds between two uploads of a site."""


class Attack:
    """The kinds of attack, and what the attackers share."""

    def __init__(self, daemon: RunningDaemon, end: float) -> None:
        self.daemon = daemon
        self.end = end
        self.sent: Counter[str] = Counter()

    def connect(self, source: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.daemon.port), 10, (source, 0))

    def exchange(self, source: str, data: bytes) -> int:
        with self.connect(source) as link:
            link.settimeout(5)
            with suppress(OSError):
                link.sendall(data)
                return status_of(read_all(link))
        return 0

    def upload(self, source: str, data: bytes) -> int:
        """The status of an honest upload; 0: no response within ten seconds, or the connection was closed."""
        try:
            with self.connect(source) as link:
                link.sendall(data)
                return status_of(read_all(link))
        except OSError:
            return 0

    def slow_form(self, source: str) -> None:
        """A form of 32 MiB that is sent slowly and never completed."""
        head = f"POST /consume HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {32 << 20}\r\n\r\n--b\r\n"
        with self.connect(source) as link:
            link.settimeout(5)
            link.sendall(head.encode())
            while time.monotonic() < self.end:
                link.sendall(b"x" * (1 << 20))
                time.sleep(0.2)

    def large_xml(self, source: str) -> None:
        """An XML message of 9 MB without credentials."""
        self.exchange(source, large_xml_request())

    def guess(self, source: str) -> None:
        """Wrong passwords of existing loggers, and wrong tokens."""
        number = self.sent["guess"]
        content = encode.gz(encode.log_text(readings(int(time.time()) // 60 * 60, 2, 1.0), VERIS))
        self.exchange(source, log_request(serial_of(number % 50), content, f"guess {number}"))
        self.exchange(
            source, f"GET /api/v1/session HTTP/1.0\r\nAuthorization: Bearer cenergyd_{number}\r\n\r\n".encode()
        )

    def gzip_bomb(self, source: str) -> None:
        """A log that decompresses to 300,000 rows, from a logger with the right password."""
        self.exchange(source, bomb_request())

    def idle_connections(self, source: str) -> None:
        """300 connections that send nothing, for three seconds."""
        links = []
        with suppress(OSError):
            for _ in range(300):
                links.append(self.connect(source))
        time.sleep(3)
        for link in links:
            link.close()


@cache
def large_xml_request() -> bytes:
    record = "<record><time>2026-01-01 00:00:00</time>" + '<point number="10" value="1"/>' * 20 + "</record>"
    body = ("<DAS><mode>LOGFILEUPLOAD</mode><devices><device><address>1</address><records>" + record * 14_000).encode()
    return f"POST /consume HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@cache
def bomb_request() -> bytes:
    row = encode.log_text(readings(1_600_000_000, 1, 1.0), VERIS)
    rows = b"".join(
        row.replace(b"2020-09-13", f"20{10 + n // 360:02}-{1 + n // 30 % 12:02}-{1 + n % 28:02}".encode())
        for n in range(5000)
    )
    return log_request(serial_of(BOMBER), gzip.compress(rows * 60))


def serial_of(site: int) -> str:
    return f"001EC68{site:05}"


def attacker(attack: Attack, kind: str, source: str) -> None:
    work: Callable[[str], None] = getattr(attack, kind)
    while time.monotonic() < attack.end:
        with suppress(OSError):
            work(source)
        attack.sent[kind] += 1


def attack_in_process(daemon: RunningDaemon, end: float, sent: Queue[Counter[str]]) -> None:
    """Run all attackers at low priority, as if they had their own machines; the numbers of their attacks go into the queue."""
    os.nice(15)
    attack = Attack(daemon, end)
    kinds = ("slow_form", "large_xml", "guess", "gzip_bomb", "idle_connections")
    threads = [
        threading.Thread(target=attacker, args=(attack, kinds[n % len(kinds)], f"127.0.0.{10 + n}"))
        for n in range(ATTACKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.put(attack.sent)


def honest(attack: Attack, sites: range, times: list[float], refused: Counter[int]) -> None:
    """Upload for some of the sites, one after the other."""
    turn = 0
    while time.monotonic() < attack.end:
        begun = time.monotonic()
        for site in sites:
            start = int(time.time()) // 60 * 60 - 900 - 900 * turn
            content = encode.gz(encode.log_text(readings(start, 15, 5.0), VERIS))
            sent = time.monotonic()
            status = attack.upload(f"127.0.1.{1 + site % 200}", log_request(serial_of(site), content))
            times.append(time.monotonic() - sent)
            if status != 200:
                refused[status] += 1
        turn += 1
        time.sleep(max(0.0, PERIOD - (time.monotonic() - begun)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--sites", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon = RunningDaemon(Path(folder), PRODUCTION)
        daemon.start()
        try:
            register(daemon, given.sites)
            run(daemon, given.seconds, given.sites)
        finally:
            daemon.kill()


def register(daemon: RunningDaemon, sites: int) -> None:
    token = daemon.run("token", "add", "--operator", "benchmark").stdout.strip()
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for site in (*range(sites), BOMBER):
        body = {"logger_serial_number": serial_of(site), "logger_password": PASSWORD, "load": "1", "solar": "2"}
        link.request("POST", "/api/v1/customers", json.dumps(body), headers)
        answer = link.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()


def run(daemon: RunningDaemon, seconds: int, sites: int) -> None:
    first = Counter[int]()
    honest(Attack(daemon, time.monotonic() + 1), range(sites), [], first)  # hashes every password once
    idle = peak_memory(daemon)
    large_xml_request(), bomb_request()  # cached before the measurement
    attack = Attack(daemon, time.monotonic() + seconds)
    times: list[float] = []
    refused: Counter[int] = Counter()
    sent: Queue[Counter[str]] = Queue()
    attackers = Process(target=attack_in_process, args=(daemon, attack.end, sent))
    attackers.start()
    shares = 8
    threads = [
        threading.Thread(target=honest, args=(attack, range(share, sites, shares), times, refused))
        for share in range(shares)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attacks = sent.get()
    attackers.join()
    times.sort()
    print(f"attacks: {dict(attacks)}")
    print(f"peak memory: {peak_memory(daemon) / 1024:.0f} MB (before the attack {idle / 1024:.0f} MB)")
    print(f"honest uploads: {len(times)}, refused: {dict(refused)} (before the attack {dict(first)})")
    print(f"p50 {times[len(times) // 2]:.3f} s, p99 {times[int(len(times) * 0.99)]:.3f} s, longest {times[-1]:.3f} s")
    assert PASSWORD not in daemon.log()


if __name__ == "__main__":
    main()
