"""The states of one alert: raise, remind, throttle, resolve. Pure.

One alert is one kind of problem of one series of one customer. :func:`step` takes the verdicts on its windows and returns at most one
event to report:

- ``raised``: it began and continues. ``reminder``: it still continues, and the throttle time has passed.
- ``passed``: it began and ended between two evaluations (one upload brings a quarter of an hour at once); one message reports both.
- ``resolved``: it ended, and its beginning had been reported. Reported once, regardless of the throttle.

The throttle time starts at the last ``raised``, ``reminder`` or ``passed``. If the throttle delays the report of a beginning, it is reported
later if the alert still continues then. Windows older than ``fresh`` seconds say nothing about the present and are ignored, so late data
never raises or ends an alert. Windows in the future and windows that were already evaluated are ignored, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import attrs

from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.hookspecs import WindowVerdict

Transition = Literal["raised", "reminder", "passed", "resolved"]


class Limits(NamedTuple):
    """The limits of an alert, seconds."""

    frequency: int
    """The throttle time: at most one message in this time."""
    fresh: int
    """Windows older than this are not evaluated."""
    future: int = 300
    """Windows further in the future than this are not evaluated, because the logger's clock is wrong."""
    history: int = 20
    """Number of transitions kept."""


class AlertEvent(NamedTuple):
    """An event to report."""

    transition: Transition
    since: int
    """The first bad window, UTC seconds."""
    until: int
    """The last bad window."""
    value: float | None
    """The worst value."""


@attrs.frozen(slots=True, kw_only=True)
class AlertState:
    """The stored state of one alert."""

    active: bool = False
    since: int = 0
    """The first bad window of this episode."""
    until: int = 0
    """The last bad window of this episode."""
    worst: float | None = None
    """The value of the worst window of this episode."""
    badness: float = 0.0
    """The badness of that window."""
    announced: bool = False
    """Whether the beginning of this episode was reported."""
    last_sent: int | None = None
    """When the last message was sent from which the throttle time counts, UTC seconds."""
    evaluated_until: int = 0
    """The newest window evaluated."""
    history: tuple[Mapping[str, object], ...] = ()
    """Past transitions, oldest first, each with the keys transition, at, since, until, worst, reported."""


_EARLIER_KEYS = {"judged_until": "evaluated_until", "told": "reported"}


def state_to_json(state: AlertState) -> dict[str, object]:
    """JSON of a state."""
    return attrs.asdict(state) | {"history": [dict(entry) for entry in state.history]}


def state_from_json(body: ReadOnlyJson) -> AlertState:
    """The state of :func:`state_to_json`, also as an earlier version stored it; unknown keys are ignored."""
    known = {field.name for field in attrs.fields(AlertState)}
    renamed = {_EARLIER_KEYS.get(key, key): value for key, value in body.items()}
    values = {key: value for key, value in renamed.items() if key in known}
    values["history"] = tuple(
        {_EARLIER_KEYS.get(key, key): value for key, value in entry.items()} for entry in values.get("history", ())
    )
    return AlertState(**values)


def step(
    state: AlertState, verdicts: Iterable[WindowVerdict], now: int, limits: Limits
) -> tuple[AlertState, AlertEvent | None]:
    """The next state, and the event to report. The same state object is returned if nothing has changed."""
    remembered, state = state, _without_future(state, now, limits)
    windows = _to_evaluate(state, verdicts, now, limits)
    if not windows:
        return remembered, None
    folded = _fold(state, windows)
    may_notify = state.last_sent is None or now - state.last_sent >= limits.frequency
    if folded.active:
        return _lasting(state, folded, now, limits, may_notify and windows_breach(windows))
    if state.active:
        return _ended(state, folded, now, limits, may_notify)
    if windows_breach(windows):
        return _with_transition(folded, "passed", now, limits, reported=may_notify, announced=False)
    return remembered, None


def windows_breach(windows: Sequence[WindowVerdict]) -> bool:
    """Whether any of the windows is bad."""
    return any(window.verdict == "breach" for window in windows)


def _without_future(state: AlertState, now: int, limits: Limits) -> AlertState:
    # This daemon's clock was ahead and has been set back: stored times in the future must not suppress the alert until then.
    latest = now + limits.future
    if state.evaluated_until > latest:
        state = attrs.evolve(state, evaluated_until=0)
    if state.last_sent is not None and state.last_sent > latest:
        state = attrs.evolve(state, last_sent=None)
    return state


def _to_evaluate(state: AlertState, verdicts: Iterable[WindowVerdict], now: int, limits: Limits) -> list[WindowVerdict]:
    oldest = max(now - limits.fresh, state.evaluated_until + 1)
    return sorted(window for window in verdicts if oldest <= window.time <= now + limits.future)


def _fold(state: AlertState, windows: Sequence[WindowVerdict]) -> AlertState:
    for window in windows:
        if window.verdict == "clear":
            state = attrs.evolve(state, active=False)
        elif window.verdict == "breach" and state.active:
            worse = window.badness > state.badness
            state = attrs.evolve(
                state,
                until=window.time,
                worst=window.value if worse else state.worst,
                badness=window.badness if worse else state.badness,
            )
        elif window.verdict == "breach":
            state = attrs.evolve(
                state, active=True, since=window.time, until=window.time, worst=window.value, badness=window.badness
            )
    return attrs.evolve(state, evaluated_until=windows[-1].time)


def _lasting(
    state: AlertState, folded: AlertState, now: int, limits: Limits, may_notify: bool
) -> tuple[AlertState, AlertEvent | None]:
    announced = state.active and state.announced
    if may_notify:
        return _with_transition(
            folded, "reminder" if announced else "raised", now, limits, reported=True, announced=True
        )
    if not state.active:
        return _with_transition(folded, "raised", now, limits, reported=False, announced=False)
    return folded, None


def _ended(
    state: AlertState, folded: AlertState, now: int, limits: Limits, may_notify: bool
) -> tuple[AlertState, AlertEvent | None]:
    if state.announced:
        return _with_transition(folded, "resolved", now, limits, reported=True, announced=False)
    return _with_transition(folded, "passed", now, limits, reported=may_notify, announced=False)


def _with_transition(
    folded: AlertState, transition: Transition, now: int, limits: Limits, *, reported: bool, announced: bool
) -> tuple[AlertState, AlertEvent | None]:
    event = AlertEvent(transition, folded.since, folded.until, folded.worst)
    entry = {
        "transition": transition,
        "at": now,
        "since": folded.since,
        "until": folded.until,
        "worst": folded.worst,
        "reported": reported,
    }
    sent = now if reported and transition != "resolved" else folded.last_sent
    history = (*folded.history, entry)[-limits.history :]
    new = attrs.evolve(folded, announced=announced, last_sent=sent, history=history)
    return new, event if reported else None
