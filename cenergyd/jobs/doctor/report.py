"""The setup report of a customer: faults of settings, logger, meters and wiring, and what to do about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

import attrs
from twisted.internet.threads import deferToThread

from cenergyd.customers.meter_history import SetupPeriod, setup_periods
from cenergyd.customers.meter_sum import is_sum
from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Customer, Role
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.derivation.corrector import Listed, corrections_over
from cenergyd.documents.kinds import HELD_METER
from cenergyd.documents.loggers import logger_of
from cenergyd.documents.meters import meters_of_logger
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.jobs.alerts.checks import MINUTE, check_stuck, merged_windows, stuck_resolution
from cenergyd.jobs.alerts.rules import StuckMeterRule
from cenergyd.jobs.alerts.text import local_time_text, plain
from cenergyd.jobs.doctor.checks import Finding, RolePowers, Severity, check_agreement, check_clocks, check_wiring
from cenergyd.jobs.doctor.corrected import correction_findings
from cenergyd.jobs.doctor.grid_or_load import check_grid_or_load
from cenergyd.jobs.doctor.registers import check_registers, compared_days, net_register
from cenergyd.jobs.front_end_check import problems_of
from cenergyd.jobs.site_state.gather import site_states
from cenergyd.jobs.site_state.issue_text import good_text, issue_text
from cenergyd.jobs.site_state.model import Level, SiteState
from cenergyd.jobs.windows import windows
from cenergyd.readings.model import MISSING_METER, Reading
from cenergyd.readings.signs import sign_corrected, sign_corrected_summary
from cenergyd.readings.store import ReadingStore, Summary

AHEAD_SECONDS = 300
MAX_READINGS = 20_000
"""Maximum readings of a meter that are compared with its registers."""
LONGEST_PAUSE = 5400
"""A longer pause between readings is a gap."""
_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "info": 2, "ok": 3}
_SEVERITIES: Mapping[Level, Severity] = {"bad": "error", "warn": "warning", "idle": "info", "ok": "ok"}
_MARKS: Mapping[Severity, str] = {"error": "ERROR", "warning": "WARN ", "info": "info ", "ok": "ok   "}

Run = Callable[[Callable[[], list[Finding]]], Awaitable[list[Finding]]]


@attrs.frozen(slots=True, kw_only=True)
class DoctorReport:
    """The findings, worst first."""

    customer_id: str
    name: str
    time_zone: str
    made: int
    """UTC seconds."""
    since: int
    """Readings from this time to ``made`` were examined."""
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Severity:
        """The worst severity."""
        return self.findings[0].severity if self.findings else "ok"

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {
            **attrs.asdict(self, recurse=False),
            "worst": self.worst,
            "findings": [attrs.asdict(f) for f in self.findings],
        }

    def to_text(self) -> str:
        """For a terminal."""
        zone = zone_or_utc(self.time_zone)
        lines = [
            f"{self.name or self.customer_id}: readings from {local_time_text(self.since, zone)} to {local_time_text(self.made, zone)}"
        ]
        for finding in self.findings:
            field = f"{finding.field}: " if finding.field else ""
            lines.append(f"{_MARKS[finding.severity]} {field}{finding.message}")
            if finding.advice:
                lines.append(f"      {finding.advice}")
        return "\n".join(lines) + "\n"


class CheckInputs(NamedTuple):
    """The data for the checks."""

    customer: Customer
    period: SetupPeriod
    now: int
    seen: Sequence[str]
    """Series that exist for the logger."""
    last: Mapping[str, Reading]
    state: SiteState
    minutes: Mapping[str, Sequence[Summary]]
    """1-minute windows by series."""
    meters: Mapping[str, Document]
    """The logger's descriptions of its meters, by series."""
    rows: Mapping[str, Sequence[Reading]] = {}
    """Readings of the meters of roles, by series."""
    held: Sequence[Document] = ()
    """Meters of the logger whose logs are kept unread."""
    corrections: Sequence[Listed] = ()
    """The active corrections that change examined readings."""


