"""The OpenAPI document is there, valid and true: schemathesis calls everything it names on a running daemon."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload
from tests.web.harness import WebSide

SERIAL = "001EC6001433"


@pytest_twisted.ensureDeferred
async def test_names_every_route_and_refers_to_nothing_missing(web: WebSide) -> None:
    answer = await web.anybody().get("openapi.json")
    assert answer.status == 200
    document = answer.json
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in web.api._router.routes}
    identities = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(identities) == len(set(identities))
    for reference in set(references(document)):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    unused = set(document["components"]["schemas"]) - {name.rsplit("/", 1)[-1] for name in references(document)}
    assert unused == set()


@pytest_twisted.ensureDeferred
async def test_every_path_parameter_is_described(web: WebSide) -> None:
    for route in web.api._router.routes:
        named = {parameter["name"] for parameter in route.operation.parameters if parameter["in"] == "path"}
        in_path = {part[1:-1] for part in route.path.split("/") if part.startswith("{")}
        assert named == in_path, route.path


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


@contextmanager
def running_server(folder: Path) -> Iterator[dict[str, Any]]:
    """A daemon with a customer, uploads, an operator's token and a session; and what callers need to know of it."""
    daemon = RunningDaemon(
        folder,
        {"cenergyd.web.access.auth.MAX_WRONG_TOKENS": "100000", "cenergyd.web.views.curve_reader.MAX_POINTS": "2000"},
    )
    try:
        daemon.start()
        add_customer(daemon, SERIAL, facility="1", solar="2")
        now = int(time.time())
        for meter in ("1", "2"):
            assert acknowledged(upload(daemon, SERIAL, meter, readings(now - 6000, 100, 0.0)))
        upload(daemon, "BAD", "1", readings(now - 6000, 1, 0.0))
        token = daemon.run("token", "add", "--operator", "test").stdout.strip()
        (customer,) = call(daemon, "GET", "customers", token)[1]["customers"]
        answer, _ = call(daemon, "POST", "session", None, {"token": token})
        cookie = answer.getheader("Set-Cookie") or ""
        yield {
            "url": daemon.url, "token": token, "customer": customer["id"], "now": now,
            "session": cookie.split(";")[0].partition("=")[2],
        }  # fmt: skip
        assert daemon.stop() == 0, daemon.log()
        assert "Traceback" not in daemon.log()
    finally:
        daemon.kill()


def call(daemon: RunningDaemon, method: str, path: str, token: str | None, body: Any = None) -> tuple[Any, Any]:
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        link.request(method, f"/api/v1/{path}", json.dumps(body) if body is not None else None, headers)
        answer = link.getresponse()
        return answer, json.loads(answer.read())
    finally:
        link.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with running_server(tmp_path) as running:
        yield running


@pytest.mark.slow
def test_schemathesis_finds_nothing(server: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    base = f"{server['url']}/api/v1"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")), "--config-file", str(config), "run", f"{base}/openapi.json",
            "--url", base, "--header", f"Authorization: Bearer {server['token']}",
            "--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "2", "--seed", "1",
            "--request-timeout", "60", "--generation-database", "none", "--no-color",
            # It learns ids from answers: it would revoke the token that it comes with, and one stream never ends.
            "--exclude-operation-id", "revokeToken", "--exclude-operation-id", "streamEvents",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


CONFIG = """
# Meters taken twice and serial numbers taken by others are valid by the schema, and random entity tags match nothing.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "412", "422"]

# 428 is what RFC 6585 has for a missing If-Match.
[checks.missing_required_header]
expected-statuses = ["401", "428"]

# A body of more than 64 KiB is refused before it is looked at.
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]

[[operations]]
include-operation-id = "signIn"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "401"]
"""
