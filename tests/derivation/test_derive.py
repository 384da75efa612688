"""One customer's readings to computed ones: against a slow reference, in any order, in any chunks."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from cenergyd.customers.meter_history import dated_change
from cenergyd.customers.model import ROLES, Customer
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation.chunks import chunks
from cenergyd.derivation.derive import Deriver
from cenergyd.derivation.diff import change
from cenergyd.derivation.formulas import compute, difference, total
from cenergyd.derivation.plan import derivation_segments, derivation_segments_between, grouped, touched
from cenergyd.hookspecs import AlignedReading, hookimpl
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.customers.test_meter_history import apply
from tests.derivation.memory import customer, settle, site
from tests.derivation.test_align import reference

PLUGINS = build_plugin_manager()
times = st.lists(st.integers(1, 600), unique=True, max_size=30).map(sorted)
near_times = times | st.lists(st.integers(1, 120), unique=True, max_size=30).map(sorted)
tolerances = st.integers(0, 40)
missing_roles = st.sampled_from(ROLES)


def site_without(role: str) -> Customer:
    meters = {"utility": "1", "load": "2", "solar": "3"} | {role: ""}
    return customer(facility=meters["utility"], load=meters["load"], solar=meters["solar"])


def reading(time: int) -> Reading:
    """Some have no P, no power factor or no Q."""
    return Reading(
        time, None if time % 7 == 0 else time / 8, None if time % 5 == 0 else 0.9, 120.0, 1.0 if time % 3 else None
    )


def expected(role: str, one: Sequence[int], other: Sequence[int], tolerance: int) -> list[Reading]:
    """The slow, simple reference: all readings at once."""
    first, second = (each for each in ROLES if each != role)
    aligned = [
        AlignedReading(min(a, b), **({role: None} | {first: reading(a), second: reading(b)}))
        for a, b in reference(list(one), list(other), tolerance)
    ]
    if role == "load":
        return total(aligned, "solar", "utility", "physical")
    return difference(aligned, "load", "utility" if role == "solar" else "solar", "physical")


def deriver(tolerance: int, clock: Clock | None = None) -> Deriver:
    return Deriver(plugins=PLUGINS, formula="physical", tolerance=tolerance, timeout=5, clock=clock or Clock())


@given(
    missing_roles, near_times, near_times, tolerances, st.integers(0, 610) | st.integers(0, 120), st.integers(1, 300)
)
def test_a_window_equals_the_reference(
    role: str, one: list[int], other: list[int], tolerance: int, since: int, length: int
) -> None:
    """What is computed for a window is what the reference has there, whatever the rest of the data."""
    clock = Clock()
    whole = expected(role, one, other, tolerance)
    start, end = touched(since, since + length, tolerance)
    (segment,) = derivation_segments(site_without(role), since, since + length, tolerance)
    stored = {
        source.series: [reading(t) for t in numbers if segment.read_start <= t < segment.read_end]
        for source, numbers in zip(segment.sources, (one, other), strict=True)
    } | {segment.target: []}
    derivation = settle(clock, deriver(tolerance, clock).derive(site_without(role), segment, stored))
    found = list(derivation.change.readings) if derivation.change else []
    assert found == [each for each in whole if start <= each.time < end]


@settings(max_examples=60, deadline=None)
@given(missing_roles, st.data(), tolerances)
def test_any_order_and_any_split_of_uploads_gives_the_same(role: str, data: st.DataObject, tolerance: int) -> None:
    """Late data, resent data, data of one meter long before the other's: the store ends as the reference has it."""
    one, other = data.draw(times), data.draw(times)
    daemon = site(site_without(role), tolerance_seconds=str(tolerance))
    first, second = ("1" if r == "utility" else "2" if r == "load" else "3" for r in ROLES if r != role)
    uploads = [(first, t) for t in one] + [(second, t) for t in other]
    order = data.draw(st.permutations(uploads))
    cuts = data.draw(st.lists(st.integers(1, 10), min_size=1, max_size=8))
    while order:
        some, order = order[: cuts[0]], order[cuts[0] :]
        cuts = [*cuts[1:], cuts[0]]
        for meter in (first, second):
            mine = [reading(t) for m, t in some if m == meter]
            if mine:
                settle(daemon.clock, daemon.came("a", meter, mine))
        daemon.tick()
    assert settle(daemon.clock, daemon.computed("a")) == expected(role, one, other, tolerance)