async def doctor(
    customer: Customer,
    readings: ReadingStore,
    documents: DocumentStore,
    now: int,
    *,
    days: int = 3,
    run: Run | None = None,
) -> DoctorReport:
    """Check a customer's set-up by its present settings and the readings of the last days.

    :param run: runs the computation (some tenths of a second) in a thread, such as ``BoundedPool.run``; None: the reactor's thread pool.
    """
    since = now - days * 86400
    period = setup_periods(customer, since, now)[-1]
    gathered = await _gather(customer, period, readings, documents, now)
    found = [*check_settings(gathered), *check_state(gathered), *check_logger(gathered), *check_meters(gathered)]
    found += await (run or deferToThread)(lambda: check_readings(gathered))
    found.sort(key=lambda finding: _ORDER[finding.severity])
    return DoctorReport(
        customer_id=customer.id,
        name=customer.name,
        time_zone=customer.time_zone,
        made=now,
        since=period.start,
        findings=tuple(found),
    )


async def _gather(
    customer: Customer, period: SetupPeriod, readings: ReadingStore, documents: DocumentStore, now: int
) -> CheckInputs:
    serial = period.serial
    if not serial:
        (state,) = await site_states([customer], documents, now)
        return CheckInputs(customer, period, now, (), {}, state, {}, {})
    held = await documents.find(HELD_METER, owner=serial, limit=300)
    seen = await readings.series_of(serial)
    roles = [name for role in ROLES if (name := period.series_of(role)) is not None]
    measured = [name for role in ROLES for name in period.setup.measured_series_of(role, serial)]
    wanted = [name for name in dict.fromkeys([*roles, *measured]) if name in seen or name in _sums_of(period)]
    last = await readings.last(seen) if seen else {}
    minutes = await readings.summarise(wanted, period.start, now + 1, MINUTE) if wanted else {}
    meters = await meters_of_logger(documents, serial, await logger_of(documents, serial))
    (state,) = await site_states([customer], documents, now, last, readings)
    own = [name for name in wanted if name in roles and not name.endswith(f"_{MISSING_METER}")]
    rows = await readings.read(own, period.start, now + 1, MAX_READINGS) if own else {}
    corrections = await corrections_over(readings, documents, seen, period.start, now + 1)
    return CheckInputs(customer, period, now, seen, last, state, minutes, meters, rows, held, corrections)


def check_settings(gathered: CheckInputs) -> list[Finding]:
    """Findings from the settings alone."""
    found = [
        Finding(severity="error", code=problem.code, field=problem.field, message=f"{problem.message[0].upper()}{problem.message[1:]}.")
        for problem in gathered.customer.problems()
    ]  # fmt: skip
    for note in problems_of(gathered.customer):
        message = f"In the existing front end's settings: {note}."
        found.append(Finding(severity="warning", code="existing_settings", message=message))
    return found


def check_state(gathered: CheckInputs) -> list[Finding]:
    """Findings from the site's state, as on all pages, except for those that other checks report in more detail."""
    state, zone = gathered.state, zone_or_utc(gathered.customer.time_zone)
    if not state.issues:
        return [
            Finding(severity="ok", code="state", message=f"The logger uploads. {good_text(state, gathered.now, zone)}")
        ]
    found = []
    for issue in state.issues:
        is_unseen = issue.kind == "waiting" and issue.since is None
        if issue.kind == "meter_not_understood" or is_unseen:
            continue
        if issue.kind == "settings_incomplete" and issue.field != "time_zone":
            continue
        text = issue_text(issue, state, gathered.now, zone)
        field = FIELD_OF_ROLE[issue.role] if issue.role else issue.field
        evidence = {} if issue.since is None else {"since": issue.since}
        if issue.code is not None:
            evidence["error_code"] = issue.code
        found.append(
            Finding(
                severity=_SEVERITIES[issue.level], code=issue.kind, field=field, message=text.text,
                advice=text.advice, evidence=evidence,
            )
        )  # fmt: skip
    return found


