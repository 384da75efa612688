"""Bills by registers: totals, their spread over the hours, and what is said where power counts instead."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.registers import Counted
from cenergyd.jobs.tariff.charges import Charges, PeriodEnergy
from cenergyd.jobs.tariff.model import Period
from cenergyd.jobs.tariff.parsing import tariff_from_json, tariff_to_json
from cenergyd.jobs.tariff.register_energy import by_registers
from cenergyd.jobs.tariff.report import charges_of, charges_report
from cenergyd.readings.corrected import corrected_store
from cenergyd.readings.corrections import Correction, CorrectionMap, correction_map
from cenergyd.readings.model import Reading
from tests.jobs.site import UTILITY, context_on, customer_in, run, store_with

DAY = 1_780_272_000  # 2026-06-01T00:00Z
NIGHT, PEAK = Period("all", "night"), Period("all", "peak")
WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TARIFF: dict[str, Any] = {
    "energy_from": "registers",
    "schedules": [
        {"season": "all", "period": "night", "days": WEEK, "from": "00:00", "to": "12:00"},
        {"season": "all", "period": "peak", "days": WEEK, "from": "12:00", "to": "24:00"},
    ],
    "energy": [
        {"season": "all", "period": "night", "import_per_kwh": "0.10"},
        {"season": "all", "period": "peak", "import_per_kwh": "1.00", "export_per_kwh": "0.50"},
    ],
}


def log(hours: int, P: float, factor: float = 1.1, step: int = 300, resolution: float = 0.1) -> list[Reading]:
    """A meter whose registers count ``factor`` times what its power says, at a resolution."""
    found = []
    for time in range(0, hours * 3600 + 1, step):
        value = round(4000 + factor * abs(P) * time / 3600, 6) // resolution * resolution
        forth, back = (value, 0.0) if P > 0 else (0.0, value)
        found.append(Reading(DAY + time, P=P, E_import=round(forth, 6), E_export=round(back, 6)))
    return found


def bill(readings: Sequence[Reading], customer: Customer | None = None, until: int = DAY + 86400) -> Charges:
    customer = customer or customer_in("UTC", extensions={"tariff": TARIFF})
    store = store_with(utility=readings)
    run(update_energy(customer, readings[0].time, readings[-1].time + 1, context_on(store)))
    tariff = tariff_from_json(customer.extensions["tariff"])
    return run(charges_of(customer, store, tariff, TimeRange(DAY, until), until))


def total(charges: Charges, way: str = "import") -> float:
    return sum(getattr(line, f"{way}_kwh") for line in charges.energy)


def test_a_period_is_the_difference_of_the_register() -> None:
    charges = bill(log(24, 6.0))
    assert total(charges) == pytest.approx(6.6 * 24)
    assert [line.import_kwh for line in charges.energy] == pytest.approx([79.2, 79.2])
    assert charges.registers is not None
    assert (charges.registers.register_seconds, charges.registers.missing) == (86400, ())
    assert charges.total == Decimal("7.92") + Decimal("79.20")


def test_it_is_exact_to_the_resolution_of_whole_kwh() -> None:
    assert total(bill(log(24, 6.37, factor=1.0, resolution=1.0))) == pytest.approx(int(4000 + 6.37 * 24) - 4000)


def test_hours_share_it_by_their_power() -> None:
    """The register counts in tens of kWh: in which hour it does so decides nothing."""
    readings = [
        Reading(
            DAY + 300 * k,
            P=2.0 if k < 144 else 8.0,
            E_import=float((2 * k if k < 144 else 288 + 8 * (k - 144)) // 120 * 10),
        )
        for k in range(289)
    ]
    charges = bill(readings)
    assert total(charges) == pytest.approx(120.0)
    assert [line.import_kwh for line in charges.energy] == pytest.approx([24.0, 96.0], rel=0.01)


def test_export_is_counted_by_its_own_register() -> None:
    charges = bill(log(24, -5.0))
    assert (total(charges), total(charges, "export")) == (0.0, pytest.approx(132.0))


def test_without_the_tariffs_word_power_counts() -> None:
    plain = {name: value for name, value in TARIFF.items() if name != "energy_from"}
    charges = bill(log(24, 6.0), customer_in("UTC", extensions={"tariff": plain}))
    assert total(charges) == pytest.approx(144.0)
    assert charges.registers is None


def test_a_reset_costs_one_interval() -> None:
    readings = log(24, 6.0)
    readings = [r if k < 150 else r._replace(E_import=(r.E_import or 0.0) - 4080.0) for k, r in enumerate(readings)]
    charges = bill(readings)
    assert total(charges) == pytest.approx(6.6 * 24 - 0.55 + 0.5, abs=0.11)
    assert charges.registers is not None
    (missing,) = charges.registers.missing
    assert (missing.start, missing.end, missing.seconds) == (DAY + 12 * 3600, DAY + 13 * 3600, 300)
    assert missing.reason == "no_registers"


def test_half_a_day_without_registers_is_by_power_and_is_reported() -> None:
    readings = log(24, 6.0)
    readings = [r if k <= 144 else r._replace(E_import=None, E_export=None) for k, r in enumerate(readings)]
    charges = bill(readings)
    assert [line.import_kwh for line in charges.energy] == pytest.approx([79.2, 72.0])
    assert charges.registers is not None
    assert [each[:3] for each in charges.registers.missing] == [(DAY + 43200, DAY + 86400, 43200)]


def test_a_computed_grid_meter_is_by_power_and_is_reported() -> None:
    customer = customer_in("UTC", extensions={"tariff": TARIFF})
    computed = Customer(
        id="c", time_zone="UTC", load="1", solar="2", logger_serial_number=customer.logger_serial_number,
        logger_password="x", extensions={"tariff": TARIFF},
    )  # fmt: skip
    readings = log(24, 6.0)
    store = store_with(utility=readings, load=[r._replace(P=2.0) for r in readings])
    run(update_energy(computed, DAY, DAY + 86400, context_on(store)))
    charges = run(charges_of(computed, store, tariff_from_json(TARIFF), TimeRange(DAY, DAY + 86400), DAY + 86400))
    assert total(charges) == pytest.approx(96.0)
    assert charges.registers is not None and charges.registers.register_seconds == 0
    assert [each.reason for each in charges.registers.missing] == ["computed"]


def test_neighbouring_periods_add_up_where_no_reading_is_at_the_boundary() -> None:
    readings = [r._replace(time=r.time + 100) for r in log(24, 6.0, resolution=0.001)]
    halves = [bill(readings, until=DAY + 36000), bill(readings)]
    register = readings[-1].E_import or 0.0
    assert total(halves[1]) == pytest.approx(register - 4000, abs=0.2)
    assert total(halves[0]) == pytest.approx(66.0, abs=0.2)


def test_a_reversed_ct_and_a_new_meter() -> None:
    """Until noon the CT was reversed: what it counted as export was import. The time between the two meanings is lost."""
    readings = log(24, 6.0, factor=1.0)
    turned = [r._replace(P=-6.0, E_import=0.0, E_export=r.E_import) if r.time < DAY + 43200 else r for r in readings]
    history = [{"until": DAY + 43200, "facility": "1", "load": "2", "solar": "", "reversed": ["utility"]}]
    charges = bill(turned, customer_in("UTC", extensions={"tariff": TARIFF, "history": history}))
    assert total(charges) == pytest.approx(143.5)
    assert total(charges, "export") == 0.0


def test_a_tariff_that_cuts_the_hours_elsewhere_keeps_the_total() -> None:
    other = {**TARIFF, "schedules": [{**each, "from": each["from"].replace("12:00", "12:15"), "to": each["to"].replace("12:00", "12:15")} for each in TARIFF["schedules"]]}  # fmt: skip
    customer = customer_in("UTC", extensions={"tariff": TARIFF})
    store = store_with(utility=log(24, 6.0))
    run(update_energy(customer, DAY, DAY + 86401, context_on(store)))
    charges = run(charges_of(customer, store, tariff_from_json(other), TimeRange(DAY, DAY + 86400), DAY + 86400))
    assert [line.import_kwh for line in charges.energy] == pytest.approx([6.6 * 12.25, 6.6 * 11.75])


def test_the_excess_of_a_net_register_goes_to_the_larger_direction() -> None:
    def part(imported: float, exported: float, net: float) -> PeriodEnergy:
        return PeriodEnergy(NIGHT, imported, exported, 3600, 0, 3600, Counted(3600, None, None, net, 0.0, 0.0), "m")

    (one,), _ = by_registers([part(10.0, 2.0, 9.0)])
    assert (one.import_kwh, one.export_kwh) == (11.0, 2.0)
    (two,), _ = by_registers([part(2.0, 10.0, -9.0)])
    assert (two.import_kwh, two.export_kwh) == (2.0, 11.0)
    (three,), _ = by_registers([part(3.0, 2.0, -9.0)])
    assert (three.import_kwh, three.export_kwh) == (0.0, 9.0)


def test_one_scaled_reading_is_billed_by_its_power() -> None:
    """The register counted a tenth of what this reading says, and the difference across it must not hide that."""
    customer = customer_in("UTC", extensions={"tariff": TARIFF})
    at = DAY + 6 * 3600
    made = Correction(
        number=1, kind="scale", start=at, end=at + 300, factor=10.0, reason="x", customer_id="c", by="x", at=1
    )

    class FixedCorrections:
        async def maps(self, series: Sequence[str]) -> dict[str, CorrectionMap]:
            return {UTILITY: correction_map([made])} if UTILITY in series else {}

        async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
            return frozenset({UTILITY}).intersection(series)

    store = corrected_store(store_with(utility=log(24, 6.0)), FixedCorrections())
    run(update_energy(customer, DAY, DAY + 86401, context_on(store)))
    charges = run(charges_of(customer, store, tariff_from_json(TARIFF), TimeRange(DAY, DAY + 86400), DAY + 86400))
    assert charges.registers is not None and charges.registers.power_seconds == 600
    assert total(charges) == pytest.approx(1.1 * (144 - 1) + (6 + 60) / 2 / 6, abs=0.2)


def test_the_report_shows_which_was_used() -> None:
    customer = customer_in("UTC", extensions={"tariff": TARIFF})
    store = store_with(utility=log(24, 6.0))
    run(update_energy(customer, DAY, DAY + 86401, context_on(store)))
    report = run(charges_report(customer, store, DAY + 86400))
    assert report["this"]["energy_from"] == "registers"
    assert report["this"]["registers"] == {"register_seconds": 86400, "power_seconds": 0, "missing": []}


def test_the_tariffs_json_keeps_it() -> None:
    assert tariff_to_json(tariff_from_json(TARIFF))["energy_from"] == "registers"
    assert tariff_to_json(tariff_from_json({}))["energy_from"] == "power"
