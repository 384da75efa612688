"""Tokens, throttle and clients by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.http_headers import Headers

from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from cenergyd.web.access.tokens import Tokens, ensure_first_token
from cenergyd.web.server.clients import Clients

NOW = 1_750_000_000


@pytest_twisted.async_yield_fixture
async def tokens(tmp_path: Path) -> AsyncIterator[Tokens]:
    documents: Any = SqliteDocumentStore(reactor, tmp_path / "documents.sqlite")
    await documents.open()
    yield Tokens(documents)
    await documents.close()


@pytest_twisted.ensureDeferred
async def test_first_token_until_there_is_a_permanent_one(tokens: Tokens) -> None:
    first = await ensure_first_token(tokens, NOW, 100)
    second = await ensure_first_token(tokens, NOW + 1, 100)
    assert first and second and first != second
    info = await tokens.check(second, NOW + 50)
    assert info is not None and info.one_time and info.role == "operator"
    assert await tokens.check(second, NOW + 101) is None, "expired"
    await tokens.add("customer", "a customer's does not count", NOW, customer_id="c")
    await tokens.add("operator", "expired", NOW, expires=NOW + 10)
    assert await ensure_first_token(tokens, NOW + 20, 100) is not None
    await tokens.add("operator", "permanent", NOW + 20)
    assert await ensure_first_token(tokens, NOW + 21, 100) is None


@pytest_twisted.ensureDeferred
async def test_first_tokens_are_bounded_and_end_with_the_first_use(tokens: Tokens) -> None:
    secrets = [await ensure_first_token(tokens, NOW + n, 1000) or "" for n in range(20)]
    alive = [secret for secret in secrets if await tokens.check(secret, NOW + 20)]
    assert alive == secrets[-5:]
    info = await tokens.check(alive[0], NOW + 20)
    assert info is not None
    assert await tokens.use_up(info)
    assert not await tokens.use_up(info)
    assert [await tokens.check(secret, NOW + 20) for secret in secrets] == [None] * 20


@pytest_twisted.ensureDeferred
async def test_last_use_is_noted_to_the_hour(tokens: Tokens) -> None:
    secret, _ = await tokens.add("operator", "x", NOW)
    for now in (NOW + 10, NOW + 20, NOW + 5000):
        assert await tokens.check(secret, now)
    assert [info.last_used for info in await tokens.page()] == [NOW + 5000 - (NOW + 5000) % 3600]


@pytest_twisted.ensureDeferred
async def test_revoke_takes_whole_ids_only(tokens: Tokens) -> None:
    secret, info = await tokens.add("operator", "x", NOW)
    for wrong in ("", info.id[:-1], info.id + "0", "0" * 16, "f" * 64):
        assert not await tokens.revoke(wrong), wrong
    assert await tokens.check(secret, NOW)
    assert await tokens.revoke(info.id)
    assert not await tokens.check(secret, NOW)


class FakeRequest:
    """What a request tells of its client."""

    def __init__(self, address: Any, headers: dict[str, list[str]], secure: bool = False) -> None:
        self.requestHeaders = Headers(headers)
        self._address, self._secure = address, secure

    def getClientAddress(self) -> Any:
        return self._address

    def isSecure(self) -> bool:
        return self._secure


@pytest.mark.parametrize(
    ("peer", "headers", "address", "secure", "host"),
    [
        ("198.51.100.1", {"X-Forwarded-For": ["1.2.3.4"], "X-Forwarded-Proto": ["https"]}, "198.51.100.1", False, "h"),
        ("10.0.0.1", {"X-Forwarded-For": ["1.2.3.4"], "X-Forwarded-Proto": ["https"]}, "1.2.3.4", True, "h"),
        ("10.0.0.1", {"X-Forwarded-For": ["6.6.6.6, 1.2.3.4, 10.0.0.2"]}, "1.2.3.4", False, "h"),
        ("10.0.0.1", {"X-Forwarded-For": ["6.6.6.6", "1.2.3.4"]}, "1.2.3.4", False, "h"),
        ("10.0.0.1", {"X-Forwarded-For": ["1.2.3.4, nonsense"]}, "10.0.0.1", False, "h"),
        ("10.0.0.1", {"X-Forwarded-For": ["10.0.0.3"]}, "10.0.0.3", False, "h"),
        ("10.0.0.1", {"X-Forwarded-Proto": ["https, http"]}, "10.0.0.1", False, "h"),
        ("10.0.0.1", {"X-Forwarded-Host": ["Power.Example"]}, "10.0.0.1", False, "power.example"),
        ("10.0.0.1", {}, "10.0.0.1", False, "h"),
    ],
)
def test_clients(peer: str, headers: dict[str, list[str]], address: str, secure: bool, host: str) -> None:
    request = FakeRequest(IPv4Address("TCP", peer, 1), {"Host": ["h"], **headers})
    client = Clients(["10.0.0.0/24"]).of(request)
    assert (client.address, client.secure, client.host) == (address, secure, host)


def test_clients_of_other_transports() -> None:
    assert Clients().of(FakeRequest(UNIXAddress(b"/run/x"), {})).address == ""
    assert Clients(["::1"]).of(FakeRequest(IPv6Address("TCP", "::1", 1), {}, secure=True)).secure
    with pytest.raises(ValueError, match="proxy"):
        Clients(["proxy.example"])


@pytest.mark.parametrize("peer", [IPv4Address("TCP", "10.0.0.1", 1), IPv6Address("TCP", "::ffff:10.0.0.1", 1)])
@pytest.mark.parametrize("proxies", ["10.0.0.0/24", "10.0.0.1", "::ffff:10.0.0.0/120", "::ffff:10.0.0.1"])
def test_a_proxy_is_trusted_in_both_families(peer: IPv4Address | IPv6Address, proxies: str) -> None:
    request = FakeRequest(peer, {"Host": ["h"], "X-Forwarded-For": ["::ffff:192.0.2.7"]})
    assert Clients([proxies]).of(request).address == "192.0.2.7"
    assert Clients(["10.0.1.0/24", "::ffff:10.0.1.0/120"]).of(request).address == "10.0.0.1"
