"""A logger as these tests need it: it uploads logs of known readings over raw sockets and remembers what was acknowledged."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS, Layout
from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon, raw_post

PASSWORD = "correct horse"


def add_customer(daemon: RunningDaemon, serial: str, *, facility: str = "", load: str = "", solar: str = "") -> None:
    """Register a customer with the command line."""
    words = ["customers", "add", "--name", f"Site {serial}", "--serial", serial, "--password-stdin"]
    for option, meter in (("--facility", facility), ("--load", load), ("--solar", solar)):
        if meter:
            words += [option, meter]
    done = daemon.run(*words, stdin=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr


def readings(start: int, count: int, base: float, interval: int = 60) -> list[Reading]:
    """Readings whose values tell their time, so that a lost or doubled one shows."""
    return [
        Reading(start + interval * i, P=base + (start // interval + i) % 1000 / 8, L1_PF=0.96, L1_V=120.5, Q=1.25)
        for i in range(count)
    ]


def upload(
    daemon: RunningDaemon, serial: str, meter: str, values: Sequence[Reading], *, version: str = "1.0",
    password: str = PASSWORD, layout: Layout = VERIS, device_class: str = encode.VERIS_CLASS,
    timeout: float = 120, **fields: str,
) -> tuple[int, bytes]:  # fmt: skip
    """Upload one log; status and body."""
    content = encode.gz(encode.log_text(values, layout))
    form = encode.log_fields(serial, password, meter, content, device_class=device_class, **fields)
    kind, body = encode.multipart_form(form, encode.log_filename(meter), content)
    return raw_post(daemon.port, "/consume", kind, body, version=version, timeout=timeout)


def acknowledged(answer: tuple[int, bytes]) -> bool:
    """Whether the device may delete the file."""
    return answer[0] == 200 and b"SUCCESS" in answer[1].splitlines()


def wait_for(condition: object, timeout: float = 120, what: str = "it") -> None:
    """Poll until a callable returns true. The time is for a busy machine, and for pauses of up to a minute after a store failed."""
    assert callable(condition)
    end, pause = time.monotonic() + timeout, 0.02
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)  # each question takes CPU time of the daemon, too
    raise AssertionError(f"{what} did not happen within {timeout} s")
