"""The state machine: by example, and its guarantees by property."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.hookspecs import WindowVerdict
from cenergyd.jobs.alerts.state import AlertEvent, AlertState, Limits, state_from_json, state_to_json, step

LIMITS = Limits(frequency=3600, fresh=7200)
T = 1_800_000_000


def bad(time: int, value: float = 60.0) -> WindowVerdict:
    return WindowVerdict(time, "breach", value, value - 50)


def good(time: int) -> WindowVerdict:
    return WindowVerdict(time, "clear", 40.0, -10)


def between(time: int) -> WindowVerdict:
    return WindowVerdict(time, "hold", 49.5, -0.5)


def test_raise_remind_resolve() -> None:
    state, event = step(AlertState(), [bad(T)], T + 60, LIMITS)
    assert event == AlertEvent("raised", T, T, 60.0)
    state, event = step(state, [bad(T + 60, 70.0)], T + 120, LIMITS)
    assert event is None
    state, event = step(state, [bad(T + 3600)], T + 3660, LIMITS)
    assert event == AlertEvent("reminder", T, T + 3600, 70.0)
    state, event = step(state, [between(T + 3660)], T + 3720, LIMITS)
    assert event is None
    assert state.active
    state, event = step(state, [good(T + 3720)], T + 3780, LIMITS)
    assert event == AlertEvent("resolved", T, T + 3600, 70.0)
    assert step(state, [good(T + 3780)], T + 3840, LIMITS) == (state, None)


def test_hysteresis_neither_raises_nor_ends() -> None:
    assert step(AlertState(), [between(T)], T + 60, LIMITS) == (AlertState(), None)
    state, _ = step(AlertState(), [bad(T)], T + 60, LIMITS)
    state, event = step(state, [between(T + 60)], T + 120, LIMITS)
    assert (state.active, event) == (True, None)


def test_a_spike_within_one_upload_is_one_message() -> None:
    state, event = step(AlertState(), [good(T), bad(T + 60), bad(T + 120, 80.0), good(T + 180)], T + 900, LIMITS)
    assert event == AlertEvent("passed", T + 60, T + 120, 80.0)
    assert not state.active
    _, event = step(state, [bad(T + 960), good(T + 1020)], T + 1800, LIMITS)
    assert event is None  # throttled


def test_a_beginning_that_the_throttle_held_back_is_sent_as_soon_as_it_may_be() -> None:
    state, _ = step(AlertState(), [bad(T)], T + 60, LIMITS)
    state, event = step(state, [good(T + 60)], T + 120, LIMITS)
    assert event is not None
    assert event.transition == "resolved"
    state, event = step(state, [bad(T + 600)], T + 660, LIMITS)
    assert (state.active, event) == (True, None)
    ended, event = step(state, [good(T + 660)], T + 720, LIMITS)
    assert (ended.active, event) == (False, None)  # its beginning was not reported
    state, event = step(state, [bad(T + 3660)], T + 3720, LIMITS)
    assert event == AlertEvent("raised", T + 600, T + 3660, 60.0)


def test_late_data_says_nothing_about_now() -> None:
    yesterday = [bad(T - 86400 + n * 60) for n in range(10)]
    assert step(AlertState(), yesterday, T, LIMITS) == (AlertState(), None)
    state, _ = step(AlertState(), [bad(T)], T + 60, LIMITS)
    assert step(state, [good(T - 86400)], T + 120, LIMITS) == (state, None)


def test_a_logger_whose_clock_is_ahead_cannot_silence_what_follows() -> None:
    ahead = T + 80000
    assert step(AlertState(), [good(ahead), bad(ahead + 60)], T, LIMITS) == (AlertState(), None)
    # Our own clock was ahead and was set right.
    state, _ = step(AlertState(), [bad(ahead)], ahead + 60, LIMITS)
    state, event = step(state, [bad(T + 400)], T + 460, LIMITS)
    assert state.active
    _, event = step(state, [good(T + 4000)], T + 4060, LIMITS)
    assert event is not None
    assert event.transition == "resolved"


def test_history_is_bounded_and_says_what_was_sent() -> None:
    state, limits = AlertState(), Limits(frequency=120, fresh=7200, history=5)
    for n in range(40):
        state, _ = step(state, [bad(T + n * 120), good(T + n * 120 + 60)], T + n * 120 + 120, limits)
    assert len(state.history) == 5
    assert state.history[-1] == {
        "transition": "passed", "at": T + 39 * 120 + 120, "since": T + 39 * 120, "until": T + 39 * 120,
        "worst": 60.0, "reported": True,
    }  # fmt: skip


def test_a_state_stored_by_an_earlier_version_goes_on() -> None:
    body = {
        "active": True, "since": T, "until": T, "worst": 60.0, "badness": 60.0, "announced": True, "last_sent": T,
        "judged_until": T + 60,
        "history": [{"transition": "raised", "at": T, "since": T, "until": T, "worst": 60.0, "told": True}],
    }  # fmt: skip
    state = state_from_json(body)
    assert state.history[0]["reported"] is True
    assert step(state, [good(T + 60)], T + 120, LIMITS) == (state, None), "a window that it has evaluated"
    assert state_from_json(state_to_json(state)) == state
    ended, event = step(state, [good(T + 120)], T + 180, LIMITS)
    assert (ended.active, event and event.transition) == (False, "resolved")


verdicts = st.sampled_from(["breach", "clear", "hold"])
looks = st.lists(
    st.tuples(st.integers(1, 40), st.lists(verdicts, min_size=40, max_size=40), st.booleans()), min_size=1, max_size=15
)


def naive_active(seen: list[WindowVerdict]) -> bool:
    """The plain meaning: the last window that is not in between decides."""
    for window in reversed(seen):
        if window.verdict != "hold":
            return window.verdict == "breach"
    return False


@settings(max_examples=80)
@given(looks, st.integers(1, 120), st.randoms(use_true_random=False))
def test_guarantees_hold_for_any_sequence_of_windows(course: list[Any], minutes: int, random: Any) -> None:
    limits = Limits(frequency=minutes * 60, fresh=7200)
    state, now, seen, sent = AlertState(), T, [], []
    for length, kinds, late in course:
        fresh = [WindowVerdict(now + n * 60, kinds[n], float(n), float(n)) for n in range(length)]
        now += length * 60
        batch = [*fresh, *([bad(now - 90000), good(now - 89000)] if late else [])]
        seen += fresh
        before = state
        state, event = step(before, batch, now, limits)
        random.shuffle(batch)
        assert step(before, batch, now, limits) == (state, event)  # the order of arrival does not matter
        assert step(state, batch, now, limits) == (state, None)  # nor does repeating
        assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state
        assert state.active == naive_active(seen)
        if event:
            sent.append((now, event))
    first_half = [(at, event) for at, event in sent if event.transition != "resolved"]
    for (earlier, _), (later, _) in itertools.pairwise(first_half):
        assert later - earlier >= limits.frequency
    lasting = False
    for _, event in sent:
        if event.transition in ("reminder", "resolved"):
            assert lasting  # only if the beginning was sent
        else:
            assert not lasting  # the beginning is not sent twice
        lasting = event.transition in ("raised", "reminder")
        assert event.since <= event.until


@given(st.lists(st.tuples(st.integers(7201, 10**6), verdicts), max_size=30))
def test_only_stale_windows_change_nothing(ages: list[tuple[int, Any]]) -> None:
    active, _ = step(AlertState(), [bad(T - 60)], T, LIMITS)
    windows = [WindowVerdict(T - age, verdict, 1.0, 1.0) for age, verdict in ages]
    for state in (AlertState(), active):
        assert step(state, windows, T, LIMITS) == (state, None)