@st.composite
def dense_times(draw: st.DrawFn) -> list[int]:
    """Some hundred, so that the least limit is met several times; denser here, sparser there."""
    chance = Random(draw(st.integers(0, 2**32 - 1)))
    return [t for t in range(1, 500) if chance.random() < (0.7 if t // 100 % 2 else 0.3)]


@settings(max_examples=20, deadline=None)
@given(missing_roles, dense_times(), dense_times(), st.integers(0, 12), st.integers(1, 500))
def test_chunks_equal_one_pass(role: str, one: list[int], other: list[int], tolerance: int, change_at: int) -> None:
    """The smallest chunks; and a change of meters to the same meters, which cuts where it is and changes nothing elsewhere."""
    clock, store = Clock(), MemoryReadingStore()
    site_now = site_without(role)
    first, second = ("1" if r == "utility" else "2" if r == "load" else "3" for r in ROLES if r != role)
    for meter, numbers in ((first, one), (second, other)):
        settle(clock, store.write([SeriesReadings(f"00A_{meter}", [reading(t) for t in numbers])]))

    async def derive(who: Customer, most: int) -> tuple[int, list[Reading]]:
        found: list[Reading] = []
        count = 0
        for segment in derivation_segments(who, 1, 500, tolerance):
            end = segment.start
            async for chunk in chunks(store, deriver(tolerance, clock), who, segment, limit=most):
                assert chunk.start == end  # without a hole, without overlap
                end, count = chunk.end, count + 1
                found += chunk.derivation.change.readings if chunk.derivation.change else []
            assert end == segment.end
        return count, found

    whole = expected(role, one, other, tolerance)
    assert settle(clock, derive(site_now, 100_000)) == (1, whole)
    count, found = settle(clock, derive(site_now, 1))
    assert count > 1
    assert found == whole
    cut = apply(site_now, dated_change(site_now, change_at, {}, 10_000))
    changed_there = {each.time for each in {*settle(clock, derive(cut, 1))[1]} ^ {*whole}}
    assert all(change_at - 2 * tolerance <= time <= change_at + tolerance for time in changed_there)


def test_a_window_reads_twice_the_tolerance_ahead() -> None:
    """Utility 99 has solar 120 as its nearest, which however belongs to utility 135: nothing is computed before 100."""
    clock, store = Clock(), MemoryReadingStore()
    for meter, numbers in (("1", [99, 135]), ("2", [120])):
        settle(clock, store.write([SeriesReadings(f"00A_{meter}", [Reading(t, 1.0) for t in numbers])]))
    (segment,) = derivation_segments_between(customer(), 50, 100, 30)
    stored = settle(clock, store.read(segment.series, segment.read_start, segment.read_end))
    assert settle(clock, deriver(30, clock).derive(customer(), segment, stored)).derived == 0


def test_dense_data_gets_beyond_the_tolerance() -> None:
    """A reading a second, and a limit far below the tolerance."""
    clock, store = Clock(), MemoryReadingStore()
    every = [reading(t) for t in range(1, 3000)]
    settle(clock, store.write([SeriesReadings("00A_1", every), SeriesReadings("00A_2", every)]))

    async def derive() -> tuple[int, int]:
        (segment,) = derivation_segments(customer(), 1, 3000, 300)
        parts = [c async for c in chunks(store, deriver(300, clock), customer(), segment, limit=10)]
        return len(parts), sum(c.derivation.derived for c in parts)

    parts, derived = settle(clock, derive())
    assert parts > 2
    assert derived == len([each for each in every if each.P is not None])


def test_reversed_meters_are_read_the_other_way_round() -> None:
    """The grid meter's CT is reversed: it says -3 kW while the site imports 3."""
    daemon = site(customer(extensions={"meters": {"reversed": ["utility"]}}))
    settle(daemon.clock, daemon.came("a", "1", [Reading(60, -3.0, None, None, -1.0)]))
    settle(daemon.clock, daemon.came("a", "2", [Reading(60, 1.0, None, None, 0.5)]))
    daemon.tick()
    (load,) = settle(daemon.clock, daemon.computed("a"))
    assert (load.P, load.Q) == (4.0, 1.5)


def test_meters_changed_at_a_time_count_from_then_on() -> None:
    before = customer()
    after = attrs.evolve(apply(before, dated_change(before, 300, {"solar": "9", "reversed": ["solar"]}, 1000)))
    daemon = site(after)
    every = range(60, 600, 60)
    for meter, P in (("1", 10.0), ("2", 1.0), ("9", -2.0)):
        settle(daemon.clock, daemon.came("a", meter, [Reading(t, P) for t in every]))
    daemon.tick()
    assert [(each.time, each.P) for each in settle(daemon.clock, daemon.computed("a"))] == [
        (t, 11.0 if t < 300 else 12.0) for t in every
    ]


@given(times, times, st.integers(0, 100), st.integers(500, 700))
def test_a_change_leads_from_before_to_after(before: list[int], after: list[int], start: int, end: int) -> None:
    clock, store = Clock(), MemoryReadingStore()
    old = [reading(t)._replace(estimated=t % 2 == 0) for t in before if reading(t).P is not None]
    new = [reading(t + 1)._replace(time=t) for t in after if start <= t < end]
    new = [each for each in new if each[1:5] != (None,) * 4]
    settle(clock, store.write([SeriesReadings("00A_missing_meter", old)]))
    step = change("00A_missing_meter", start, end, old, new)

    async def apply_it() -> list[Reading]:
        if step and step.replace:
            await store.replace(step.series, step.start, step.end, step.readings)
        elif step:
            await store.write([SeriesReadings(step.series, step.readings)])
        return (await store.read(["00A_missing_meter"], start, end))["00A_missing_meter"]

    assert settle(clock, apply_it()) == new
    assert change("00A_missing_meter", start, end, new, new) is None


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)), min_size=1, max_size=60))
def test_groups_hold_everybody_once_and_cover_them(windows: list[tuple[int, int]]) -> None:
    all_pieces = [
        derivation_segments(customer(f"{i:02}"), since, since + length, 30) for i, (since, length) in enumerate(windows)
    ]
    groups = grouped(all_pieces, 20_000)
    assert sorted(i for group in groups for i in group.members) == list(range(len(windows)))
    for group in groups:
        assert len(group.members) == 1 or group.limit * len(group.series) <= 20_000
        for i in group.members:
            for segment in all_pieces[i]:
                assert group.start <= segment.read_start
                assert segment.read_end <= group.end
                assert set(segment.series) <= set(group.series)


