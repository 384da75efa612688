"""A store is stopped, frozen, slow, cut off, or refuses us: uploads are refused cleanly, and taken later by the same process.

All tests share one daemon that is never restarted, so each one also shows that the fault before it has no lasting effect."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, readings, upload, wait_for
from tests.e2e.stored import stored
from tests.faults.conftest import TIMEOUT, USER, ProxiedDaemon
from tests.servers import RunningServer

BOUND = 60
"""Within so long an upload is answered while a store is down, s: a lookup, a write and a mark take a few seconds, the rest is for a loaded
machine. Loggers wait for longer."""


class Fault(NamedTuple):
    """How a store breaks and how it is mended."""

    name: str
    store: str
    """The check of /readyz that then says why: customers or readings."""
    begin: Callable[[ProxiedDaemon], object]
    end: Callable[[ProxiedDaemon], object]


def _influx_password(proxied: ProxiedDaemon, password: str) -> None:
    proxied.influx_admin.set_user_password(USER, password)
    proxied.influx_admin.switch_user(USER, password)


def _mongo_credentials(proxied: ProxiedDaemon, password: str) -> None:
    """Change the password while no account is asked for, as the server's owner would; then every connection signs in anew."""
    proxied.mongo.stop()
    proxied.mongo.options = ("--standalone",)
    proxied.mongo.start()
    proxied.set_mongo_password(password)
    proxied.mongo.stop()
    proxied.mongo.options = ("--standalone", "--auth")
    proxied.mongo.start()


def _freed(server: RunningServer) -> None:
    """There is room again. Both servers go on refusing until they are restarted."""
    server.free_disk()
    server.stop()
    server.start()


FAULTS = [
    Fault("influx stopped", "readings", lambda s: s.influx.stop(), lambda s: s.influx.start()),
    Fault("influx killed", "readings", lambda s: s.influx.kill(), lambda s: s.influx.start()),
    Fault("influx frozen", "readings", lambda s: s.influx.pause(), lambda s: s.influx.resume()),
    Fault(
        "influx refuses credentials", "readings",
        lambda s: _influx_password(s, "changed"), lambda s: _influx_password(s, "s3cret"),
    ),
    Fault(
        "influx too slow", "readings",
        lambda s: setattr(s.influx_proxy, "delay", 4 * TIMEOUT), lambda s: s.influx_proxy.mend(),
    ),
    Fault(
        "influx cut mid-reply", "readings",
        lambda s: setattr(s.influx_proxy, "cut_after", 8), lambda s: s.influx_proxy.mend(),
    ),
    Fault(
        "influx swallowed by the network", "readings",
        lambda s: setattr(s.influx_proxy, "swallow", True),
        lambda s: (s.influx_proxy.mend(), s.influx_proxy.reset()),
    ),
    Fault("influx full", "readings", lambda s: s.influx.fill_disk(), lambda s: _freed(s.influx)),
    Fault("mongo full", "customers", lambda s: s.mongo.fill_disk(), lambda s: _freed(s.mongo)),
    Fault("mongo stopped", "customers", lambda s: s.mongo.stop(), lambda s: s.mongo.start()),
    Fault("mongo killed", "customers", lambda s: s.mongo.kill(), lambda s: s.mongo.start()),
    Fault("mongo frozen", "customers", lambda s: s.mongo.pause(), lambda s: s.mongo.resume()),
    Fault(
        "mongo refuses credentials", "customers",
        lambda s: _mongo_credentials(s, "changed"), lambda s: _mongo_credentials(s, "s3cret"),
    ),
    Fault(
        "mongo too slow", "customers",
        lambda s: setattr(s.mongo_proxy, "delay", 4 * TIMEOUT), lambda s: s.mongo_proxy.mend(),
    ),
    Fault(
        "mongo locks its writes", "customers",
        lambda s: setattr(s.mongo_proxy, "lose", lambda request: b"update\0" in request), lambda s: s.mongo_proxy.mend(),
    ),
    Fault(
        "mongo cut mid-reply", "customers",
        lambda s: setattr(s.mongo_proxy, "cut_after", 20), lambda s: s.mongo_proxy.mend(),
    ),
    Fault(
        "mongo swallowed by the network", "customers",
        lambda s: setattr(s.mongo_proxy, "swallow", True), lambda s: (s.mongo_proxy.mend(), s.mongo_proxy.reset()),
    ),
]  # fmt: skip


def files(rows: int = 5, number: int = 3) -> list[tuple[str, list[Reading]]]:
    """Logs of both meters, oldest first."""
    start = int(time.time()) // 60 * 60 - 60 * rows * number
    return [
        (meter, readings(start + 60 * rows * i, rows, base))
        for i in range(number)
        for meter, base in (("1", 40.0), ("2", 7.0))
    ]


def refused_cleanly(answer: tuple[int, bytes], seconds: float) -> None:
    status, body = answer
    assert status == 503, body
    assert body.startswith(b"FAILURE: ")
    assert b"SUCCESS" not in body.splitlines()
    assert seconds < BOUND


def send(daemon: RunningDaemon, serial: str, meter: str, values: list[Reading]) -> tuple[tuple[int, bytes], float]:
    begun = time.monotonic()
    return upload(daemon, serial, meter, values), time.monotonic() - begun


def taken(daemon: RunningDaemon, serial: str, sent: list[tuple[str, list[Reading]]]) -> None:
    """Each is acknowledged soon. A device tries again too: the first connections may still be those that broke."""
    for meter, values in sent:
        wait_for(lambda part=(meter, values): acknowledged(upload(daemon, serial, *part)), 120, "an acknowledgement")


