"""Operators release loggers and choose the derivation plugin, by API and page; over real HTTP."""

from __future__ import annotations

import pytest
import pytest_twisted

from cenergyd.customers.ownership import released_loggers
from cenergyd.runtime.plugin_info import PluginInfo
from tests.web.harness import WebSide
from tests.web.pages.visitor import Visitor, mount_pages

NEW = "001EC6001111"
PLUGINS = (
    PluginInfo(name="solar", hooks=("cenergyd_derive",)),
    PluginInfo(name="carport", hooks=("cenergyd_derive", "cenergyd_options")),
    PluginInfo(name="alerts", hooks=("cenergyd_job",)),
    PluginInfo(name="broken", state="failed", problem="SyntaxError"),
)
ANY = {"If-Match": "*"}


@pytest.fixture
def plugins(web: WebSide) -> None:
    object.__setattr__(web.context, "plugins", PLUGINS)  # what the daemon's plugins would be


@pytest_twisted.ensureDeferred
async def test_a_released_logger_may_be_named(web: WebSide) -> None:
    customer, client = await web.customer(facility="1", solar="2")
    path = f"customers/{customer.id}/operator"
    assert (await client.get(path)).status == 403
    assert (await client.patch(path, {"released_loggers": [NEW]}, headers=ANY)).status == 403
    read = await web.operator.get(path)
    assert read.json == {"derivation_plugin": "", "released_loggers": []}
    done = await web.operator.patch(path, {"released_loggers": ["00:1e:c6:00:11:11"]}, headers={"If-Match": read.etag})
    assert (done.status, done.json["released_loggers"]) == (200, [NEW])
    assert (await web.operator.patch(path, {}, headers={"If-Match": read.etag})).status == 412
    named = await client.patch(f"customers/{customer.id}", {"logger_serial_number": NEW}, headers=ANY)
    assert (named.status, named.json["logger_serial_number"]) == (200, NEW)
    back = await web.operator.patch(path, {"released_loggers": []}, headers=ANY)
    assert back.json["released_loggers"] == []
    stored = await web.customers.get(customer.id)
    assert stored is not None and "released" not in stored.extensions


@pytest.mark.parametrize("wrong", [["not a serial"], [7], "001EC6001111", [f"AA{n:04}" for n in range(201)]])
@pytest_twisted.ensureDeferred
async def test_nonsense_is_refused(web: WebSide, wrong: object) -> None:
    customer, _ = await web.customer()
    refused = await web.operator.patch(f"customers/{customer.id}/operator", {"released_loggers": wrong}, headers=ANY)
    assert refused.status == 422
    assert await web.customers.get(customer.id) == customer


@pytest.mark.usefixtures("plugins")
@pytest_twisted.ensureDeferred
async def test_the_derivation_plugin_is_one_that_derives(web: WebSide) -> None:
    customer, _ = await web.customer()
    path = f"customers/{customer.id}/operator"
    for wrong in ("alerts", "broken", "nothing"):
        refused = await web.operator.patch(path, {"derivation_plugin": wrong}, headers=ANY)
        assert (refused.status, refused.json["errors"][0]["field"]) == (422, "derivation_plugin")
        assert "there are solar, carport" in refused.json["detail"]
    done = await web.operator.patch(path, {"derivation_plugin": "carport"}, headers=ANY)
    assert done.json == {"derivation_plugin": "carport", "released_loggers": []}
    stored = await web.customers.get(customer.id)
    assert stored is not None and stored.derivation_plugin == "carport"
    assert (await web.operator.patch(path, {"derivation_plugin": ""}, headers=ANY)).json["derivation_plugin"] == ""


@pytest.mark.usefixtures("plugins")
@pytest_twisted.ensureDeferred
async def test_the_page_does_both(web: WebSide) -> None:
    mount_pages(web)
    customer, client = await web.customer(name="Mill", facility="1", solar="2")
    path = f"/customers/{customer.id}/operator"
    operator, guest = Visitor(web, web.operator_token), Visitor(web, client.token or "")
    await guest.sign_in()
    assert "For operators" not in await guest.open(f"/customers/{customer.id}/settings")
    await operator.sign_in()
    assert f'href="{path}"' in await operator.open(f"/customers/{customer.id}/settings")
    page = await operator.open(path)
    assert '<option value="carport">' in page and "alerts</option>" not in page
    refused = await operator.submit(path, released_loggers="001EC6001111, no/serial")
    assert refused.status == 422
    assert "no/serial" in refused.content.decode() and 'id="released_loggers-error"' in refused.content.decode()
    done = await operator.submit(path, released_loggers="001ec6001111, 001EC6002222", derivation_plugin="carport")
    assert done.status == 303
    stored = await web.customers.get(customer.id)
    assert stored is not None
    assert released_loggers(stored) == {NEW, "001EC6002222"}
    assert stored.derivation_plugin == "carport"
    page = await operator.open(path)
    await web.customers.update(customer.id, {"name": "Other"})
    late = await operator.submit(path, released_loggers="")
    assert late.status == 409
    assert "Somebody else changed" in late.content.decode()
    assert (await operator.submit(path, released_loggers="")).status == 303
    stored = await web.customers.get(customer.id)
    assert stored is not None and not released_loggers(stored)


@pytest_twisted.ensureDeferred
async def test_a_plugin_that_is_gone_stays_chosen(web: WebSide) -> None:
    mount_pages(web)
    customer, _ = await web.customer(name="Mill")
    await web.customers.update(customer.id, {"extensions": {"derivation": {"plugin": "carport"}}})
    operator = Visitor(web, web.operator_token)
    await operator.sign_in()
    path = f"/customers/{customer.id}/operator"
    assert "carport (not loaded)" in await operator.open(path)
    assert (await operator.submit(path, released_loggers=NEW)).status == 303
    stored = await web.customers.get(customer.id)
    assert stored is not None and stored.derivation_plugin == "carport"
