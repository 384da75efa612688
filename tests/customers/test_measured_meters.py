"""Which meters measure a role, each by itself."""

from __future__ import annotations

from typing import Any

import attrs

from cenergyd.customers.measured_meters import meter_segments
from cenergyd.customers.model import Customer

CUSTOMER = Customer(id="1", facility="1", solar="2+4*0.5-6", logger_serial_number="AA01")


def reported(customer: Customer, start: int = 0, end: int = 100) -> list[tuple[Any, ...]]:
    return [
        (each.role, each.series, each.start, each.end, each.factor) for each in meter_segments(customer, start, end)
    ]


def test_each_meter_of_a_sum_and_what_it_counts_for() -> None:
    assert reported(CUSTOMER) == [
        ("utility", "AA01_1", 0, 100, 1.0),
        ("solar", "AA01_2", 0, 100, 1.0),
        ("solar", "AA01_4", 0, 100, 0.5),
        ("solar", "AA01_6", 0, 100, -1.0),
    ]
    assert [each.in_sum for each in meter_segments(CUSTOMER, 0, 100)] == [False, True, True, True]
    backwards = [each.counts_backwards for each in meter_segments(CUSTOMER, 0, 100)]
    assert backwards == [False, False, False, True]


def test_a_reversed_role_turns_each_of_its_meters() -> None:
    turned = attrs.evolve(CUSTOMER, extensions={"meters": {"reversed": ["solar"]}})
    assert [each.counts_backwards for each in meter_segments(turned, 0, 100)] == [False, True, True, False]


def test_what_stays_the_same_over_a_change_is_one_segment() -> None:
    before = {"until": 50, "logger_serial_number": "AA01", "facility": "1", "load": "", "solar": "2"}
    changed = attrs.evolve(CUSTOMER, extensions={"history": [before]})
    assert reported(changed)[:3] == [
        ("utility", "AA01_1", 0, 100, 1.0),
        ("solar", "AA01_2", 0, 50, 1.0),  # by itself, then in a sum
        ("solar", "AA01_2", 50, 100, 1.0),
    ]
    replaced = attrs.evolve(CUSTOMER, extensions={"history": [{**before, "logger_serial_number": "BB02"}]})
    assert reported(replaced)[:2] == [("utility", "BB02_1", 0, 50, 1.0), ("utility", "AA01_1", 50, 100, 1.0)]


def test_a_sum_that_is_not_valid_and_a_site_without_logger_have_no_meters() -> None:
    assert reported(attrs.evolve(CUSTOMER, facility="", solar="2+2")) == []
    assert reported(attrs.evolve(CUSTOMER, logger_serial_number="")) == []
