"""Places for requests that take long: few at once in all, one of each client, so that none waits for another client's many."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

from cenergyd.web.server.problems import RequestProblem

AT_ONCE = 4
"""Long requests that are worked on at once: what they have read and not yet sent is in memory, and a collection of garbage visits all of it."""
LONG_ANSWER_BYTES = 3 << 20
"""Memory that a long request counts for: what is read and made at once, and what its client has not taken yet."""
WAITING_PER_CLIENT = 64
"""Long requests of one client that may wait; further ones are refused with 429."""


class LongRequests:
    """Hands out the places. Clients get one after the other, each its requests in their order.

    :param at_once: places in all; a client has one of them at most.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._at_work: set[str] = set()
        self._waiting: dict[str, deque[Deferred[None]]] = {}
        """In the order of whose turn it is."""
        self._serving = False

    def turn(self, client: str) -> Turn:
        """A turn of a client's; without a place yet."""
        return Turn(self, client)

    async def take(self, client: str) -> None:
        """Wait for a place. May be cancelled. Raises a 429 problem."""
        queue = self._waiting.setdefault(client, deque())
        if len(queue) >= WAITING_PER_CLIENT:
            detail = f"at most {WAITING_PER_CLIENT} long requests may wait"
            raise RequestProblem(429, "too_many_requests", detail, headers={"Retry-After": "10"})
        waiting: Deferred[None] = Deferred(lambda gone: self._forget(client, gone))
        queue.append(waiting)
        self._serve()
        await waiting

    def give_back(self, client: str) -> None:
        """Give a place to the next."""
        self._at_work.discard(client)
        self._free += 1
        self._serve()

    def _serve(self) -> None:
        if self._serving:
            return  # by the call in progress; otherwise work that ends at once would be nested as deep as there are waiters
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
    """One request's turn."""

    def __init__(self, places: LongRequests, client: str) -> None:
        self._places = places
        self._client = client
        self._has_place = False

    async def __aenter__(self) -> Turn:
        await self._places.take(self._client)
        self._has_place = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    @asynccontextmanager
    async def interrupted(self) -> AsyncIterator[None]:
        """Leave the place to others for a while; then wait for one again."""
        self._give_back()
        yield
        await self.__aenter__()

    def _give_back(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.give_back(self._client)
