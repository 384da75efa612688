"""Limits requests that take long: a few at once, one per client, so that no client waits behind the many requests of another."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

from cenergyd.web.server.problems import RequestProblem

AT_ONCE = 4
"""Long requests processed at once. What they have read and not yet sent is in memory, and a garbage collection scans all of it."""
LONG_RESPONSE_BYTES = 3 << 20
"""Memory reserved for a long request, bytes: what is read and encoded in one step, and what its client has not read yet."""
WAITING_PER_CLIENT = 64
"""Maximum waiting long requests of one client; further ones are refused with 429."""


class LongRequests:
    """Assigns places to requests. Clients take turns; the requests of one client keep their order.

    :param at_once: number of places; a client has at most one of them.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._at_work: set[str] = set()
        self._waiting: dict[str, deque[Deferred[None]]] = {}
        """By client, in the order of their turns."""
        self._serving = False

    def turn(self, client: str) -> Turn:
        """A turn for one request of a client, an asynchronous context manager: entering it waits for a place. Raises a 429 problem."""
        return Turn(self, client)

    async def acquire(self, client: str) -> None:
        """Wait for a place. May be cancelled. Raises a 429 problem if too many requests of the client wait."""
        queue = self._waiting.setdefault(client, deque())
        if len(queue) >= WAITING_PER_CLIENT:
            detail = f"at most {WAITING_PER_CLIENT} long requests may wait"
            raise RequestProblem(429, "too_many_requests", detail, headers={"Retry-After": "10"})
        waiting: Deferred[None] = Deferred(lambda gone: self._forget(client, gone))
        queue.append(waiting)
        self._serve()
        await waiting

    def release(self, client: str) -> None:
        """Give the place of a client to the next request."""
        self._at_work.discard(client)
        self._free += 1
        self._serve()

    def _serve(self) -> None:
        if self._serving:
            return  # The call in progress continues; otherwise requests that end at once would recurse once per waiter.
        self._serving = True
        try:
            while self._free and (client := self._next()) is not None:
                queue = self._waiting.pop(client)
                waiting = queue.popleft()
                if queue:
                    self._waiting[client] = queue  # behind all others
                self._at_work.add(client)
                self._free -= 1
                waiting.callback(None)
        finally:
            self._serving = False

    def _next(self) -> str | None:
        return next((client for client in self._waiting if client not in self._at_work), None)

    def _forget(self, client: str, gone: Deferred[None]) -> None:
        queue = self._waiting[client]
        queue.remove(gone)
        if not queue:
            del self._waiting[client]


class Turn:
    """One request's turn; it has a place inside the context."""

    def __init__(self, places: LongRequests, client: str) -> None:
        self._places = places
        self._client = client
        self._has_place = False

    async def __aenter__(self) -> Turn:
        await self._places.acquire(self._client)
        self._has_place = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release()

    @asynccontextmanager
    async def interrupted(self) -> AsyncIterator[None]:
        """Release the place within the context, and wait for one again at its end."""
        self._release()
        yield
        await self.__aenter__()

    def _release(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.release(self._client)
