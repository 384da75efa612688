"""What the registers of a sum of meters tell: each meter's are checked by themselves, so that no reset hides behind the others' counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cenergyd.customers.meter_sum import terms_of
from cenergyd.customers.model import TimeRange
from cenergyd.derivation.sums import add_up
from cenergyd.jobs.energy.energy import energy
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.role_power import RolePowerReader
from cenergyd.jobs.tariff.parsing import tariff_from_json
from cenergyd.jobs.tariff.report import charges_of
from cenergyd.readings.corrected import CorrectedReadings
from cenergyd.readings.corrections import Correction, CorrectionMap, correction_map
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.jobs.site import HORIZON, SERIAL, context_on, customer_in, run

GAP = TimeRange(20 * 60, 20 * 60 + 7200)
END = GAP.end + 1200
LONGEST = 5400
kwh = st.integers(0, 400).map(lambda tenths: tenths / 10)


def log(
    count: float, gap: float, after: float | None = None, P: float = 10.0, silent: TimeRange = GAP
) -> list[Reading]:
    """A reading each minute but in a gap; the import register counts ``gap`` kWh in it, then begins at ``after`` if it was reset."""
    times = [time for time in range(0, END, 60) if not silent.start < time < silent.end]
    later = count + gap if after is None else after
    return [
        Reading(time, P=P, E_import=(count if time <= silent.start else later) + P * time / 3600, E_export=0.0)
        for time in times
    ]


def site_of(text: str, meters: Mapping[str, Sequence[Reading]], store: Any) -> Any:
    """The customer whose utility meter is a sum, with everything stored."""
    run(store.write([SeriesReadings(f"{SERIAL}_{meter}", rows) for meter, rows in meters.items()]))
    terms = terms_of(text)
    corrected = run(store.read([f"{SERIAL}_{term.meter}" for term in terms], 0, HORIZON))
    summed = add_up([term.factor for term in terms], list(corrected.values()), 30)
    run(store.write([SeriesReadings(f"{SERIAL}_utility_sum", summed)]))
    return attrs.evolve(customer_in("UTC"), facility=text)


def bridged(text: str, meters: Mapping[str, Sequence[Reading]]) -> float | None:
    """Net kWh of the gap; None if it stays one."""
    store = MemoryReadingStore()
    reader = RolePowerReader(site_of(text, meters, store), store, LONGEST, HORIZON)
    lines = run(reader.lines(run(reader.rows_over(GAP)), GAP))["utility"]
    found = energy(lines, *GAP)
    return found.import_kwh - found.export_kwh if found.bridged.seconds else None


@given(count=kwh, one=kwh, other=kwh, after=st.none() | kwh, text=st.sampled_from(["1+4", "1*2+4*0.5", "4-1"]))
def test_a_gap_is_filled_with_what_each_meter_counted_or_stays(
    count: float, one: float, other: float, after: float | None, text: str
) -> None:
    """The other meter may count more than the reset took away: the sum of the registers then only goes up."""
    energy = bridged(text, {"1": log(count, one, after), "4": log(500.0, other)})
    own = one if after is None else after - count
    hours = (GAP.end - GAP.start) / 3600
    own, others = own + 10 * hours, other + 10 * hours
    largest = 2 * 10 * hours
    assume(all(abs(each - limit) > 1e-6 for each in (own, others) for limit in (0, largest)))
    if own < 0 or own > largest or others > largest:
        assert energy is None
    else:
        factors = {term.meter: term.factor for term in terms_of(text)}
        assert energy == pytest.approx(factors["1"] * own + factors["4"] * others, abs=1e-6)


def test_a_meter_of_the_sum_that_rolls_over_is_counted_on() -> None:
    meters = {"1": log(9990.0, -9999.0, P=10.0), "4": log(500.0, 3.0)}
    assert bridged("1+4", meters) == pytest.approx(1.0 + 3.0 + 40.0)
    assert bridged("1*3", {"1": meters["1"]}) == pytest.approx(3 * 21.0)


def test_the_other_meter_may_go_on_while_one_is_silent() -> None:
    whole = log(500.0, 0.0, silent=TimeRange(0, 0))
    assert bridged("1+4", {"1": log(100.0, 3.0), "4": whole}) == pytest.approx(23.0 + 20.0)
    assert bridged("1+4", {"1": log(100.0, 3.0, after=50.0), "4": whole}) is None


def scaled(start: int, end: int) -> CorrectionMap:
    return correction_map(
        [
            Correction(
                number=1, kind="scale", start=start, end=end, reason="x", customer_id="c", by="x", at=1, factor=2.0
            )
        ]
    )


class ScalingCorrection:
    """A correction of meter 4."""

    def __init__(self, start: int, end: int) -> None:
        self._view = scaled(start, end)

    async def maps(self, series: Sequence[str]) -> Mapping[str, CorrectionMap]:
        return {name: self._view for name in series if name == f"{SERIAL}_4"}

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        return frozenset(series) & {f"{SERIAL}_4"}


@pytest.mark.parametrize("text", ["1+4", "4*3"])
def test_bills_do_not_count_by_a_register_what_a_correction_scales(text: str) -> None:
    """One reading of meter 4 is scaled: the registers around it counted what is said to be wrong."""
    start = 600
    store: Any = CorrectedReadings(MemoryReadingStore(), ScalingCorrection(start, start + 60))
    meters = {"1": log(100.0, 0.0, silent=TimeRange(0, 0)), "4": log(500.0, 0.0, silent=TimeRange(0, 0))}
    customer = site_of(text, {meter: rows for meter, rows in meters.items() if meter in text}, store)
    run(update_energy(customer, 0, END, context_on(store)))
    tariff = tariff_from_json({"energy_from": "registers"})
    bill = run(charges_of(customer, store, tariff, TimeRange(0, END), END))
    assert bill.registers is not None
    assert bill.registers.register_seconds == END - 60 - 120


def test_a_gap_is_not_filled_by_registers_of_a_time_that_a_correction_scales() -> None:
    store: Any = CorrectedReadings(MemoryReadingStore(), ScalingCorrection(GAP.start + 300, GAP.start + 900))
    for text in ("1+4", "4"):
        meters = {"1": log(100.0, 0.0), "4": log(500.0, 0.0)}
        customer = attrs.evolve(site_of(text, meters, store), facility=text)
        reader = RolePowerReader(customer, store, LONGEST, HORIZON)
        lines = run(reader.lines(run(reader.rows_over(GAP)), GAP))["utility"]
        assert not energy(lines, *GAP).covered_seconds, text
