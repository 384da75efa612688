"""Faults of InfluxDB: down, frozen, refusing, dropping requests, cutting responses short."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf, nan
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_twisted
from hypothesis import strategies as st
from influxdb import InfluxDBClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from cenergyd.errors import ConfigError, StoredTypeConflict, StoreRejected, StoreUnavailable
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.storage.influxdb.address import parse_address
from cenergyd.storage.influxdb.client import InfluxClient
from cenergyd.storage.influxdb.connection import Policy
from cenergyd.storage.influxdb.line_protocol import batched, changes, reading_lines
from cenergyd.storage.influxdb.pages import Cursor
from cenergyd.storage.influxdb.readings import InfluxReadingStore, _runs
from tests.certificates import Authority
from tests.properties import for_all
from tests.servers import RunningInflux

T0 = 1_577_836_800
ONE = [SeriesReadings("A_1", [Reading(T0, 1.0)])]
PASSWORD = "s3cret pass/word"
PATIENCE = 120.0
"""Seconds that a call may take where the time does not matter: the machine may be busy with others."""
SOON = 20.0
"""Seconds within which a call fails, long before the store's own time limit (or long after it)."""

OwnInflux = Callable[..., RunningInflux]


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[InfluxReadingStore]:
    # A busy machine may take longer than the default to make 150 shards.
    store = InfluxReadingStore(reactor, url, **{"timeout_seconds": 120.0, **options})
    try:
        await store.open()
    except BaseException:
        await store.close()
        raise
    try:
        yield store
    finally:
        await store.close()


