"""Places for long requests: few in all, one for each client, in turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from cenergyd.web.server.long_requests import WAITING_PER_CLIENT, LongRequests
from cenergyd.web.server.problems import RequestProblem


class RunningRequests:
    """Requests that work until they are told to end."""

    def __init__(self, at_once: int) -> None:
        self.places = LongRequests(at_once)
        self.begun: list[str] = []
        self.working: list[tuple[str, Deferred[None]]] = []
        self.requests: list[tuple[str, Deferred[None]]] = []

    def ask(self, client: str) -> None:
        self.requests.append((client, Deferred.fromCoroutine(self._work(client))))

    async def _work(self, client: str) -> None:
        async with self.places.turn(client):
            self.begun.append(client)
            done: Deferred[None] = Deferred()
            self.working.append((client, done))
            try:
                await done
            finally:
                self.working.remove((client, done))

    def end(self, position: int) -> None:
        self.working[position % len(self.working)][1].callback(None)


def test_clients_take_turns_and_have_one_place_each() -> None:
    running = RunningRequests(2)
    for client in ("many", "many", "many", "one", "other"):
        running.ask(client)
    assert running.begun == ["many", "one"]
    running.end(1)
    assert running.begun == ["many", "one", "other"], "who already has a place waits for it"
    running.end(0)
    running.end(0)
    running.end(0)
    running.end(0)
    assert running.begun == ["many", "one", "other", "many", "many"]
    assert all(request.called for _, request in running.requests)


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["ask", "end", "cancel"]), st.integers(0, 5))))
def test_no_place_is_lost_or_given_twice(at_once: int, steps: list[tuple[str, int]]) -> None:
    running = RunningRequests(at_once)
    for what, number in steps:
        if what == "ask":
            running.ask(f"client {number}")
        elif what == "end" and running.working:
            running.end(number)
        elif running.requests:
            _, request = running.requests[number % len(running.requests)]
            request.addErrback(lambda failure: failure.trap(CancelledError))
            request.cancel()
        clients = [client for client, _ in running.working]
        assert len(clients) == len(set(clients)) <= at_once
        open_clients = {client for client, request in running.requests if not request.called}
        assert len(clients) == min(at_once, len(open_clients))
    while running.working:
        running.end(0)
    assert all(request.called for _, request in running.requests)


def test_very_many_that_end_at_once_are_no_recursion() -> None:
    places = LongRequests(1)
    done: list[int] = []

    async def quick(number: int) -> None:
        async with places.turn(f"client {number}"):
            done.append(number)

    async def first() -> None:
        async with places.turn("first"):
            for number in range(3000):
                waiting.append(Deferred.fromCoroutine(quick(number)))

    waiting: list[Deferred[None]] = []
    Deferred.fromCoroutine(first())
    assert done == list(range(3000))


def test_a_client_that_asks_for_too_much_is_refused() -> None:
    running = RunningRequests(1)
    for _ in range(WAITING_PER_CLIENT + 1):
        running.ask("many")
    running.ask("many")
    failure = running.requests[-1][1]
    refused: list[RequestProblem] = []
    failure.addErrback(lambda failed: refused.append(failed.value))
    assert refused[0].details.status == 429
    running.ask("one")
    running.end(0)
    assert running.begun[-1] in ("many", "one")
    running.end(0)
    assert "one" in running.begun, "it hinders nobody else"


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_interrupted_turn_leaves_its_place_to_others(cancelled: bool) -> None:
    places = LongRequests(1)
    order: list[str] = []
    pause: Deferred[None] = Deferred()

    async def paused() -> None:
        async with places.turn("slow") as turn:
            order.append("slow")
            async with turn.interrupted():
                await pause
            order.append("slow again")

    async def other() -> None:
        async with places.turn("other"):
            order.append("other")

    slow = Deferred.fromCoroutine(paused())
    Deferred.fromCoroutine(other())
    assert order == ["slow", "other"]
    if cancelled:
        slow.addErrback(lambda failure: failure.trap(CancelledError))
        slow.cancel()
    else:
        pause.callback(None)
        assert order[-1] == "slow again"
    Deferred.fromCoroutine(other())
    assert order[-1] == "other"
