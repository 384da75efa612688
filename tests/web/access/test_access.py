"""Who may do what, signing in and out, CSRF, throttled guesses, cookies."""

from __future__ import annotations

import pytest
import pytest_twisted

from cenergyd.runtime import attempts
from cenergyd.web.access.auth import FAILURE_COUNTED_SECONDS
from cenergyd.web.api.routing import Route
from tests.web.harness import Client, WebSide


def all_routes(web: WebSide) -> list[Route]:
    return [route for route in web.api._router.routes if route.operation.id != "streamEvents"]


def filled(route: Route, customer_id: str) -> str:
    return (
        route.path.lstrip("/")
        .replace("{customer_id}", customer_id)
        .replace("{serial}", "A1")
        .replace("{token_id}", "0" * 16)
        .replace("{session_id}", "0" * 16)
    )


async def status_of(client: Client, route: Route, customer_id: str) -> int:
    headers = {"If-Match": '"000000000000000000000000"'}
    body = {} if route.method in ("POST", "PUT", "PATCH") else None
    params = {"start": "0", "end": "1"} if "readings" in route.path else None
    return (await client.call(route.method, filled(route, customer_id), body, headers, params=params)).status


@pytest.mark.parametrize("web", [{"constants": {"access.auth.MAX_WRONG_TOKENS": 1000}}], indirect=True)
@pytest_twisted.ensureDeferred
async def test_every_route_for_every_caller(web: WebSide) -> None:
    own, customer = await web.customer(name="own", logger_serial_number="A1")
    other, _ = await web.customer(name="other", logger_serial_number="B1")
    routes = all_routes(web)
    assert len(routes) > 20
    for route in routes:
        name = f"{route.method} {route.path}"
        nobody = await status_of(web.anybody(), route, own.id)
        wrong = await status_of(Client(web, "cenergyd_wrong"), route, own.id)
        mine = await status_of(customer, route, own.id)
        theirs = await status_of(customer, route, other.id)
        operator = await status_of(web.operator, route, own.id)
        if route.access == "public":
            assert 401 not in (mine, operator) or route.path == "/session", name
            continue
        assert nobody == 401, name
        assert wrong == 401, name
        assert operator not in (401, 403), name
        if route.access == "operator":
            assert mine == theirs == 403, name
        else:
            assert mine not in (401, 403), name
            if "{customer_id}" in route.path:
                assert theirs == 404, name
    assert (await web.customers.get(own.id)).name == "own"
    assert (await web.customers.get(other.id)).name == "other"


@pytest_twisted.ensureDeferred
async def test_a_customer_sees_and_changes_only_itself(web: WebSide) -> None:
    own, customer = await web.customer(name="own")
    other, _ = await web.customer(name="other")
    listed = (await customer.get("customers")).json
    assert [entry["id"] for entry in listed["customers"]] == [own.id]
    assert listed["next"] is None
    read = await customer.get(f"customers/{own.id}")
    changed = await customer.patch(f"customers/{own.id}", {"name": "new"}, headers={"If-Match": read.etag})
    assert changed.json["name"] == "new"
    unknown = await customer.get("customers/unknown")
    foreign = await customer.get(f"customers/{other.id}")
    assert unknown.json == foreign.json
    denied = await customer.patch(f"customers/{other.id}", {"name": "stolen"}, headers={"If-Match": "*"})
    assert denied.status == 404
    assert (await web.customers.get(other.id)).name == "other"


async def signed_in(web: WebSide, token: str, **headers: str) -> tuple[Client, str]:
    client = web.anybody(**headers)
    answer = await client.post("session", {"token": token})
    assert answer.status == 200, answer.content
    return client, answer.json["csrf"]


@pytest_twisted.ensureDeferred
async def test_session(web: WebSide) -> None:
    client = web.anybody()
    answer = await client.post("session", {"token": web.operator_token})
    cookie = answer.header("Set-Cookie") or ""
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    assert answer.json["role"] == "operator"
    who = (await client.get("session")).json
    assert who == answer.json
    assert (await client.get("customers")).status == 200
    out = await client.delete("session", headers={"X-CSRF-Token": who["csrf"]})
    assert out.status == 204
    client.cookies = dict([cookie.split(";")[0].split("=", 1)])  # a thief keeps the old one
    assert (await client.get("session")).status == 401


@pytest_twisted.ensureDeferred
async def test_no_secret_is_stored(web: WebSide) -> None:
    client, csrf = await signed_in(web, web.operator_token)
    cookie = next(iter(client.cookies.values()))
    stored = [
        (document.key, document.body)
        for kind in ("token", "session")
        for document in await web.documents.find(kind, limit=1000)
    ]
    assert len(stored) == 2
    for secret in (web.operator_token, cookie, csrf):
        assert secret not in repr(stored)


