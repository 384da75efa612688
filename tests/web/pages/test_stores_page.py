"""The operators' page and API of stores, over real HTTP."""

from __future__ import annotations

import pytest
import pytest_twisted

from cenergyd.runtime.store_info import StoreInfo
from cenergyd.web.pages.stores import size_text
from tests.web.harness import Client, WebSide
from tests.web.pages.visitor import Visitor, mount_pages

INFOS = (
    StoreInfo(name="customers", engine="MongoDB"),
    StoreInfo(
        name="readings", engine="SQLite", bytes=123_456_789, reusable_bytes=1500, keep_days={"raw": 800},
        freed_rows={"raw": 4711}, waiting="old readings still wait",
    ),
)  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_operators_see_sizes_and_what_is_kept(web: WebSide) -> None:
    object.__setattr__(web.context, "store_infos", lambda: INFOS)
    mount_pages(web)
    visitor = Visitor(web, web.operator_token)
    await visitor.sign_in()
    page = await visitor.open("/stores")
    for said in (
        "MongoDB",
        "see the database server",
        "123 MB",
        "1.5 kB",
        "at least 800 days",
        "4711",
        "old readings still wait",
    ):
        assert said in page
    answer = await Client(web, web.operator_token).get("stores")
    assert [store["bytes"] for store in answer.json["stores"]] == [None, 123_456_789]
    _, client = await web.customer(name="Mill")
    assert (await client.get("stores")).status == 403


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_950, "100.0 kB"), (2 * 10**12, "2.0 TB")],
)
def test_sizes_for_people(size: int | None, text: str) -> None:
    assert size_text(size) == text
