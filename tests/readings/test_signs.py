"""Reversed current transformers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.readings.memory import summaries
from cenergyd.readings.model import Reading
from cenergyd.readings.signs import sign_corrected, sign_corrected_summary

values = st.one_of(st.none(), st.floats(-1e6, 1e6))


def test_power_and_energy_turn_and_nothing_else() -> None:
    said = Reading(60, -5.0, 0.9, 240.0, 1.5, False, -7.0, 3.0, 10.0)
    assert sign_corrected(said) == Reading(60, 5.0, 0.9, 240.0, -1.5, False, 7.0, 10.0, 3.0)


def test_a_window_turns_with_its_readings() -> None:
    readings = [Reading(0, -5.0, 0.9, 120.0, 2.0), Reading(30, -7.0, 0.9, 120.0, 0.0)]
    (window,) = summaries(readings, 60)
    assert sign_corrected_summary(window) == summaries(map(sign_corrected, readings), 60)[0]
    assert sign_corrected_summary(sign_corrected_summary(window)) == window


@given(st.tuples(*[values] * 7), st.booleans())
def test_twice_is_nothing_and_zero_has_no_sign(given_values: tuple[float | None, ...], estimated: bool) -> None:
    reading = Reading.of_values(0, given_values, estimated)
    assert sign_corrected(sign_corrected(reading)) == reading
    _, p, _, _, q, _, net, *_ = sign_corrected(reading)
    assert "-0.0" not in {str(value) for value in (p, q, net)}
