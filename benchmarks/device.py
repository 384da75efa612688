"""Makes the uploads of a fleet and sends them as loggers do."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

ROWS = 15
COLUMNS = 75
BOUNDARY = "----acquisuite7d1"
METERS = (1, 2)
RESEND_SECONDS = 2.0
"""Seconds until an upload is sent again after a 503; a real logger waits longer."""
MOST_RESENDS = 60


def serial_of(site: int) -> str:
    """A site's logger."""
    return f"001EC6{site:06X}"


def password_of(site: int) -> str:
    """Its password."""
    return f"pw-{serial_of(site)}"


def upload(site: int, meter: int, start: int, rows: int = ROWS, interval: int = 60, *, registers: bool = True) -> bytes:
    """The body of an upload: rows of a Veris E51C2 (class 27, 75 columns) from ``start`` on, gzip.

    :param registers: whether its energy registers have values.
    """
    serial = serial_of(site)
    lines = _rows(site, meter, start, rows, interval, registers)
    log = gzip.compress(("\n".join(lines) + "\n").encode(), 6, mtime=0)
    fields = {
        "MODE": "LOGFILEUPLOAD",
        "SERIALNUMBER": serial,
        "PASSWORD": password_of(site),
        "LOOPNAME": f"Site {site}",
        "MODBUSIP": "127.0.0.1",
        "MODBUSPORT": "502",
        "MODBUSDEVICE": str(meter),
        "MODBUSDEVICENAME": "Meter",
        "MODBUSDEVICETYPE": "Veris E51C2",
        "MODBUSDEVICETYPENUMBER": "0",
        "MODBUSDEVICECLASS": "27",
        "MD5CHECKSUM": hashlib.md5(log).hexdigest(),
        "FILESIZE": str(len(log)),
        "FILETIME": "2026-11-23 00:00:00",
    }
    mark = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    parts = [f'{mark}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    filename = f"modbus/mb-{meter:03d}.{start:08X}_1.log.gz"
    parts.append(f'{mark}"LOGFILE"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n')
    return "".join(parts).encode() + log + f"\r\n--{BOUNDARY}--\r\n".encode()


_rng = random.Random(7)
_OTHER = [",".join(f"{_rng.uniform(0, 500):.3f}" for _ in range(count)) for count in (7, 1, 52, 4) for _ in range(499)]
"""Filler columns as text: 499 variants of each run of columns."""

_COUNTED_SINCE = 1_700_000_000


def _rows(site: int, meter: int, start: int, rows: int, interval: int, registers: bool) -> list[str]:
    rng = random.Random(f"{site}/{meter}/{start}")
    place = rng.randrange(499)
    lines = []
    for row in range(rows):
        first, second, third, fourth = (_OTHER[499 * run + (place + row) % 499] for run in range(4))
        moment = start + interval * row
        stamp = time.strftime("'%Y-%m-%d %H:%M:%S',0,0,0", time.gmtime(moment))
        energy = (moment - _COUNTED_SINCE) / 3600 * 25
        counted = f"{energy:.3f},{energy:.3f},0.000" if registers else ",,"  # columns 4 to 6: net, import, export
        P, Q = 1 + 49 * rng.random(), 9 * rng.random()  # columns 14 and 15
        factor, volts = 0.9 + 0.1 * rng.random(), 118 + 4 * rng.random()  # columns 17 and 70
        lines.append(f"{stamp},{counted},{first},{P:.3f},{Q:.3f},{second},{factor:.3f},{third},{volts:.2f},{fourth}")
    return lines


def request(body: bytes) -> bytes:
    """The whole HTTP request of an upload."""
    head = (
        "POST /consume HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def session(site: int, start: int) -> list[bytes]:
    """The requests of a logger in one session: the same quarter of an hour of each of its meters."""
    return [request(upload(site, meter, start)) for meter in METERS]


REFUSED: Counter[str] = Counter()
"""Number of 503 responses so far, after which uploads were sent again."""


async def send_evenly(
    port: int, sessions: Sequence[Sequence[bytes]], seconds: float, *, reconnect: bool = False
) -> list[float]:
    """Start sessions evenly spread over some seconds, each with its own connection, as loggers do.

    :param reconnect: each upload has a connection of its own.

    Returns the time of each response, s, including 503 responses, after which the upload is sent again. Exits if an upload is refused.
    """
    took: list[float] = []
    began = time.monotonic()

    async def one(position: int, requests: Sequence[bytes]) -> None:
        await asyncio.sleep(began + seconds * position / len(sessions) - time.monotonic())
        await _session(port, requests, took, reconnect=reconnect)

    await asyncio.gather(*(one(position, requests) for position, requests in enumerate(sessions)))
    return took


async def send_at_once(port: int, sessions: Iterable[Sequence[bytes]], connections: int = 64) -> list[float]:
    """Send sessions as fast as they are answered, some at a time; returns the time of each upload, s."""
    left = iter(sessions)
    took: list[float] = []

    async def worker() -> None:
        for requests in left:
            await _session(port, requests, took)

    await asyncio.gather(*(worker() for _ in range(connections)))
    return took


async def _session(port: int, requests: Sequence[bytes], took: list[float], *, reconnect: bool = False) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    closing = False
    for each in requests:
        if closing:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(MOST_RESENDS):
            status, text, closing = await _exchange(reader, writer, each, took)
            if b" 503 " not in status:
                break
            REFUSED["503"] += 1
            writer.close()
            await asyncio.sleep(RESEND_SECONDS)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if b" 200 " not in status or b"SUCCESS" not in text:
            raise SystemExit(f"an upload was not acknowledged: {status!r} {text[:80]!r}")
        closing = closing or reconnect
        if closing:
            writer.close()
    writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, took: list[float]
) -> tuple[bytes, bytes, bool]:
    """Status line, body, and whether the server closes the connection."""
    began = time.monotonic()
    writer.write(request)
    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    text = await reader.readexactly(length)
    took.append(time.monotonic() - began)
    return lines[0], text, b"connection: close" in lines


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, int(share * len(ordered) + 0.9999) - 1))]


class FreshUploads:
    """A file of new uploads for wrk: quarter by quarter of many sites, both meters of each."""

    def __init__(self, path: Path, sites: int, *, registers: bool = True) -> None:
        self.path = path
        self._sites = sites
        self._registers = registers
        self._start = int(time.time()) // 86400 * 86400 - 20 * 86400
        self._offsets = [0]

    def offset(self, position: int, number: int) -> int:
        """The offset of an upload by its position; at least ``number`` more follow it."""
        with self.path.open("ab") as file:
            while len(self._offsets) <= position + number:
                self._add(file)
        return self._offsets[position]

    def _add(self, file: BinaryIO) -> None:
        quarter, rest = divmod(len(self._offsets) - 1, self._sites * len(METERS))
        site, meter = divmod(rest, len(METERS))
        body = upload(site, METERS[meter], self._start + 60 * ROWS * quarter, registers=self._registers)
        record = b"%d\n%s" % (len(body), body)
        file.write(record)
        self._offsets.append(self._offsets[-1] + len(record))
