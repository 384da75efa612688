"""What alerts call times, meters and loggers."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from cenergyd.customers.model import Customer
from cenergyd.jobs.alerts.text import device_words, local_time_text, role_words

SITE = Customer(id="1", facility="1", solar="2+4*0.5", logger_serial_number="001EC6001433")


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ("001EC6001433", "Logger: 001EC6001433"),
        ("001EC6001433_1", "Meter: 1, utility (grid)"),
        ("001EC6001433_4", "Meter: 4, solar"),
        ("001EC6001433_solar_sum", "Meter: the sum 2+4*0.5, solar"),
        ("001EC6001433_missing_meter", "Meter: computed, load"),
        ("001EC6001433_7", "Meter: 7"),
        ("AA01_3", "Meter: 3 of logger AA01"),
    ],
)
def test_devices_are_named_as_people_know_them(series: str, words: str) -> None:
    assert device_words(SITE, series) == words


def test_a_meter_without_a_role_is_not_named_by_its_series() -> None:
    assert role_words(SITE, "001EC6001433_7") == "unassigned"


def test_times_are_written_as_people_do() -> None:
    assert local_time_text(1_795_860_300, ZoneInfo("America/Los_Angeles")) == "Sat 28 Nov 2026, 02:05 PST"
