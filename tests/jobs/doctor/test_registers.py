"""Power and registers of a day, compared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
import pytest_twisted

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.doctor import report
from cenergyd.jobs.doctor.checks import Finding
from cenergyd.jobs.doctor.registers import check_registers, compared_days
from cenergyd.jobs.doctor.report import doctor
from cenergyd.readings.model import Reading
from tests.jobs.conftest import JobsUnderTest

DAY = 1_780_012_800
DAYS = [TimeRange(DAY, DAY + 86400), TimeRange(DAY + 86400, DAY + 2 * 86400)]


def log(step: int = 60, factor: float = 1.0, power: Callable[[int], float] = lambda _: 6.0) -> list[Reading]:
    """Two days; the register counts what flows each second (by minutes), in steps of 0.1 kWh."""
    found, counted = [], 0.0
    for time in range(DAY, DAY + 2 * 86400, 60):
        if (time - DAY) % step == 0:
            found.append(Reading(time, P=power(time), E_net=round(1000 + factor * counted, 1)))
        counted += power(time) / 60
    return found


def found(readings: Sequence[Reading]) -> Finding:
    (finding,) = check_registers("utility", compared_days(readings, DAYS, 5400))
    return finding


def test_they_agree() -> None:
    finding = found(log())
    assert (finding.severity, finding.code) == ("ok", "registers")
    for day in finding.evidence["days"]:
        assert day["register_kwh"] == pytest.approx(144, abs=0.3)
        assert abs(day["difference_kwh"]) < 0.3


@pytest.mark.parametrize(
    ("readings", "why"),
    [
        (log(factor=10.0), "always by the factor 10"),
        (log(factor=-1.0), "a register was reset or rolled over"),
        ([r for r in log() if not DAY + 3600 < r.time < DAY + 20 * 3600], "power is not known for 1140 minutes"),
        ([r._replace(E_net=(r.E_net or 0) - (900 if r.time > DAY + 40000 else 0)) for r in log()], "reset or rolled over"),
        (log(900, power=lambda time: 20.0 if time % 900 == 0 else float(time // 86400 % 2)), "logged only every 15 minutes"),
    ],
)  # fmt: skip
def test_they_differ_and_it_says_why(readings: list[Reading], why: str) -> None:
    finding = found(readings)
    assert (finding.severity, finding.code, finding.field) == ("warning", "registers_differ", "facility")
    assert why in finding.message


def test_a_meter_without_registers_is_not_evaluated() -> None:
    assert check_registers("utility", compared_days([r._replace(E_net=None) for r in log()], DAYS, 5400)) == []


@pytest_twisted.ensureDeferred
async def test_computing_holds_up_nobody(jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = await jobs.customer({})
    await jobs.write("1", log())
    threads: list[threading.Thread] = []
    check = report.check_readings

    def watched(gathered: report.CheckInputs) -> list[Finding]:
        threads.append(threading.current_thread())
        return check(gathered)

    monkeypatch.setattr(report, "check_readings", watched)
    found = await doctor(customer, jobs.context.readings, jobs.context.documents, DAY + 2 * 86400)
    assert threads
    assert threading.main_thread() not in threads
    assert "registers" in [finding.code for finding in found.findings]