def check_logger(gathered: CheckInputs) -> list[Finding]:
    """Checks the logger's clock."""
    newest = max((reading.time for reading in gathered.last.values()), default=None)
    heard, field = gathered.state.last_upload, "logger_serial_number"
    found = []
    if newest is not None and heard is not None and newest > heard + AHEAD_SECONDS:
        found.append(
            Finding(
                severity="warning", code="clock_ahead", field=field,
                message=f"The logger's clock is {newest - heard} s ahead: it sent readings with times in the future.",
                advice="Set its clock, or give it a time server.", evidence={"ahead_seconds": newest - heard},
            )
        )  # fmt: skip
    return found


def check_meters(gathered: CheckInputs) -> list[Finding]:
    """Finds meters in the settings without readings, meters that have no role, and meters without some channel."""
    found = []
    serial = gathered.period.serial
    named = {name: role for role in ROLES for name in gathered.period.setup.measured_series_of(role, serial)}
    for series, role in named.items() if serial else ():
        if series not in gathered.seen:
            found.append(
                Finding(
                    severity="error", code="unseen_meter", field=FIELD_OF_ROLE[role],
                    message=f"This logger has sent no reading of meter {series.partition('_')[2]} ({role}).",
                    advice="Choose one of the meters that the logger sends, or switch this one on at the logger.",
                )
            )  # fmt: skip
        else:
            found += _channels(gathered, series, role)
    found += _not_understood(gathered, named)
    found += _other_rows(gathered)
    found += correction_findings(gathered.corrections, zone_or_utc(gathered.customer.time_zone))
    spare = [name for name in gathered.seen if name not in named and not name.endswith(f"_{MISSING_METER}")]
    if spare:
        found.append(_spare(gathered, spare))
    return found


def check_readings(gathered: CheckInputs) -> list[Finding]:
    """Findings from the measured power about wiring, clocks and stuck meters."""
    power = measured_power(gathered)
    zone = zone_or_utc(gathered.customer.time_zone)
    found: list[Finding] = []
    if len(power) > 1:
        found = [*check_wiring(power, zone), *check_agreement(power), *check_clocks(power)]
        if all(each.severity != "error" for each in found):  # otherwise the wiring must be corrected first
            found += check_grid_or_load(power)
    found += _registers(gathered, zone)
    rule = StuckMeterRule(enabled=True)
    measured = [
        (role, series)
        for role in power
        for series in gathered.period.setup.measured_series_of(role, gathered.period.serial)
    ]
    for role, series in measured:
        if not gathered.minutes.get(series):
            continue
        windows = merged_windows(gathered.minutes[series], stuck_resolution(rule))
        last = max(gathered.last[series].time, windows[-1].time) if series in gathered.last else gathered.now
        for window in check_stuck(windows, rule, last):
            if window.verdict == "breach":
                found.append(
                    Finding(
                        severity="error", code="stuck_meter", field=FIELD_OF_ROLE[role],
                        message=f"{_the_meter(gathered, series, role)} has given exactly {plain(window.value or 0.0)} kW for {rule.after_minutes} minutes or more.",
                        advice="Check the meter and its Modbus wiring.",
                    )
                )  # fmt: skip
    return found


def _registers(gathered: CheckInputs, zone: ZoneInfo) -> list[Finding]:
    found: list[Finding] = []
    for role in ROLES:
        series = gathered.period.series_of(role)
        rows = gathered.rows.get(series, ()) if series else ()
        if any(net_register(row) is not None for row in rows):
            if role in gathered.period.setup.reversed_roles:
                rows = [sign_corrected(row) for row in rows]
            days = list(windows(rows[0].time, rows[-1].time + 1, "24h", zone))
            found += check_registers(role, compared_days(rows, days, LONGEST_PAUSE))
    return found


def measured_power(gathered: CheckInputs) -> RolePowers:
    """Real power of the measured roles by minute, with signs according to the settings."""
    power: dict[Role, Mapping[int, float]] = {}
    setup = gathered.period.setup
    for role in ROLES:
        series = gathered.period.series_of(role)
        windows = gathered.minutes.get(series, ()) if series and setup.meter_of(role) else ()
        signed = map(sign_corrected_summary, windows) if role in setup.reversed_roles else windows
        values = {window.time: window.channels["P"][1] for window in signed if "P" in window.channels}
        if values:
            power[role] = values
    return power


