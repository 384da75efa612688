"""Uploads by Klein's route and by the shortcut past its router: the same answers."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, add_customer, readings

SERIAL = "001EC6001433"
NOW = int(time.time()) // 60 * 60
CHANGING = ("date", "x-request-id")


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningDaemon, RunningDaemon]]:
    """One by the shortcut, one without it."""
    made = (
        RunningDaemon(tmp_path_factory.mktemp("short")),
        RunningDaemon(tmp_path_factory.mktemp("routed"), {"cenergyd.daemon.web.UPLOAD_SHORTCUT": ""}),
    )
    for daemon in made:
        daemon.start()
        add_customer(daemon, SERIAL, load="1", solar="2")
    yield made
    for daemon in made:
        daemon.kill()


def ask(daemon: RunningDaemon, method: str, path: str, kind: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    try:
        link.request(method, path, body=body or None, headers={"Content-Type": kind} if kind else {})
        reply = link.getresponse()
        headers = {name.lower(): value for name, value in reply.getheaders()}
        return reply.status, {name: value for name, value in headers.items() if name not in CHANGING}, reply.read()
    finally:
        link.close()


def form(password: str = PASSWORD, **fields: str) -> tuple[str, bytes]:
    content = encode.gz(encode.log_text(readings(NOW, 3, 1.0), VERIS))
    sent = {**encode.log_fields(SERIAL, password, "1", content), **fields}
    return encode.multipart_form(sent, encode.log_filename("1"), content)


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/consume", form(), 200),
        ("POST", "/consume", form(MODE="STATUS"), 200),
        ("POST", "/consume", form(MODE="CONFIGFILEDOWNLOAD", MODBUSDEVICE="1"), None),
        ("POST", "/consume", form(MODE="CONFIGFILEMANIFEST"), 200),
        ("POST", "/consume", form("wrong"), 401),
        ("POST", "/consume", form(MODE="NONSENSE"), 406),
        ("POST", "/consume", ("text/xml", b"<nothing/>"), 406),
        ("POST", "/consume", ("", b""), 406),
        ("POST", "/consume?x=1", form(), 200),
        ("GET", "/consume", ("", b""), 200),
        ("HEAD", "/consume", ("", b""), 200),
        ("PUT", "/consume", ("", b"x"), 405),
        ("GET", "/consume/more", ("", b""), 404),
    ],
)  # fmt: skip
def test_both_ways_answer_the_same(
    daemons: tuple[RunningDaemon, RunningDaemon], method: str, path: str, sent: tuple[str, bytes], status: int | None
) -> None:
    short, routed = (ask(daemon, method, path, *sent) for daemon in daemons)
    for answer in (short, routed):
        if "allow" in answer[1]:  # Twisted names the methods in the order of a set
            answer[1]["allow"] = sorted(answer[1]["allow"].split(", "))
    assert short == routed
    assert status is None or short[0] == status
