"""Readings of an upload are derived after a SIGKILL between its acknowledgement and its derivation, by the next daemon."""

from __future__ import annotations

import time

from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload
from tests.e2e.stored import derived

SERIAL = "001EC6300000"
ROWS = 15
MORE_SETTINGS = {
    # The first pass after an upload is after the kill, unless the machine is very slow.
    "cenergyd.derivation.service.CLAIM_SECONDS": "8",
    "derivation.interval_seconds": "5",
}


def test_a_kill_between_answer_and_derivation_delays_but_loses_nothing(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    start = int(time.time()) // 60 * 60 - 60 * ROWS
    sent = {meter: readings(start, ROWS, base) for meter, base in (("1", 50.0), ("2", 8.0))}
    for meter, values in sent.items():
        assert acknowledged(upload(daemon, SERIAL, meter, values))
    daemon.kill()
    daemon.start()
    # Readings that arrive meanwhile wait until the dead daemon's claim expires, and are derived together with the others.
    late = readings(start - 60 * ROWS, ROWS, 50.0)
    assert acknowledged(upload(daemon, SERIAL, "1", late))
    assert acknowledged(upload(daemon, SERIAL, "2", readings(start - 60 * ROWS, ROWS, 8.0)))
    found = derived(daemon, {f"{SERIAL}_missing_meter": 2 * ROWS}, 200)
    assert [each.time for each in found[f"{SERIAL}_missing_meter"]] == [each.time for each in (*late, *sent["1"])]
