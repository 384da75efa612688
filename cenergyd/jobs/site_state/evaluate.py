"""Determines a site's state from facts, for pages, API, setup report, metrics and alerts. Pure.

No fault has a fixed age limit: a logger is silent if it misses the time at which it usually uploads, and a meter has stopped if its logger
has uploaded since then and should have had its readings. Readings that are old because the logger is sending stored logs are no fault of a
meter. But old readings, and those of different times, are not shown as the present power, whatever the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cenergyd.customers.model import ROLES, Role
from cenergyd.customers.time_zones import zone_of
from cenergyd.errors import InvalidField
from cenergyd.ingest.upload_interval import SETTLING
from cenergyd.jobs.site_state.model import (
    KINDS,
    PRESENT_SECONDS,
    ComputedFacts,
    Issue,
    LoggerFacts,
    MeterStatus,
    Outage,
    PendingRange,
    RoleState,
    SiteFacts,
    SiteState,
    SumFacts,
)

UNKNOWN_GAP = 26 * 3600
"""Limit until a logger's upload interval is known: loggers are set to upload at least once a day."""
LATEST_EXTRA = 6 * 3600
"""An upload may be late by the usual upload interval, but at most by this, s."""
LATE_ALWAYS = 300
"""Seconds by which every upload may be late: uploads are retried, and clocks differ."""
UNKNOWN_INTERVAL = 900
FEW_READINGS = 3
"""Number of missing readings from which a meter is reported."""
LEAST_LACK = 900
"""Seconds without readings before which a meter is not reported."""
SENDING_SPEED = 10
"""After an outage a logger sends the stored logs of all meters at least so many times as fast as it recorded them."""
COMPUTING_TIME = 900
"""Seconds after an upload within which the missing meter is computed, unless there is a backlog."""
_NO_READINGS = ("meter_error", "meter_stopped", "meter_not_understood", "not_computed")
LONG_BACKLOG = 2 * 3600
"""A shorter backlog is not reported, because it is computed before anybody could read the report, s."""


def silence_limit(logger: LoggerFacts) -> int:
    """Seconds after its last upload at which a logger is silent: by its own upload interval, or sooner if its customer has set that."""
    gap = logger.usual_gap
    by_rhythm = UNKNOWN_GAP if gap is None else gap + min(gap, LATEST_EXTRA) + LATE_ALWAYS
    return by_rhythm if logger.own_limit is None else min(by_rhythm, logger.own_limit)


def is_silent(logger: LoggerFacts, now: int) -> bool:
    """Whether a logger has missed the time at which it usually uploads, or has never uploaded."""
    return logger.last_upload is None or now >= logger.last_upload + silence_limit(logger)


def evaluate(facts: SiteFacts, now: int) -> SiteState:
    """The state at ``now``, UTC seconds."""
    issues = sorted(_issues(facts, now), key=lambda issue: KINDS.index(issue.kind))
    newest, reached = facts.newest, facts.computed.last_time if facts.computed else None
    return SiteState(
        kind=issues[0].kind if issues else "good",
        issues=tuple(issues),
        roles=_roles(facts, issues, now),
        last_upload=facts.logger.last_upload,
        usual_gap=facts.logger.usual_gap,
        progress=_progress(facts.backlog) if _is_long(facts.backlog) else None,
        lag_seconds=max(0, newest - reached) if newest is not None and reached is not None else None,
        next_change=min((time for time in _deadlines(facts) if time > now), default=None),
    )


def settings_issues(facts: SiteFacts) -> list[Issue]:
    """Issues of incomplete settings."""
    customer = facts.customer
    found = [
        Issue(kind="settings_incomplete", reason=problem.message, field=problem.field)
        for problem in customer.problems()
    ]
    try:
        zone_of(customer.time_zone)
    except InvalidField:
        reason = f"the time zone {customer.time_zone!r} is unknown, so days and energy cannot be computed"
        found.append(Issue(kind="settings_incomplete", reason=reason, field="time_zone"))
    return found


def _issues(facts: SiteFacts, now: int) -> list[Issue]:
    found = settings_issues(facts)
    if not facts.customer.logger_serial_number:
        return found
    uploaded = facts.logger.last_upload
    if uploaded is None:
        reason = facts.refusal.reason if facts.refusal else ""
        return [*found, Issue(kind="never_uploaded", reason=reason, field="logger_serial_number")]
    if is_silent(facts.logger, now):
        refused = facts.refusal is not None and facts.refusal.time > uploaded
        reason = facts.refusal.reason if facts.refusal and refused else ""
        # All other data are outdated because of it, or unknown.
        return [*found, Issue(kind="logger_silent", since=uploaded, reason=reason, field="logger_serial_number")]
    found += [issue for meter in facts.meters if (issue := _meter_issue(meter, facts, uploaded, now)) is not None]
    if facts.solar_zero_since is not None:
        found.append(Issue(kind="solar_zero", role="solar", since=facts.solar_zero_since))
    with_issue = {issue.role for issue in found}
    found += _waiting(facts, uploaded, now, with_issue)
    return [*found, *_computing(facts, uploaded, now, bool(with_issue & set(ROLES)))]


