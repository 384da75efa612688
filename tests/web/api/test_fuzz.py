"""Whatever is sent, the response is a document whose status says whether client or server is at fault."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cenergyd.customers.fields import CLEANERS, clean_settings
from tests.web.api.test_openapi import running_server

FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from([*CLEANERS, "id", "extensions", "logger_password_set"]) | st.text(max_size=10)
header_text = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=80)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running_server(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


def call(
    server: dict[str, Any], method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """The status and the JSON of an answer; anything else raises."""
    connection = http.client.HTTPConnection(server["url"].removeprefix("http://"), timeout=120)
    try:
        connection.request(method, f"/api/v1/{path}", body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None
    finally:
        connection.close()


def authorised(server: dict[str, Any], **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {server['token']}", "Content-Type": "application/json", **more}


@FUZZ
@given(given_settings=st.dictionaries(fields, values, max_size=5) | values)
def test_any_json(server: dict[str, Any], given_settings: Any) -> None:
    body = json.dumps(given_settings).encode()
    status, answer = call(server, "POST", "customers", body, authorised(server))
    if status == 201:
        cleaned, faults = clean_settings(given_settings)
        assert not faults
        cleaned.pop("logger_password", None)
        assert {field: answer[field] for field in cleaned} == cleaned
        assert "logger_password" not in answer
    else:
        assert status in (400, 422)
        assert answer["status"] == status


@FUZZ
@given(body=st.binary(max_size=200), method=st.sampled_from(["POST", "PUT", "PATCH"]))
def test_any_bytes(server: dict[str, Any], body: bytes, method: str) -> None:
    path = "customers" if method == "POST" else f"customers/{server['customer']}/settings"
    status, answer = call(server, method, path, body, authorised(server, **{"If-Match": '"x"'}))
    assert status in (400, 412, 422)
    assert answer["status"] == status


@FUZZ
@given(segments=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=5))
def test_any_path(server: dict[str, Any], segments: list[str]) -> None:
    path = "/".join(quote(segment, safe="") for segment in segments)
    status, answer = call(server, "GET", path, None, authorised(server))
    assert status in (200, 404)
    assert status == 200 or answer["status"] == 404


@FUZZ
@given(
    query=st.lists(
        st.tuples(
            st.sampled_from(["start", "end", "resolution", "role", "series", "x"]),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.integers(-(2**70), 2**70).map(str),
        ),
        max_size=6,
    )
)
def test_any_query(server: dict[str, Any], query: list[tuple[str, str]]) -> None:
    text = "&".join(f"{name}={quote(value)}" for name, value in query)
    status, answer = call(server, "GET", f"customers/{server['customer']}/readings?{text}", None, authorised(server))
    assert status in (200, 422)
    assert status == 200 or answer["errors"][0]["field"] in ("start", "end", "resolution", "role", "series")


@FUZZ
@given(authorization=st.none() | header_text, cookie=st.none() | header_text, csrf=header_text, match=header_text)
def test_any_credentials(
    server: dict[str, Any], authorization: str | None, cookie: str | None, csrf: str, match: str
) -> None:
    headers = {"Content-Type": "application/json", "X-CSRF-Token": csrf, "If-Match": match}
    if authorization is not None:
        headers["Authorization"] = authorization
    headers["Cookie"] = f"cenergyd={cookie}" if cookie is not None else f"cenergyd={server['session']}"
    status, answer = call(server, "PATCH", f"customers/{server['customer']}", b'{"name": "stolen"}', headers)
    assert status in (401, 403)
    assert answer["status"] == status
