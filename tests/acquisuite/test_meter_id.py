"""Meter ids."""

from __future__ import annotations

import pytest

from cenergyd.acquisuite.encode import log_filename
from cenergyd.acquisuite.meter_id import meter_id
from cenergyd.errors import UploadError


@pytest.mark.parametrize(
    ("name", "device", "meter"),
    [
        ("modbus/mb-001.4AB87D4F_1.log.gz", "1", "1"),
        ("mb-001.log", None, "1"),
        ("mb-042.log", "", "42"),
        ("modbus\\mb-255.4AB87D4F_1.log", "0255", "255"),
        ("/var/log/MB-010.log.gz", " 10 ", "10"),
        ("mb-250.log", None, "250"),
        ("upload.gz", "7", "7"),
        ("", "7", "7"),
    ],
)
def test_meter_ids(name: str, device: str | None, meter: str) -> None:
    assert meter_id(name, device) == meter


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("mb-001.log", "2"), ("mb-000.log", "0"), ("mb-000.log", None), ("mb-256.log", None), ("mb-1234.log", "1"),
        ("mb-001.log", "one"), ("mb-001.log", "1.0"), ("mb-001.log", "-1"), ("mb-001.log", "\N{ARABIC-INDIC DIGIT ONE}"), ("x.log", None), ("x.log", "0"),
        ("x.log", "999999999999999999999999"), ("mb-" + "9" * 5000, None), ("mb-001.log/other", None),
    ],
)  # fmt: skip
def test_refused(name: str, device: str | None) -> None:
    with pytest.raises(UploadError):
        meter_id(name, device)


def test_the_names_that_loggers_give() -> None:
    assert log_filename("1", 1, 0x4AB87D4F) == "modbus/mb-001.4AB87D4F_1.log.gz"
    assert meter_id(log_filename("203", compressed=False)) == "203"
