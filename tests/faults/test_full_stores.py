"""InfluxDB's disk is full while work waits: data that it only appears to hold is not treated as stored.

What InfluxDB cannot write to its log it refuses, but shows all the same until it is restarted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cenergyd.readings.model import Reading
from cenergyd.storage.influxdb.line_protocol import reading_lines
from tests.e2e.device import readings, wait_for
from tests.faults.conftest import ProxiedDaemon
from tests.faults.test_store_faults import all_there, not_ready, refused_cleanly, send, taken

ROWS = 120
WEEK = 7 * 86400


def server_errors(proxied: ProxiedDaemon) -> int:
    """Requests that InfluxDB has answered with 5xx."""
    (statistics,) = proxied.influx_admin.query("SHOW STATS FOR 'httpd'").get_points()
    return int(statistics["serverError"])


def rows(proxied: ProxiedDaemon, series: str) -> int:
    """Points of a series that InfluxDB shows."""
    return len(list(proxied.influx_admin.query(f'SELECT * FROM "{series}"', database="cen").get_points()))


def stored_elsewhere(proxied: ProxiedDaemon, serial: str, parts: Sequence[tuple[str, list[Reading]]]) -> None:
    """As another daemon does, after which it marks the customer."""
    for meter, values in parts:
        lines = list(reading_lines(f"{serial}_{meter}", values))
        proxied.influx_admin.write(lines, params={"db": "cen", "precision": "s"}, protocol="line")


def mark(proxied: ProxiedDaemon, serials: Sequence[str], values: Sequence[Reading]) -> None:
    """Readings of these times came in."""
    window = {"pending_start": values[0].time, "pending_end": values[-1].time + 1}
    query = {"logger_serial_number": {"$in": list(serials)}}
    with proxied.customers() as customers:
        wait_for(lambda: customers.count_documents(query) == len(serials), 120, "the customers to be noticed")
        customers.update_many(query, {"$set": window})


WORK = ("pending_start", "pending_claim", "jobs_start", "jobs_claim")


def waiting(proxied: ProxiedDaemon) -> set[str]:
    """Serial numbers of customers with work that is not done, for derivation or for the jobs."""
    with proxied.customers() as customers:
        found = customers.find({"$or": [{path: {"$exists": True}} for path in WORK]})
        return {document["logger_serial_number"] for document in found}


def settled(proxied: ProxiedDaemon) -> None:
    """All work is done: nothing is written but what the test uploads."""
    wait_for(lambda: not waiting(proxied), 120, "the end of all work")


@contextmanager
def full_influx(proxied: ProxiedDaemon) -> Iterator[None]:
    """Without room inside; afterwards there is some, and it was restarted."""
    proxied.influx.fill_disk()
    try:
        yield
    finally:
        proxied.influx.free_disk()
        proxied.influx.stop()
        proxied.influx.start()


def test_derivation_and_jobs_wait_for_room(proxied: ProxiedDaemon, site: str) -> None:
    """They try now and then, and what they could not write is written in the end, though InfluxDB seemed to have it."""
    measured = "001EC6800001"
    proxied.add_customer(measured, facility="3")  # nothing to derive, but for the jobs
    start = int(time.time()) // 3600 * 3600 - 6 * 3600
    whole = [("1", readings(start, 2 * ROWS, 40.0)), ("2", readings(start, 2 * ROWS, 7.0))]
    for serial in (site, measured):
        stored_elsewhere(proxied, serial, whole)
    first, second = whole[0][1][:ROWS], whole[0][1][ROWS:]
    mark(proxied, [measured, site], first)
    settled(proxied)

    before, log_before = server_errors(proxied), len(proxied.daemon.log())
    with full_influx(proxied):
        mark(proxied, [measured, site], second)
        for service in ("derivation pauses", "jobs pause"):
            wait_for(lambda service=service: f"{service} for 4.0 s" in proxied.daemon.log()[log_before:], 120, service)
        assert rows(proxied, f"{site}_missing_meter") == 2 * ROWS, "InfluxDB does not show what it refused"
        assert waiting(proxied) == {site, measured}
        # In this order: what fails meanwhile is among the attempts. One that timed out here may have no error of the server.
        errors = server_errors(proxied) - before
        attempts = len(re.findall(r"(?:derivation pauses|jobs pause) for", proxied.daemon.log()[log_before:]))
        assert attempts >= 6, "pauses of 1, 2 and 4 s for each service"
        assert 0 < errors <= 2 * attempts + 2, "none but those attempts, each after a longer pause"
    all_there(proxied, site, whole)
    settled(proxied)
    for serial in (site, measured):
        for series, seconds in ((f"{serial}_1_1h", 3600), (f"{serial}_2_energy_1h", 3600), (f"{serial}_1_15m", 900)):
            # The hour of the newest reading is not stored.
            assert rows(proxied, series) == (2 * ROWS * 60 - 3600) // seconds, series
    assert "Traceback" not in proxied.daemon.log()[log_before:]


def test_a_shard_that_stays_broken_is_distinguished(proxied: ProxiedDaemon, site: str) -> None:
    """There is room again, but InfluxDB must be restarted before it writes that week's log: /readyz says so until then."""
    now = int(time.time()) // 60 * 60
    # The old ones at the beginning of a Friday: all in one shard, which has a week from Monday on.
    recent, old = readings(now - 600, 5, 1.0), readings((now // WEEK - 13) * WEEK + 86400, 5, 1.0)
    taken(proxied.daemon, site, [("1", recent), ("1", old)])
    later = [reading._replace(time=reading.time + 300) for reading in old]
    settled(proxied)
    with full_influx(proxied):
        refused_cleanly(*send(proxied.daemon, site, "1", later))
        proxied.influx.free_disk()
        refused_cleanly(*send(proxied.daemon, site, "1", later))

        def reasons_of_one() -> bool:
            reasons = not_ready(proxied.daemon)
            return list(reasons) == ["readings"] and "error writing WAL entry" in reasons["readings"]

        wait_for(reasons_of_one, what="one store that fails")
        assert rows(proxied, f"{site}_1") == 15  # those refused too
    proxied.daemon.wait_ready()
    taken(proxied.daemon, site, [("1", later)])
    assert rows(proxied, f"{site}_1") == 15
    assert {"cenergyd_check"}.isdisjoint(
        point["name"] for point in proxied.influx_admin.query("SHOW MEASUREMENTS", database="cen").get_points()
    )


def test_it_fills_up_on_a_new_week(proxied: ProxiedDaemon, site: str) -> None:
    """Not even the shard can be made: that heals without a restart."""
    values = readings(int(time.time()) // 60 * 60 - 400 * 86400, 5, 1.0)
    settled(proxied)
    with full_influx(proxied):
        refused_cleanly(*send(proxied.daemon, site, "1", values))
        wait_for(lambda: "meta" in not_ready(proxied.daemon).get("readings", ""), what="the reason")
        proxied.influx.free_disk()
        proxied.daemon.wait_ready()
        taken(proxied.daemon, site, [("1", values)])
    assert rows(proxied, f"{site}_1") == 5
