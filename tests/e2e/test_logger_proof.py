"""A customer gets an unowned logger by its password, over real sockets: refused uploads, the claim, uploads that count."""

from __future__ import annotations

import http.client
import json
import time

from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, readings, upload, wait_for
from tests.e2e.stored import derived

SERIAL = "001EC6001433"
MORE_SETTINGS = {"cenergyd.ingest.activity.INTERVAL_SECONDS": "0.2"}


def claim(
    daemon: RunningDaemon, customer: str, token: str, serial: str, password: str
) -> tuple[int, dict[str, object]]:
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    body = json.dumps({"logger_serial_number": serial, "logger_password": password})
    head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "If-Match": "*"}
    link.request("PATCH", f"/api/v1/customers/{customer}", body, head)
    reply = link.getresponse()
    answer = json.loads(reply.read())
    link.close()
    return reply.status, answer


def test_a_logger_that_nobody_has_registered_is_claimed_by_its_password(daemon: RunningDaemon) -> None:
    customer = daemon.run(
        "customers", "add", "--name", "Mill", "--load", "1", "--solar", "2", "--no-password"
    ).stdout.strip()
    token = daemon.run("token", "add", "--customer", customer, "mill").stdout.split()[0]
    start = int(time.time()) // 60 * 60 - 1800
    load, solar = readings(start, 20, 50.0), readings(start, 20, 8.0)
    assert upload(daemon, SERIAL, "1", load, password="on the device")[0] == 401
    status, unknown = claim(daemon, customer, token, "001EC60000FF", "on the device")
    assert (status, unknown["code"]) == (403, "logger_not_released")
    # The list of refused loggers is written a moment later; claims before that would soon be too many.
    operator = {"Authorization": f"Bearer {daemon.run('token', 'add', '--operator', 'o').stdout.strip()}"}
    wait_for(lambda: SERIAL in daemon.get("/api/v1/rejected", operator)[1].decode(), what="the list of refused loggers")
    status, answer = claim(daemon, customer, token, SERIAL, "on the device")
    assert status == 200, answer
    for meter, values in (("1", load), ("2", solar)):
        assert acknowledged(upload(daemon, SERIAL, meter, values, password="on the device"))
    derived(daemon, {f"{SERIAL}_missing_meter": 20})
    assert "on the device" not in daemon.log()
