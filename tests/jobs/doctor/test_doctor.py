"""The setup report on simulated sites, wired right and wrong."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import Any

import pytest
import pytest_twisted

from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Role
from cenergyd.customers.time_zones import zone_of
from cenergyd.documents.kinds import LOGGER, METER
from cenergyd.jobs.doctor import report as setup_report
from cenergyd.jobs.doctor.checks import (
    Wiring,
    best_lag,
    check_agreement,
    check_clocks,
    check_wiring,
    contradiction,
    take_sample,
    wirings,
)
from cenergyd.jobs.doctor.report import DoctorReport, doctor
from cenergyd.jobs.site_state.gather import site_states
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.tools.simulator.day import site_moment
from cenergyd.tools.simulator.site import SimulatedSite, make_sites
from tests.jobs.conftest import SERIAL, JobsUnderTest

SITES = list(make_sites(12, 7))
DAYS = [1_768_500_000 - 1_768_500_000 % 86400, 1_782_900_000 - 1_782_900_000 % 86400]  # January and July
STEP = 300


def truth(site: SimulatedSite, start: int, *, days: int = 1, step: int = STEP) -> dict[Role, dict[int, float]]:
    times = range(start, start + days * 86400, step)
    found: dict[Role, dict[int, float]] = {role: {} for role in ROLES}
    for time in times:
        now = site_moment(site, time)
        for role in ROLES:
            found[role][time] = now.of(role).P
    return found


def zone_of_site(site: SimulatedSite) -> Any:
    return zone_of(site.place.zone)


def miswired(real: Mapping[Role, Mapping[int, float]], roles: tuple[Role, ...], wiring: Wiring) -> dict[Role, Any]:
    """What is seen where the wiring is the truth: under each name, the meter that the wiring says."""
    seen: dict[Role, dict[int, float]] = {}
    for role in roles:
        sign = -1.0 if role in wiring.reversed_roles else 1.0
        seen[wiring.measured_by[role]] = {time: sign * value for time, value in real[role].items()}
    return seen


def codes(findings: list[Any]) -> list[str]:
    return [finding.code for finding in findings]


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.missing}-{site.place.town}")
def test_every_exchange_and_reversal_of_two_meters_is_found_and_nothing_is_found_where_all_is_well(
    site: SimulatedSite,
) -> None:
    zone = zone_of_site(site)
    for start in DAYS:
        real = truth(site, start)
        sample = take_sample({role: real[role] for role in site.roles}, zone)
        assert sample is not None
        for wiring in wirings(sample):
            findings = check_wiring(miswired(real, site.roles, wiring), zone)
            if not wiring.changes:
                assert codes(findings) == ["wiring"]
                continue
            swapped = [f for f in findings if f.code == "swapped_meters"]
            turned = {f.evidence["role"] for f in findings if f.code == "reversed_ct"}
            assert len(findings) == len(swapped) + len(turned)
            assert turned == wiring.reversed_roles
            assert len(swapped) == bool(wiring.exchanged)
            if swapped:
                expected = {FIELD_OF_ROLE[r]: FIELD_OF_ROLE[n] for r, n in wiring.measured_by.items() if r != n}
                assert swapped[0].evidence["take_from"] == expected


@pytest.mark.parametrize("site", SITES[:3], ids=lambda site: site.place.town)
def test_three_meters_with_noise(site: SimulatedSite) -> None:
    zone, chance = zone_of_site(site), random.Random(1)
    real = {
        role: {time: value + chance.gauss(0, 0.01) for time, value in series.items()}
        for role, series in truth(site, DAYS[1]).items()
    }
    assert codes(check_wiring(real, zone)) == ["wiring"]
    (agreement,) = check_agreement(real)
    assert agreement.severity == "ok"
    sample = take_sample(real, zone)
    assert sample is not None
    for wiring in list(wirings(sample))[1::5]:
        findings = check_wiring(miswired(real, ROLES, wiring), zone)
        assert {f.evidence["role"] for f in findings if f.code == "reversed_ct"} == wiring.reversed_roles
        assert ("swapped_meters" in codes(findings)) == bool(wiring.exchanged)


def test_agreement_is_measured_in_bias_rms_and_share() -> None:
    times = range(0, 60 * 40, 60)
    power: dict[Role, dict[int, float]] = {
        "load": dict.fromkeys(times, 10.0),
        "solar": dict.fromkeys(times, 4.0),
        "utility": {t: 6.0 + (3.0 if t < 60 * 10 else 1.0) for t in times},
    }
    (finding,) = check_agreement(power)
    assert finding.severity == "warning"
    assert finding.evidence == {
        "bias_kw": 1.5, "rms_kw": pytest.approx((3.0**2 * 0.25 + 0.75) ** 0.5, abs=1e-4), "within_percent": 0.0,
        "tolerance_kw": 0.5, "readings": 40,
    }  # fmt: skip
    assert check_agreement({role: power[role] for role in ("load", "solar")}) == []  # type: ignore[misc]


def test_unexplained_findings_are_reported_without_a_guess() -> None:
    chance = random.Random(3)
    times = range(DAYS[0], DAYS[0] + 86400, STEP)
    nonsense: dict[Role, dict[int, float]] = {role: {t: chance.uniform(-5, 5) for t in times} for role in ROLES}
    findings = check_wiring(nonsense, zone_of("UTC"))
    assert codes(findings) == ["implausible"]


def test_too_few_readings_or_one_meter_give_no_finding() -> None:
    site = SITES[0]
    real = truth(site, DAYS[0])
    zone = zone_of_site(site)
    day = {role: {t: v for t, v in real[role].items() if t < DAYS[0] + 7200} for role in site.roles}
    assert codes(check_wiring(day, zone)) == ["too_little_data"]
    assert codes(check_wiring({site.roles[0]: real[site.roles[0]]}, zone)) == ["too_little_data"]


@pytest.mark.parametrize("steps", [-7, -1, 0, 1, 4])
def test_the_clock_of_a_meter_that_is_off_is_found_to_the_interval(steps: int) -> None:
    found = 0
    for site in SITES[:6]:
        real = truth(site, DAYS[1], step=60)
        shifted = {time + steps * 60: value for time, value in real["solar"].items()}
        lag = best_lag(real["utility"], shifted, 60)
        assert lag is not None
        assert lag.steps == steps
        findings = check_clocks({"utility": real["utility"], "solar": shifted})
        assert [(f.code, f.evidence["lag_seconds"]) for f in findings] in ([], [("misaligned_clocks", steps * 60)])
        found += len(findings)
    # One interval may be lost in the smoothness of the sun; silence is right then, a wrong guess never.
    assert found == 6 if abs(steps) > 1 else found >= 2 * abs(steps)
    assert steps or not found


def test_meters_that_have_nothing_to_do_with_each_other_have_no_lag() -> None:
    chance = random.Random(5)
    power: dict[Role, dict[int, float]] = {
        role: {t * 60: chance.gauss(5, 1) for t in range(2000)} for role in ("utility", "solar")
    }  # type: ignore[misc]
    assert check_clocks(power) == []


def test_the_contradiction_of_the_truth_is_none() -> None:
    for site, start in itertools.product(SITES, DAYS):
        sample = take_sample(truth(site, start), zone_of_site(site))
        assert sample is not None
        assert contradiction(sample, Wiring({role: role for role in ROLES}, frozenset())) < 0.01


class Case:
    """A simulated site in stores in memory."""

    def __init__(self, jobs: JobsUnderTest) -> None:
        self.jobs = jobs
        self.site = next(site for site in SITES if site.missing == "load")
        self.now = DAYS[1] + 86400

    async def store(self, meters: Mapping[str, Role], *, sign: float = 1.0, **channels: Any) -> None:
        for meter, role in meters.items():
            readings = []
            for time in range(DAYS[1], self.now, 60):
                now = site_moment(self.site, time)
                readings.append(Reading(time, sign * now.of(role).P, 0.9, now.volts)._replace(**channels))
            await self.jobs.context.readings.write([SeriesReadings(f"{SERIAL}_{meter}", readings)])

    async def heard(self, ago: int = 60) -> None:
        uploaded = self.now - ago
        await self.jobs.context.documents.put(LOGGER, SERIAL, {"last_upload": uploaded}, due=uploaded)

    async def report(self, **fields: Any) -> DoctorReport:
        customer = await self.jobs.customer({}, time_zone=self.site.place.zone, **fields)
        return await doctor(customer, self.jobs.context.readings, self.jobs.context.documents, self.now)


def by_code(report: DoctorReport) -> dict[str, Any]:
    return {finding.code: finding for finding in report.findings}


@pytest_twisted.ensureDeferred
async def test_a_site_that_is_well(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "utility", "2": "solar"}, Q=1.0)
    await case.heard()
    report = await case.report()
    assert [(f.severity, f.code) for f in report.findings] == [
        ("ok", "state"),
        ("ok", "wiring"),
        ("ok", "grid_or_load"),
    ]
    assert report.worst == "ok"
    assert json.loads(json.dumps(report.to_json()))["worst"] == "ok"


@pytest_twisted.ensureDeferred
async def test_exchanged_and_extra_meters(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "solar", "2": "utility", "9": "load"})
    await jobs.context.documents.put(METER, f"{SERIAL}_9", {"name": "<b>Main"}, owner=SERIAL)
    await case.heard()
    report = await case.report()
    found = by_code(report)
    assert report.worst == "error"
    assert found["swapped_meters"].evidence["take_from"] == {"facility": "solar", "solar": "facility"}
    assert "9 (<b>Main)" in found["unused_meters"].message
    assert found["no_reactive_power"].severity == "info"
    text = report.to_text()
    assert text.startswith("Mill: readings from ")
    assert "ERROR" in text


@pytest_twisted.ensureDeferred
async def test_a_ct_marked_as_reversed_is_taken_at_its_true_sign(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "utility"}, Q=1.0)
    await case.store({"2": "solar"}, sign=-1.0, Q=1.0)
    await case.heard()
    meters = {"meters": {"reversed": ["solar"]}}
    assert (await case.report(extensions=meters)).worst == "ok"
    await jobs.context.customers.remove((await jobs.context.customers.page())[0].id)
    assert by_code(await case.report())["reversed_ct"].field == "solar"


@pytest_twisted.ensureDeferred
async def test_a_role_that_is_a_sum_is_checked_as_one_and_its_meters_each(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "utility", "solar_sum": "solar"}, Q=1.0)
    await case.store({"2": "solar"}, sign=0.5, Q=1.0)
    await case.store({"4": "solar"}, sign=0.5)
    await case.heard()
    report = await case.report(solar="2+4")
    found = by_code(report)
    assert "unused_meters" not in found and "unseen_meter" not in found
    assert found["wiring"].severity == "ok"
    assert found["no_reactive_power"].message.startswith("The solar meter 4 gives no reactive power")
    await jobs.context.customers.remove((await jobs.context.customers.page())[0].id)
    found = by_code(await case.report(solar="2+4+7"))
    assert found["unseen_meter"].message.startswith("This logger has sent no reading of meter 7 (solar)")


@pytest_twisted.ensureDeferred
async def test_only_readings_under_the_present_settings_count(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "solar", "2": "utility"}, Q=1.0)
    await case.heard()
    history = [{"until": case.now - 600, "logger_serial_number": SERIAL, "facility": "2", "load": "", "solar": "1"}]
    report = await case.report(extensions={"history": history})
    assert report.since == case.now - 600
    assert "swapped_meters" not in by_code(report)


@pytest_twisted.ensureDeferred
async def test_settings_logger_and_meters(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    found = by_code(await case.report(solar="", logger_password=""))
    assert {"two_empty", "no_password", "never_uploaded", "unseen_meter"} <= set(found)
    assert found["unseen_meter"].field == "facility"
    assert found["two_empty"].severity == "error"

    await jobs.context.customers.remove((await jobs.context.customers.page())[0].id)
    await case.store({"1": "utility"}, L1_V=None, P=4.2)
    await jobs.write("2", [Reading(case.now - 40000, 1.0, L1_V=120.0)])
    await jobs.write("5", [Reading(case.now + 4000, 1.0)])
    await case.heard(ago=27 * 3600)
    found = by_code(await case.report())
    assert found["logger_silent"].evidence["since"] == case.now - 27 * 3600
    assert "meter_stopped" not in found, "older than the silence, or not to be known"
    assert found["no_voltage"].field == "facility"
    assert found["stuck_meter"].field == "facility"
    assert found["clock_ahead"].evidence["ahead_seconds"] == 4000 + 27 * 3600


@pytest_twisted.ensureDeferred
async def test_the_report_says_what_the_pages_say_of_the_state(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "utility"}, Q=1.0)
    await jobs.write("2", [Reading(case.now - 40 * 3600, 1.0)])
    gaps = [[(case.now // 86400 - day), 900] for day in range(3)]
    uploaded = case.now - 60
    await jobs.context.documents.put(LOGGER, SERIAL, {"last_upload": uploaded, "gaps": gaps}, due=uploaded)
    error = {"last_time": case.now - 40 * 3600, "error": {"code": 139, "time": case.now - 60}, "last_upload": uploaded}
    error["other_rows"] = {"rows": 2, "time": uploaded}
    await jobs.context.documents.put(METER, f"{SERIAL}_2", error, owner=SERIAL)
    report = await case.report()
    customer = (await jobs.context.customers.page())[0]
    (state,) = await site_states([customer], jobs.context.documents, case.now)
    assert state.kind == "meter_error"
    finding = by_code(report)["meter_error"]
    assert (finding.severity, finding.field, finding.evidence["error_code"]) == ("error", "solar", 139)
    assert "error 139" in finding.message
    assert "2 rows have more or fewer columns" in by_code(report)["other_rows"].message
    await jobs.context.documents.put(METER, f"{SERIAL}_2", {**error, "error": None}, owner=SERIAL)
    assert by_code(await doctor(customer, jobs.context.readings, jobs.context.documents, case.now))["meter_stopped"]


@pytest_twisted.ensureDeferred
async def test_without_a_logger(jobs: JobsUnderTest) -> None:
    assert "no_logger" in by_code(await Case(jobs).report(logger_serial_number=""))


@pytest_twisted.ensureDeferred
async def test_the_report_is_computed_outside_the_reactors_thread(
    jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every check of readings, which together take some tenths of a second."""
    checks = (
        "measured_power", "check_wiring", "check_agreement", "check_clocks", "check_grid_or_load", "compared_days",
        "check_registers", "merged_windows", "check_stuck",
    )  # fmt: skip
    threads: dict[str, set[int]] = {}

    def recorded(name: str, check: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            threads.setdefault(name, set()).add(get_ident())
            return check(*arguments)

        return call

    for name in checks:
        monkeypatch.setattr(setup_report, name, recorded(name, getattr(setup_report, name)))
    case = Case(jobs)
    await case.store({"1": "utility", "2": "solar"}, Q=1.0, E_import=5.0)
    await case.heard()
    await case.report()
    assert threads.keys() == set(checks)
    assert get_ident() not in set().union(*threads.values())


@pytest_twisted.ensureDeferred
async def test_a_meter_without_power(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "utility"}, Q=1.0)
    await case.store({"2": "solar"}, P=None, Q=1.0)
    await case.heard()
    found = by_code(await case.report(facility="1", solar="2", logger_serial_number=SERIAL))
    assert (found["no_power"].severity, found["no_power"].field) == ("error", "solar")
