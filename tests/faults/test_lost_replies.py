"""A store does what it was asked, and its reply is lost: nothing is lost or doubled, and half an answer is never taken for a whole one."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import pytest
import pytest_twisted
from influxdb import InfluxDBClient
from twisted.internet import reactor

from cenergyd.errors import StoreUnavailable
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.storage.influxdb.readings import InfluxReadingStore
from tests.e2e.device import acknowledged, readings, wait_for
from tests.faults.conftest import ProxiedDaemon
from tests.faults.proxy import Proxy
from tests.faults.test_full_stores import settled
from tests.faults.test_store_faults import all_there, files, refused_cleanly, send, taken
from tests.servers import PATIENT_SECONDS, RunningInflux


class LostReply(NamedTuple):
    """A request whose reply is lost."""

    name: str
    proxy: str
    is_it: Callable[[bytes, str], bool]
    """Of a request and the customer's serial number."""
    refused: bool
    """Whether it belongs to an upload, which then fails; derivation's come later."""


def _queue_update(request: bytes, window: bytes) -> bool:
    return b"update\0" in request and window in request


LOST = [
    LostReply("readings", "influx_proxy", lambda data, serial: f"{serial}_1 P=".encode() in data, True),
    LostReply(
        "mark", "mongo_proxy",
        lambda data, _: _queue_update(data, b"pending_start") and b"$or" in data, True,
    ),
    LostReply("password hash", "mongo_proxy", lambda data, _: b"$argon2" in data and b"update\0" in data, False),
    LostReply("claimed work", "mongo_proxy", lambda data, _: b"find\0" in data and b"pending_claim\0" in data, False),
    LostReply("reading", "influx_proxy", lambda data, serial: b"SELECT" in data and serial.encode() in data, False),
    LostReply("derived", "influx_proxy", lambda data, serial: f"{serial}_missing_meter P=".encode() in data, False),
    LostReply(
        "hand over", "mongo_proxy",
        lambda data, _: _queue_update(data, b"pending_done") and b"jobs_start" in data, False,
    ),
]  # fmt: skip


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: lost.name.replace(" ", "-"))
def test_done_but_the_reply_is_lost(proxied: ProxiedDaemon, site: str, lost: LostReply) -> None:
    proxy, sent = getattr(proxied, lost.proxy), files(number=1)
    settled(proxied)
    before = proxy.cuts
    proxy.cut_reply_to = lambda data: lost.is_it(data, site)
    answers = [send(proxied.daemon, site, *part) for part in sent]
    for answer, seconds in answers:
        if not acknowledged(answer):
            refused_cleanly(answer, seconds)
    if lost.refused:
        assert not acknowledged(answers[0][0])
    wait_for(lambda: proxy.cuts > before, 120, "the loss of a reply")
    assert proxy.cuts == before + 1
    taken(
        proxied.daemon,
        site,
        [part for part, (answer, _) in zip(sent, answers, strict=True) if not acknowledged(answer)],
    )
    all_there(proxied, site, sent)
    settled(proxied)


@pytest_twisted.ensureDeferred
async def test_half_an_answer_of_influxdb(influx: RunningInflux, unique_name: str) -> None:
    """Cut anywhere, it is an error and never a gap; a write whose answer was cut may be done, and is done once."""
    start = int(time.time()) // 60 * 60
    given = readings(start, 20, 5.0)
    proxy = Proxy(influx.port)
    store = InfluxReadingStore(
        reactor, f"influxdb://127.0.0.1:{proxy.port}/{unique_name}", timeout_seconds=PATIENT_SECONDS
    )
    try:
        await store.open()
        await store.write([SeriesReadings("A_1", given)])
        errors = 0
        for cut in chain(range(0, 300, 10), range(300, 2400, 75)):
            proxy.cut_after = cut
            try:
                assert await store.read(["A_1"], 0, start * 2) == {"A_1": given}
            except StoreUnavailable:
                errors += 1
        assert errors >= 30
        proxy.mend()
        assert await store.read(["A_1"], 0, start * 2) == {"A_1": given}
        for number, cut in enumerate(range(0, 260, 20)):
            proxy.cut_after = cut
            late = Reading(start - 60 * (number + 1), P=float(number))
            given = [late, *given]
            try:
                await store.write([SeriesReadings("A_1", [late])])
            except StoreUnavailable:
                proxy.mend()
                await store.write([SeriesReadings("A_1", [late])])
            proxy.mend()
        assert await store.read(["A_1"], 0, start * 2) == {"A_1": given}
    finally:
        await store.close()
        proxy.close()
        InfluxDBClient(port=influx.port).drop_database(unique_name)
