"""From an upload over a socket to a message at a receiver, through a real daemon that is killed on the way."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import wait_for
from tests.jobs.messages.receiver import Receiver
from tests.plugins.test_docs import RUN, inside

SERIAL = "001EC6001433"


def set_alerts(daemon: RunningDaemon, alerts: dict[str, Any]) -> None:
    work = f"""
async def work(stores):
    customer = (await stores.customers.page())[0]
    await stores.customers.update(customer.id, {{"extensions": {{"alerts": {alerts!r}}}}})
"""
    assert RUN
    inside(daemon, work)


def upload(daemon: RunningDaemon, meter: str, readings: list[Reading]) -> None:
    content = encode.gz(encode.log_text(readings, VERIS))
    form = encode.log_fields(SERIAL, "secret", meter, content)
    kind, body = encode.multipart_form(form, encode.log_filename(meter), content)
    status, answer = raw_post(daemon.port, "/consume", kind, body)
    assert (status, b"SUCCESS" in answer) == (200, True)


def test_an_alert_of_the_computed_grid_meter_survives_kills_and_is_sent_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    settings = {
        "webhook.allow_private_addresses": "yes",
        "cenergyd.jobs.messages.sender.INTERVAL_SECONDS": "0.2",
        "cenergyd.jobs.messages.outbox.FIRST_RETRY_SECONDS": "1",
        "cenergyd.jobs.messages.outbox.MAX_RETRY_SECONDS": "1",
        "cenergyd.jobs.messages.outbox.MAX_ATTEMPTS": "100",
        "cenergyd.jobs.messages.sender.SEND_TIMEOUT_SECONDS": "12",
        "cenergyd.jobs.messages.sender.CLAIM_MARGIN_SECONDS": "1",
        "cenergyd.derivation.service.CLAIM_SECONDS": "5",
        "derivation.plugin_timeout_seconds": "2",
        "cenergyd.jobs.service.CLAIM_SECONDS": "5",
        "jobs.timeout_seconds": "3",
        "cenergyd.jobs.service.PERIODIC_SECONDS": "1",
    }
    receiver.busy = True
    daemon = RunningDaemon(tmp_path, settings)
    words = ("customers", "add", "--name", "Mill", "--serial", SERIAL, "--load", "1", "--solar", "2")
    added = daemon.run(*words, "--password-stdin", stdin="secret\n")
    assert added.returncode == 0, added.stderr
    channel = {"type": "webhook", "url": f"http://127.0.0.1:{receiver.server_port}/hook"}
    set_alerts(daemon, {"net_load": {"enabled": True, "threshold_kw": 50}, "channels": [channel]})
    daemon.start()
    try:
        minute = int(time.time()) // 60 * 60 - 120
        upload(daemon, "1", [Reading(minute - 60, 60.0, 0.95, 120.0, 1.0), Reading(minute, 75.0, 0.95, 120.0, 1.0)])
        upload(daemon, "2", [Reading(minute - 60, 20.0, 0.95, 120.0, 1.0), Reading(minute, 20.0, 0.95, 120.0, 1.0)])
        daemon.kill()  # the uploads are acknowledged, nothing else is sure
        daemon.start()
        wait_for(lambda: receiver.refused, what="the first attempt at a receiver that says 503")
        daemon.kill()
        receiver.busy = False
        daemon.start()
        wait_for(lambda: receiver.got, what="the message")
        time.sleep(2)  # in which it could come once more
    finally:
        daemon.stop()
    ((key, body),) = receiver.got
    assert key == body["id"]
    assert body["subject"] == "Alert: net load is high at Mill"
    assert body["text"].startswith("The net load rose to 55 kW (1-minute mean); the threshold is 50 kW.")
    assert body["data"]["series"] == f"{SERIAL}_missing_meter"
    assert body["data"]["since"] == minute
    report = daemon.run("doctor", SERIAL, "--json")
    codes = [finding["code"] for finding in json.loads(report.stdout)["findings"]]
    assert "too_little_data" in codes
    assert report.returncode == 0