def _meter_issue(meter: MeterStatus, facts: SiteFacts, uploaded: int, now: int) -> Issue | None:
    """Why a meter gives no readings although its logger uploads."""
    last, error = meter.last_time, meter.error
    lack = _lack(meter)
    if meter.held is not None and (last is None or meter.held.since > last):
        return Issue(kind="meter_not_understood", role=meter.role, meter=meter.meter, since=meter.held.since)
    if error is not None and (last is None or error.time >= last + lack):
        return Issue(kind="meter_error", role=meter.role, meter=meter.meter, since=last, code=error.code)
    if last is None or not _is_behind(meter, facts, uploaded):
        return None
    if _sends_stored(meter, facts, uploaded) or _may_still_send(meter, facts.logger, uploaded, now):
        return None
    return Issue(kind="meter_stopped", role=meter.role, meter=meter.meter, since=last)


def _is_behind(meter: MeterStatus, facts: SiteFacts, uploaded: int, unknown_gap: int = UNKNOWN_GAP) -> bool:
    """Whether the logger's last upload should have brought newer readings."""
    gap = unknown_gap if facts.logger.usual_gap is None else facts.logger.usual_gap
    return meter.last_time is not None and uploaded - meter.last_time > gap + _lack(meter)


def _sends_stored(meter: MeterStatus, facts: SiteFacts, uploaded: int) -> bool:
    """Whether the logger is still sending stored logs of this meter and of every other meter that it has sent logs of."""
    fresh = meter.last_upload is not None and uploaded - meter.last_upload <= SETTLING
    return (
        fresh
        and meter.error is None
        and all(_is_behind(each, facts, uploaded, unknown_gap=PRESENT_SECONDS) for each in _seen(facts))
    )


def _may_still_send(meter: MeterStatus, logger: LoggerFacts, uploaded: int, now: int) -> bool:
    """Whether logs of a meter that had readings until an outage may still come: a logger sends those of one meter after those of another."""
    outage = logger.outage
    if outage is None or meter.last_time is None or meter.error is not None or uploaded - outage.last > SETTLING:
        return False
    had_stopped = outage.start - meter.last_time > (logger.usual_gap or 0) + _lack(meter)
    return not had_stopped and now < min(uploaded + SETTLING, _sent_after(outage))