async def all_calls_fail(store: InfluxReadingStore) -> None:
    calls = [
        store.write(ONE),
        store.read(["A_1"], 0, T0 * 2),
        store.last(["A_1"]),
        store.summarise(["A_1"], 0, T0 * 2, 86400),
        store.replace("A_1", T0, T0 + 1, [Reading(T0, 2.0)]),
        store.series_of("A"),
        store.write_points("A_1_1h", [FieldPoint(T0, {"x": 1.0})]),
        store.ping(),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as failure:
            await Deferred.fromCoroutine(call).addTimeout(SOON, reactor)
        assert "InfluxDB at 127.0.0.1:" in str(failure.value)


async def patiently(store: InfluxReadingStore) -> None:
    """Write, again where the machine is too slow for the store's timeout."""
    for _ in range(60):
        with suppress(StoreUnavailable):
            await store.write(ONE)
            return
    await store.write(ONE)


@pytest_twisted.ensureDeferred
async def test_a_stopped_server_is_unavailable_until_it_restarts(own_influx: OwnInflux) -> None:
    server = own_influx()
    async with opened(f"{server.url}/db", timeout_seconds=PATIENCE) as store:
        await store.write(ONE)
        server.stop()
        await all_calls_fail(store)
        server.start()
        await store.ping()
        await store.write([SeriesReadings("A_1", [Reading(T0 + 60, 2.0)])])
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": [Reading(T0, 1.0), Reading(T0 + 60, 2.0)]}


@pytest_twisted.ensureDeferred
async def test_a_frozen_server_is_unavailable_until_it_resumes(own_influx: OwnInflux) -> None:
    server = own_influx()
    async with opened(f"{server.url}/db") as ready:
        await ready.write(ONE)
    async with opened(f"{server.url}/db", timeout_seconds=1) as store:
        await patiently(store)
        server.pause()
        await all_calls_fail(store)
        server.resume()
        server.wait_ready()
        await patiently(store)
    async with opened(f"{server.url}/db") as again:
        assert await again.read(["A_1"], 0, T0 * 2) == {"A_1": [Reading(T0, 1.0)]}


@pytest_twisted.ensureDeferred
async def test_killed_after_an_acknowledged_write(own_influx: OwnInflux) -> None:
    server = own_influx()
    async with opened(f"{server.url}/db") as store:
        await store.write(ONE)
        server.kill()
        server.start()
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": [Reading(T0, 1.0)]}


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_starts_before_influxdb(own_influx: OwnInflux) -> None:
    server = own_influx()
    server.stop()
    store = InfluxReadingStore(reactor, f"{server.url}/db", timeout_seconds=PATIENCE)
    try:
        with pytest.raises(StoreUnavailable, match="cannot be reached: Connection refused"):
            await store.open()
        await all_calls_fail(store)
        server.start()
        many = [Reading(T0 + k, float(k)) for k in range(45_000)]  # several requests, the first finds no database
        await store.write([SeriesReadings("A_1", many)])
        await store.open()  # a second time does no harm
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": many}
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_day_of_many_series_is_read_in_one_request(influx: RunningInflux, unique_name: str) -> None:
    async with opened(f"{influx.url}/{unique_name}") as store:
        names = [f"A_{number}_energy_1h" for number in range(60)]
        points = [FieldPoint(T0 + hour * 3600, {"import_kwh": 1.0}) for hour in range(24)]
        await store.replace_points_many([(name, T0, T0 + 86400, points) for name in names])
        with mock.patch.object(InfluxClient, "request", autospec=True, side_effect=InfluxClient.request) as requests:
            assert await store.read_points_many([(name, T0, T0 + 86400) for name in names]) == [points] * 60
        assert requests.call_count == 1


@pytest_twisted.ensureDeferred
async def test_reading_from_a_database_that_was_dropped(influx: RunningInflux, unique_name: str) -> None:
    async with opened(f"{influx.url}/{unique_name}") as store:
        await store.write(ONE)
        InfluxDBClient(port=influx.port).drop_database(unique_name)
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": []}
        await store.write(ONE)
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": [Reading(T0, 1.0)]}


@pytest_twisted.ensureDeferred
async def test_users_and_what_they_may(own_influx: OwnInflux) -> None:
    server = own_influx(http="auth-enabled = true")
    admin = InfluxDBClient(port=server.port, username="boss", password=PASSWORD, retries=1)
    admin.request("query", "POST", params={"q": f"CREATE USER boss WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES"})
    for user in ("writer", "reader", "nobody"):
        admin.create_user(user, PASSWORD)
    address = "influxdb://{}:s3cret%20pass%2Fword@127.0.0.1:" + str(server.port) + "/db"
    with pytest.raises(
        StoreUnavailable, match="the database db does not exist and user writer may not create it"
    ) as failure:
        async with opened(address.format("writer")):
            pass
    assert PASSWORD not in str(failure.value)
    async with opened(address.format("boss")) as store:  # creates the database
        await store.write(ONE)
    admin.grant_privilege("all", "db", "writer")
    admin.grant_privilege("read", "db", "reader")
    async with opened(address.format("writer")) as store:
        await store.replace("A_1", T0, T0 + 60, [Reading(T0 + 1, 5.0)])
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": [Reading(T0 + 1, 5.0)]}
    admin.create_user("änne", "€ß")  # in UTF-8, not in requests' Latin-1
    admin.grant_privilege("all", "db", "änne")
    async with opened(f"influxdb://%C3%A4nne:%E2%82%AC%C3%9F@127.0.0.1:{server.port}/db") as store:
        await store.write(ONE)
    wrong = f"influxdb://writer:wr0ng@127.0.0.1:{server.port}/db"
    for url in (address.format("reader"), address.format("nobody"), wrong, f"influxdb://127.0.0.1:{server.port}/db"):
        with pytest.raises(StoreUnavailable) as failure:
            async with opened(url):
                pass
        assert "refuses" in str(failure.value)
        assert PASSWORD not in str(failure.value)
        assert "wr0ng" not in str(failure.value)


@pytest_twisted.ensureDeferred
async def test_tls_checks_the_certificate_and_the_name(own_influx: OwnInflux, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other").pem
    trusted = authority.pem
    chain, key = authority.issue("localhost")
    server = own_influx(
        http=f'https-enabled = true\nhttps-certificate = "{chain}"\nhttps-private-key = "{key}"',
    )
    at = f":{server.port}/db"
    async with opened(f"https+influxdb://localhost{at}?ca_file={trusted}") as store:
        await store.write(ONE)
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": [Reading(T0, 1.0)]}
    for url, reason in (
        (f"https+influxdb://127.0.0.1{at}?ca_file={trusted}", "TLS failed: .*127.0.0.1"),
        (f"https+influxdb://localhost{at}?ca_file={other}", "TLS failed: .*self.signed"),
        (f"https+influxdb://localhost{at}", "TLS failed: .*self.signed"),
        (f"https+influxdb://localhost{at}?ca_file={tmp_path}/none.pem", "TLS failed: .*[Nn]o such file"),
        (f"influxdb://localhost{at}", "uses TLS: the URL must begin with https"),
    ):
        with pytest.raises(StoreUnavailable, match=reason):
            async with opened(url):
                pass


@pytest_twisted.ensureDeferred
async def test_a_tls_server_that_resets_plain_requests_is_named(tmp_path: Path) -> None:
    chain, key = Authority(tmp_path).issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_reset_what_is_not_tls, args=(listening, context))
        thread.start()
        with pytest.raises(StoreUnavailable, match="uses TLS: the URL must begin with https"):
            async with opened(f"influxdb://127.0.0.1:{listening.getsockname()[1]}/db"):
                pass
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _reset_what_is_not_tls(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            link, _ = listening.accept()
        except OSError:
            return
        first = link.recv(1, socket.MSG_PEEK)
        if first == b"\x16":  # a TLS handshake begins so
            with suppress(OSError):
                context.wrap_socket(link, server_side=True).close()
        else:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()


@pytest_twisted.ensureDeferred
async def test_a_field_of_another_type_is_rejected_and_the_rest_is_stored(
    influx: RunningInflux, unique_name: str
) -> None:
    async with opened(f"{influx.url}/{unique_name}") as store:
        other = InfluxDBClient(port=influx.port, database=unique_name)
        other.write([f'A_1 P="text" {T0}'], params={"db": unique_name, "precision": "s"}, protocol="line")
        with pytest.raises(StoredTypeConflict, match="field type conflict"):
            await store.write([*ONE, SeriesReadings("B_1", [Reading(T0, 1.0)])])
        assert await store.read(["B_1"], 0, T0 * 2) == {"B_1": [Reading(T0, 1.0)]}


@pytest_twisted.ensureDeferred
async def test_readings_older_than_the_retention_policy_keeps(influx: RunningInflux, unique_name: str) -> None:
    client = InfluxDBClient(port=influx.port)
    client.create_database(unique_name)
    client.create_retention_policy("brief", "2h", "1", database=unique_name)
    now = int(time.time())
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    try:
        async with opened(f"{influx.url}/{unique_name}", policy=Policy("brief")) as store:
            old = [Reading(T0, 1.0), Reading(T0 + 1, 1.0)]
            await store.write([SeriesReadings("A_1", [*old, Reading(now, 2.0)])])
            assert await store.read(["A_1"], 0, now + 1) == {"A_1": [Reading(now, 2.0)]}
            await store.replace("A_1", now, now + 1, [Reading(now, None, 0.5)])
            assert await store.last(["A_1"]) == {"A_1": Reading(now, None, 0.5)}
    finally:
        globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
    assert [event["dropped"] for event in events if "dropped" in event] == [2]
    with pytest.raises(StoreUnavailable, match="retention policy not found: nope"):
        async with opened(f"{influx.url}/{unique_name}", policy=Policy("nope")):
            pass


@pytest_twisted.ensureDeferred
async def test_an_answer_cut_short_is_an_error_and_no_gap(own_influx: OwnInflux) -> None:
    server = own_influx(http="max-row-limit = 100")
    async with opened(f"{server.url}/db") as store:
        await store.write([SeriesReadings(name, [Reading(T0 + k, 1.0) for k in range(150)]) for name in ("A_1", "B_1")])
        assert len((await store.read(["A_1"], T0, T0 + 90))["A_1"]) == 90
        for asked in (["A_1"], ["A_1", "B_1"]):
            with pytest.raises(StoreUnavailable, match="max-row-limit"):
                await store.read(asked, T0, T0 + 150)
        with pytest.raises(StoreUnavailable):
            await store.replace_many([("A_1", T0, T0 + 150, []), ("B_1", T0 + 1, T0 + 3, [])])


@pytest_twisted.ensureDeferred
async def test_no_room_for_another_series_is_not_the_uploads_fault(own_influx: OwnInflux) -> None:
    server = own_influx(data="max-series-per-database = 1")
    async with opened(f"{server.url}/db") as store:
        await store.write(ONE)
        with pytest.raises(StoreUnavailable, match="takes no new series"):
            await store.write([SeriesReadings("B_1", [Reading(T0, 1.0)])])


@pytest_twisted.ensureDeferred
async def test_something_else_on_the_port(mongo: Any) -> None:
    with pytest.raises(StoreUnavailable):
        async with opened(f"influxdb://127.0.0.1:{mongo.port}/db", timeout_seconds=2):
            pass


@pytest_twisted.ensureDeferred
async def test_replacing_by_the_same_writes_nothing(influx: RunningInflux, unique_name: str) -> None:
    """A backfill that changes nothing must not fill the write-ahead log, let alone delete."""
    async with opened(f"{influx.url}/{unique_name}") as store:
        same = [Reading(T0 + k, k / 3, 0.9, 120.0, -0.1, k % 2 == 0) for k in range(50)]
        await store.write([SeriesReadings("A_1", same)])
        changed = changes({r.time: {"P": r.P} for r in same}, {r.time: {"P": r.P} for r in same})
        assert changed == (None, [])
        await store.replace("A_1", T0, T0 + 60, same)
        assert await store.read(["A_1"], 0, T0 * 2) == {"A_1": same}


@pytest_twisted.ensureDeferred
async def test_long_reads_across_holes_and_densities(influx: RunningInflux, unique_name: str) -> None:
    """Pages look ahead by what they find: seconds, then a hole of years, then minutes, then days."""
    times = [*range(1000, 13_000), *range(T0, T0 + 15_000 * 60, 60), *range(T0 + 10**7, T0 + 10**8, 86400)]
    given = [Reading(t, t / 7) for t in times]
    async with opened(f"{influx.url}/{unique_name}", timeout_seconds=PATIENCE) as store:
        await store.write([SeriesReadings("A_1", given), SeriesReadings("B_1", given[5:9])])
        for limit in (None, 10_000, 11_999, 12_001, 27_001, 10**6):
            assert await store.read(["A_1"], 0, 2 * T0, limit) == {"A_1": given[:limit]}
        found = await store.read(["A_1", "B_1", "C_1"], 1003, T0 + 10**8)
        assert found == {"A_1": given[3:], "B_1": given[5:9], "C_1": []}


# --- pure parts

contents = st.dictionaries(
    st.integers(0, 12), st.dictionaries(st.sampled_from("PQV"), st.floats(-2, 2), min_size=1), max_size=10
)


@for_all(max_examples=200, old=contents, new=contents)
async def test_changes_lead_from_old_to_new(old: dict[int, dict[str, float]], new: dict[int, dict[str, float]]) -> None:
    plan = changes(old, new)
    stored = dict(old)
    if plan.delete:
        first, last = plan.delete
        stored = {t: fields for t, fields in old.items() if not first <= t <= last}
    else:
        assert all(fields.keys() <= new.get(t, {}).keys() for t, fields in old.items())
    for t in plan.write:
        stored[t] = stored.get(t, {}) | new[t]
    assert stored == new


@for_all(max_examples=100, texts=st.lists(st.text("x", max_size=8)), longest=st.integers(1, 20), most=st.integers(1, 5))
async def test_batches_hold_everything_once(texts: list[str], longest: int, most: int) -> None:
    found = list(batched(texts, longest, most))
    assert [text for some in found for text in some] == texts
    assert all(len(some) == 1 or (len(some) <= most and sum(map(len, some)) <= longest) for some in found)
    assert all(found)


@for_all(
    max_examples=300,
    times=st.sets(st.integers(0, 2000), max_size=60),
    bounds=st.tuples(*[st.integers(0, 2000)] * 2),
    size=st.integers(1, 12),
    limit=st.one_of(st.none(), st.integers(0, 70)),
    spacing=st.sampled_from([1, 7, 60, None]),
)
async def test_pages_miss_nothing_and_repeat_nothing(
    times: set[int], bounds: tuple[int, int], size: int, limit: int | None, spacing: int | None
) -> None:
    start, end = sorted(bounds)
    cursor = Cursor(("A_1", start, end), start, spacing, 10**6 if limit is None else limit)
    found: list[int] = []
    for _ in range(200):
        if cursor.left <= 0 or cursor.start >= end:
            break
        since, until, rows = cursor.bounds(size)
        page = [(t,) for t in sorted(times) if since <= t < until][:rows]
        found += [t for (t,) in page]
        cursor = cursor.after(page, size, 1)
    else:
        pytest.fail("reads for ever")
    assert found == [t for t in sorted(times) if start <= t < end][:limit]


def test_runs_break_at_long_gaps() -> None:
    assert [list(run) for run in _runs([0, 1, 604801, 604802, 2 * 604802])] == [[0, 1, 604801, 604802], [1209604]]
    assert [len(run) for run in _runs(range(12_000))] == [5000, 5000, 2000]
    assert list(_runs([])) == []


def test_lines() -> None:
    readings = [
        Reading(5, 1.5, 0.5, 120.0),
        Reading(6, 1.5, 0.5, 120.0, -1e-07),
        Reading(7, None, None, 1e22, None, True),
        Reading(8, 0.0, 1.0, 2.0, 3.0, True),
        Reading(9, estimated=True),
        Reading(0, E_net=-0.0, E_export=-0.0),
    ]
    assert list(reading_lines("A_1", readings)) == [
        "A_1 P=1.5,L1_PF=0.5,L1_V=120.0 5",
        "A_1 P=1.5,L1_PF=0.5,L1_V=120.0,Q=-1e-7 6",
        "A_1 L1_V=1e22,estimated=true 7",
        "A_1 P=0.0,L1_PF=1.0,L1_V=2.0,Q=3.0,estimated=true 8",
        "A_1 E_net=0.0,E_export=0.0 0",
    ]
    for value in (nan, inf, -inf):
        with pytest.raises(StoreRejected, match="not finite"):
            reading_lines("A_1", [Reading(5, 1.5), Reading(6, 1.5, Q=value)])


def test_addresses() -> None:
    address = parse_address("https+influxdb://me:a%40b%3A@[::1]:9999/my%20db?ca_file=/etc/ca.pem")
    assert (address.host, address.port, address.database) == ("[::1]", 9999, "my db")
    assert (address.user, address.password, address.tls, address.ca_file) == ("me", "a@b:", True, "/etc/ca.pem")
    assert "a@b:" not in repr(address)
    plain = parse_address("influxdb://db.example/energy")
    assert (plain.host, plain.port, plain.user, plain.password, plain.tls) == ("db.example", 8086, None, None, False)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/db", "influxdb://h", "influxdb:///db", "influxdb://h:x/db", "influxdb://u:hunter2@h:99999/db",
        "influxdb://u:hunter2@h/db?verify=no", 'influxdb://u:hunter2@h/a"b', "influxdb://u:hunter2@[h/db",
    ],
)  # fmt: skip
def test_addresses_that_are_wrong(url: str) -> None:
    with pytest.raises(ConfigError) as failure:
        parse_address(url)
    assert "hunter2" not in str(failure.value)


