"""Uploads from several loggers at once until its standard input ends; prints as JSON what became of them, then and at each line of input.

    python -m tests.systemd.load PORT SERIAL PASSWORD

``acknowledged``: answered SUCCESS. ``refused``: no connection. ``cut``: a connection without a whole answer. Else by status.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.readings.model import Reading
from cenergyd.testing.daemon import raw_post

LOGGERS = 4
MOST_SECONDS = 400.0
PATIENCE_SECONDS = 120.0


def body_of(serial: str, password: str, meter: str, start: int) -> tuple[str, bytes]:
    """One log of an hour."""
    rows = [Reading(start + 60 * i, P=1.5, L1_PF=0.96, L1_V=120.0, Q=0.5) for i in range(60)]
    content = encode.gz(encode.log_text(rows, VERIS))
    fields = encode.log_fields(serial, password, meter, content, device_class=encode.VERIS_CLASS)
    return encode.multipart_form(fields, encode.log_filename(meter), content)


def outcome(port: int, kind: str, body: bytes) -> str:
    """What became of one upload."""
    try:
        status, reply = raw_post(port, "/consume", kind, body, timeout=PATIENCE_SECONDS)
    except ConnectionRefusedError:
        return "refused"
    except (OSError, IndexError, ValueError):
        return "cut"
    return "acknowledged" if status == 200 and b"SUCCESS" in reply else str(status)


def main(port: int, serial: str, password: str) -> None:
    """Upload until standard input ends."""
    counts: Counter[str] = Counter()
    ended = threading.Event()

    def upload_again_and_again(meter: str) -> None:
        start = int(time.time()) // 3600 * 3600 - 7 * 86400
        until = time.monotonic() + MOST_SECONDS
        while not ended.is_set() and time.monotonic() < until:
            counts[outcome(port, *body_of(serial, password, meter, start))] += 1
            start += 3600 if start < time.time() - 7200 else 0

    threads = [threading.Thread(target=upload_again_and_again, args=(str(n + 1),)) for n in range(LOGGERS)]
    for thread in threads:
        thread.start()
    for _ in sys.stdin:
        print(json.dumps(dict(counts)), flush=True)
    ended.set()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