def not_ready(daemon: RunningDaemon) -> dict[str, str]:
    """The reasons that /readyz gives, where it says no."""
    status, body = daemon.get("/readyz")
    said = json.loads(body)
    assert (status == 200) == said["ready"]
    return {name: reason for name, reason in said["checks"].items() if reason != "ok"}


def all_there(proxied: ProxiedDaemon, serial: str, sent: list[tuple[str, list[Reading]]]) -> None:
    """The store holds what was acknowledged, each once, and the third meter computed from it."""
    derived = f"{serial}_missing_meter"
    query = f'SELECT "P" FROM "{derived}"'
    wanted = {meter: [r for name, values in sent if name == meter for r in values] for meter in ("1", "2")}
    wait_for(lambda: len(list(proxied.influx_admin.query(query, database="cen").get_points())) == len(wanted["1"]))
    found, _ = stored(proxied.daemon, [f"{serial}_1", f"{serial}_2", derived])
    assert found[f"{serial}_1"] == wanted["1"]
    assert found[f"{serial}_2"] == wanted["2"]
    assert [(r.time, r.P) for r in found[derived]] == [
        (a.time, a.P - b.P) for a, b in zip(wanted["1"], wanted["2"], strict=True)
    ]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_uploads_are_refused_cleanly_and_taken_later(proxied: ProxiedDaemon, site: str, fault: Fault) -> None:
    daemon, sent = proxied.daemon, files()
    first, kept = sent[:2], sent[2:]
    taken(daemon, site, first)
    fault.begin(proxied)
    try:
        for meter, values in kept[:2]:
            refused_cleanly(*send(daemon, site, meter, values))
        wait_for(lambda: fault.store in not_ready(daemon), what=f"the reason of {fault.store}")
        reasons = not_ready(daemon)
        assert "s3cret" not in str(reasons)
        assert daemon.get("/healthz")[0] == 200
    finally:
        fault.end(proxied)
    daemon.wait_ready()
    taken(daemon, site, kept)
    all_there(proxied, site, sent)


@pytest.mark.parametrize("slow", ["influx_proxy", "mongo_proxy"])
def test_a_slow_store_is_waited_for(proxied: ProxiedDaemon, site: str, slow: str) -> None:
    """A tenth of the timeout for each piece of a reply. The machine may be slow as well, so a refusal is tried again."""
    sent = files(number=1)
    getattr(proxied, slow).delay = TIMEOUT / 10
    try:
        taken(proxied.daemon, site, sent)
        wait_for(lambda: not_ready(proxied.daemon) == {}, what="readiness")
    finally:
        getattr(proxied, slow).mend()
    all_there(proxied, site, sent)


def test_a_device_that_hangs_up_before_the_answer(proxied: ProxiedDaemon, site: str) -> None:
    """It keeps its file and sends it again: the same readings are stored once."""
    sent = files(number=2)
    proxied.daemon.wait_ready()
    proxied.influx_proxy.delay = TIMEOUT / 2
    hung_up = 0
    for meter, values in sent:
        try:
            answer = upload(proxied.daemon, site, meter, values, timeout=0.1)
        except TimeoutError:
            hung_up += 1
        else:  # on a machine so slow that the store counts as down by now, or that this thread slept through the delay
            if not acknowledged(answer):
                refused_cleanly(answer, 0)
    proxied.influx_proxy.mend()
    assert hung_up
    taken(proxied.daemon, site, sent)
    all_there(proxied, site, sent)


@pytest.mark.parametrize("store", ["influx", "mongo"])
def test_many_uploads_at_once_while_a_store_is_frozen(proxied: ProxiedDaemon, site: str, store: str) -> None:
    """None waits for another one's timeout: all are answered within one timeout."""
    sent = files(rows=2, number=15)
    answers: list[tuple[tuple[int, bytes], float]] = []
    threads = [
        threading.Thread(target=lambda part=part: answers.append(send(proxied.daemon, site, *part))) for part in sent
    ]
    getattr(proxied, store).pause()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        getattr(proxied, store).resume()
    assert len(answers) == len(sent)
    for answer, seconds in answers:
        refused_cleanly(answer, seconds)
    proxied.daemon.wait_ready()
    taken(proxied.daemon, site, sent)
    all_there(proxied, site, sent)


def test_everything_restarts_at_once(proxied: ProxiedDaemon, site: str) -> None:
    sent = files(number=1)
    proxied.influx.kill()
    proxied.mongo.kill()
    refused_cleanly(*send(proxied.daemon, site, *sent[0]))
    wait_for(lambda: {"customers", "readings"} <= not_ready(proxied.daemon).keys(), what="both reasons")
    proxied.mongo.start()
    proxied.influx.start()
    proxied.daemon.wait_ready()
    taken(proxied.daemon, site, sent)
    all_there(proxied, site, sent)


def test_memory_and_files_do_not_grow_with_faults(proxied: ProxiedDaemon, site: str) -> None:
    """Each freeze leaves no thread, connection or buffer behind."""
    daemon = proxied.daemon
    assert daemon.process is not None
    folder = Path(f"/proc/{daemon.process.pid}/fd")
    most = None
    for meter, values in files(number=3):
        proxied.influx_proxy.reset()
        proxied.mongo_proxy.reset()
        daemon.wait_ready()
        wait_for(lambda meter=meter, values=values: acknowledged(upload(daemon, site, meter, values)), 120, "an upload")
        most = most or sum(1 for _ in folder.iterdir()) + 12
        # What is there for a moment is no leak.
        wait_for(lambda most=most: sum(1 for _ in folder.iterdir()) <= most, what="the end of descriptors")
