"""The archive from end to end: uploads under a wrong layout, the layout corrected, the archive read again, everything recomputed."""

from __future__ import annotations

import http.client
import json
import re
import stat
import time
from pathlib import Path
from typing import Any

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import PASSWORD, acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import derived, stored

SERIAL = "001EC6001433"
MISSING = f"{SERIAL}_missing_meter"
PATIENCE = 180
"""Seconds: the machine may be busy with others."""
MORE_SETTINGS = {"archive.days": "30"}


def api(daemon: RunningDaemon, token: str, method: str, path: str, body: Any = None) -> Any:
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "If-Match": "*"}
    link.request(method, f"/api/v1/{path}", json.dumps(body) if body is not None else None, headers)
    reply = link.getresponse()
    content = reply.read()
    link.close()
    assert reply.status < 300, content
    return json.loads(content)


def files(daemon: RunningDaemon) -> list[Path]:
    return sorted((daemon.folder / "archive").iterdir())


def archived(daemon: RunningDaemon) -> int:
    found = re.search(rb"archived_uploads(?:_total)? (\d+)", daemon.get("/metrics")[1])
    return int(found[1]) if found else 0


def test_a_wrong_layout_is_put_right_and_the_archive_read_again(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    token = daemon.run("token", "add", "--operator", "o").stdout.strip()
    (customer,) = api(daemon, token, "GET", "customers")["customers"]
    meters = f"customers/{customer['id']}/meters"
    right = dict(VERIS.columns)
    api(daemon, token, "POST", meters, {"effective_from": 0, "layouts": {"2": {**right, "P": right["L1_V"]}}})
    start = int(time.time()) // 3600 * 3600 - 3 * 3600
    # No solar power is 120.5, the voltage that the wrong layout takes for it, whatever the time.
    load, solar = readings(start, 120, 100.0), readings(start, 120, 7.0625)
    for part in (slice(0, 60), slice(60, 120)):
        assert acknowledged(upload(daemon, SERIAL, "1", load[part]))
        assert acknowledged(upload(daemon, SERIAL, "2", solar[part]))
    kind, body = encode.multipart_form({"MODE": "STATUS", "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD})
    assert acknowledged(raw_post(daemon.port, "/consume", kind, body))
    wrong = derived(daemon, {f"{SERIAL}_2": 120, MISSING: 120}, PATIENCE)
    assert wrong[f"{SERIAL}_2"][0].P == 120.5, "the voltage, as the wrong layout says"
    wait_for(lambda: archived(daemon) == 4, PATIENCE, "four archived uploads")

    for file in files(daemon):  # one, or two at midnight in UTC
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert PASSWORD.encode() not in file.read_bytes()

    hours = f"customers/{customer['id']}/rollups?role=solar&resolution=1h&start={start}&end={start + 3600}"
    wait_for(lambda: api(daemon, token, "GET", hours)["windows"], PATIENCE, "an hour's rollup")
    api(daemon, token, "POST", meters, {"effective_from": 0, "layouts": {}})
    reported = daemon.run("reread", SERIAL, "--meter", "2", "--from", "1d ago", "--dry-run")
    assert reported.returncode == 0, reported.stderr
    assert "2 archived uploads read, 120 readings" in reported.stdout
    assert "120 readings would be changed or added, 0 would be removed" in reported.stdout
    done = daemon.run("reread", SERIAL, "--from", "1d ago")
    assert done.returncode == 0, done.stderr
    assert "4 archived uploads read, 240 readings" in done.stdout
    assert "120 readings changed or added, 0 removed" in done.stdout

    def follows() -> bool:
        found, pending = stored(daemon, [f"{SERIAL}_2", MISSING])
        expected = [a.P - b.P for a, b in zip(load, solar, strict=True)]  # type: ignore[operator]
        return not pending and found[f"{SERIAL}_2"] == solar and [each.P for each in found[MISSING]] == expected

    wait_for(follows, PATIENCE, "the derivation")
    mean = sum(each.P for each in solar[:60]) / 60  # type: ignore[misc]

    def rolled_up() -> bool:
        windows = api(daemon, token, "GET", hours)["windows"]
        return bool(windows) and abs((windows[0]["P_mean"] or 0) - mean) < 1e-6

    wait_for(rolled_up, PATIENCE, "the rollup")


def test_a_record_cut_short_by_a_kill_is_skipped_and_reported(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    start = int(time.time()) // 3600 * 3600 - 3 * 3600
    values = readings(start, 60, 7.0)
    for number in range(3):
        assert acknowledged(upload(daemon, SERIAL, "1", values[20 * number : 20 * number + 20]))
    wait_for(lambda: archived(daemon) == 3, PATIENCE, "three archived uploads")
    daemon.kill()
    before = files(daemon)
    before[-1].write_bytes(before[-1].read_bytes()[:-40])
    daemon.start()  # appends to a file of its own
    assert acknowledged(upload(daemon, SERIAL, "1", readings(start + 3600, 20, 9.0)))
    wait_for(lambda: archived(daemon) == 1, PATIENCE, "another one")
    assert len(files(daemon)) == len(before) + 1
    done = daemon.run("reread", SERIAL, "--from", "1d ago")
    assert done.returncode == 0, done.stderr
    assert "3 archived uploads read, 60 readings" in done.stdout
    assert "0 readings changed or added, 0 removed" in done.stdout
    assert "ends with a record that was cut short" in done.stderr
    assert derived(daemon, {f"{SERIAL}_1": 80}, PATIENCE)[f"{SERIAL}_1"][:60] == values
