"""Which series shows a role over a time in which meters change."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import MISSING_METER, ROLES, Customer, Role
from cenergyd.web.views.sources import (
    SeriesSource,
    TrackSegment,
    ranges_without_change,
    role_source,
    role_track,
    role_tracks,
)

NOW = Customer(
    id="1", logger_serial_number="B", facility="3", load="2",
    extensions={
        "meters": {"reversed": ["utility"]},
        "history": [
            {"until": 100, "logger_serial_number": "A", "facility": "1", "load": "2", "reversed": []},
            {"until": 200, "logger_serial_number": "B", "facility": "1", "load": "2", "reversed": ["load"]},
            {"until": 300, "logger_serial_number": "B", "facility": "", "load": "2", "solar": "4", "reversed": []},
        ],
    },
)  # fmt: skip


def test_each_time_is_shown_as_it_was_set_up_then() -> None:
    utility = role_track(NOW, "utility", 50, 400)
    assert utility is not None
    assert list(utility.segments) == [
        TrackSegment(50, 100, SeriesSource("A_1", "utility", False)),
        TrackSegment(100, 200, SeriesSource("B_1", "utility", False)),
        TrackSegment(200, 300, SeriesSource(f"B_{MISSING_METER}", "utility", True)),
        TrackSegment(300, 400, SeriesSource("B_3", "utility", False, True)),
    ]
    assert utility.source == role_source(NOW, "utility")
    assert utility.computed is None
    solar = role_track(NOW, "solar", 0, 400)
    assert solar is not None
    assert [segment.source.computed for segment in solar.segments] == [True, True, False, True]


def test_what_did_not_change_for_a_role_is_one_segment() -> None:
    load = role_track(NOW, "load", 200, 10**9)
    assert load is not None
    assert load.segments == (TrackSegment(200, 10**9, SeriesSource("B_2", "load", False)),)
    assert load.computed is False


def test_a_role_that_had_no_series_has_a_hole() -> None:
    history = [{"until": 100, "facility": "1"}, {"until": 200, "facility": ""}]
    customer = Customer(id="1", logger_serial_number="A", facility="1", load="2", extensions={"history": history})
    track = role_track(customer, "utility", 0, 300)
    assert track is not None
    assert [segment[:2] for segment in track.segments] == [(0, 100), (200, 300)]
    assert track.source_at(150) is None
    assert ranges_without_change([track]) == [(0, 100), (200, 300)]
    assert role_track(customer, "utility", 120, 180) is None
    assert [each.role for each in role_tracks(customer, 0, 100)] == ["utility"]


def test_series_that_no_store_takes_are_left_out() -> None:
    odd = Customer(id="1", logger_serial_number="A", facility="1\n", load="2")
    assert role_source(odd, "utility") is None
    assert role_track(odd, "utility", 0, 10) is None


entries = st.fixed_dictionaries(
    {
        "until": st.integers(1, 1000),
        "logger_serial_number": st.sampled_from(["A", "B"]),
        "facility": st.sampled_from(["", "1", "2"]),
        "load": st.sampled_from(["", "3"]),
        "solar": st.sampled_from(["", "4"]),
        "reversed": st.lists(st.sampled_from(ROLES), unique=True),
    }
)


@given(
    st.lists(entries, max_size=6),
    st.integers(0, 999),
    st.integers(1, 500),
    st.lists(st.sampled_from(ROLES), unique=True),
)
def test_tracks_tell_of_each_time_what_the_settings_of_then_tell(
    history: list[dict[str, Any]], start: int, length: int, roles: list[Role]
) -> None:
    customer = Customer(id="1", logger_serial_number="A", facility="1", load="3", extensions={"history": history})
    end = start + length
    tracks = {track.role: track for track in role_tracks(customer, start, end, roles)}
    for span in setup_periods(customer, start, end):
        for role in roles:
            source = tracks[role].source_at(span.start) if role in tracks else None
            series = span.series_of(role)
            assert (source.series if source else None) == series
            if source is not None:
                assert source.computed == (not span.setup.meter_of(role))
                assert source.reversed == (role in span.setup.reversed_roles and not source.computed)
    covered = ranges_without_change(list(tracks.values()))
    assert all(before[1] <= after[0] for before, after in pairwise(covered))
    for track in tracks.values():
        for segment in track.segments:
            parts = [piece for piece in covered if segment.start <= piece[0] and piece[1] <= segment.end]
            assert sum(until - since for since, until in parts) == segment.end - segment.start
