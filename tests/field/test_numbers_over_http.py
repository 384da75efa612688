"""Readings whose energy, rollups and curves were wrong in the field, uploaded to a running daemon on each pair of stores.

Each has its own logger. All are uploaded first, so that the test waits for the daemon only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from cenergyd.acquisuite.layouts import VERIS
from cenergyd.readings.model import Reading
from tests.e2e.device import acknowledged, upload
from tests.e2e.stored import processed
from tests.field.conftest import OperatedDaemon

DAY = 1_748_476_800
"""2025-05-29T00:00Z."""
HOUR = 3600


class Site:
    """A customer with a logger, and what it uploads."""

    def __init__(self, operated: OperatedDaemon, serial: str, **settings: str) -> None:
        self.operated, self.serial = operated, serial
        meters = {"facility": "1", "solar": "2", **settings}
        self.id = operated.operator.add_customer(serial, **meters)
        self.counts: dict[str, int] = {}

    def log(self, meter: str, readings: Sequence[Reading]) -> None:
        assert acknowledged(upload(self.operated.daemon, self.serial, meter, readings)), self.serial
        series = f"{self.serial}_{meter}"
        self.counts[series] = self.counts.get(series, 0) + len(readings)

    def change(self, since: int, **changes: object) -> None:
        self.operated.operator.ask("POST", f"customers/{self.id}/meters", {"effective_from": since, **changes})

    def ask(self, path: str) -> Any:
        return self.operated.operator.ask("GET", f"customers/{self.id}/{path}")

    def hours(self) -> list[dict[str, Any]]:
        """The utility's energy by the hour."""
        found = self.ask("energy?step=hour&start=2025-05-29&end=2025-06-01")["windows"]
        return [hour["roles"]["utility"] for hour in found if "utility" in hour["roles"]]

    def total(self, name: str = "import_kwh") -> float:
        return float(sum(hour[name] for hour in self.hours()))

    def day(self, role: str = "utility", resolution: str = "24h") -> dict[str, Any]:
        """The first window of a role's rollups."""
        found = self.ask(f"rollups?role={role}&resolution={resolution}&start={DAY}&end={DAY + 86400}")["windows"]
        return dict(found[0])


class Case(NamedTuple):
    """An input with its expected results."""

    play: Callable[[Site], None]
    check: Callable[[Site], None]
    settings: dict[str, str] = {}


def rows(times: Sequence[int], power: float = 6.0) -> list[Reading]:
    return [Reading(DAY + time, P=power) for time in times]


def counting(readings: Sequence[Reading]) -> list[Reading]:
    """With registers that go on at 6 kW."""
    return [r._replace(E_import=round(100 + (r.time - DAY) / 600, 6), E_export=0.0) for r in readings]


def logs(*parts: Sequence[Reading], meter: str = "1") -> Callable[[Site], None]:
    def play(site: Site) -> None:
        for part in parts:
            site.log(meter, part)

    return play


def kwh(wanted: float, lost: float = 0.0) -> Callable[[Site], None]:
    def check(site: Site) -> None:
        assert wanted - lost - 1e-6 <= site.total() <= wanted + 1e-6
        assert site.total("export_kwh") == 0

    return check


def each_hour(site: Site) -> None:
    hours = site.hours()[:48]
    assert [hour["import_kwh"] for hour in hours] == pytest.approx([6.0] * 48)
    assert [hour["covered_seconds"] for hour in hours] == [HOUR] * 48


def one_lost(site: Site) -> None:
    kwh(6.0)(site)
    assert site.total("interpolated_import_kwh") == pytest.approx(0.2)


def bridged(site: Site) -> None:
    kwh(18.0)(site)
    assert site.total("bridged_import_kwh") == pytest.approx(6.0)
    assert site.total("bridged_seconds") == HOUR


def turned(site: Site) -> None:
    """A CT was reversed until noon: 5 kW of import all day."""
    site.change(0, reversed=["utility"])
    site.change(DAY + 12 * HOUR, reversed=[])
    site.log("1", [Reading(DAY + 900 * k, P=-5.0 if k < 48 else 5.0) for k in range(96)])


def all_positive(site: Site) -> None:
    day = site.day()
    assert (day["P_mean"], day["P_min"], day["P_max"], day["complete"]) == (5.0, 5.0, 5.0, 1.0)


def replaced(site: Site) -> None:
    """The utility meter is 4 and not 1 from 10:10 on: 610 minutes of 2 kW, then 830 of 8 kW."""
    site.log("1", rows([60 * k for k in range(610)], 2.0))
    site.log("4", rows([60 * k for k in range(610, 1440)], 8.0))
    site.change(DAY + 610 * 60, facility="4")


def both_meters(site: Site) -> None:
    day = site.day()
    assert day["P_mean"] == pytest.approx((610 * 2 + 830 * 8) / 1440)
    assert (day["P_min"], day["P_max"], day["readings"], day["complete"]) == (2.0, 8.0, 1440, 1.0)


def other_role(site: Site) -> None:
    """Until 12:40 the utility is meter 1 and load is computed; then meter 1 is the load and the utility is computed."""
    for meter, power in (("1", 5.0), ("2", 3.0)):
        site.log(meter, rows([60 * k for k in range(1440)], power))
    site.change(DAY + 760 * 60, facility="", load="1")


