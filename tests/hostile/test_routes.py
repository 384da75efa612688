"""Every route of the API and every page, with values of the wrong type, half surrogates and huge numbers: no error of ours.

The routes are asked of the daemon, so that one that is new is tried too.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest

from cenergyd.web.pages.app import SUBJECTS
from cenergyd.web.pages.settings import SettingsPages
from tests.daemon_process import RunningDaemon
from tests.hostile.conftest import SERIAL

TEXTS = (
    "", " ", "0", "-1", "1e400", "nan", "9" * 4000, "-" + "9" * 18, "1.5", "\0", "\r\nX-Injected: 1", "é\u202e", "\ud800", "../..", "<script>", "%", "x" * 60_000,
    "[]", "{}", "null", "2026-02-30", "0000-01-01", "9999-12-31", SERIAL, f"{SERIAL}_1", "utility", "15m",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    1.5,
    "",
    "x" * 5000,
    "\ud800",
    "\0",
    [],
    [[]],
    [None],
    ["1"] * 2000,
    {},
    {"a": {"b": []}},
)
BODIES = (
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b'{"x":' * 5000, b"[" * 60_000, b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}', b"\xff\xfe{}", b"\x1f\x8b",
    b'{"a":1,"a":2}', b'{"a":' + b"9" * 60_000 + b"}",
)  # fmt: skip
DOCUMENT_MEMBERS = (
    "name", "load", "solar", "facility", "logger_serial_number", "logger_password", "time_zone", "extensions", "tariff", "alerts", "channels", "rules", "channel", "code",
    "start", "end", "since", "kind", "factor", "reason", "series", "meter", "layout", "roles", "released", "plugin", "token", "role", "customer_id", "expires", "version",
    "currency", "seasons", "periods", "price", "threshold",
)  # fmt: skip


class Api(NamedTuple):
    """A daemon and somebody who may do all."""

    daemon: RunningDaemon
    token: str
    customer: str
    paths: dict[str, dict[str, Any]]

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=120)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": kind,
            "If-Match": "*",
            "Origin": self.daemon.url,
        }
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            if answer.getheader("Content-Type", "").startswith("text/event-stream"):
                return answer.status, b""
            found = answer.read()
            assert answer.getheader("X-Injected") is None
            return answer.status, found
        finally:
            link.close()


@pytest.fixture(scope="module")
def api(daemon: RunningDaemon) -> Iterator[Api]:
    token = daemon.run("token", "add", "--operator", "fuzz").stdout.strip()
    status, answer = daemon.get("/api/v1/customers", {"Authorization": f"Bearer {token}"})
    assert status == 200
    customer = json.loads(answer)["customers"][0]["id"]
    paths = json.loads(daemon.get("/api/v1/openapi.json")[1])["paths"]
    yield Api(daemon, token, customer, paths)
    assert "Traceback" not in daemon.log()
    assert daemon.get("/readyz")[0] == 200


def no_error_of_ours(asked: str, answer: tuple[int, bytes]) -> None:
    status, body = answer
    assert 200 <= status < 500, (asked[:300], status, body[:300])
    assert b"Traceback" not in body


def filled(path: str, customer: str, other: str) -> str:
    """A route's path with the real customer and something else in every other place."""
    parts = []
    for part in path.split("/"):
        name = part.strip("{}<>") if part[:1] in ("{", "<") else None
        parts.append(
            part
            if name is None
            else customer
            if name == "customer_id"
            else quote(other[:200].encode("utf-8", "replace"), safe="")
        )
    return "/".join(parts)


def test_questions_of_the_api(api: Api) -> None:
    for path, methods in api.paths.items():
        if "get" not in methods:
            continue
        names = [
            parameter["name"] for parameter in methods["get"].get("parameters", ()) if parameter.get("in") == "query"
        ]
        target = f"/api/v1{filled(path, api.customer, SERIAL)}"
        for text in TEXTS:
            sent = text.encode("utf-8", "surrogatepass")[:8000]
            for name in (*names, "unknown"):
                asked = f"{target}?{urlencode({name: sent})}"
                no_error_of_ours(asked, api.ask("GET", asked))
            if names:
                asked = f"{target}?{urlencode([(name, sent[:500]) for name in names] * 2)}"
                no_error_of_ours(asked, api.ask("GET", asked))
            if "{" in path and text.isprintable():
                asked = f"/api/v1{filled(path, api.customer, text or 'x')}"
                no_error_of_ours(asked, api.ask("GET", asked))


def changing(api: Api) -> Iterator[tuple[str, str]]:
    for path, methods in api.paths.items():
        for method in {"post", "put", "patch", "delete"} & methods.keys():
            if path in ("/customers/{customer_id}", "/session") and method == "delete":
                continue
            yield method.upper(), f"/api/v1{filled(path, api.customer, SERIAL)}"


def test_changes_by_the_api(api: Api) -> None:
    some = [
        (member, VALUES[(7 * number + place) % len(VALUES)])
        for number, member in enumerate(DOCUMENT_MEMBERS)
        for place in range(3)
    ]
    documents = [json.dumps({member: value}).encode() for member, value in some]
    every = [json.dumps(dict.fromkeys(DOCUMENT_MEMBERS, value)).encode()[:65_000] for value in VALUES]
    for method, target in changing(api):
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        for body in (*BODIES, *documents, *every):
            no_error_of_ours(f"{method} {target} {body[:100]!r}", api.ask(method, target, body, kind))


def test_pages_and_forms(api: Api) -> None:
    token, daemon = api.token, api.daemon
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    link.request(
        "POST",
        "/api/v1/session",
        json.dumps({"token": token}),
        {"Content-Type": "application/json", "Origin": daemon.url},
    )
    signed = link.getresponse()
    cookie = (signed.getheader("Set-Cookie") or "").partition(";")[0]
    csrf = json.loads(signed.read())["csrf"]
    link.close()
    routes = [route for make in SUBJECTS for route in make.routes(make.__new__(make))]  # type: ignore[attr-defined]
    routes += SettingsPages.routes(SettingsPages.__new__(SettingsPages))
    forms = [
        urlencode({"csrf": csrf, **dict.fromkeys(DOCUMENT_MEMBERS, text.encode("utf-8", "surrogatepass")[:1000])})
        for text in TEXTS
    ]
    for route in routes:
        if (
            route.path.endswith("/remove")
            and "<customer_id>" in route.path
            and "tariff" not in route.path
            and "channels" not in route.path
        ):
            continue
        if route.path in ("/sign-out", "/sessions/end"):
            continue
        target = filled(route.path, api.customer, SERIAL)
        for number, text in enumerate(TEXTS):
            sent = text.encode("utf-8", "surrogatepass")[:4000]
            query = urlencode(
                dict.fromkeys(
                    (
                        "start",
                        "end",
                        "range",
                        "step",
                        "role",
                        "search",
                        "sort",
                        "cursor",
                        "basis",
                        "at",
                        "name",
                        "number",
                        "why",
                        "next",
                    ),
                    sent[:400],
                )
            )
            http_link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
            headers = {"Cookie": cookie, "Origin": daemon.url, "Content-Type": "application/x-www-form-urlencoded"}
            http_link.request(
                route.method, f"{target}?{query}", forms[number] if route.method == "POST" else None, headers
            )
            answer = http_link.getresponse()
            no_error_of_ours(f"{route.method} {target} {text[:40]!r}", (answer.status, answer.read()))
            http_link.close()
