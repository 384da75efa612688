"""What a stored customer's settings may be."""

from __future__ import annotations

import attrs
import pytest

from cenergyd.customers.model import Customer
from cenergyd.customers.passwords import hash_password
from cenergyd.customers.validation import is_meter, is_time_zone, validate
from cenergyd.errors import InvalidField

GOOD = Customer(
    id="1",
    name="Müller",
    time_zone="America/Los_Angeles",
    facility="1",
    load="255",
    logger_serial_number="001EC6001433",
)


def test_what_is_right_passes():
    validate(GOOD)
    validate(Customer(id="1"))
    hashed = hash_password("x")
    validate(attrs.evolve(GOOD, logger_password=hashed))
    validate(attrs.evolve(GOOD, logger_password="clear text"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\nb"), ("name", "x" * 201), ("time_zone", "Mars/Base"), ("time_zone", "../../etc/passwd"),
        ("facility", "0"), ("facility", "256"), ("load", "01"), ("solar", "x"), ("solar", "1 "), ("solar", "¹"),
        ("logger_serial_number", "aa"), ("logger_serial_number", "A-1"), ("logger_serial_number", "A" * 33),
        ("logger_password", "a\0b"), ("logger_password", "x" * 1000),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(field, value):
    with pytest.raises(InvalidField) as caught:
        validate(attrs.evolve(GOOD, **{field: value}))
    assert caught.value.field == field


def test_meters_and_zones():
    assert [meter for meter in ("1", "255", "", "-1", "0", "٣", "1.0") if is_meter(meter)] == ["1", "255"]
    assert is_time_zone("UTC")
    assert not is_time_zone("")