def _sums_of(period: SetupPeriod) -> set[str]:
    """The series of roles that are sums of meters."""
    return {series for role in ROLES if is_sum(period.setup.meter_of(role)) and (series := period.series_of(role))}


def _the_meter(gathered: CheckInputs, series: str, role: Role) -> str:
    """``The solar meter``, with its id where the role has several."""
    several = gathered.period.series_of(role) != series
    return f"The {role} meter {series.partition('_')[2]}" if several else f"The {role} meter"


def _channels(gathered: CheckInputs, series: str, role: Role) -> list[Finding]:
    windows = gathered.minutes.get(series, ())
    present = set().union(*(window.channels for window in windows)) if windows else set()
    lacking = (
        ("P", "error", "no_power", "gives no real power", "Its columns are not those of its layout: choose them."),
        ("L1_V", "info", "no_voltage", "gives no voltage", "Nothing to do, unless the meter has a voltage."),
        ("Q", "info", "no_reactive_power", "gives no reactive power: it is estimated from P and the power factor",
         "Choose its column if the meter has one; then computed power factors are exact."),
    )  # fmt: skip
    return [
        Finding(
            severity=cast(Severity, severity), code=code, field=FIELD_OF_ROLE[role],
            message=f"{_the_meter(gathered, series, role)} {what}.", advice=advice,
        )
        for channel, severity, code, what, advice in lacking
        if windows and channel not in present
    ]  # fmt: skip


def _not_understood(gathered: CheckInputs, named: Mapping[str, Role]) -> list[Finding]:
    """Meters whose logs are kept unread because their columns are not known."""
    found = []
    for document in gathered.held:
        body, role = document.body, named.get(document.key)
        asked = body.get("state") == "unknown" and not body.get("dismissed")
        if not body.get("logs") or not (role or asked):
            continue
        doubts = "; ".join(str(doubt) for doubt in body.get("doubts") or ())
        found.append(
            Finding(
                severity="error" if role else "warning", code="meter_not_understood",
                field=FIELD_OF_ROLE[role] if role else "",
                message=f"{body['logs']} logs of meter {body.get('meter')} are held unread: {body.get('reason')}."
                + (f" {doubts[0].upper()}{doubts[1:]}." if doubts else ""),
                advice="Choose its columns on the Meters page, or let the logger send the meter's config file; then the logs are read.",
                evidence={"logs": body["logs"], "since": body.get("since")},
            )
        )  # fmt: skip
    return found


def _other_rows(gathered: CheckInputs) -> list[Finding]:
    """Meters in whose logs there were rows with other columns, which were left out."""
    found = []
    for series, document in gathered.meters.items():
        others = document.body.get("other_rows")
        if not isinstance(others, Mapping) or int(others["time"]) < gathered.period.start:
            continue
        rows, meter = int(others["rows"]), series.rpartition("_")[2]
        when = local_time_text(int(others["time"]), zone_or_utc(gathered.customer.time_zone))
        what = "1 row has" if rows == 1 else f"{rows} rows have"
        found.append(
            Finding(
                severity="warning", code="other_rows",
                message=f"In a log of meter {meter} that came {when}, {what} more or fewer columns than the meter's others, and "
                f"{'was' if rows == 1 else 'were'} left out.",
                advice=f"Check that the logger has no second meter at address {meter}: a replaced or added meter needs an address of its own.",
                evidence={"meter": meter, "rows": rows, "time": int(others["time"])},
            )
        )  # fmt: skip
    return found


def _spare(gathered: CheckInputs, series: Sequence[str]) -> Finding:
    shown = []
    for name in series[:20]:
        meter = name.partition("_")[2]
        said = str(gathered.meters[name].body.get("name") or "") if name in gathered.meters else ""
        shown.append(f"{meter} ({said})" if said else meter)
    more = "" if len(series) <= 20 else f" and {len(series) - 20} more"
    return Finding(
        severity="info",
        code="unused_meters",
        message=f"The logger also sends meters that no role names: {', '.join(shown)}{more}.",
        advice="Nothing to do unless one of them is the utility, load or solar meter.",
        evidence={"series": list(series[:100])},
    )
