"""The client of a request: its address, whether it uses TLS, and the host that it requests.

Forwarded headers are trusted only from the proxies in ``[server] trusted_proxies``; anybody else could forge them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

import attrs
from twisted.web.server import Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class Client:
    """The client of one request."""

    address: str
    """IP address, or '' if the transport has none (a Unix socket)."""
    secure: bool
    """Whether the client's own connection uses TLS, also if a trusted proxy terminates it."""
    host: str
    """Host and port as the client wrote them, lower case."""

    @property
    def origin(self) -> str:
        """The ``Origin`` that browsers send for our own pages."""
        return f"{'https' if self.secure else 'http'}://{self.host}"


class Clients:
    """Finds the :class:`Client` of a request.

    :param trusted_proxies: addresses or networks (``10.0.0.0/8``, or mapped into IPv6, ``::ffff:10.0.0.0/104``); raises ValueError for
        anything else.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted: tuple[Network, ...] = tuple(_network(item) for item in trusted_proxies)

    def address_of(self, request: Request) -> str:
        """The client's address alone, see :class:`Client`."""
        peer = _peer(request)
        return self._forwarded_for(request, peer) if self.is_trusted(peer) else peer

    def of(self, request: Request) -> Client:
        """The client of a Twisted request."""
        peer = _peer(request)
        host = _header(request, "host")
        secure = bool(request.isSecure())
        if not self.is_trusted(peer):
            return Client(peer, secure, host.lower())
        proto = _last(_header(request, "x-forwarded-proto"))
        return Client(
            self._forwarded_for(request, peer),
            proto == "https" if proto else secure,
            (_last(_header(request, "x-forwarded-host")) or host).lower(),
        )

    def _forwarded_for(self, request: Request, peer: str) -> str:
        # Each proxy appends the address it saw, so the last one that is not a proxy of ours is the client.
        named = [item.strip() for item in ",".join(_headers(request, "x-forwarded-for")).split(",") if item.strip()]
        for item in reversed(named):
            address = _address(item)
            if address is None:
                return peer
            if not self.is_trusted(address):
                return address
            peer = address
        return peer

    def is_trusted(self, address: str) -> bool:
        """Whether this is a proxy of ours."""
        if not self._trusted:
            return False
        try:
            parsed = ipaddress.ip_address(_address(address) or address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted if network.version == parsed.version)


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96))


def _peer(request: Request) -> str:
    host = getattr(request.getClientAddress(), "host", None) or ""
    return _address(host) or host


@lru_cache(4096)
def _address(text: str) -> str | None:
    """An address in canonical form: an IPv4-mapped IPv6 address becomes the IPv4 address."""
    try:
        parsed = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _headers(request: Request, name: str) -> list[str]:
    return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name.encode(), [])]


def _header(request: Request, name: str) -> str:
    values = _headers(request, name)
    return values[-1].strip() if values else ""


def _last(value: str) -> str:
    return value.rsplit(",", 1)[-1].strip()
