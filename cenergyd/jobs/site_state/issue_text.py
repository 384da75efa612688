"""A site's state in words: a title, what is known, what to do, and on which page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import floor
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.acquisuite.error_codes import error_meaning
from cenergyd.jobs.site_state.model import Issue, IssueKind, SiteState

TITLES: Mapping[IssueKind, str] = {
    "logger_silent": "Logger silent",
    "meter_error": "Meter error",
    "meter_stopped": "Meter stopped",
    "meter_not_understood": "Meter not understood",
    "not_computed": "Not computed",
    "solar_zero": "No solar power",
    "settings_incomplete": "Settings incomplete",
    "waiting": "Waiting for a meter",
    "never_uploaded": "Never uploaded",
    "computing": "Computing",
    "good": "Good",
}
"""The state of a site in a few words."""

_DAY = 86400


class IssueText(NamedTuple):
    """An issue in words."""

    title: str
    text: str
    """One or two sentences."""
    advice: str
    page: str
    """The customer's page with the cause or the remedy: ``settings``, ``meters``, ``doctor``."""


def issue_text(issue: Issue, state: SiteState, now: int, zone: ZoneInfo) -> IssueText:
    """An issue in words, with times in the site's zone."""
    return _TELLERS[issue.kind](issue, state, f" since {when(issue.since, now, zone)}" if issue.since else "")


def good_text(state: SiteState, now: int, zone: ZoneInfo) -> str:
    """What is known of a site without an issue: its meters are current, or from when their newest readings are."""
    old = [f"{each.role} {when(each.time, now, zone)}" for each in state.roles if each.time and each.is_stale(now)]
    return f"No upload is overdue. The newest readings: {', '.join(old)}." if old else "Every meter is current."


def when(time: int, now: int, zone: ZoneInfo) -> str:
    """A short text for a time: ``14:05``, ``yesterday 14:05``, ``Tue 14:05``, ``3 Nov 14:05``, ``3 Nov 2025``."""
    then, today = _local(time, zone), _local(now, zone)
    clock = f"{then:%H:%M}"
    days = (today.date() - then.date()).days
    if days == 0:
        return clock
    if days == 1:
        return f"yesterday {clock}"
    if 0 < days < 7:
        return f"{then:%a} {clock}"
    return f"{then.day} {then:%b} {clock}" if then.year == today.year else f"{then.day} {then:%b %Y}"


