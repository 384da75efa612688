"""Values as text for people: times, ages, power, energy. Pure functions, and template filters made from them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo

from cenergyd.jobs.site_state.issue_text import duration

MINUS = "\u2212"
NOTHING = "\u2013"
ROLE_NAMES: Mapping[str, str] = {"utility": "Utility", "load": "Load", "solar": "Solar"}
FIELD_NAMES: Mapping[str, str] = {
    "held": "Meter that is not understood",
    "name": "Name of the site",
    "time_zone": "Time zone",
    "latitude": "Latitude",
    "longitude": "Longitude",
    "logger_serial_number": "Logger serial number",
    "logger_password": "Logger password",
    "facility": "Utility meter",
    "load": "Load meter",
    "solar": "Solar meter",
}
EQUATIONS: Mapping[str, str] = {
    "utility": "load \u2212 solar",
    "load": "utility + solar",
    "solar": "load \u2212 utility",
}
_REPORT_NAMES: Mapping[str, str] = {
    "acquisuite_version": "AcquiSuite version",
    "battery_good": "Battery",
    "boot_count": "Restarts",
    "gsm_signal": "Mobile signal",
    "loop_name": "Name on the device",
    "percent_blocks_in_use": "Disk space used",
    "percent_inodes_in_use": "File entries used",
    "uptime_seconds": "Running for",
    "usr_version": "Software version",
}


def sentence(text: str) -> str:
    """A message as a sentence: ``a number is needed`` is ``A number is needed.``"""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def age(time: int | None, now: int) -> str:
    """``2 min ago``; a future time is ``just now``, because clocks differ slightly."""
    if time is None:
        return "never"
    return f"{duration(now - time)} ago" if now - time >= 5 else "just now"


def iso(time: int) -> str:
    """``2026-11-24T19:30:00Z``."""
    return local_datetime(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_datetime(time: int, where: tzinfo) -> datetime:
    """A time in a zone, limited to the years of the calendar."""
    return datetime.fromtimestamp(min(max(time, 0), 253402300799 - 86400), where)


def local(time: int | None, where: ZoneInfo) -> str:
    """``24 Nov 2026, 14:30:00 EST``."""
    if time is None:
        return NOTHING
    found = local_datetime(time, where)
    return f"{day(found)}, {found:%H:%M:%S %Z}"


def local_minute(time: int, where: ZoneInfo) -> str:
    """``24 Nov 2026, 14:30``."""
    found = local_datetime(time, where)
    return f"{day(found)}, {found:%H:%M}"


def utc_minute(time: int) -> str:
    """``24 Nov 2026, 19:30 UTC``: where no site's zone is meant."""
    return f"{local_minute(time, ZoneInfo('UTC'))} UTC"


def clock(time: int, where: ZoneInfo) -> str:
    """``14:30``."""
    return f"{local_datetime(time, where):%H:%M}"


def day(value: date) -> str:
    """``24 Nov 2026``."""
    return f"{value.day} {value:%b %Y}"


def days(first: date, last: date) -> str:
    """``1 to 30 Nov 2026``, ``15 Oct to 14 Nov 2026``: from one day to another, both included."""
    if first == last:
        return day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {day(last)}"
    return f"{first.day} {first:%b} to {day(last)}" if first.year == last.year else f"{day(first)} to {day(last)}"


def number_text(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign and fewer decimals the larger it is; a dash for None."""
    if value is None:
        return NOTHING
    size = abs(value)
    places = max(0, digits - (1 if size >= 100 else 0) - (1 if size >= 1000 else 0))
    shown = f"{size:,.{places}f}"
    if size >= 999:
        shown = shown.replace(",", "\u202f")
    return f"{MINUS}{shown}" if value < 0 and float(f"{size:.{places}f}") else shown


def percent(share: float | None) -> str:
    """A share as ``62 %``; a dash for None. Less than all is never rounded up to 100 %."""
    if share is None:
        return NOTHING
    return f"{min(round(share * 100), 99) if share < 1 else 100} %"


def device_report(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    """What a logger reports of itself, as names and values that people read; without what it left empty."""
    found = []
    for name, value in sorted(fields.items()):
        if value is None or value == "":
            continue
        shown = str(value)
        if name == "uptime_seconds" and isinstance(value, int):
            shown = duration(value)
        elif name.startswith("percent_") and isinstance(value, int | float):
            shown = f"{value:g} %"
        found.append((_REPORT_NAMES.get(name, name.replace("_", " ").capitalize()), shown))
    return found


def signed(value: object) -> str:
    """A stored value of any kind as text."""
    return number_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
