"""What a stored customer's settings may be."""

from __future__ import annotations

import attrs
import pytest

from cenergyd.customers.model import Customer
from cenergyd.customers.passwords import hash_password
from cenergyd.customers.validation import faults_of, is_time_zone

GOOD = Customer(
    id="1",
    name="Müller",
    time_zone="America/Los_Angeles",
    facility="1",
    load="255",
    logger_serial_number="001EC6001433",
)


def test_what_is_right_passes():
    good = [GOOD, Customer(id="1")]
    good += [attrs.evolve(GOOD, logger_password=stored) for stored in (hash_password("x"), "clear text")]
    assert [faults_of(customer) for customer in good] == [[], [], [], []]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\nb"), ("name", "x" * 201), ("time_zone", "Mars/Base"), ("time_zone", "../../etc/passwd"),
        ("facility", "0"), ("facility", "256"), ("facility", "٣"), ("facility", "1.0"), ("load", "01"), ("solar", "x"), ("solar", "1 "), ("solar", "¹"),
        ("logger_serial_number", "aa"), ("logger_serial_number", "A-1"), ("logger_serial_number", "A" * 33),
        ("logger_password", "a\0b"), ("logger_password", "x" * 1000),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(field, value):
    assert [fault.field for fault in faults_of(attrs.evolve(GOOD, **{field: value}))] == [field]


def test_time_zones():
    assert is_time_zone("UTC")
    assert not is_time_zone("")
