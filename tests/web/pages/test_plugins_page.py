"""The operators' page and API of plugins, and the form for a channel that a plugin declares, over real HTTP."""

from __future__ import annotations

from typing import Annotated

import pytest_twisted
from msgspec import Meta

from cenergyd.hookspecs import Channel, ChannelType
from cenergyd.jobs.alerts.rules import alerts_of
from cenergyd.runtime.plugin_info import PluginInfo
from tests.plugins.test_alert_rules import FREEZER
from tests.web.harness import Client, WebSide
from tests.web.pages.visitor import Visitor, mount_pages

INFOS = (
    PluginInfo(name="solar", version="1", distribution="cenergyd", hooks=("cenergyd_derive",)),
    PluginInfo(name="carport", state="missing", problem="it is not installed"),
)


class RoomChannel(Channel, frozen=True, kw_only=True):
    room: Annotated[str, Meta(pattern="^[a-z]+$", extra={"needed": "small letters are needed"})]
    secret: Annotated[str, Meta(min_length=8)] = "no-secret"


async def visitor(web: WebSide, token: str) -> Visitor:
    declared = {"chat": ChannelType("chat", "Chat", RoomChannel, "room", hint="a room")}
    for name, value in (("plugins", INFOS), ("channel_types", declared)):
        object.__setattr__(web.context, name, value)  # what the daemon's plugins would be
    mount_pages(web)
    made = Visitor(web, token)
    await made.sign_in()
    return made


@pytest_twisted.ensureDeferred
async def test_operators_see_what_is_loaded_and_what_is_wrong(web: WebSide) -> None:
    page = await (await visitor(web, web.operator_token)).open("/plugins")
    for said in ("solar", "cenergyd_derive", "carport", "Missing", "it is not installed"):
        assert said in page
    assert page.index("carport") < page.index("solar")
    answer = await Client(web, web.operator_token).get("plugins")
    assert [(each["name"], each["state"]) for each in answer.json["plugins"]] == [
        ("solar", "loaded"),
        ("carport", "missing"),
    ]


@pytest_twisted.ensureDeferred
async def test_customers_do_not(web: WebSide) -> None:
    _, client = await web.customer(name="Mill")
    assert (await client.get("plugins")).status == 403


@pytest_twisted.ensureDeferred
async def test_a_declared_channel_is_offered_and_checked(web: WebSide) -> None:
    customer, client = await web.customer(name="Mill")
    guest = await visitor(web, str(client.token))
    path = f"/customers/{customer.id}/alerts"
    page = await guest.open(path)
    assert '<option value="chat"' in page
    assert "a room" in page
    refused = await guest.submit(f"{path}/channels", type="chat", address="No Such")
    assert refused.status == 422
    assert "mall letters are needed" in refused.content.decode()
    await guest.submit(f"{path}/channels", type="chat", address="energy", secret="12345678")
    stored = await web.customers.get(customer.id)
    assert stored is not None
    assert list(stored.extensions["alerts"]["channels"]) == [{"type": "chat", "room": "energy", "secret": "12345678"}]
    page = await guest.open(path)
    assert "energy" in page
    assert "12345678" not in page
    wrong = await client.put(
        f"customers/{customer.id}/alerts", {"channels": [{"type": "chat", "room": "X"}]}, headers={"If-Match": "*"}
    )
    assert wrong.status == 422


@pytest_twisted.ensureDeferred
async def test_the_page_and_the_api_offer_and_check_them(web: WebSide) -> None:
    object.__setattr__(web.context, "alert_rules", {"freezer": FREEZER})  # what the daemon's plugins would be
    mount_pages(web)
    customer, client = await web.customer(name="Mill", logger_serial_number="AA01", load="1", solar="2")
    path, api = f"/customers/{customer.id}/alerts", f"customers/{customer.id}/alerts"
    gone = {"of_old": {"enabled": True}}
    saved = await client.put(api, {"plugin_rules": {**gone, "freezer": {"above": -5}}}, headers={"If-Match": "*"})
    assert saved.json["alerts"]["plugin_rules"]["freezer"]["above"] == -5
    wrong = await client.put(api, {"plugin_rules": {"freezer": {"above": 99}}}, headers={"If-Match": "*"})
    assert wrong.status == 422 and wrong.json["errors"][0]["field"] == "alerts.plugin_rules.freezer.above"
    visitor = Visitor(web, client.token or "")
    await visitor.sign_in()
    page = await visitor.open(path)
    for said in (
        "Freezer too warm",
        "It is warmer than this.",
        "Warmer than",
        "°C",
        "Where it stands.",
        'value="kitchen"',
    ):
        assert said in page
    refused = await visitor.submit(path, **{"plugin_rules.freezer.minutes": "1.5"})
    assert refused.status == 422 and "Freezer too warm: minutes" in refused.content.decode()
    form = {
        "plugin_rules.freezer.enabled": "yes",
        "plugin_rules.freezer.minutes": "15",
        "plugin_rules.freezer.role": "solar",
    }
    assert (await visitor.submit(path, **form)).status == 303
    stored = await web.customers.get(customer.id)
    assert stored is not None
    settings = alerts_of(stored)
    assert settings is not None
    assert settings.plugin_rules["freezer"] == {
        "enabled": True, "alert_frequency_in_minutes": None, "above": -5.0, "minutes": 15, "room": "kitchen", "role": "solar",
    }  # fmt: skip
    assert settings.plugin_rules["of_old"] == {"enabled": True}  # its plugin is not loaded at the moment