def test_a_retention_policy_cannot_leave_its_quotes() -> None:
    with pytest.raises(ConfigError):
        InfluxReadingStore(reactor, "influxdb://h/db", policy=Policy('x"; DROP DATABASE db'))


@pytest_twisted.ensureDeferred
async def test_a_retention_policy_is_made_and_one_that_is_there_is_left(
    influx: RunningInflux, unique_name: str
) -> None:
    client = InfluxDBClient(port=influx.port)

    def durations() -> dict[str, str]:
        return {policy["name"]: policy["duration"] for policy in client.get_list_retention_policies(unique_name)}

    recent = [SeriesReadings("A_1", [Reading(int(time.time()), 1.0)])]
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    try:
        for days in (400, 500):
            async with opened(f"{influx.url}/{unique_name}", policy=Policy("kept", days)) as store:
                await store.write(recent)
                assert (await store.read(["A_1"], 0, 1 << 33))["A_1"] == recent[0].readings
            assert durations()["kept"] == "9600h0m0s"
        async with opened(f"{influx.url}/{unique_name}", policy=Policy("ever", 0)):
            assert durations()["ever"] == "0s"
    finally:
        globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
    said = [formatEvent(event) for event in events if "retention policy" in str(event.get("log_format"))]
    assert said == [
        "created the retention policy kept, which keeps 400d",
        "the retention policy kept keeps 400d, the settings say 500d; it is not changed",
        "created the retention policy ever, which keeps INF",
    ]


