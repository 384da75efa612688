"""The OpenAPI document is there, valid and true: schemathesis calls everything it names on a listening server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.web.harness import World

ROOT = Path(__file__).parents[2]


@pytest_twisted.ensureDeferred
async def test_names_every_route_and_refers_to_nothing_missing(world: World) -> None:
    answer = await world.anybody().get("openapi.json")
    assert answer.status == 200
    document = answer.json
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in world.api.route_table}
    identities = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(identities) == len(set(identities))
    for reference in set(references(document)):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    unused = set(document["components"]["schemas"]) - {name.rsplit("/", 1)[-1] for name in references(document)}
    assert unused == set()


@pytest_twisted.ensureDeferred
async def test_every_path_parameter_is_described(world: World) -> None:
    for route in world.api.route_table:
        named = {parameter["name"] for parameter in route.operation["parameters"] if parameter["in"] == "path"}
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
    """The web side in another process, and what it says about itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.web.serve", str(folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


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
            "--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1",
            "--request-timeout", "10", "--generation-database", "none", "--no-color",
            # It learns ids from answers: it would revoke the token that it comes with, and one stream never ends.
            "--exclude-operation-id", "revokeToken", "--exclude-operation-id", "streamEvents",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


CONFIG = """
# Meters taken twice and serial numbers taken by others are valid by the schema, and random entity tags match nothing.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "412", "422"]

# 428 is what RFC 6585 has for a missing If-Match.
[checks.missing_required_header]
expected-statuses = ["401", "428"]

[[operations]]
include-operation-id = "signIn"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "401"]
"""