def test_what_the_customers_own_plugin_does_not_compute_no_other_does() -> None:
    class OwnFormula:
        @hookimpl(trylast=True)
        def cenergyd_derive(self, role: str, aligned: Sequence[AlignedReading]) -> list[Reading] | None:
            return [Reading(pair.time, P=7.0) for pair in aligned] if role == "load" else None

    some = [reading(t) for t in (8, 16)]
    for plugin, role, computed in (("own", "load", [7.0, 7.0]), ("own", "solar", []), ("gone", "load", [])):
        who = attrs.evolve(site_without(role), extensions={"derivation": {"plugin": plugin}})
        daemon = site(who, extra=[("own", OwnFormula())])
        for meter in {"1", "2", "3"} - {"2" if role == "load" else "3"}:
            settle(daemon.clock, daemon.came("a", meter, some))
        daemon.tick()
        assert [each.P for each in settle(daemon.clock, daemon.computed("a"))] == computed
        failure = daemon.status("a")["failure"]
        if computed:
            assert failure is None
        else:
            assert failure["plugin"] == plugin
            assert "the customer names it" in failure["message"]
            assert daemon.queue.pending or daemon.queue.working  # it is tried again


@given(missing_roles, st.lists(st.integers(1, 600), unique=True).map(sorted))
def test_compute_solves_the_site_equation(role: str, at: list[int]) -> None:
    one, other = (each for each in ROLES if each != role)
    aligned = [AlignedReading(t, **({role: None} | {one: Reading(t, P=t / 8), other: Reading(t, P=3.0)})) for t in at]
    for pair, computed in zip(aligned, compute(role, aligned), strict=True):  # type: ignore[arg-type]
        power = {each: (getattr(pair, each) or computed).P for each in ROLES}
        assert power["load"] == pytest.approx(power["solar"] + power["utility"])
