"""HTTP requests of notifiers: responses are bounded, and errors distinguish whether the request may have been accepted."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.web.client import URI, BrowserLikePolicyForHTTPS, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer  # type: ignore[import-untyped]

from cenergyd.errors import CenergydError, DeliveryRefused, DeliveryUnknown
from cenergyd.runtime.clock import Reactor, twisted_clock

MAX_RESPONSE = 262144
"""Maximum bytes of a response that are read; the rest is discarded."""


class ConnectionFailed(CenergydError):
    """No connection could be made, so nothing was accepted."""


class HttpResponse(NamedTuple):
    """An HTTP response."""

    code: int
    body: bytes


async def request(
    reactor: Reactor,
    agent: Any,
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str],
    data: Any = None,
    params: Mapping[str, str] | None = None,
) -> HttpResponse:
    """One request through an ``IAgent``; redirects are not followed, nothing is tried again.

    Raises DeliveryRefused for a URL that cannot be used, ConnectionFailed where no connection came about, DeliveryUnknown where the request
    may have been taken.
    """
    client = HTTPClient(agent)
    body = bytearray()

    def collect(part: bytes) -> None:
        body.extend(part[: MAX_RESPONSE - len(body)])

    async def exchange() -> HttpResponse:
        response = await client.request(
            method,
            url,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=data,
            params=params,
            allow_redirects=False,
            unbuffered=True,
        )
        # The status is what matters; a body that breaks off takes nothing back.
        try:
            await response.collect(collect)
        except (CancelledError, Exception):
            return HttpResponse(response.code, bytes(body))
        return HttpResponse(response.code, bytes(body))

    try:
        return await Deferred.fromCoroutine(exchange()).addTimeout(timeout, twisted_clock(reactor))
    except (ConnectError, DNSLookupError, ConnectingCancelledError) as error:
        raise ConnectionFailed(f"no connection: {error}") from error
    except (DeferredTimeout, CancelledError) as error:
        raise DeliveryUnknown(f"no answer within {timeout:g} s") from error
    except ResponseNeverReceived as error:
        reasons = ", ".join(failure.getErrorMessage() for failure in error.reasons)
        raise DeliveryUnknown(f"the connection ended before the answer: {reasons}") from error
    except ValueError as error:
        raise DeliveryRefused(f"the URL cannot be used: {type(error).__name__}") from error
    except Exception as error:
        raise DeliveryUnknown(f"no answer: {type(error).__name__}") from error


@implementer(IAgentEndpointFactory)
@attrs.define(eq=False)
class PublicEndpoints:
    """Connects only to public addresses."""

    reactor: Reactor
    timeout: float
    refused: str = ""
    """The last address that was refused."""

    def endpointForURI(self, uri: URI) -> Any:  # noqa: N802 - Twisted's name
        """The endpoint of a URL, with a resolver that omits private addresses."""
        guarded = _GuardedReactor(self.reactor, _PublicResolver(self.reactor.nameResolver, self))
        endpoint: Any = HostnameEndpoint(guarded, uri.host, uri.port, timeout=self.timeout)
        if uri.scheme == b"https":
            creator = BrowserLikePolicyForHTTPS().creatorForNetloc(uri.host, uri.port)
            return wrapClientTLS(creator, endpoint)
        return endpoint


def is_public(host: str) -> bool:
    """Whether an address is public."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _nat64(address)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


@implementer(IReactorPluggableNameResolver)
class _GuardedReactor:
    def __init__(self, reactor: Reactor, resolver: object) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:  # noqa: N802 - Twisted's name
        raise NotImplementedError

    def __getattr__(self, name: str) -> object:
        return getattr(self._reactor, name)


@implementer(IHostnameResolver)
class _PublicResolver:
    def __init__(self, inner: Any, owner: PublicEndpoints) -> None:
        self._inner = inner
        self._owner = owner

    def resolveHostName(self, resolutionReceiver: object, *args: object, **kwargs: object) -> object:  # noqa: N802 - Twisted's name
        return self._inner.resolveHostName(_PublicOnly(resolutionReceiver, self._owner), *args, **kwargs)


@implementer(IResolutionReceiver)
class _PublicOnly:
    def __init__(self, inner: Any, owner: PublicEndpoints) -> None:
        self._inner = inner
        self._owner = owner

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802 - Twisted's name
        self._inner.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's name
        host = str(getattr(address, "host", ""))
        if is_public(host):
            self._inner.addressResolved(address)
        else:
            self._owner.refused = host

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        self._inner.resolutionComplete()
