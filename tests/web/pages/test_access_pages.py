"""The access page over real HTTP: tokens made, shown once, listed and revoked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted

from cenergyd.errors import InvalidField
from cenergyd.web.pages.access import end_of
from tests.web.harness import Client, WebSide
from tests.web.pages.visitor import Visitor, error_beside, mount_pages

NEW_YORK = ZoneInfo("America/New_York")
NOON = int(datetime(2026, 11, 24, 12, tzinfo=NEW_YORK).timestamp())


async def operator(web: WebSide) -> Visitor:
    mount_pages(web)
    visitor = Visitor(web, web.operator_token)
    await visitor.sign_in()
    return visitor


def secret_in(text: str) -> str:
    match = re.search(r">(cenergyd_[^<]+)<", text)
    assert match, text
    return match[1]


@pytest_twisted.ensureDeferred
async def test_a_token_for_a_customer_is_shown_once_and_lets_in(web: WebSide) -> None:
    visitor = await operator(web)
    customer, _ = await web.customer(name="Mill", time_zone="America/New_York")
    path = f"/customers/{customer.id}/access"
    await visitor.open(path)
    made = await visitor.submit(path, name="The miller", last_day="2999-12-31")
    assert made.status == 201
    assert made.header("Cache-Control") == "no-store"
    secret = secret_in(made.content.decode())
    token = await web.tokens.check(secret, web.clock.now)
    assert token is not None
    assert (token.role, token.customer_id, token.name) == ("customer", customer.id, "The miller")
    assert token.expires == datetime(3000, 1, 1, tzinfo=NEW_YORK).timestamp()
    again = await visitor.open(path)
    assert "The miller" in again
    assert "1 Jan 3000, 00:00" in again
    assert secret not in again
    assert (await Client(web, secret).get(f"customers/{customer.id}")).status == 200


@pytest_twisted.ensureDeferred
async def test_revoking_ends_the_sessions(web: WebSide) -> None:
    visitor = await operator(web)
    customer, client = await web.customer(name="Mill")
    guest = Visitor(web, str(client.token))
    await guest.sign_in()
    assert "Power" in await guest.open(f"/customers/{customer.id}/power")
    listed = await visitor.open(f"/customers/{customer.id}/access")
    assert "a customer" in listed
    done = await visitor.send("/access/revoke", {**visitor.fields, "customer": customer.id})
    assert (done.status, done.header("Location")) == (303, f"/customers/{customer.id}/access?done=revoked")
    await guest.open(f"/customers/{customer.id}/power")
    assert guest.page is not None
    assert guest.page.status == 303
    assert "Nobody can sign in" in await visitor.open(f"/customers/{customer.id}/access?done=revoked")
    late = await visitor.send("/access/revoke", {**visitor.fields, "token": "0" * 16, "customer": "a/../b"})
    assert late.header("Location") == "/customers/a%2F..%2Fb/access?done=gone"


@pytest_twisted.ensureDeferred
async def test_all_tokens_page_by_page(web: WebSide) -> None:
    visitor = await operator(web)
    customer, _ = await web.customer(name="Mill & Sons")
    assert "You are signed in with it." in await visitor.open("/access")
    assert f'<a href="/customers/{customer.id}/access">Mill &amp; Sons</a>' in await visitor.open("/access")
    size = web.context.page_size
    for number in range(size):
        await web.tokens.add("operator", f"program {number}", web.clock.now)
    first = await visitor.open("/access")
    second = await visitor.open(f"/access?{following(first)}")
    ids = [re.findall(r'name="token" value="(\w+)"', text) for text in (first, second)]
    assert [len(each) for each in ids] == [size, 2]
    assert not set(ids[0]) & set(ids[1])
    assert "Next page" not in second


def following(text: str) -> str:
    match = re.search(r'href="/access\?(cursor=\w+)"', text)
    assert match, text
    return match[1]


@pytest.mark.parametrize(
    ("field", "given", "fault"),
    [
        ("name", {"name": " ", "last_day": ""}, "A name of 1 to 100 printable characters is needed."),
        ("last_day", {"name": "x", "last_day": "soon"}, "A day is needed, such as 2027-12-31, or nothing."),
        ("last_day", {"name": "x", "last_day": "2020-01-01"}, "This day is over."),
    ],
)
@pytest_twisted.ensureDeferred
async def test_faults_beside_their_fields(web: WebSide, field: str, given: dict[str, str], fault: str) -> None:
    visitor = await operator(web)
    before = await visitor.open("/access")
    wrong = await visitor.submit("/access", **given)
    assert wrong.status == 422
    assert error_beside(wrong.content.decode(), field) == fault
    assert visitor.fields["last_day"] == given["last_day"]
    assert len(await web.tokens.page()) == before.count("Revoke…")


@pytest_twisted.ensureDeferred
async def test_customers_have_no_such_page(web: WebSide) -> None:
    mount_pages(web)
    customer, client = await web.customer(name="Mill")
    visitor = Visitor(web, str(client.token))
    await visitor.sign_in()
    assert "/access" not in await visitor.open(f"/customers/{customer.id}/power")
    for path in ("/access", f"/customers/{customer.id}/access"):
        await visitor.open(path)
        assert visitor.page is not None
        assert visitor.page.status == 403


def test_a_last_day_ends_at_local_midnight() -> None:
    assert end_of("2026-11-24", NEW_YORK, NOON) == NOON + 12 * 3600
    # The day on which the clocks go back has 25 hours.
    assert end_of("2027-11-07", NEW_YORK, NOON) - end_of("2027-11-06", NEW_YORK, NOON) == 25 * 3600
    assert end_of("2027-12-31", ZoneInfo("UTC"), NOON) == datetime(2028, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "day", ["2026-11-23", "9999-12-31", "0001-01-01", "2027-02-30", "1", "\u0661", "2027-12-31T10"]
)
def test_days_that_are_none_or_over(day: str) -> None:
    with pytest.raises(InvalidField) as caught:
        end_of(day, NEW_YORK, NOON)
    assert caught.value.field == "last_day"
