"""HTTP requests of notifiers: responses are bounded, and errors distinguish whether the request may have been accepted."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol, cast

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
    IStreamClientEndpoint,
)
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer  # type: ignore[import-untyped]

from cenergyd.errors import CenergydError, DeliveryRefused, DeliveryUnknown
from cenergyd.runtime.clock import Reactor, twisted_clock

MAX_RESPONSE = 262144
"""Maximum bytes of a response that are read; the rest is discarded."""


class ConnectionFailed(CenergydError):
    """No connection could be made, so nothing was accepted."""


class _Streamed(Protocol):
    """A response of treq."""

    def collect(self, collector: Callable[[bytes], None]) -> Deferred[None]: ...


class HttpResponse(NamedTuple):
    """An HTTP response."""

    code: int
    body: bytes


async def request(
    reactor: Reactor,
    agent: Agent,
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str],
    data: bytes | dict[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Make one request; redirects are not followed and nothing is retried.

    :param data: the body, or the fields of a form.
    :raises DeliveryRefused: the URL cannot be used.
    :raises ConnectionFailed: no connection could be made.
    :raises DeliveryUnknown: the request may have been accepted.
    """

    async def exchange() -> HttpResponse:
        response = await HTTPClient(cast(IAgent, agent)).request(
            method,
            url,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=data,
            params=params,
            allow_redirects=False,
            unbuffered=True,
        )
        return HttpResponse(response.code, await _body_of(response))

    try:
        return await Deferred.fromCoroutine(exchange()).addTimeout(timeout, twisted_clock(reactor))
    except (CancelledError, Exception) as error:
        raise _delivery_error(error, timeout) from error


async def _body_of(response: _Streamed) -> bytes:
    """The body up to MAX_RESPONSE. An interrupted body is returned as far as it was received, because the status is what matters."""
    body = bytearray()

    def collect(part: bytes) -> None:
        body.extend(part[: MAX_RESPONSE - len(body)])

    with suppress(CancelledError, Exception):
        await response.collect(collect)
    return bytes(body)


def _delivery_error(error: BaseException, timeout: float) -> CenergydError:
    """What a failed request means for the delivery of its message."""
    match error:
        case ConnectError() | DNSLookupError() | ConnectingCancelledError():
            return ConnectionFailed(f"no connection: {error}")
        case DeferredTimeout() | CancelledError():
            return DeliveryUnknown(f"no answer within {timeout:g} s")
        case ResponseNeverReceived() if any(failure.check(CancelledError) for failure in error.reasons):
            return DeliveryUnknown(f"no answer within {timeout:g} s")
        case ResponseNeverReceived():
            reasons = ", ".join(failure.getErrorMessage() for failure in error.reasons)
            return DeliveryUnknown(f"the connection ended before the answer: {reasons}")
        case ValueError():
            return DeliveryRefused(f"the URL cannot be used: {type(error).__name__}")
        case _:
            return DeliveryUnknown(f"no answer: {type(error).__name__}")


@implementer(IAgentEndpointFactory)
@attrs.define(eq=False)
class PublicEndpoints:
    """Connects only to public addresses."""

    reactor: Reactor
    timeout: float
    """Seconds for a connection."""
    refused: str = ""
    """The last address that was refused."""

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - Twisted's name
        """The endpoint of a URL, with a resolver that omits private addresses."""
        resolver = cast(_Resolver, self.reactor.nameResolver)
        guarded = _GuardedReactor(self.reactor, _PublicResolver(resolver, self))
        endpoint = cast(IStreamClientEndpoint, HostnameEndpoint(guarded, uri.host, uri.port, timeout=self.timeout))
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


class _Resolver(Protocol):
    """Twisted's ``IHostnameResolver``."""

    def resolveHostName(self, resolutionReceiver: object, *args: object, **kwargs: object) -> object: ...  # noqa: N802


class _Receiver(Protocol):
    """Twisted's ``IResolutionReceiver``."""

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None: ...  # noqa: N802

    def addressResolved(self, address: IAddress) -> None: ...  # noqa: N802

    def resolutionComplete(self) -> None: ...  # noqa: N802


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
    def __init__(self, inner: _Resolver, owner: PublicEndpoints) -> None:
        self._inner = inner
        self._owner = owner

    def resolveHostName(self, resolutionReceiver: _Receiver, *args: object, **kwargs: object) -> object:  # noqa: N802 - Twisted's name
        return self._inner.resolveHostName(_PublicOnly(resolutionReceiver, self._owner), *args, **kwargs)


@implementer(IResolutionReceiver)
class _PublicOnly:
    def __init__(self, inner: _Receiver, owner: PublicEndpoints) -> None:
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
