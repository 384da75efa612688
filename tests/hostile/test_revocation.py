"""Sessions, tokens and live views that are ended in one daemon are ended in all, on both pairs of stores; valid ones survive a restart."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload
from tests.hostile.wire import exchange, log_request, status_of
from tests.servers import PATIENT

SERIAL, OTHER = "001EC6720001", "001EC6720002"
GUESSER = "127.0.0.7"
PACES = {
    "cenergyd.ingest.credentials.LOGGER_PACE": "0.02",
    "cenergyd.ingest.credentials.NETWORK_PACE": "0.01",
    "cenergyd.ingest.credentials.SERIAL_PACE": "0.01",
    "cenergyd.web.access.auth.TOKEN_PACE": "0.01",
    "credentials.max_failures": "3",
    "credentials.max_failures_per_address": "6",
    "cenergyd.web.access.auth.MAX_WRONG_TOKENS": "3",
}
"""The production times, divided by fifty."""


class Browser:
    """A client with a session or a token, for requests to any daemon."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.headers = {"Authorization": f"Bearer {token}"}
        self.csrf = ""

    def sign_in(self, daemon: RunningDaemon) -> int:
        self.headers = {}
        status, head, body = self.call(daemon, "POST", "/session", {"token": self.token})
        if status == 200:
            self.headers = {"Cookie": head["Set-Cookie"].partition(";")[0]}
            self.csrf = json.loads(body)["csrf"]
        return status

    def call(
        self, daemon: RunningDaemon, method: str, path: str, body: object = None
    ) -> tuple[int, dict[str, str], bytes]:
        link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
        more = {"Content-Type": "application/json", "X-CSRF-Token": self.csrf, "If-Match": "*"}
        try:
            link.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), {**self.headers, **more})
            answer = link.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            link.close()

    def status(self, daemon: RunningDaemon, path: str = "/session") -> int:
        return self.call(daemon, "GET", path)[0]

    def watch(self, daemon: RunningDaemon, customer: str) -> View:
        return View(daemon, customer, self.headers)