def duration(seconds: int) -> str:
    """A short text for a duration: ``45 s``, ``2 min``, ``3 h``, ``5 days``."""
    if seconds < 60:
        return f"{max(seconds, 0)} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 2 * _DAY else f"{seconds // _DAY} days"


def _local(time: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(time, UTC).astimezone(zone)


def _meter(issue: Issue) -> str:
    number = f" (meter {issue.meter})" if issue.meter else ""
    return f"the {issue.role} meter{number}"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _silent(issue: Issue, state: SiteState, since: str) -> IssueText:
    usual = f" It usually uploads every {duration(state.usual_gap)}." if state.usual_gap else ""
    if issue.reason:
        return IssueText(
            "Uploads are refused",
            f"The logger's uploads are refused{since}: {issue.reason}.",
            "Type the same password here and on the device.",
            "settings",
        )
    return IssueText(
        TITLES["logger_silent"],
        f"The logger has sent nothing{since}.{usual}",
        "Check its power and network.",
        "settings",
    )


def _error(issue: Issue, state: SiteState, since: str) -> IssueText:
    code = issue.code or 0
    none_yet = "" if issue.since else " It has never given a reading."
    return IssueText(
        f"{_capital(str(issue.role))} meter: error {code}",
        f"{_capital(_meter(issue))} gives error {code}{since} ({error_meaning(code)}).{none_yet} The logger itself uploads.",
        "Check the meter's power, its Modbus wiring and its address.",
        "doctor",
    )


def _stopped(issue: Issue, state: SiteState, since: str) -> IssueText:
    return IssueText(
        f"{_capital(str(issue.role))} meter stopped",
        f"{_capital(_meter(issue))} has given no reading{since}, though the logger uploads.",
        "Check the meter's power, its Modbus wiring and address, and that the logger still logs it.",
        "doctor",
    )


def _not_understood(issue: Issue, state: SiteState, since: str) -> IssueText:
    return IssueText(
        f"{_capital(str(issue.role))} meter not understood",
        f"Logs of {_meter(issue)} are held unread{since}, because their columns are not known.",
        "Choose its columns; the held logs are then read.",
        "meters",
    )


def _not_computed(issue: Issue, state: SiteState, since: str) -> IssueText:
    title = f"{_capital(str(issue.role))} not computed"
    if issue.plugin:
        text = f"The plugin {issue.plugin} fails{since}, so {issue.role} is not computed."
        return IssueText(title, text, "The daemon's log has the reason. It is retried.", "doctor")
    if issue.reason == "no_plugin":
        return IssueText(title, f"No plugin that computes {issue.role} is enabled.", "Enable one in the ini.", "doctor")
    return IssueText(
        title,
        f"Both other meters have readings, but {issue.role} is not computed{since}.",
        "Their readings may be too far apart in time, or one of them gives no power.",
        "meters",
    )


def _solar_zero(issue: Issue, state: SiteState, since: str) -> IssueText:
    return IssueText(
        TITLES["solar_zero"],
        f"Solar has given no power{since} although the sun is up, unlike on the days before.",
        "Check inverter, breaker and fuses. Snow may also be the reason.",
        "doctor",
    )


def _settings(issue: Issue, state: SiteState, since: str) -> IssueText:
    return IssueText(TITLES["settings_incomplete"], f"{_capital(issue.reason)}.", "Correct the settings.", "settings")


def _waiting(issue: Issue, state: SiteState, since: str) -> IssueText:
    if issue.role is None:
        return IssueText(
            "Waiting for the next upload",
            f"The logger has sent nothing{since}, and it is not known yet how often it uploads.",
            "If it should upload more often than once a day, check its power and network.",
            "settings",
        )
    text = (
        f"{_capital(_meter(issue))} is behind the other one{since}."
        if issue.since
        else f"{_capital(_meter(issue))} has sent nothing yet, although the logger uploads."
    )
    return IssueText(
        f"Waiting for the {issue.role} meter",
        text,
        "It usually arrives with the next upload. If not, check whether the logger logs it.",
        "settings",
    )


def _never(issue: Issue, state: SiteState, since: str) -> IssueText:
    if issue.reason:
        text = f"The logger tries to upload, but its uploads are refused: {issue.reason}."
        return IssueText("Uploads are refused", text, "Type the same password here and on the device.", "settings")
    return IssueText(
        TITLES["never_uploaded"],
        "The logger has never uploaded.",
        "Set up the device: address, password, then its connection test.",
        "settings",
    )


def _computing(issue: Issue, state: SiteState, since: str) -> IssueText:
    if issue.reason == "stored_logs":
        text = f"The logger is sending stored logs, so far up to {since.removeprefix(' since ')}."
        return IssueText("Catching up", text, "Nothing to do, unless the logger's clock is wrong.", "doctor")
    what = f"{_capital(issue.role)} is" if issue.role else "Older readings are"
    done = "" if state.progress is None else f": {floor(state.progress * 100)} % done"
    return IssueText(
        TITLES["computing"], f"{what} being computed from older readings{done}.", "Nothing to do.", "meters"
    )


def _good(issue: Issue, state: SiteState, since: str) -> IssueText:
    return IssueText(TITLES["good"], "Every meter is current.", "", "power")


_TELLERS: Mapping[IssueKind, Callable[[Issue, SiteState, str], IssueText]] = {
    "logger_silent": _silent,
    "meter_error": _error,
    "meter_stopped": _stopped,
    "meter_not_understood": _not_understood,
    "not_computed": _not_computed,
    "solar_zero": _solar_zero,
    "settings_incomplete": _settings,
    "waiting": _waiting,
    "never_uploaded": _never,
    "computing": _computing,
    "good": _good,
}
