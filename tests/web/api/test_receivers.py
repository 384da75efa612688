"""E-mail addresses and numbers get alerts only after their owner, or an operator, confirmed them; over real HTTP, by API and page."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_twisted

from cenergyd.customers.model import Customer
from cenergyd.hookspecs import Notification
from cenergyd.jobs.messages import receiver_codes
from cenergyd.jobs.messages.outbox import MAX_SMS_PER_DAY
from tests.web.harness import Client, Response, WebSide
from tests.web.pages.visitor import Visitor, mount_pages

MAIL = {"type": "email", "to": "a@example.org"}
PHONE = {"type": "sms", "to": "+15551234567"}
ALERT = Notification("n1", "", "net_load", "Alert", "It is.\n", {})


async def put(client: Client, customer: Customer, *channels: Any) -> Response:
    answer = await client.put(
        f"customers/{customer.id}/alerts", {"channels": list(channels)}, headers={"If-Match": "*"}
    )
    assert answer.status == 200, answer.content
    return answer


async def alerted(web: WebSide, customer: Customer) -> int:
    """Number of channels that an alert would go to."""
    outbox = web.context.outbox
    assert outbox is not None
    name = f"n{len(await outbox.deliveries(customer.id))}"
    return await outbox.notify(ALERT._replace(id=name, customer_id=customer.id), web.clock.now)


async def code_for(web: WebSide, customer: Customer, channel: dict[str, str]) -> str:
    """The code of the newest message to a channel."""
    outbox = web.context.outbox
    assert outbox is not None
    messages = await outbox.deliveries(customer.id)
    sent = [message for message in messages if message.kind == "confirmation" and message.channel == channel]
    texts = []
    for message in sent:
        document = await outbox.document(message.key)
        assert document is not None
        assert "code is" not in document.body["notification"]["subject"]
        texts.append((document.body["created"], document.body["notification"]["text"]))
    match = re.search(r"code is (\d{4} \d{4})\.", max(texts)[1])
    assert match
    return match[1]


async def confirm(client: Client, customer: Customer, channel: Any, code: Any = None) -> Response:
    return await client.post(f"customers/{customer.id}/alerts/confirm", {"channel": channel, "code": code})


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_a_customer_adds_gets_alerts_once_confirmed_by_its_code(web: WebSide) -> None:
    customer, client = await web.customer(name="Mill")
    shown = (await put(client, customer, MAIL, PHONE)).json["alerts"]["channels"]
    assert shown == [{**MAIL, "confirmed": False}, {**PHONE, "confirmed": False}]
    assert await alerted(web, customer) == 0
    assert (await client.post(f"customers/{customer.id}/alerts/test", MAIL)).status == 422
    code = await code_for(web, customer, MAIL)
    assert (await confirm(client, customer, PHONE, code)).status == 422, "another receiver's code"
    for wrong in (None, "", "0000 0000" if code != "0000 0000" else "1", "x" * 40, "\u0660" * 8):
        assert (await confirm(client, customer, MAIL, wrong)).status == 422
    web.clock.offset += 1
    assert (await client.post(f"customers/{customer.id}/alerts/code", MAIL)).status == 202
    assert (await confirm(client, customer, MAIL, code)).status == 422, "a new code replaces it"
    code = await code_for(web, customer, MAIL)
    done = await confirm(client, customer, MAIL, code)
    assert done.status == 200, done.content
    assert done.json["alerts"]["channels"] == [{**MAIL, "confirmed": True}, {**PHONE, "confirmed": False}]
    assert (await confirm(client, customer, MAIL, code)).status == 422, "only once"
    assert await alerted(web, customer) == 1
    assert (await client.post(f"customers/{customer.id}/alerts/test", MAIL)).status == 202
    kept = await put(client, customer, {**MAIL, "confirmed": False}, {**PHONE, "confirmed": True})
    assert kept.json["alerts"]["channels"] == [{**MAIL, "confirmed": True}, {**PHONE, "confirmed": False}]
    await put(client, customer, PHONE)
    again = await put(client, customer, MAIL, PHONE)
    assert again.json["alerts"]["channels"][0]["confirmed"] is False, "removed and added again, it is asked again"


@pytest_twisted.ensureDeferred
async def test_an_operator_confirms_by_their_word(web: WebSide) -> None:
    customer, client = await web.customer(name="Mill")
    await put(client, customer, MAIL)
    unchanged = await put(web.operator, customer, MAIL, PHONE)
    assert [each["confirmed"] for each in unchanged.json["alerts"]["channels"]] == [False, True]
    assert (await confirm(client, customer, MAIL)).status == 422
    assert (await confirm(web.operator, customer, MAIL)).status == 200
    assert (await confirm(web.operator, customer, {"type": "email", "to": "b@example.org"})).status == 422
    assert await alerted(web, customer) == 2


@pytest_twisted.ensureDeferred
async def test_receivers_of_before_and_of_the_front_end_stay(web: WebSide) -> None:
    customer, client = await web.customer(name="Mill")
    await web.customers.update(customer.id, {"extensions": {"alerts": {"channels": [MAIL]}}})
    assert await alerted(web, customer) == 1
    changed = await put(client, customer, MAIL, PHONE)
    assert [each["confirmed"] for each in changed.json["alerts"]["channels"]] == [True, False]
    assert await alerted(web, customer) == 1
    stored = await web.customers.get(customer.id)
    assert stored.extensions["alerts"]["confirmed"].popitem()[1]["by"] == "earlier"


@pytest.mark.parametrize("forged", [{"x": 1}, {}, [], True, None, "a"])
@pytest_twisted.ensureDeferred
async def test_nobody_confirms_by_the_settings_they_send(web: WebSide, forged: Any) -> None:
    customer, client = await web.customer(name="Mill")
    path = f"customers/{customer.id}/alerts"
    body = {"channels": [{**MAIL, "confirmed": True}], "confirmed": forged}
    answer = await client.put(path, body, headers={"If-Match": "*"})
    assert answer.status in (200, 422)
    assert await alerted(web, customer) == 0


@pytest_twisted.ensureDeferred
async def test_codes_are_bounded_in_time_tries_and_number(web: WebSide) -> None:
    customer, client = await web.customer(name="Mill")
    await put(client, customer, MAIL)
    code = await code_for(web, customer, MAIL)
    for _ in range(receiver_codes.MAX_TRIES):
        assert (await confirm(client, customer, MAIL, "wrong")).status == 422
    assert (await confirm(client, customer, MAIL, code)).status == 422, "tried too often"
    sent = [await client.post(f"customers/{customer.id}/alerts/code", MAIL) for _ in range(4)]
    assert [answer.status for answer in sent] == [202, 202, 503, 503]
    other, stranger = await web.customer(name="other")
    await put(stranger, other, MAIL)
    outbox = web.context.outbox
    assert outbox is not None
    assert await outbox.deliveries(other.id) == [], "that address has had its codes of the day"
    for number in range(9):
        await put(client, customer, MAIL, {"type": "email", "to": f"{number}@example.org"})
    refused = 2  # those that the address had no share for count, too
    assert len(await outbox.deliveries(customer.id)) == receiver_codes.MAX_CODES_PER_DAY - refused
    web.clock.offset += receiver_codes.CODE_SECONDS
    assert (await client.post(f"customers/{customer.id}/alerts/code", MAIL)).status == 202
    code = await code_for(web, customer, MAIL)
    web.clock.offset += receiver_codes.CODE_SECONDS + 1
    assert (await confirm(client, customer, MAIL, code)).status == 422, "too old"


@pytest_twisted.ensureDeferred
async def test_sms_are_rationed_per_customer_and_day(web: WebSide) -> None:
    customer, _ = await web.customer(name="Mill")
    await put(web.operator, customer, PHONE)
    outbox = web.context.outbox
    assert outbox is not None
    most = MAX_SMS_PER_DAY
    for number in range(most + 3):
        notification = ALERT._replace(id=f"s{number}", customer_id=customer.id)
        await outbox.notify(notification, web.clock.now)
        await outbox.notify(notification, web.clock.now)  # the same message counts once
    states = [message.state for message in await outbox.deliveries(customer.id, 1000)]
    assert (states.count("queued"), states.count("failed")) == (most, 3)
    failed = next(message for message in await outbox.deliveries(customer.id, 1000) if message.state == "failed")
    assert "no more until tomorrow" in failed.error
    assert not await outbox.send_again(failed.key, web.clock.now)
    web.clock.offset += 86400
    assert await outbox.send_again(failed.key, web.clock.now)


@pytest_twisted.ensureDeferred
async def test_the_page_shows_sends_again_and_confirms(web: WebSide) -> None:
    mount_pages(web)
    customer, client = await web.customer(name="Mill")
    visitor, operator = Visitor(web, str(client.token)), Visitor(web, web.operator_token)
    await visitor.sign_in()
    await operator.sign_in()
    page = f"/customers/{customer.id}/alerts"
    await visitor.open(page)
    added = await visitor.submit(f"{page}/channels", **MAIL, address=MAIL["to"])
    assert added.header("Location") == f"{page}?done=code#channels"
    seen = await visitor.open(page)
    assert "Not confirmed" in seen
    assert "Send a test" not in seen
    wrong = await visitor.submit(f"{page}/channels/confirm", code="1")
    assert (wrong.status, "The code is wrong" in wrong.content.decode()) == (422, True)
    web.clock.offset += 1
    await visitor.open(page)
    assert (await visitor.submit(f"{page}/channels/code")).status == 303
    await visitor.open(page)
    done = await visitor.submit(f"{page}/channels/confirm", code=await code_for(web, customer, MAIL))
    assert done.header("Location") == f"{page}?done=confirmed#channels"
    seen = await visitor.open(page)
    assert "Not confirmed" not in seen
    assert await alerted(web, customer) == 1
    await visitor.submit(f"{page}/channels", type="sms", address=PHONE["to"])
    assert "Not confirmed" in await operator.open(page)
    assert (await operator.submit(f"{page}/channels/confirm", code="")).status == 303
    assert await alerted(web, customer) == 2
