"""Open sessions are listed for those whose they are, and can be ended."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.web.access.test_access import signed_in
from tests.web.harness import Client, WebSide
from tests.web.pages.visitor import Visitor, mount_pages


async def listed(client: Client, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("sessions", params=params)
    assert answer.status == 200, answer.content
    found: list[dict[str, Any]] = answer.json["sessions"]
    return found


@pytest_twisted.ensureDeferred
async def test_a_session_is_listed_with_its_token_times_and_address(web: WebSide) -> None:
    before = web.clock.now
    client, _ = await signed_in(web, web.operator_token)
    (session,) = await listed(client)
    assert (session["name"], session["role"], session["customer_id"]) == ("the operator", "operator", None)
    assert session["address"] == session["last_address"] == "127.0.0.1"
    assert before <= session["created"] <= web.clock.now
    assert session["last_used"] == session["created"]
    assert session["ends"] == session["created"] + web.settings.session_max_seconds
    assert session["current"]
    web.clock.offset += web.settings.session_idle_seconds // 2
    before = web.clock.now
    (session,) = await listed(client)
    (bearer,) = await listed(web.operator)
    assert bearer == {**session, "current": False}
    assert before <= bearer["last_used"] <= web.clock.now
    cookie = next(iter(client.cookies.values()))
    assert cookie not in repr(session)


@pytest.mark.parametrize("web", [{"proxies": ("127.0.0.1",)}], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_use_from_elsewhere_is_shown_within_a_minute(web: WebSide) -> None:
    client, _ = await signed_in(web, web.operator_token, X_Forwarded_For="203.0.113.9")
    web.clock.offset += 61
    client.headers = {"X-Forwarded-For": "198.51.100.7"}
    assert (await client.get("session")).status == 200
    (session,) = await listed(web.operator)
    assert (session["address"], session["last_address"]) == ("203.0.113.9", "198.51.100.7")


@pytest_twisted.ensureDeferred
async def test_customers_see_and_end_their_own_sessions_only(web: WebSide) -> None:
    own, token = await web.customer(name="own")
    _, other_token = await web.customer(name="other")
    mine, csrf = await signed_in(web, str(token.token))
    second, _ = await signed_in(web, str(token.token))
    other, _ = await signed_in(web, str(other_token.token))
    operator, _ = await signed_in(web, web.operator_token)
    found = await listed(mine)
    assert [entry["customer_id"] for entry in found] == [own.id, own.id]
    assert sorted(entry["current"] for entry in found) == [False, True]
    everybody = await listed(web.operator)
    assert len(everybody) == 4
    headers = {"X-CSRF-Token": csrf}
    for entry in everybody:
        if entry["customer_id"] != own.id:
            assert (await mine.delete(f"sessions/{entry['id']}", headers=headers)).status == 404
    theirs = next(entry for entry in found if not entry["current"])
    assert (await mine.delete(f"sessions/{theirs['id']}")).status == 403, "a change needs the CSRF token"
    assert (await mine.delete(f"sessions/{theirs['id']}", headers=headers)).status == 204
    assert (await mine.delete(f"sessions/{theirs['id']}", headers=headers)).status == 404
    assert [(await client.get("session")).status for client in (mine, second, other, operator)] == [200, 401, 200, 200]
    for entry in await listed(web.operator):
        assert (await web.operator.delete(f"sessions/{entry['id']}")).status == 204
    assert [(await client.get("session")).status for client in (mine, other, operator)] == [401, 401, 401]


@pytest_twisted.ensureDeferred
async def test_what_is_over_is_not_listed(web: WebSide) -> None:
    made = await web.operator.post("tokens", {"role": "operator", "name": "second"})
    await signed_in(web, made.json["token"])
    expires = web.clock.now + 100
    short = await web.operator.post("tokens", {"role": "operator", "name": "short", "expires": expires})
    await signed_in(web, short.json["token"])
    await signed_in(web, web.operator_token)
    assert {entry["name"] for entry in await listed(web.operator)} == {"second", "short", "the operator"}
    await web.operator.delete(f"tokens/{made.json['id']}")
    assert {entry["name"] for entry in await listed(web.operator)} == {"short", "the operator"}
    web.clock.offset += 101
    assert {entry["name"] for entry in await listed(web.operator)} == {"the operator"}
    web.clock.offset += web.settings.session_idle_seconds
    assert await listed(web.operator) == []


@pytest_twisted.ensureDeferred
async def test_pages_of_sessions(web: WebSide) -> None:
    own, token = await web.customer(name="own")
    other = await web.operator.post("tokens", {"role": "customer", "name": "second", "customer_id": own.id})
    for secret in (str(token.token), other.json["token"], str(token.token)):
        await signed_in(web, secret)
    for client in (web.operator, token):
        whole = await listed(client)
        first = (await client.get("sessions", params={"limit": "2"})).json
        second = (await client.get("sessions", params={"limit": "2", "cursor": first["next"]})).json
        assert first["sessions"] + second["sessions"] == whole
        assert (len(whole), second["next"]) == (3, None)


@pytest.mark.parametrize("wrong", ["0" * 16, "0", "x" * 64, "..", "%00", "é", "0" * 200])
@pytest_twisted.ensureDeferred
async def test_no_such_session(web: WebSide, wrong: str) -> None:
    await signed_in(web, web.operator_token)
    assert (await web.operator.delete(f"sessions/{wrong}")).status in (400, 404)
    assert len(await listed(web.operator)) == 1


@pytest_twisted.ensureDeferred
async def test_the_page_lists_and_ends_sessions(web: WebSide) -> None:
    mount_pages(web)
    _, token = await web.customer(name="Mill & Sons")
    guest, operator = Visitor(web, str(token.token)), Visitor(web, web.operator_token)
    await guest.sign_in()
    await operator.sign_in()
    seen = await guest.open("/sessions")
    assert "a customer" in seen
    assert "This browser" in seen
    assert seen.count('name="session"') == 1
    (session,) = [entry for entry in await listed(web.operator) if entry["customer_id"]]
    seen = await operator.open("/sessions")
    assert "Mill &amp; Sons" in seen
    done = await operator.send("/sessions/end", {**operator.fields, "session": session["id"]})
    assert (done.status, done.header("Location")) == (303, "/sessions?done=ended")
    await guest.open("/sessions")
    assert guest.page is not None
    assert guest.page.status == 303
    again = await operator.send("/sessions/end", {**operator.fields, "session": session["id"]})
    assert again.header("Location") == "/sessions?done=gone"
    (own,) = await listed(web.operator)
    out = await operator.send("/sessions/end", {**operator.fields, "session": own["id"]})
    assert out.header("Location") == "/sign-in?done=signed-out"
    assert await listed(web.operator) == []
