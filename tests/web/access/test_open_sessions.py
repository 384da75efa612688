"""Open sessions are listed for those whose they are, and can be ended."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.web.access.test_access import signed_in
from tests.web.harness import Client, World
from tests.web.pages.visitor import Visitor, mount_pages


async def listed(client: Client, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("sessions", params=params)
    assert answer.status == 200, answer.content
    found: list[dict[str, Any]] = answer.json["sessions"]
    return found


@pytest_twisted.ensureDeferred
async def test_a_session_is_listed_with_its_token_times_and_address(world: World) -> None:
    client, _ = await signed_in(world, world.operator_token)
    (session,) = await listed(client)
    assert (session["name"], session["role"], session["customer_id"]) == ("the operator", "operator", None)
    assert session["address"] == session["last_address"] == "127.0.0.1"
    assert session["created"] == pytest.approx(world.clock.now, abs=5)
    assert session["last_used"] == session["created"]
    assert session["ends"] == session["created"] + world.settings.session_max_seconds
    assert session["current"]
    world.clock.offset += world.settings.session_idle_seconds // 2
    (session,) = await listed(client)
    (bearer,) = await listed(world.operator)
    assert bearer == {**session, "current": False}
    assert bearer["last_used"] == pytest.approx(world.clock.now, abs=5)
    cookie = next(iter(client.cookies.values()))
    assert cookie not in repr(session)


@pytest.mark.parametrize("world", [{"proxies": ("127.0.0.1",)}], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_use_from_elsewhere_is_shown_within_a_minute(world: World) -> None:
    client, _ = await signed_in(world, world.operator_token, X_Forwarded_For="203.0.113.9")
    world.clock.offset += 61
    client.headers = {"X-Forwarded-For": "198.51.100.7"}
    assert (await client.get("session")).status == 200
    (session,) = await listed(world.operator)
    assert (session["address"], session["last_address"]) == ("203.0.113.9", "198.51.100.7")


@pytest_twisted.ensureDeferred
async def test_customers_see_and_end_their_own_sessions_only(world: World) -> None:
    own, token = await world.customer(name="own")
    _, other_token = await world.customer(name="other")
    mine, csrf = await signed_in(world, str(token.token))
    second, _ = await signed_in(world, str(token.token))
    other, _ = await signed_in(world, str(other_token.token))
    operator, _ = await signed_in(world, world.operator_token)
    found = await listed(mine)
    assert [entry["customer_id"] for entry in found] == [own.id, own.id]
    assert sorted(entry["current"] for entry in found) == [False, True]
    everybody = await listed(world.operator)
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
    for entry in await listed(world.operator):
        assert (await world.operator.delete(f"sessions/{entry['id']}")).status == 204
    assert [(await client.get("session")).status for client in (mine, other, operator)] == [401, 401, 401]


@pytest_twisted.ensureDeferred
async def test_what_is_over_is_not_listed(world: World) -> None:
    made = await world.operator.post("tokens", {"role": "operator", "name": "second"})
    await signed_in(world, made.json["token"])
    expires = world.clock.now + 100
    short = await world.operator.post("tokens", {"role": "operator", "name": "short", "expires": expires})
    await signed_in(world, short.json["token"])
    await signed_in(world, world.operator_token)
    assert {entry["name"] for entry in await listed(world.operator)} == {"second", "short", "the operator"}
    await world.operator.delete(f"tokens/{made.json['id']}")
    assert {entry["name"] for entry in await listed(world.operator)} == {"short", "the operator"}
    world.clock.offset += 101
    assert {entry["name"] for entry in await listed(world.operator)} == {"the operator"}
    world.clock.offset += world.settings.session_idle_seconds
    assert await listed(world.operator) == []


@pytest_twisted.ensureDeferred
async def test_pages_of_sessions(world: World) -> None:
    own, token = await world.customer(name="own")
    other = await world.operator.post("tokens", {"role": "customer", "name": "second", "customer_id": own.id})
    for secret in (str(token.token), other.json["token"], str(token.token)):
        await signed_in(world, secret)
    for client in (world.operator, token):
        whole = await listed(client)
        first = (await client.get("sessions", params={"limit": "2"})).json
        second = (await client.get("sessions", params={"limit": "2", "cursor": first["next"]})).json
        assert first["sessions"] + second["sessions"] == whole
        assert (len(whole), second["next"]) == (3, None)


@pytest.mark.parametrize("wrong", ["0" * 16, "0", "x" * 64, "..", "%00", "é", "0" * 200])
@pytest_twisted.ensureDeferred
async def test_no_such_session(world: World, wrong: str) -> None:
    await signed_in(world, world.operator_token)
    assert (await world.operator.delete(f"sessions/{wrong}")).status in (400, 404)
    assert len(await listed(world.operator)) == 1


@pytest_twisted.ensureDeferred
async def test_the_page_lists_and_ends_sessions(world: World) -> None:
    mount_pages(world)
    _, token = await world.customer(name="Mill & Sons")
    guest, operator = Visitor(world, str(token.token)), Visitor(world, world.operator_token)
    await guest.sign_in()
    await operator.sign_in()
    seen = await guest.open("/sessions")
    assert "a customer" in seen
    assert "This browser" in seen
    assert seen.count('name="session"') == 1
    (session,) = [entry for entry in await listed(world.operator) if entry["customer_id"]]
    seen = await operator.open("/sessions")
    assert "Mill &amp; Sons" in seen
    done = await operator.send("/sessions/end", {**operator.fields, "session": session["id"]})
    assert (done.status, done.header("Location")) == (303, "/sessions?done=ended")
    await guest.open("/sessions")
    assert guest.page is not None
    assert guest.page.status == 303
    again = await operator.send("/sessions/end", {**operator.fields, "session": session["id"]})
    assert again.header("Location") == "/sessions?done=gone"
    (own,) = await listed(world.operator)
    out = await operator.send("/sessions/end", {**operator.fields, "session": own["id"]})
    assert out.header("Location") == "/sign-in?done=signed-out"
    assert await listed(world.operator) == []
