"""Any history of a queue gives the result of a slow, simple reference."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import strategies as st

from cenergyd.customers.claims import PendingSummary
from cenergyd.customers.model import Customer, PendingMark
from tests.properties import for_all

TTL = 60


@attrs.define
class Reference:
    """One customer's state in the queue."""

    pending: tuple[int, int] | None = None
    work: tuple[int, int] | None = None
    claim: str | None = None
    claim_until: int = 0
    retry_at: int = 0

    @property
    def oldest(self) -> int | None:
        return min((window[0] for window in (self.pending, self.work) if window), default=None)

    def widen(self, window: tuple[int, int]) -> None:
        self.pending = hull(self.pending, window)

    def may_be_claimed(self, now: int) -> bool:
        live = self.claim is not None and self.claim_until > now
        return self.oldest is not None and not live and self.retry_at <= now

    def take(self, claim: str, now: int) -> tuple[int, int]:
        window = hull(self.pending, self.work)
        self.pending, self.work, self.retry_at = None, window, 0
        self.claim, self.claim_until = claim, now + TTL
        return window

    def release(self) -> None:
        self.work = self.claim = None


def hull(one: Any, other: Any) -> Any:
    windows = [window for window in (one, other) if window]
    return min(window[0] for window in windows), max(window[1] for window in windows)


step = st.one_of(
    st.tuples(
        st.just("mark"),
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=4),
    ),
    st.tuples(st.just("claim"), st.integers(1, 4)),
    st.tuples(st.just("claim"), st.just(3)),
    st.tuples(st.just("advance"), st.integers(0, 9), st.integers(0, 60)),
    st.tuples(st.just("finish"), st.integers(0, 9), st.integers(1, 3)),
    st.tuples(st.just("postpone"), st.integers(0, 9), st.integers(0, 90)),
    st.tuples(st.just("wait"), st.integers(0, 70)),
)


async def run(store: Any, name: str, steps: Any) -> None:
    ids = [(await store.add(Customer(id=""))).id for _ in range(3)]
    try:
        await play(getattr(store, name), ids, steps)
    finally:
        for customer in ids:
            await store.remove(customer)


async def play(queue: Any, ids: list[str], steps: Any) -> None:
    states = {customer: Reference() for customer in ids}
    held: list[Any] = []
    now = 1000
    for number, (verb, *values) in enumerate(steps):
        if verb == "mark":
            marks = [PendingMark(ids[which], since, since + length) for which, since, length in values[0]]
            await queue.mark(marks)
            for mark in marks:
                states[mark.customer_id].widen((mark.start, mark.end))
        elif verb == "wait":
            now += values[0]
        elif verb == "claim":
            possible = {one: state.oldest for one, state in states.items() if state.may_be_claimed(now)}
            works = await queue.claim(f"{ids[0]}/{number}", now, TTL, values[0])
            assert len(works) == min(values[0], len(possible))
            chosen = {work.customer.id for work in works}
            assert chosen <= possible.keys()
            left = [oldest for one, oldest in possible.items() if one not in chosen]
            assert all(possible[one] <= oldest for one in chosen for oldest in left)
            for work in works:
                assert (work.start, work.end) == states[work.customer.id].take(work.claim, now)
            held += works
        elif held and verb == "advance":
            work = held[values[0] % len(held)]
            state = states[work.customer.id]
            ours = state.claim == work.claim
            assert await queue.advance(work, values[1], now, TTL) is ours
            if ours:
                state.work, state.claim_until = (values[1], state.work[1]), now + TTL
        elif held and verb in ("finish", "postpone"):
            start = values[0] % len(held)
            some = held[start : start + (values[1] if verb == "finish" else 2)]
            del held[start : start + len(some)]
            ours = [states[work.customer.id].claim == work.claim for work in some]
            if verb == "finish":
                assert await queue.finish(some) == ours
            else:
                await queue.postpone(some, now + values[1])
            for work, mine in zip(some, ours, strict=True):
                state = states[work.customer.id]
                if mine and verb == "postpone":
                    state.widen(state.work)
                    state.retry_at = now + values[1]
                if mine:
                    state.release()
        busy = [state.oldest for state in states.values() if state.oldest is not None]
        assert await queue.summary() == PendingSummary(len(busy), min(busy, default=None))


@pytest.mark.parametrize("kind", ["sqlite", "mongo"])  # the second server needs minutes for as many steps
@pytest.mark.parametrize("name", ["derivation_queue", "job_queue"])
@for_all(max_examples=15, steps=st.lists(step, min_size=10, max_size=30))
async def test_any_history(store, name, steps):
    await run(store, name, steps)
