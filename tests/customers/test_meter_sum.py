"""Sums of meters as they are written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.fields import PATTERNS, clean_meter
from cenergyd.customers.meter_history import role_segments, uses_sums
from cenergyd.customers.meter_sum import (
    MAX_TERMS,
    InvalidSum,
    Term,
    fault_of,
    is_sum,
    meter_ids,
    normal_sum,
    sum_text,
    terms_of,
)
from cenergyd.customers.model import Customer, MeterSetup
from cenergyd.customers.validation import faults_of
from cenergyd.errors import InvalidField

factors = st.decimals(min_value="0.000001", max_value="9999999", places=6).map(float)
sums = st.lists(
    st.tuples(st.integers(1, 255), factors, st.sampled_from([1, -1])),
    min_size=1, max_size=MAX_TERMS, unique_by=lambda term: term[0],
).map(lambda terms: [Term(str(meter), factor * sign) for meter, factor, sign in terms])  # fmt: skip


@given(sums)
def test_a_sum_is_read_as_it_was_written(terms: list[Term]) -> None:
    text = sum_text(terms)
    assert list(terms_of(text)) == terms
    assert normal_sum(text) == text and fault_of(text) == ""
    assert re.fullmatch(PATTERNS["solar"], text)


@given(st.text(alphabet="0123456789+-*. ,e", max_size=30))
def test_what_is_accepted_is_accepted_again_and_means_the_same(text: str) -> None:
    try:
        normal = normal_sum(text)
    except InvalidSum:
        return
    assert normal_sum(normal) == normal
    assert terms_of(normal) == terms_of(text.strip())
    assert all(term.factor for term in terms_of(normal))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("1", "1"),
        (" 01 + 004*0.50", "1+4*0.5"),
        ("2*10", "2*10"),
        ("2*1.0", "2"),
        ("1-4", "1-4"),
        ("-1", "-1"),
        ("+1", "1"),
    ],
)
def test_the_usual_ones(text: str, normal: str) -> None:
    assert clean_meter("solar", text) == normal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1+", "a sum of meters such as 1+4"), ("1*0", "a sum of meters"), ("1*-2", "a sum of meters"),
        ("256", "from 1 to 255"), ("1+300", "from 1 to 255"), ("1e3", "from 1 to 255"), ("1*1e3", "a sum of meters"),
        ("1+1", "meter 1 is named twice"), ("+".join(map(str, range(1, 18))), "at most 16 meters"),
        ("1+" * 300 + "1", "at most 400 characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_reported(text: str, why: str) -> None:
    with pytest.raises(InvalidField, match=re.escape(why)) as caught:
        clean_meter("solar", text)
    assert caught.value.field == "solar"


def test_a_setup_with_sums() -> None:
    setup = MeterSetup(utility="1", solar="2+3*0.5")
    assert setup.missing_role == "load" and setup.has_sums
    assert setup.series_of("solar", "00A") == "00A_solar_sum"
    assert setup.measured_series_of("solar", "00A") == ["00A_2", "00A_3"]
    assert MeterSetup(utility="1", solar="2+1").missing_role is None, "meter 1 cannot be both"
    customer = Customer(id="a", facility="1", solar="2+1", logger_serial_number="00A", logger_password="x")
    assert [(each.field, each.code) for each in customer.problems()] == [
        ("facility", "same_meter"),
        ("solar", "same_meter"),
    ]
    assert customer.role_of("00A_solar_sum") == customer.role_of("00A_2") == "solar"
    assert customer.role_of("00A_9") is None


def test_a_damaged_sum_of_the_front_end_is_reported_and_computes_nothing() -> None:
    customer = Customer(id="a", facility="1", solar="2+", logger_serial_number="00A", logger_password="x")
    assert is_sum("2+") and meter_ids("2+") == ()
    assert [(each.field, each.code) for each in customer.problems()] == [("solar", "invalid")]
    assert [fault.field for fault in faults_of(customer)] == ["solar"]
    assert faults_of(Customer(id="a", solar="04+2"))[0].args[0] == "write 4+2"


def test_a_factor_that_changes_is_a_change_of_meaning() -> None:
    history = [{"until": 100, "logger_serial_number": "00A", "facility": "1", "solar": "2*10"}]
    customer = Customer(id="a", facility="1", solar="2*20", logger_serial_number="00A", extensions={"history": history})
    segments = role_segments(customer, "solar", 0, 200)
    assert [(each.start, each.end, each.series, each.sum) for each in segments] == [
        (0, 100, "00A_solar_sum", "2*10"),
        (100, 200, "00A_solar_sum", "2*20"),
    ]
    assert [each.computed for each in segments] == [False, False]
    assert uses_sums(customer)
    assert not uses_sums(Customer(id="a", facility="1", solar="2"))
    assert uses_sums(Customer(id="a", facility="1", solar="2", extensions={"history": history}))
