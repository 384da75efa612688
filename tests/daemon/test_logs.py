"""The log of a running daemon: every upload that failed has its request's id, and nothing secret is in it."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, add_customer, readings, wait_for

SERIAL = "001EC6001433"
GUESSES = ("battery staple", "swordfish-1", "swordfish-2", "swordfish-3")


class Answer(NamedTuple):
    status: int
    request_id: str | None


def post(daemon: RunningDaemon, body: bytes, headers: Mapping[str, str], path: str = "/consume") -> Answer:
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    try:
        link.request("POST", path, body, dict(headers))
        reply = link.getresponse()
        reply.read()
        return Answer(reply.status, reply.getheader("X-Request-Id"))
    finally:
        link.close()


def form(password: str, **fields: str) -> tuple[bytes, dict[str, str]]:
    content = encode.log_text(readings(int(time.time()) // 60 * 60, 1, 1.0), VERIS)
    values = encode.log_fields(SERIAL, password, "1", content, **fields)
    kind, body = encode.multipart_form(values, encode.log_filename("1"), content)
    return body, {"Content-Type": kind}


@pytest.fixture(params=["json", "text"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningDaemon]:
    one = RunningDaemon(tmp_path, {"logging.format": request.param, "logging.level": "debug"})
    one.start()
    yield one
    one.kill()


def test_failed_uploads_are_found_by_their_id_and_no_secret_is_logged(daemon: RunningDaemon) -> None:
    add_customer(daemon, SERIAL, load="1", solar="2")
    token = daemon.run("token", "add", "x", "--operator").stdout.strip()
    basic = base64.b64encode(f"{SERIAL}:{GUESSES[1]}".encode()).decode()
    xml = b"<DAS><mode>STATUS</mode><serial>001EC6001433</serial><password>swordfish-2"
    answers = {
        "wrong password in a form": post(daemon, *form(GUESSES[0])),
        "wrong Basic password": post(daemon, b"x=1&MODE=TEST", {
            "Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {basic}",
        }),
        "a form that is none": post(daemon, f'name="PASSWORD"\r\n\r\n{PASSWORD}'.encode(), {"Content-Type": "multipart/form-data; boundary=x"}),
        "a mode that is none": post(daemon, *form(PASSWORD, MODE="NONSENSE")),
        "a wrong checksum": post(daemon, *form(PASSWORD, MD5CHECKSUM="0" * 32)),
        "broken XML": post(daemon, xml, {"Content-Type": "text/xml"}),
    }  # fmt: skip
    assert post(daemon, *form(PASSWORD)).status == 200
    refused = post(
        daemon, json.dumps({"token": GUESSES[3]}).encode(), {"Content-Type": "application/json"}, "/api/v1/session"
    )
    assert refused.status in (401, 403)
    assert refused.request_id
    assert daemon.get("/api/v1/customers", {"Authorization": f"Bearer {token}"})[0] == 200
    wait_for(lambda: all(str(answer.request_id) in daemon.log() for answer in answers.values()))
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(120) == 0

    lines = daemon.log().splitlines()
    for what, answer in answers.items():
        assert answer.status in (401, 406), what
        (line,) = [line for line in lines if str(answer.request_id) in line]
        if daemon.settings["logging.format"] == "json":
            event = json.loads(line)
            assert event["request_id"] == answer.request_id
            assert event["outcome"] in ("unauthorized", "refused")
            assert event["level"] == "warn"
            assert event["address"] == "127.0.0.1"
        else:
            assert line.endswith(f"(request {answer.request_id})")
    if daemon.settings["logging.format"] == "json":
        spoken = [line for line in lines if not line.startswith(("No operator can sign in yet.", "{")) and line]
        assert spoken == [], "one event a line, all of them JSON"
    # The one-time token of a first start goes to stdout, not to the log.
    log = "\n".join(line for line in lines if "No operator can sign in yet." not in line)
    for secret in (PASSWORD, token, basic, *GUESSES, "$argon2", base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in log, secret


def test_the_documented_line_of_jq_finds_refused_uploads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    line = next(line.strip() for line in page.splitlines() if "| jq -R" in line)
    daemon = RunningDaemon(tmp_path, {"logging.format": "json"})
    daemon.start()
    try:
        add_customer(daemon, SERIAL, load="1", solar="2")
        assert post(daemon, *form(PASSWORD)).status == 200
        refused = post(daemon, *form(PASSWORD, MD5CHECKSUM="0" * 32))
        assert refused.status == 406
        wait_for(lambda: str(refused.request_id) in daemon.log())
    finally:
        daemon.stop()
    journal = tmp_path / "journal"
    journal.write_text(f"Started cenergyd.service - cenergyd.\n{daemon.log()}")
    command = line.replace("journalctl -u cenergyd -o cat", f"cat {journal}")
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60).stdout
    event = json.loads(found)
    assert (event["outcome"], event["request_id"]) == ("refused", refused.request_id)