def _sent_after(outage: Outage) -> int:
    return outage.end + max(SETTLING, (outage.end - outage.start) // SENDING_SPEED)


def _seen(facts: SiteFacts) -> list[MeterStatus]:
    """The meters with readings. The logs of one may follow those of another, of a new logger as well."""
    return [meter for meter in facts.meters if meter.last_time is not None]


def _waiting(facts: SiteFacts, uploaded: int, now: int, with_issue: set[Role | None]) -> Iterator[Issue]:
    """Issues for meters that are behind others, or that have never sent readings, and for the second upload of a new logger."""
    if facts.logger.usual_gap is None and now >= uploaded + PRESENT_SECONDS:
        yield Issue(kind="waiting", since=uploaded, reason="next_upload")
    newest = facts.newest or 0
    between_uploads = PRESENT_SECONDS if facts.logger.usual_gap is None else facts.logger.usual_gap
    # Soon after an upload a meter may be behind by one upload, as its log is still to come.
    settled = now >= uploaded + SETTLING
    tolerated = 0 if settled else between_uploads
    for meter in facts.meters:
        if meter.role in with_issue:
            continue
        behind = 0 if meter.last_time is None else newest - meter.last_time - _lack(meter)
        if (settled and meter.last_time is None) or behind > tolerated:
            yield Issue(kind="waiting", role=meter.role, meter=meter.meter, since=meter.last_time)


def _computing(facts: SiteFacts, uploaded: int, now: int, has_meter_issue: bool) -> Iterator[Issue]:
    computed = facts.computed
    if _is_long(facts.backlog):
        yield Issue(kind="computing", role=computed.role if computed else None)
    elif (seen := _seen(facts)) and all(_sends_stored(meter, facts, uploaded) for meter in seen):
        reached = min(meter.last_time or 0 for meter in seen)
        yield Issue(kind="computing", since=reached, reason="stored_logs")
    if computed is None or has_meter_issue:
        return
    role = computed.role
    if computed.failing_plugin:
        yield Issue(kind="not_computed", role=role, since=computed.failing_since, plugin=computed.failing_plugin)
    elif computed.no_plugin:
        yield Issue(kind="not_computed", role=role, since=computed.last_time, reason="no_plugin")
    elif not _is_long(facts.backlog) and now >= uploaded + COMPUTING_TIME and _is_absent(facts):
        yield Issue(kind="not_computed", role=role, since=computed.last_time)


def _is_absent(facts: SiteFacts) -> bool:
    """Whether both meters have readings but nothing was computed from them."""
    times = [meter.last_time for meter in facts.meters]
    if facts.computed is None or len(times) < 2 or None in times:
        return False
    common = min(time for time in times if time is not None)
    reached = facts.computed.last_time
    return reached is None or common - reached > max(_lack(meter) for meter in facts.meters)


def _roles(facts: SiteFacts, issues: Sequence[Issue], now: int) -> tuple[RoleState, ...]:
    silent = any(issue.kind == "logger_silent" for issue in issues)
    without_readings = {issue.role for issue in issues if issue.kind in _NO_READINGS}
    # A sum is as old as the oldest of its meters.
    old = without_readings | {
        role for role, time, lack in _shown_times(facts) if not _is_present(facts, time, lack, now)
    }
    shown: tuple[MeterStatus | SumFacts, ...] = (*facts.meters, *facts.sums)
    found = {
        each.role: RoleState(
            role=each.role,
            computed=False,
            time=each.last_time,
            power=each.power,
            stale=each.last_time is not None and (silent or each.role in old),
        )
        for each in shown
    }
    if (computed := facts.computed) is not None:
        # The computed role is as old as the older one of its two meters.
        stale = computed.last_time is not None and (silent or bool(old))
        found[computed.role] = RoleState(
            role=computed.role, computed=True, time=computed.last_time, power=computed.power, stale=stale
        )
    return tuple(found[role] for role in ROLES if role in found)


def _shown_times(facts: SiteFacts) -> Iterator[tuple[Role, int, int]]:
    """Times of the newest readings that a role's value is made of, and the seconds that they may be behind others."""
    for meter in facts.meters:
        if meter.last_time is not None:
            yield meter.role, meter.last_time, _lack(meter)
    computed = () if facts.computed is None else (facts.computed,)
    made: tuple[SumFacts | ComputedFacts, ...] = (*facts.sums, *computed)
    for each in made:
        if each.last_time is not None:
            yield each.role, each.last_time, max(map(_lack, facts.meters), default=LEAST_LACK)


def _is_present(facts: SiteFacts, time: int, lack: int, now: int) -> bool:
    """Whether a reading is of about the same time as the site's newest one, and not too old."""
    newest = facts.newest
    return (newest is None or newest - time <= lack) and now <= time + _present_limit(facts.logger, lack)


def _present_limit(logger: LoggerFacts, lack: int) -> int:
    """Seconds for which a reading is the present power."""
    return PRESENT_SECONDS if logger.usual_gap is None else min(silence_limit(logger) + lack, PRESENT_SECONDS)


def _deadlines(facts: SiteFacts) -> Iterator[int]:
    """Times at which the state may change without new data."""
    limit = silence_limit(facts.logger)
    for _, time, lack in _shown_times(facts):
        yield time + _present_limit(facts.logger, lack) + 1
    if (uploaded := facts.logger.last_upload) is not None:
        if facts.logger.usual_gap is None:
            yield uploaded + PRESENT_SECONDS
        if facts.logger.outage is not None:
            yield _sent_after(facts.logger.outage)
        if any(_waiting(facts, uploaded, uploaded + SETTLING, set())):
            yield uploaded + SETTLING
        if _is_absent(facts):
            yield uploaded + COMPUTING_TIME
        yield uploaded + limit
        if facts.logger.own_limit is not None:
            yield uploaded + facts.logger.own_limit


def _lack(meter: MeterStatus) -> int:
    """Seconds without a reading after which a meter is reported."""
    return max(LEAST_LACK, FEW_READINGS * (meter.interval or UNKNOWN_INTERVAL))


def _is_long(backlog: PendingRange | None) -> bool:
    return backlog is not None and backlog.done < backlog.end and backlog.end - backlog.start > LONG_BACKLOG


def _progress(backlog: PendingRange | None) -> float | None:
    if backlog is None:
        return None
    return min(1.0, max(0.0, (backlog.done - backlog.start) / max(1, backlog.end - backlog.start)))