@pytest_twisted.ensureDeferred
async def test_csrf(web: WebSide) -> None:
    client, csrf = await signed_in(web, web.operator_token)
    body = {"name": "made"}
    for headers in (
        {},
        {"X-CSRF-Token": "wrong"},
        {"X-CSRF-Token": csrf, "Origin": "https://evil.example"},
        {"X-CSRF-Token": csrf, "Origin": "null"},
        {"X-CSRF-Token": csrf, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": csrf, "Sec-Fetch-Site": "same-site"},
    ):
        answer = await client.post("customers", body, headers=headers)
        assert answer.status == 403, headers
    assert await web.customers.count() == 0
    right = {"X-CSRF-Token": csrf, "Origin": web.url, "Sec-Fetch-Site": "same-origin"}
    assert (await client.post("customers", body, headers=right)).status == 201
    _, other_csrf = await signed_in(web, web.operator_token)
    assert other_csrf != csrf
    assert (await client.post("customers", body, headers={"X-CSRF-Token": other_csrf})).status == 403
    cross = await web.anybody().post("session", {"token": web.operator_token}, headers={"Origin": "http://evil"})
    assert cross.status == 403


@pytest.mark.parametrize("web", [{"constants": {"access.auth.MAX_WRONG_TOKENS": 3}}], indirect=True)
@pytest_twisted.ensureDeferred
async def test_wrong_tokens_are_slowed_and_right_ones_never(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_WAIT_SECONDS", 0.5)  # every turn is too far away for a test to wait
    began = web.clock.seconds()  # and none comes because the machine is slow
    monkeypatch.setattr(type(web.clock), "seconds", lambda clock: began + clock.offset)
    client, _ = await signed_in(web, web.operator_token)
    answers = [await web.anybody().post("session", {"token": f"guess{n}"}) for n in range(5)]
    assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]
    assert answers[-1].header("Retry-After")
    assert (await Client(web, "cenergyd_guess").get("customers")).status == 429
    assert (await client.get("customers")).status == 200
    assert (await Client(web, web.operator_token).get("customers")).status == 200
    await signed_in(web, web.operator_token)
    web.clock.offset += FAILURE_COUNTED_SECONDS + 1
    assert (await Client(web, "cenergyd_guess").get("customers")).status == 401


@pytest_twisted.ensureDeferred
async def test_sessions_end(web: WebSide) -> None:
    idle, maximum = web.settings.session_idle_seconds, web.settings.session_max_seconds
    quiet, _ = await signed_in(web, web.operator_token)
    busy, _ = await signed_in(web, web.operator_token)
    start = web.clock.offset
    while web.clock.offset - start < maximum - idle:
        web.clock.offset += idle // 2
        assert (await busy.get("session")).status == 200
    assert (await quiet.get("session")).status == 401
    web.clock.offset = start + maximum + 1
    assert (await busy.get("session")).status == 401


@pytest_twisted.ensureDeferred
async def test_revoked_token_ends_sessions(web: WebSide) -> None:
    made = await web.operator.post("tokens", {"role": "operator", "name": "second"})
    assert made.status == 201
    client, _ = await signed_in(web, made.json["token"])
    bearer = Client(web, made.json["token"])
    assert (await bearer.get("session")).json["csrf"] is None
    assert (await web.operator.delete(f"tokens/{made.json['id']}")).status == 204
    assert (await client.get("session")).status == 401
    assert (await bearer.get("session")).status == 401
    assert (await web.operator.delete(f"tokens/{made.json['id']}")).status == 404


@pytest_twisted.ensureDeferred
async def test_expired_token(web: WebSide) -> None:
    made = await web.operator.post("tokens", {"role": "operator", "name": "short", "expires": web.clock.now + 100})
    client, _ = await signed_in(web, made.json["token"])
    web.clock.offset += 101
    assert (await client.get("session")).status == 401
    assert (await Client(web, made.json["token"]).get("session")).status == 401


@pytest_twisted.ensureDeferred
async def test_removing_a_customer_revokes_its_tokens(web: WebSide) -> None:
    own, customer = await web.customer(name="own")
    session, _ = await signed_in(web, customer.token or "")
    await web.operator.delete(f"customers/{own.id}", headers={"If-Match": "*"})
    assert (await customer.get("session")).status == 401
    assert (await session.get("session")).status == 401


@pytest_twisted.ensureDeferred
async def test_tokens_are_listed_without_their_secret(web: WebSide) -> None:
    own, customer = await web.customer(name="own")
    listed = await web.operator.get("tokens")
    assert {entry["name"] for entry in listed.json["tokens"]} == {"the operator", "a customer"}
    assert (customer.token or "").encode() not in listed.content
    own_tokens = (await web.operator.get("tokens", params={"customer_id": own.id})).json["tokens"]
    assert [entry["customer_id"] for entry in own_tokens] == [own.id]
    first = (await web.operator.get("tokens", params={"limit": "1"})).json
    second = (await web.operator.get("tokens", params={"limit": "1", "cursor": first["next"]})).json
    assert second["next"] is None
    assert first["tokens"] + second["tokens"] == listed.json["tokens"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "root", "name": "x"}, "role"),
        ({"role": ["operator"], "name": "x"}, "role"),
        ({"name": "x"}, "role"),
        ({"role": "operator"}, "name"),
        ({"role": "operator", "name": "\u202e\n"}, "name"),
        ({"role": "operator", "name": "x", "customer_id": "1"}, "customer_id"),
        ({"role": "customer", "name": "x"}, "customer_id"),
        ({"role": "customer", "name": "x", "customer_id": "nobody"}, "customer_id"),
        ({"role": "operator", "name": "x", "expires": 1}, "expires"),
        ({"role": "operator", "name": "x", "expires": True}, "expires"),
        ({"role": "operator", "name": "x", "key": 1}, "key"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_wrong_tokens_are_not_made(web: WebSide, body: dict[str, object], field: str) -> None:
    answer = await web.operator.post("tokens", body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("web", [{"sessions_per_token": 2}], indirect=True)
@pytest_twisted.ensureDeferred
async def test_sessions_of_a_token_are_bounded(web: WebSide) -> None:
    clients = []
    for _ in range(4):
        clients.append((await signed_in(web, web.operator_token))[0])
        web.clock.offset += 1
    assert [(await client.get("session")).status for client in clients] == [401, 401, 200, 200]


@pytest.mark.parametrize("web", [{"proxies": ("127.0.0.1",)}], indirect=True)
@pytest_twisted.ensureDeferred
async def test_behind_a_tls_proxy(web: WebSide) -> None:
    proxy = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "203.0.113.9", "X_Forwarded_Host": "power.example"}
    client = web.anybody(**proxy)
    answer = await client.post("session", {"token": web.operator_token}, headers={"Origin": "https://power.example"})
    cookie = answer.header("Set-Cookie") or ""
    assert cookie.startswith("__Host-cenergyd=")
    assert "; Secure" in cookie
    assert answer.header("Strict-Transport-Security") == "max-age=31536000"
    assert (await client.get("session")).status == 200
    plain = Client(web)
    plain.cookies = client.cookies
    assert (await plain.get("session")).status == 401, "a cookie of TLS is not taken without it"


@pytest_twisted.ensureDeferred
async def test_forwarded_headers_of_untrusted_addresses_are_ignored(web: WebSide) -> None:
    client = web.anybody(X_Forwarded_Proto="https")
    answer = await client.post("session", {"token": web.operator_token})
    assert "Secure" not in (answer.header("Set-Cookie") or "")


@pytest_twisted.ensureDeferred
async def test_one_time_token(web: WebSide) -> None:
    secret, _ = await web.tokens.add("operator", "first", web.clock.now, one_time=True)
    assert (await Client(web, secret).get("customers")).status == 401, "no bearer"
    client, csrf = await signed_in(web, secret)
    assert (await web.anybody().post("session", {"token": secret})).status == 401, "only once"
    made = await client.post("tokens", {"role": "operator", "name": "real"}, headers={"X-CSRF-Token": csrf})
    assert made.status == 201
    assert (await Client(web, made.json["token"]).get("customers")).status == 200


@pytest_twisted.ensureDeferred
async def test_other_credentials_are_refused(web: WebSide) -> None:
    for value in ("Basic b3BlcmF0b3I6", "Bearer", "", "Bearer " + "x" * 1000, "Bearer \xff"):
        answer = await web.anybody().get("customers", headers={"Authorization": value})
        assert answer.status == 401, value
        assert answer.header("WWW-Authenticate") == 'Bearer realm="cenergyd"'
    for cookie in ("cenergyd=", "cenergyd=" + "x" * 500, "cenergyd=a; cenergyd=b", "="):
        assert (await web.anybody().get("customers", headers={"Cookie": cookie})).status == 401, cookie
