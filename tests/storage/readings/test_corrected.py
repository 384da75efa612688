"""A store with active corrections answers as one in which the corrected readings were stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import attrs
import pytest_twisted
from hypothesis import strategies as st
from pytest import approx

from cenergyd.errors import Incompatible
from cenergyd.readings.corrected import CorrectedReadings, as_measured, ever_corrected
from cenergyd.readings.corrections import KINDS, Correction, CorrectionMap, corrected, correction_map, with_correction
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import CHANNELS, Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore
from tests.properties import for_all

T0 = 1_577_836_800
SPAN = 7200
numbers = count()


@attrs.frozen
class GivenCorrections:
    """Views that are given."""

    given: Mapping[str, CorrectionMap]

    async def maps(self, series: Sequence[str]) -> Mapping[str, CorrectionMap]:
        return {name: self.given[name] for name in series if name in self.given}

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        return frozenset(self.given) & frozenset(series)


@st.composite
def lists(draw: st.DrawFn) -> list[Correction]:
    made: list[Correction] = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        start = T0 + draw(st.integers(-100, SPAN - 1))
        end = start + draw(st.integers(1, SPAN))
        kind = draw(st.sampled_from(KINDS))
        more: dict[str, Any] = {}
        if kind == "scale":
            more["factor"] = draw(st.sampled_from([2.0, 0.5, -1.0, -4.0]))
        if kind == "shift":
            more["seconds"] = draw(st.sampled_from([-3600, -60, -7, 1, 37, 600, 3600, 86400]))
        new = Correction(
            number=number, kind=kind, start=start, end=end, reason="x", customer_id="c", by="x", at=1, **more
        )
        try:
            made = with_correction(made, new)
        except Incompatible:
            continue
    return made


values = st.sampled_from([None, 1.0, -2.5, 0.25, 7.0])
rows = st.lists(
    st.builds(
        Reading.of_values,
        st.integers(0, SPAN // 20).map(lambda step: T0 + 20 * step),
        st.tuples(values, values, values, values, values, values, values).filter(
            lambda v: any(x is not None for x in v)
        ),
        st.booleans(),
    ),
    unique_by=lambda reading: reading.time,
    max_size=60,
).map(sorted)
times = st.integers(T0 - 4000, T0 + SPAN + 90000)


@for_all(
    40,
    made=lists(),
    kept=rows,
    asked=st.tuples(times, times).map(sorted).filter(lambda pair: pair[0] < pair[1]),
    resolution=st.sampled_from([1, 60, 300, 3600, 86400]),
    offset=st.sampled_from([0, 0, 7, -1800, 19800]),
    channels=st.sampled_from([CHANNELS, ("P",), ("L1_V", "Q")]),
    limit=st.integers(1, 30),
)
async def test_it_answers_as_if_the_corrected_readings_were_stored(
    store: ReadingStore,
    made: list[Correction],
    kept: list[Reading],
    asked: tuple[int, int],
    resolution: int,
    offset: int,
    channels: tuple[str, ...],
    limit: int,
) -> None:
    name, other = f"CORRECTED{next(numbers)}_1", f"PLAIN{next(numbers)}_2"
    view = correction_map(made)
    plain = [Reading(T0 + 30, 5.0)]
    expected = MemoryReadingStore()
    await expected.write([SeriesReadings(name, corrected(view, kept)), SeriesReadings(other, plain)])
    await store.write([SeriesReadings(name, kept), SeriesReadings(other, plain)])
    seen: Any = CorrectedReadings(store, GivenCorrections({name: view}))
    both = [name, other]
    assert await seen.read(both, *asked) == await expected.read(both, *asked)
    assert await seen.read(both, *asked, limit=limit) == await expected.read(both, *asked, limit=limit)
    assert await seen.last(both) == await expected.last(both)
    assert await seen.last(both, asked[1]) == await expected.last(both, asked[1])
    assert await seen.first(both) == await expected.first(both)
    assert await seen.first(both, asked[0]) == await expected.first(both, asked[0])
    found = await seen.summarise(both, *asked, resolution, channels, offset=offset)
    wanted = await expected.summarise(both, *asked, resolution, channels, offset=offset)
    assert _plain(found[name]) == approx(_plain(wanted[name]))
    assert found[other] == wanted[other]
    # What the meter said is still there, exactly.
    assert (await as_measured(seen).read([name], T0, T0 + SPAN + 60))[name] == kept


def _plain(summaries: Sequence[Any]) -> dict[str, float]:
    """Flat, for approx()."""
    return {
        f"{each.time} {name}": value
        for each in summaries
        for name, value in [
            ("readings", each.readings),
            *((f"{channel} {n}", v) for channel, triple in each.channels.items() for n, v in enumerate(triple)),
        ]
    }


@pytest_twisted.ensureDeferred
async def test_writes_go_through_as_they_are(store: ReadingStore, serial: str) -> None:
    name = f"{serial}_1"
    view = CorrectionMap().void(T0, T0 + 100)
    seen: Any = CorrectedReadings(store, GivenCorrections({name: view}))
    await seen.write([SeriesReadings(name, [Reading(T0, 1.0), Reading(T0 + 100, 2.0)])])
    assert (await seen.read([name], 0, 2 * T0))[name] == [Reading(T0 + 100, 2.0)]
    assert len((await store.read([name], 0, 2 * T0))[name]) == 2
    assert await ever_corrected(seen, [name, "OTHER_1"]) == {name}
    assert await ever_corrected(store, [name]) == frozenset()


def test_no_way_of_reading_bypasses_the_corrections() -> None:
    """A new method of the contract is to be decided on: corrected, or none that reads readings."""
    methods = {name for name, each in vars(ReadingStore).items() if callable(each) and not name.startswith("_")}
    reads = {name for name in vars(CorrectedReadings) if not name.startswith("_")}
    passed = {
        "open", "close", "ping", "write", "replace", "replace_many", "series_of",
        "write_points", "replace_points", "replace_points_many", "merge_points_many", "read_points", "read_points_many",
    }  # fmt: skip
    assert methods == passed | (reads & methods)
    assert reads >= {"read", "first", "last", "summarise"}