def by_role(site: Site) -> None:
    utility, load = site.day("utility"), site.day("load")
    assert utility["P_mean"] == pytest.approx((760 * 5 + 680 * (5 - 3)) / 1440)
    assert load["P_mean"] == pytest.approx((760 * (5 + 3) + 680 * 5) / 1440)
    assert (utility["P_min"], load["P_max"]) == (2.0, 8.0)


def mended(site: Site) -> None:
    site.log("1", [Reading(DAY + 900 * k, P=-5.0 if 900 * k < 6 * HOUR + 420 else 5.0) for k in range(49)])
    site.change(0, reversed=["utility"])
    site.change(DAY + 6 * HOUR + 420, reversed=[])


def late_rows(site: Site) -> None:
    """Other columns from noon on; then rows of 11:00 arrive."""
    site.change(DAY + 12 * HOUR, layouts={"1": {"P": VERIS.columns["L1_PF"]}})
    site.log("1", [Reading(DAY + 12 * HOUR, P=7.0, L1_PF=0.5, L1_V=120.0)])
    site.log("1", [Reading(DAY + 11 * HOUR, P=7.0, L1_PF=0.5, L1_V=120.0)])


def own_columns(site: Site) -> None:
    found = site.ask(f"readings?series={site.serial}_1&start={DAY}&end={DAY + 86400}&resolution=raw")
    (curve,) = [each for each in found["curves"] if each["role"] is None]
    assert curve["time"] == [DAY + 11 * HOUR, DAY + 12 * HOUR]
    assert curve["P"]["mean"] == [7.0, 0.5]


LOS_ANGELES = {"time_zone": "America/Los_Angeles"}


def local_day(site: Site) -> None:
    """10 kW on one local day, nothing before and after."""
    site.log("1", rows([7 * HOUR + 900 * k for k in range(96)], 10.0))


def labelled_midnight(site: Site) -> None:
    found = site.ask(f"readings?role=utility&start={DAY - 86400}&end={DAY + 3 * 86400}&resolution=86400&channel=P")
    (curve,) = found["curves"]
    assert (curve["time"], curve["P"]) == ([DAY + 7 * HOUR], {"min": [10.0], "mean": [10.0], "max": [10.0]})


def few_powers(site: Site) -> None:
    site.log("1", [Reading(DAY + 60 * k, P=6.0 if k % 10 == 0 else None, L1_V=120.0) for k in range(60)])


def tenth(site: Site) -> None:
    hour = site.day(resolution="1h")
    assert (hour["P_count"], hour["expected"], hour["P_complete"]) == (6, 60, 0.1)


def huge(site: Site) -> None:
    site.log("1", [Reading(DAY + 60 * k, P=1.5e308, L1_V=120.0) for k in range(2)])


def refused(site: Site) -> None:
    path = f"customers/{site.id}/readings.csv?role=utility&start={DAY}&end={DAY + 86400}"
    text = site.operated.operator.text("GET", path)
    assert "120.0" in text
    assert "inf" not in text
    assert "e+30" not in text
    assert not any(name.startswith("P_") for name in site.day())


def zeros(site: Site) -> None:
    site.log("1", rows([60 * k for k in range(60)], 0.0))
    site.change(0, reversed=["utility"])


def no_minus_zero(site: Site) -> None:
    for path in ("latest", f"readings?start={DAY}&end={DAY + HOUR}&resolution=raw", f"rollups?role=utility&start={DAY}&end={DAY + HOUR}"):  # fmt: skip
        assert "-0.0" not in site.operated.operator.text("GET", f"customers/{site.id}/{path}")


MINUTES = [60 * k for k in range(181) if not 60 < k < 120]
CASES: dict[str, Case] = {
    "drift": Case(logs(rows([HOUR * k + k for k in range(49)])), each_hour),
    "jitter": Case(logs(rows([HOUR * k + (0, 6, 1, 5, 2, 4, 3)[k % 7] for k in range(48)] + [48 * HOUR])), each_hour),
    "lost": Case(logs(counting(rows([60 * k for k in range(61) if k != 30]))), one_lost),
    "bridged": Case(logs(counting(rows(MINUTES))), bridged),
    "1to15": Case(logs(rows([60 * k for k in range(720)]), rows([900 * k for k in range(48, 97)])), kwh(144, 1.5)),
    "15to1": Case(logs(rows([900 * k for k in range(48)]), rows([60 * k for k in range(720, 1441)])), kwh(144, 1.5)),
    "15to60": Case(logs(rows([900 * k for k in range(48)]), rows([HOUR * k for k in range(12, 25)])), kwh(144, 6)),
    "turned": Case(turned, all_positive),
    "replaced": Case(replaced, both_meters),
    "role": Case(other_role, by_role),
    "mended": Case(mended, kwh(60, 1.25)),
    "columns": Case(late_rows, own_columns),
    "local": Case(local_day, labelled_midnight, LOS_ANGELES),
    "few": Case(few_powers, tenth),
    "huge": Case(huge, refused),
    "zeros": Case(zeros, no_minus_zero),
}


@pytest.fixture(scope="module")
def sites(operated: OperatedDaemon) -> Iterator[dict[str, Site]]:
    """All of them, uploaded and processed."""
    found = {name: Site(operated, f"N{name.upper()}", **case.settings) for name, case in CASES.items()}
    counts: dict[str, int] = {}
    for name, site in found.items():
        CASES[name].play(site)
        counts |= site.counts
    processed(operated.daemon, counts)
    yield found


@pytest.mark.parametrize("name", CASES)
def test_the_right_result(sites: dict[str, Site], name: str) -> None:
    CASES[name].check(sites[name])