class View:
    """An open live view."""

    def __init__(self, daemon: RunningDaemon, customer: str, headers: dict[str, str]) -> None:
        self._link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
        self._link.request("GET", f"/api/v1/customers/{customer}/events", headers=headers)
        self._answer = self._link.getresponse()
        assert self._answer.status == 200
        assert self._answer.read1(65536)

    def ends(self) -> bool:
        """Read until the daemon closes it; if it stays open for two minutes, the socket's timeout ends the read."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if not self._answer.read1(65536):
                self._link.close()
                return True
        return False

    def goes_on(self) -> bool:
        """Whether it is still open; only the daemon closes it."""
        return not self._answer.isclosed()


class TwoDaemons(NamedTuple):
    """Two daemons on the same stores."""

    first: RunningDaemon
    second: RunningDaemon
    operator: Browser

    def customer(self, name: str) -> str:
        status, _, body = self.operator.call(self.first, "POST", "/customers", {"name": name})
        assert status == 201
        found: str = json.loads(body)["id"]
        return found

    def token(self, customer: str | None = None, **more: Any) -> tuple[Browser, str]:
        role = {"role": "customer", "customer_id": customer} if customer else {"role": "operator"}
        status, _, body = self.operator.call(self.first, "POST", "/tokens", {"name": "x", **role, **more})
        assert status == 201, body
        made = json.loads(body)
        return Browser(made["token"]), made["id"]


def pair_of(request: pytest.FixtureRequest, name: str) -> dict[str, str]:
    """The settings for a pair of stores."""
    if request.param == "embedded":
        return PATIENT
    return PATIENT | {
        "customers.url": f"{request.getfixturevalue('mongo').url}/{name}",
        "readings.url": f"{request.getfixturevalue('influx').url}/{name}",
    }


@pytest.fixture(scope="module", params=["embedded", "production"])
def daemons(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoDaemons]:
    folder = tmp_path_factory.mktemp("ends")
    (folder / "second").mkdir()
    first = RunningDaemon(folder, pair_of(request, folder.name.replace("-", "_")))
    second = RunningDaemon(
        folder / "second",
        PATIENT | {name: first.settings[name] for name in ("customers.url", "readings.url")},
    )
    first.start()
    try:
        second.start()
        yield TwoDaemons(first, second, Browser(first.run("token", "add", "--operator", "operator").stdout.strip()))
        assert "Traceback" not in first.log() + second.log()
    finally:
        first.kill()
        second.kill()


def revoke(daemons: TwoDaemons, signed: Browser, token: str, customer: str) -> None:
    assert daemons.operator.call(daemons.first, "DELETE", f"/tokens/{token}")[0] == 204


def revoke_by_command(daemons: TwoDaemons, signed: Browser, token: str, customer: str) -> None:
    done = daemons.first.run("token", "revoke", token)
    assert done.returncode == 0, done.stderr


def sign_out(daemons: TwoDaemons, signed: Browser, token: str, customer: str) -> None:
    assert signed.call(daemons.first, "DELETE", "/session")[0] == 204


def end_from_the_list(daemons: TwoDaemons, signed: Browser, token: str, customer: str) -> None:
    listed = json.loads(daemons.operator.call(daemons.first, "GET", "/sessions")[2])["sessions"]
    (session,) = [each["id"] for each in listed if each["token_id"] == token]
    assert daemons.operator.call(daemons.first, "DELETE", f"/sessions/{session}")[0] == 204


def remove(daemons: TwoDaemons, signed: Browser, token: str, customer: str) -> None:
    assert daemons.operator.call(daemons.first, "DELETE", f"/customers/{customer}")[0] == 204


ENDS: dict[str, Callable[[TwoDaemons, Browser, str, str], None]] = {
    "revoked": revoke, "revoked by command": revoke_by_command, "signed out": sign_out, "ended from the list": end_from_the_list,
    "customer removed": remove,
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_a_session_is_its_end_in_the_other_daemon(daemons: TwoDaemons, name: str) -> None:
    customer = daemons.customer(name)
    signed, token = daemons.token(customer)
    bearer = Browser(signed.token)
    assert signed.sign_in(daemons.first) == 200
    views = [signed.watch(daemons.second, customer), signed.watch(daemons.first, customer)]
    by_token = [bearer.watch(daemons.second, customer)]
    neighbour, _ = daemons.token(daemons.customer("neighbour"))
    assert neighbour.sign_in(daemons.first) == 200
    ENDS[name](daemons, signed, token, customer)
    assert all(view.ends() for view in views)
    for daemon in (daemons.second, daemons.first):
        assert signed.status(daemon) == 401
        assert neighbour.status(daemon) == 200
    if name in ("signed out", "ended from the list"):
        assert bearer.status(daemons.second) == 200
        assert by_token[0].goes_on()
    else:
        assert all(view.ends() for view in by_token)
        assert bearer.status(daemons.second) == 401


def test_a_token_that_expires_ends_what_it_opened(daemons: TwoDaemons) -> None:
    customer = daemons.customer("expires")
    for seconds in (3, 10, 60):
        expires = int(time.time()) + seconds
        try:
            signed, _ = daemons.token(customer, expires=expires)
            assert signed.sign_in(daemons.first) == 200
            views = [signed.watch(daemons.second, customer), Browser(signed.token).watch(daemons.second, customer)]
        except AssertionError:
            if time.time() < expires or seconds == 60:
                raise
            continue  # the machine was too slow for it: a token that lasts longer
        assert all(view.ends() for view in views)
        assert time.time() >= expires
        assert signed.status(daemons.second) == 401
        return


def test_a_one_time_token_is_valid_for_one_session_in_all_daemons(daemons: TwoDaemons) -> None:
    customer = daemons.customer("one time")
    made = daemons.first.run("token", "add", "--operator", "--once", "once")
    assert made.returncode == 0, made.stderr
    signed, again = Browser(made.stdout.split()[0]), Browser(made.stdout.split()[0])
    assert again.status(daemons.second) == 401, "no bearer"
    assert signed.sign_in(daemons.first) == 200
    assert again.sign_in(daemons.second) == 401
    view = signed.watch(daemons.second, customer)
    assert signed.status(daemons.second) == 200
    assert signed.call(daemons.first, "DELETE", "/session")[0] == 204
    assert view.ends()
    assert signed.status(daemons.second) == 401


def test_a_customers_one_time_session_is_listed_and_ends_with_the_customer(daemons: TwoDaemons) -> None:
    customer = daemons.customer("once")
    made = daemons.first.run("token", "add", "--customer", customer, "--once", "once")
    signed = Browser(made.stdout.split()[0])
    assert signed.sign_in(daemons.first) == 200
    (listed,) = json.loads(signed.call(daemons.second, "GET", "/sessions")[2])["sessions"]
    assert (listed["customer_id"], listed["current"]) == (customer, True)
    view = signed.watch(daemons.second, customer)
    assert daemons.operator.call(daemons.first, "DELETE", f"/customers/{customer}")[0] == 204
    assert view.ends()
    assert signed.status(daemons.second) == 401


@pytest.fixture(params=["embedded", "production"])
def guessed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    folder = tmp_path_factory.mktemp("guessed")
    daemon = RunningDaemon(folder, PACES | pair_of(request, folder.name.replace("-", "_")))
    daemon.start()
    yield daemon
    daemon.kill()


def test_a_hundred_wrong_passwords_after_a_restart_lock_nobody_out(guessed: RunningDaemon) -> None:
    """From one address: right passwords and tokens that the new process has not seen yet are accepted, and those that it has cached at once."""
    for serial in (SERIAL, OTHER):
        add_customer(guessed, serial, load="1", solar="2")
    token = guessed.run("token", "add", "--operator", "operator").stdout.strip()
    rows = readings(int(time.time()) // 60 * 60 - 600, 2, 5.0)
    content = encode.gz(encode.log_text(rows, VERIS))
    assert acknowledged(upload(guessed, SERIAL, "1", rows))
    guessed.kill()
    guessed.start()
    for number in range(100):
        assert status_of(exchange(guessed, log_request(SERIAL, content, f"guess {number}"), GUESSER)) in (401, 503)
    assert status_of(exchange(guessed, log_request(SERIAL, content), GUESSER)) == 200
    assert status_of(exchange(guessed, log_request(OTHER, content), GUESSER)) == 200
    for number in range(100):
        wrong = exchange(guessed, bearer(f"cenergyd_{number}"), GUESSER)
        assert status_of(wrong) in (401, 429)
    assert status_of(exchange(guessed, bearer(token), GUESSER)) == 200
    session = json.dumps({"token": token}).encode()
    head = f"POST /api/v1/session HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(session)}\r\n\r\n"
    assert status_of(exchange(guessed, head.encode() + session, GUESSER)) == 200
    assert status_of(exchange(guessed, log_request(SERIAL, content), GUESSER)) == 200


def bearer(token: str) -> bytes:
    return f"GET /api/v1/session HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
