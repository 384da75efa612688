"""The first start of a real daemon: a one-time token on its output, a real token made with it, the existing front end's path."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_process import RunningDaemon
from tests.e2e.device import wait_for

TOKEN = re.compile(r"cenergyd_[A-Za-z0-9_-]{43}")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    running = RunningDaemon(tmp_path)
    running.start()
    yield running
    running.kill()


def tokens_shown(daemon: RunningDaemon, number: int) -> list[str]:
    """Those on the daemon's output, once there are so many: they come a moment after it is ready."""
    wait_for(lambda: len(TOKEN.findall(daemon.log())) >= number, what="the one-time token")
    return TOKEN.findall(daemon.log())


def call(
    daemon: RunningDaemon, method: str, path: str, headers: dict[str, str], body: Any = None
) -> tuple[int, Any, dict[str, str]]:
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    try:
        sent = {"Content-Type": "application/json", **headers} if body is not None else headers
        link.request(method, path, json.dumps(body) if body is not None else None, sent)
        answer = link.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None, dict(answer.getheaders())
    finally:
        link.close()


def test_from_the_first_token_to_a_customers_settings(daemon: RunningDaemon) -> None:
    (first,) = tokens_shown(daemon, 1)
    status, who, headers = call(daemon, "POST", "/api/v1/session", {}, {"token": first})
    assert (status, who["role"]) == (200, "operator")
    session = {"Cookie": headers["Set-Cookie"].split(";")[0], "X-CSRF-Token": who["csrf"]}
    assert call(daemon, "POST", "/api/v1/session", {}, {"token": first})[0] == 401
    status, made, _ = call(daemon, "POST", "/api/v1/tokens", session, {"role": "operator", "name": "real"})
    assert status == 201
    operator = {"Authorization": f"Bearer {made['token']}"}
    status, customer, _ = call(
        daemon, "POST", "/api/v1/customers", operator, {"name": "Site", "logger_serial_number": "A1", "load": "1"}
    )
    assert status == 201
    status, own, _ = call(
        daemon, "POST", "/api/v1/tokens", operator, {"role": "customer", "name": "own", "customer_id": customer["id"]}
    )
    bearer = {"Authorization": f"Bearer {own['token']}"}
    status, old_shape, _ = call(daemon, "GET", "/settings", bearer)
    assert (status, old_shape) == (
        200,
        {"facility": "", "load": "1", "solar": "", "logger_serial_number": "A1", "logger_password_set": False},
    )
    status, old_shape, _ = call(daemon, "POST", "/settings", bearer, {"solar": "2", "logger_password": "pw"})
    assert (status, old_shape["solar"], old_shape["logger_password_set"]) == (200, "2", True)
    daemon.stop()
    daemon.start()
    assert len(TOKEN.findall(daemon.log())) == 1, "no second one once an operator has a permanent token"
    assert call(daemon, "GET", "/api/v1/session", {"Cookie": session["Cookie"]})[0] == 200, "sessions outlive a restart"
    for secret in (made["token"], own["token"], "pw"):
        assert f'"{secret}"' not in daemon.log()
        assert made["token"] not in daemon.log()


def test_an_unused_first_token_is_shown_again(daemon: RunningDaemon) -> None:
    tokens_shown(daemon, 1)
    daemon.stop()
    daemon.start()
    first, second = tokens_shown(daemon, 2)
    assert first != second
    assert call(daemon, "POST", "/api/v1/session", {}, {"token": second})[0] == 200
    assert call(daemon, "POST", "/api/v1/session", {}, {"token": first})[0] == 401
