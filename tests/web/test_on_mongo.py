"""The same API over a server that speaks MongoDB's protocol, beside an existing front end's documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pymongo import MongoClient

from tests.servers import RunningMongo
from tests.web.access.test_access import signed_in
from tests.web.harness import WebSide


@pytest.fixture
def database(mongo: RunningMongo, unique_name: str) -> Iterator[Any]:
    """The same database by another client."""
    client: MongoClient[Any] = MongoClient(mongo.url, directConnection=True)
    yield client[unique_name]
    client.close()


@pytest_twisted.async_yield_fixture
async def web(tmp_path: Path, mongo: RunningMongo, unique_name: str) -> AsyncIterator[WebSide]:
    made = WebSide(tmp_path, mongo_url=f"{mongo.url}/{unique_name}")
    await made.start()
    yield made
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_settings_of_the_front_ends_documents(web: WebSide, database: Any) -> None:
    inserted = database.customer.insert_one(
        {"email": "a@example.com", "facility": [{"id": "1", "api_key": "k"}], "load": "", "solar": [{"id": "2"}],
         "logger_serial_number": "001ec6001433", "logger_password": "clear"}
    ).inserted_id  # fmt: skip
    one = f"customers/{inserted}"
    read = await web.operator.get(one)
    assert (read.json["facility"], read.json["solar"], read.json["missing_role"]) == ("1", "2", "load")
    changed = await web.operator.patch(one, {"name": "Site", "logger_password": "new"}, headers={"If-Match": read.etag})
    assert changed.status == 200
    stale = await web.operator.patch(one, {"name": "late"}, headers={"If-Match": read.etag})
    assert stale.status == 412
    stored = database.customer.find_one({"_id": inserted})
    assert stored["email"] == "a@example.com"
    assert (await web.operator.get(one)).json["name"] == "Site"
    assert stored["logger_password"].startswith("$argon2")


@pytest_twisted.ensureDeferred
async def test_customers_tokens_and_sessions(web: WebSide) -> None:
    made = await web.operator.post("customers", {"name": "x", "logger_serial_number": "A1"})
    assert made.status == 201
    taken = await web.operator.post("customers", {"name": "y", "logger_serial_number": "a1"})
    assert (taken.status, taken.json["errors"][0]["field"]) == (422, "logger_serial_number")
    token = await web.operator.post("tokens", {"role": "customer", "name": "t", "customer_id": made.json["id"]})
    client, csrf = await signed_in(web, token.json["token"])
    own = f"customers/{made.json['id']}"
    changed = await client.patch(own, {"load": "1"}, headers={"If-Match": made.etag, "X-CSRF-Token": csrf})
    assert changed.json["load"] == "1"
    assert (await client.get(f"{own}/status")).json["derivation"]["state"] == "off"
    assert (await web.operator.get("overview")).json["customers"][0]["customer_id"] == made.json["id"]
    assert (await web.operator.delete(f"tokens/{token.json['id']}")).status == 204
    assert (await client.get(own)).status == 401
    for wrong in ("nonsense", "$where", "0" * 24, "a.b"):
        assert (await web.operator.get(f"customers/{wrong}")).status == 404
