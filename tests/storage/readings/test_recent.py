"""Readings kept in memory in front of each kind of store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import attrs
from hypothesis import strategies as st
from twisted.internet.task import Clock

from cenergyd.customers.model import Customer, PendingWork, RecentClaims
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.recent import RecentReadings
from cenergyd.readings.store import ReadingStore
from tests.properties import for_all

NOW = 1_760_000_400
_numbers = count()

values = st.none() | st.floats(-1e6, 1e6)
minutes = st.integers(-20, 20)
readings = st.lists(
    st.builds(
        lambda minute, p, q, net, estimated: Reading(NOW + 60 * minute, p, None, None, q, estimated, net),
        minutes, values, values, values, st.booleans(),
    ),
    max_size=8,
)  # fmt: skip
ranges = st.tuples(minutes, minutes).map(lambda pair: (NOW + 60 * min(pair), NOW + 60 * max(pair) + 60))


@for_all(
    max_examples=15,
    steps=st.lists(
        st.tuples(st.just("write"), readings, readings) | st.tuples(st.just("replace"), ranges, readings),
        min_size=1,
        max_size=4,
    ),
    asked=ranges,
)
async def test_memory_has_what_the_store_has(store: ReadingStore, steps: Sequence[Any], asked: tuple[int, int]) -> None:
    clock = Clock()
    clock.advance(NOW)
    serial = f"00EC6{next(_numbers):06X}"
    names = [f"{serial}_1", f"{serial}_missing_meter"]
    recent = RecentReadings(store, clock.seconds)
    customer = Customer(id="c", facility="1", solar="2", logger_serial_number=serial)
    claims = RecentClaims(None, None, None, is_marked=False, jobs_idle=True)
    recent.claimed(PendingWork(attrs.evolve(customer, claims=claims), NOW, NOW + 900, "claim"), NOW)
    everything = (names, NOW - 1200, NOW + 1300)
    await recent.view.read(*everything)
    assert await recent.view.last(names) == {}
    before = recent.from_store
    for kind, *what in steps:
        if kind == "write":
            await recent.view.write([SeriesReadings(*each) for each in zip(names, what, strict=True)])
        else:
            (start, end), new = what
            await recent.view.replace(names[1], start, end, [each for each in new if start <= each.time < end])
        assert await recent.view.read(*everything) == await store.read(*everything)
    assert await recent.view.read(names, *asked) == await store.read(names, *asked)
    assert await recent.view.last(names, asked[1]) == await store.last(names, asked[1])
    assert await recent.view.first(names, asked[0]) == await store.first(names, asked[0])
    assert await recent.view.last(names) == await store.last(names)
    assert await recent.view.first(names, asked[1]) == await store.first(names, asked[1])
    assert recent.from_store == before
