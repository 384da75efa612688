"""The checks, on readings in a real store's summaries."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.jobs.alerts.checks import (
    check_implausible,
    check_net_load,
    check_power_factor,
    check_stuck,
    check_voltage,
    closed,
    merged_windows,
    stuck_resolution,
)
from cenergyd.jobs.alerts.rules import (
    ImplausibleRule,
    NetLoadRule,
    PowerFactorRule,
    StuckMeterRule,
    VoltageRule,
)
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.store import Summary

ZONE = ZoneInfo("America/Los_Angeles")
NOON = 1_783_710_000 - 1_783_710_000 % 86400 + 20 * 3600  # 13:00 in Los Angeles, July
S = "A_1"


async def summaries(readings: list[Reading], resolution: int = 60) -> list[Summary]:
    store = MemoryReadingStore()
    await store.write([SeriesReadings(S, readings)])
    return (await store.summarise([S], 0, 2_000_000_000, resolution))[S]


@pytest_twisted.ensureDeferred
async def test_net_load_is_evaluated_by_the_minutes_mean_and_its_hysteresis() -> None:
    rule = NetLoadRule(threshold_kw=50, hysteresis_kw=2)
    # The second minute peaks at 90 but its mean is 49; the third is 51; the fourth 48 exactly at the edge.
    minutes = [(40, 40), (90, 8), (51, 51), (48, 48), (49, 49)]
    readings = [Reading(NOON + n * 60 + k * 30, float(pair[k])) for n, pair in enumerate(minutes) for k in (0, 1)]
    evaluated = check_net_load(await summaries(readings), rule)
    assert [j.verdict for j in evaluated] == ["clear", "hold", "breach", "clear", "hold"]
    assert evaluated[2].value == 51
    assert [j.time for j in evaluated] == [NOON + n * 60 for n in range(5)]


@pytest_twisted.ensureDeferred
async def test_power_factor_comes_from_p_and_q_and_is_not_evaluated_near_zero() -> None:
    rule = PowerFactorRule(below=0.9, hysteresis=0.02, min_kw=1)
    readings = [
        Reading(NOON, 3.0, 0.99, None, 4.0),  # 3-4-5: 0.6, whatever the meter's own factor says
        Reading(NOON + 60, 0.5, 0.1, None, 4.0),  # too little power
        Reading(NOON + 120, -3.0, -0.7),  # no Q: the meter's own, its sign says only the direction
        Reading(NOON + 180, 30.0, -0.95),
        Reading(NOON + 240, 30.0, 0.91),
        Reading(NOON + 300, 30.0),  # nothing known
    ]
    evaluated = check_power_factor(await summaries(readings), rule)
    assert [(j.time - NOON, j.verdict, j.value) for j in evaluated] == [
        (0, "breach", pytest.approx(0.6)), (120, "breach", 0.7), (180, "clear", 0.95), (240, "hold", 0.91),
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_voltage_either_way_from_nominal() -> None:
    rule = VoltageRule(nominal_voltage=120, percent=5, hysteresis_percent=1)
    volts = [120.0, 126.5, 113.0, 125.5, 124.0, None]
    readings = [Reading(NOON + n * 60, 1.0, None, v) for n, v in enumerate(volts)]
    evaluated = check_voltage(await summaries(readings), rule)
    assert [j.verdict for j in evaluated] == ["clear", "breach", "breach", "hold", "clear"]
    assert evaluated[2].value == 113.0


@pytest_twisted.ensureDeferred
async def test_negative_solar_counts_in_daylight_only_and_negative_load_always() -> None:
    rule = ImplausibleRule(noise_kw=0.2)
    midnight = NOON + 11 * 3600
    for start, power, solar, load in (
        (NOON, -5.0, "breach", "breach"),
        (NOON, -0.1, "clear", "clear"),
        (NOON, 5.0, "clear", "clear"),
        (midnight, -5.0, None, "breach"),
    ):
        minutes = await summaries([Reading(start + n * 60, power) for n in range(15)])
        for role, expected in (("solar", solar), ("load", load)):
            evaluated = check_implausible(minutes, rule, role, ZONE, start + 900)
            assert [j.verdict for j in evaluated] == ([expected] if expected else [])
            # A quarter that has not ended is not evaluated.
            assert check_implausible(minutes, rule, role, ZONE, start + 899) == []


STUCK = StuckMeterRule(after_minutes=60)


async def stuck(readings: list[Reading], until: int) -> list[str]:
    windows = await summaries(readings, stuck_resolution(STUCK))
    return [j.verdict for j in check_stuck(windows, STUCK, until)]


@pytest_twisted.ensureDeferred
async def test_a_meter_is_stuck_if_all_its_values_repeat_and_are_not_zero() -> None:
    end = NOON + 80 * 60

    def course(**channels: object) -> list[Reading]:
        made = []
        for n in range(81):
            values = {name: value(n) if callable(value) else value for name, value in channels.items()}
            made.append(Reading(NOON + n * 60, **values))
        return made

    assert await stuck(course(P=4.2, L1_PF=0.9, L1_V=120.1), end) == ["breach"]
    assert await stuck(course(P=4.2), end) == ["breach"]
    # A base load that never changes by a watt is real as long as the voltage lives.
    assert await stuck(course(P=4.2, L1_V=lambda n: 120.0 + n % 3), end) == ["clear"]
    # Night: a solar meter says zero for hours.
    assert await stuck(course(P=0.0), end) == ["clear"]
    assert await stuck(course(P=0.0, L1_V=120.1), end) == ["clear"]
    # It lives again as soon as one reading differs.
    assert await stuck(course(P=lambda n: 4.2 if n < 80 else 4.3), end) == ["clear"]


@pytest_twisted.ensureDeferred
async def test_a_meter_with_missing_readings_is_not_evaluated() -> None:
    same = [Reading(NOON + n * 60, 4.2) for n in range(81)]
    end = NOON + 80 * 60
    assert await stuck(same, end) == ["breach"]
    assert await stuck(same[50:], end) == []  # only just begun
    assert await stuck(same[:40], end) == []  # ended long ago
    assert await stuck(same[::25], end) == []  # too few to tell


def test_only_ended_windows_are_means() -> None:
    windows = [Summary(NOON, 1, {}), Summary(NOON + 60, 1, {})]
    assert closed(windows, 60, NOON + 119) == windows[:1]
    assert closed(windows, 60, NOON + 120) == windows


@given(
    st.lists(st.tuples(st.integers(0, 3599), st.floats(-1e3, 1e3)), min_size=1, max_size=60, unique_by=lambda p: p[0])
)
def test_windows_put_together_are_the_windows_of_the_readings(points: list[tuple[int, float]]) -> None:
    def windows(resolution: int) -> list[Summary]:
        groups: dict[int, list[float]] = {}
        for time, power in points:
            groups.setdefault(NOON + time - time % resolution, []).append(power)
        return [
            Summary(time, len(p), {"P": (min(p), sum(p) / len(p), max(p))}) for time, p in sorted(groups.items())
        ]  # fmt: skip

    merged = merged_windows(windows(60), 900)
    assert [(m.time, m.readings) for m in merged] == [(w.time, w.readings) for w in windows(900)]
    for ours, plain in zip(merged, windows(900), strict=True):
        assert ours.channels["P"] == pytest.approx(plain.channels["P"], abs=1e-6)