@pytest_twisted.ensureDeferred
async def test_readings_are_kept_for_less_than_what_is_computed_from_them(
    influx: RunningInflux, unique_name: str
) -> None:
    client = InfluxDBClient(port=influx.port, database=unique_name)
    old, new = int(time.time()) - 400 * 86400, int(time.time()) - 86400
    policies = {"policy": Policy("kept", 93), "points_policy": Policy("kept_longer", 3683)}
    async with opened(f"{influx.url}/{unique_name}", **policies) as store:
        durations = {found["name"]: found["duration"] for found in client.get_list_retention_policies(unique_name)}
        assert (durations["kept"], durations["kept_longer"]) == ("2232h0m0s", "88392h0m0s")

        await store.write([SeriesReadings("A_1", [Reading(old, 1.0), Reading(new, 2.0)])])
        await store.write_points("A_1_1h", [FieldPoint(old, {"P": 1.0}), FieldPoint(new, {"P": 2.0})])
        await store.merge_points_many([("A_1_1h", [FieldPoint(old, {"Q": 0.5})])])
        assert [reading.P for reading in (await store.read(["A_1"], 0, 1 << 33))["A_1"]] == [2.0]
        points = [FieldPoint(old, {"P": 1.0, "Q": 0.5}), FieldPoint(new, {"P": 2.0})]
        assert await store.read_points("A_1_1h", 0, 1 << 33) == points
        assert set(await store.series_of("A")) == {"A_1"}

        await store.replace_points("A_1_1h", new, new + 3600, [])
        assert await store.read_points("A_1_1h", 0, 1 << 33) == points[:1]
        assert (await store.last(["A_1"]))["A_1"].P == 2.0
        await store.replace("A_1", new, new + 60, [])
        assert (await store.read(["A_1"], 0, 1 << 33))["A_1"] == []
        assert await store.read_points("A_1_1h", 0, 1 << 33) == points[:1]
    for policy, measurement, count in (
        ("kept", "A_1", 0),
        ("kept_longer", "A_1", 0),
        ("kept", "A_1_1h", 0),
        ("kept_longer", "A_1_1h", 1),
    ):
        assert len(list(client.query(f'SELECT * FROM "{policy}"."{measurement}"').get_points())) == count
