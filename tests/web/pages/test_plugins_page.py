"""The operators' page and API of plugins, and the form for a channel that a plugin declares, over real HTTP."""

from __future__ import annotations

from typing import Annotated

import pytest_twisted
from msgspec import Meta

from cenergyd.hookspecs import Channel, ChannelType
from cenergyd.runtime.plugin_info import PluginInfo
from tests.web.harness import Client, World
from tests.web.pages.reading import Visitor, mount_pages

INFOS = (
    PluginInfo(name="solar", version="1", distribution="cenergyd", hooks=("cenergyd_derive",)),
    PluginInfo(name="carport", state="missing", problem="it is not installed"),
)


class Room(Channel, frozen=True, kw_only=True):
    room: Annotated[str, Meta(pattern="^[a-z]+$", extra={"needed": "small letters are needed"})]
    secret: Annotated[str, Meta(min_length=8)] = "no-secret"


async def visitor(world: World, token: str) -> Visitor:
    declared = {"chat": ChannelType("chat", "Chat", Room, "room", hint="a room")}
    for name, value in (("plugins", INFOS), ("channel_types", declared)):
        object.__setattr__(world.context, name, value)  # what the daemon's plugins would be
    mount_pages(world)
    made = Visitor(world, token)
    await made.sign_in()
    return made


@pytest_twisted.ensureDeferred
async def test_operators_see_what_is_loaded_and_what_is_wrong(world: World) -> None:
    page = await (await visitor(world, world.operator_token)).open("/plugins")
    for said in ("solar", "cenergyd_derive", "carport", "Missing", "it is not installed"):
        assert said in page
    assert page.index("carport") < page.index("solar")
    answer = await Client(world, world.operator_token).get("plugins")
    assert [(each["name"], each["state"]) for each in answer.json["plugins"]] == [
        ("solar", "loaded"),
        ("carport", "missing"),
    ]


@pytest_twisted.ensureDeferred
async def test_customers_do_not(world: World) -> None:
    _, client = await world.customer(name="Mill")
    assert (await client.get("plugins")).status == 403


@pytest_twisted.ensureDeferred
async def test_a_declared_channel_is_offered_and_checked(world: World) -> None:
    customer, client = await world.customer(name="Mill")
    guest = await visitor(world, str(client.token))
    path = f"/customers/{customer.id}/alerts"
    page = await guest.open(path)
    assert '<option value="chat"' in page
    assert "a room" in page
    refused = await guest.submit(f"{path}/channels", type="chat", address="No Such")
    assert refused.status == 422
    assert "mall letters are needed" in refused.content.decode()
    await guest.submit(f"{path}/channels", type="chat", address="energy", secret="12345678")
    stored = await world.customers.get(customer.id)
    assert stored is not None
    assert list(stored.extensions["alerts"]["channels"]) == [{"type": "chat", "room": "energy", "secret": "12345678"}]
    page = await guest.open(path)
    assert "energy" in page
    assert "12345678" not in page
    wrong = await client.put(
        f"customers/{customer.id}/alerts", {"channels": [{"type": "chat", "room": "X"}]}, headers={"If-Match": "*"}
    )
    assert wrong.status == 422
