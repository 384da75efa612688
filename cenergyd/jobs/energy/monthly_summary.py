"""E-mails a summary of each month's energy to customers who have switched it on: once per customer and month, by the customer's calendar.

The message's id is unique for customer and month, so the outbox accepts it once even if the daemon crashes before it records that the message
was queued. Customers are checked once an hour, only in the first days of a month, by one daemon, a bounded number in one call. Its position is
stored: if a daemon or a store fails, this or another daemon continues after the last customer that was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from twisted.logger import Logger

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.documents.kinds import MONTHLY_SUMMARY, MONTHLY_SUMMARY_SCAN
from cenergyd.errors import Conflict, InvalidField, Overloaded, StoreUnavailable
from cenergyd.hookspecs import JobContext, Notification
from cenergyd.jobs.alerts.receivers import open_channels
from cenergyd.jobs.alerts.rules import alerts_of
from cenergyd.jobs.energy.periods import EnergyWindow, RoleEnergy, energy_windows
from cenergyd.jobs.energy.self_consumption import shares_of
from cenergyd.jobs.messages.site_name import site_name
from cenergyd.jobs.tariff.costs import energy_costs, solar_saving
from cenergyd.jobs.tariff.parsing import tariff_of
from cenergyd.jobs.windows import day_start, local_date

KIND = "monthly_summary"
"""Kind of the notification."""
LAST_DAY = 10
"""The summary is sent until this day of the month, and no later, even if the daemon was down."""
COMPLETE_BY = 3
"""Until this day of the month it waits for late readings; then it states how much is known."""
HOUR_OF_DAY = 6
"""Hour of the customer's day from which it is sent: by then the readings of the last evening have usually arrived."""
SCAN_SECONDS = 3600
"""Seconds from the end of one scan of all customers to the start of the next."""
_DAY = 86400
CLAIM_SECONDS = 600
"""A scan that was not continued for this time has failed; another daemon may continue it."""
PAGE = 100
MAX_PAGES = 10
"""Pages of customers in one call."""
MAX_MONTHS = 50
"""Maximum months whose energy one call reads, which takes most of its time; the next call, a minute later, continues."""
COMPLETE = 0.98
_SCAN_KEY = "customers"

log = Logger()


class Money(NamedTuple):
    """The cost of a month by the tariff, without fixed and demand charges."""

    bought: Decimal
    """Price of the energy from the grid."""
    credit: Decimal
    """Credit for the energy to the grid."""
    saved: Decimal | None
    """What solar saved; None if unknown."""
    currency: str


class Months(NamedTuple):
    """The energy of a month and of the months that it is compared with."""

    first: date
    """Its first day."""
    now: EnergyWindow
    before: EnergyWindow
    """The month before."""
    last_year: EnergyWindow


class _Scan(NamedTuple):
    """The position among the customers."""

    after: str | None
    """The last customer that was checked; None: the scan begins."""
    version: int
    """Version of the document that stores the position."""


async def send_summaries(context: JobContext) -> None:
    """Send summaries that are due to a bounded number of customers; called regularly."""
    if not _may_be_due(context.now):
        return
    scan = await _claimed_scan(context)
    if scan is None:
        return
    pages = months = 0
    while pages < MAX_PAGES and months < MAX_MONTHS:
        page = await context.customers.page(after=scan.after, limit=PAGE)
        pages += 1
        for customer in page:
            months += await _send_to(customer, context)
            scan = scan._replace(after=customer.id)
            if months >= MAX_MONTHS:
                break
        if not page:
            await _store_position(scan._replace(after=None), context.now + SCAN_SECONDS, context)
            return
        found = await _store_position(scan, context.now + CLAIM_SECONDS, context)
        if found is None:
            return  # another daemon has taken it over
        scan = found
        await context.pause()
    await _store_position(scan, context.now, context)


def _may_be_due(now: int) -> bool:
    """Whether it is one of the first days of a month in any time zone."""
    days = [(date(1970, 1, 1) + timedelta(seconds=now + shift * 3600)).day for shift in (-12, 14)]
    return min(days) <= LAST_DAY


async def _claimed_scan(context: JobContext) -> _Scan | None:
    """The scan to continue, claimed for this daemon; None if none is due or another daemon runs it."""
    known = await context.documents.get(MONTHLY_SUMMARY_SCAN, _SCAN_KEY)
    if known is None or known.due is None:
        return await _store_position(_Scan(None, known.version if known else 0), context.now + CLAIM_SECONDS, context)
    if context.now < known.due <= context.now + SCAN_SECONDS:
        return None
    after = known.body.get("after")
    # An unfinished scan of an earlier month is not continued, because a new month is due for all its customers.
    continues = isinstance(after, str) and context.now - known.due < _DAY
    return await _store_position(
        _Scan(after if continues else None, known.version), context.now + CLAIM_SECONDS, context
    )


async def _store_position(scan: _Scan, due: int, context: JobContext) -> _Scan | None:
    """Store the position of a scan, and when it may be continued; None if another daemon has changed it meanwhile."""
    body = {} if scan.after is None else {"after": scan.after}
    try:
        stored = await context.documents.put(
            MONTHLY_SUMMARY_SCAN, _SCAN_KEY, body, due=due, expected_version=scan.version
        )
    except Conflict:
        return None
    return scan._replace(version=stored.version)


async def _send_to(customer: Customer, context: JobContext) -> int:
    """Send a customer's summary if it is due; returns the number of months that were read, 0 or 1."""
    try:
        return await _send_if_due(customer, context)
    except InvalidField as error:
        log.warn("no monthly summary for customer {customer}: {reason}", customer=customer.id, reason=str(error))
    except (StoreUnavailable, Overloaded):
        raise  # the scan stops, and continues with this customer
    except Exception:
        # Invalid settings of one customer must not stop the summaries of the others.
        log.failure("the monthly summary of customer {customer} failed", customer=customer.id)
    return 1


async def _send_if_due(customer: Customer, context: JobContext) -> int:
    if not _is_wanted(customer):
        return 0
    month, today = due_month(customer, context.now), local_date(context.now, zone_of(customer.time_zone))
    if month is None:
        return 0
    known = await context.documents.get(MONTHLY_SUMMARY, customer.id)
    if known is not None and str(known.body.get("month", "")) >= f"{month:%Y-%m}":
        return 0
    months = await _read(customer, month, context)
    if not months.now.roles or (_share(months.now) < COMPLETE and today.day < COMPLETE_BY):
        return 1
    await context.notify(write_summary(customer, months, await _money(customer, month, context)))
    await context.documents.put(MONTHLY_SUMMARY, customer.id, {"month": f"{month:%Y-%m}"}, owner=customer.id)
    log.info("the summary of {month} of customer {customer} is queued", month=f"{month:%Y-%m}", customer=customer.id)
    return 1


def _is_wanted(customer: Customer) -> bool:
    settings = alerts_of(customer)
    if settings is None or not settings.monthly_summary.enabled:
        return False
    return any(channel.get("type") == "email" for channel in open_channels(customer))


def due_month(customer: Customer, now: int) -> date | None:
    """The first day of the month whose summary is due; None if none is due. Raises InvalidField for an unknown time zone."""
    zone = zone_of(customer.time_zone)
    today = local_date(now, zone)
    if today.day > LAST_DAY or (today.day == 1 and now < day_start(today, zone) + HOUR_OF_DAY * 3600):
        return None
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


async def _read(customer: Customer, month: date, context: JobContext) -> Months:
    before = (month - timedelta(days=1)).replace(day=1)
    firsts = (month, before, month.replace(year=month.year - 1))
    found = [await _energy(customer, first, context) for first in firsts]
    return Months(month, *found)


async def _energy(customer: Customer, first: date, context: JobContext) -> EnergyWindow:
    gap = context.settings.rollups.max_gap_seconds
    days = (first, _next(first))
    (window,) = await energy_windows(customer, context.readings, days, "month", context.now, max_gap=gap)
    return window


async def _money(customer: Customer, month: date, context: JobContext) -> Money | None:
    tariff = tariff_of(customer)
    if tariff is None:
        return None
    zone, gap = zone_of(customer.time_zone), context.settings.rollups.max_gap_seconds
    window = TimeRange(day_start(month, zone), day_start(_next(month), zone))
    found = await energy_costs(customer, context.readings, tariff, window, context.now, max_gap=gap)
    if found is None:
        return None
    charges, bought, credit = found
    saved = await solar_saving(customer, context.readings, tariff, window, context.now, max_gap=gap)
    return Money(bought, credit, Decimal(saved["total"]) if saved else None, charges.currency or "")


def write_summary(customer: Customer, months: Months, money: Money | None) -> Notification:
    """The message with a month's summary."""
    site, title = site_name(customer), f"{months.first:%B %Y}"
    lines = [
        f"Energy of {title} at {site}.",
        "",
        *_energy_lines(months),
        *_share_lines(months.now),
        *_money_lines(money),
    ]
    known = _share(months.now)
    if known < COMPLETE:
        lines += ["", f"Data are available for {known * 100:.0f} % of the month; the rest is not estimated."]
    lines += [
        "",
        "The Energy page shows each day. You get this once a month; you can switch it off on the Alerts page.",
        "",
    ]
    roles = {
        role: {"import_kwh": each.import_kwh, "export_kwh": each.export_kwh} for role, each in months.now.roles.items()
    }
    data = {
        "customer": customer.id, "kind": KIND, "month": f"{months.first:%Y-%m}", "roles": roles,
        "share_known": round(known, 4), "channels": ["email"],
    }  # fmt: skip
    name = f"monthly-summary-{customer.id}-{months.first:%Y-%m}"
    return Notification(name, customer.id, KIND, f"Energy of {title} at {site}", "\n".join(lines), data)


def _energy_lines(months: Months) -> Sequence[str]:
    before = f"{(months.first - timedelta(days=1)):%B}"
    last_year = f"{months.first:%B} {months.first.year - 1}"
    lines = []
    for text, role, name in (
        ("From the grid", "utility", "import_kwh"), ("To the grid", "utility", "export_kwh"),
        ("Solar", "solar", "import_kwh"), ("Load", "load", "import_kwh"),
    ):  # fmt: skip
        value = _value(months.now, role, name)
        if value is None:
            continue
        others = [
            f"{other}: {_kwh(found)}"
            for other, window in ((before, months.before), (last_year, months.last_year))
            if (found := _value(window, role, name)) is not None and _share(window) >= COMPLETE
        ]
        lines.append(f"{text}: {_kwh(value)}" + (f" ({'; '.join(others)})" if others else ""))
    return lines


def _share_lines(window: EnergyWindow) -> Sequence[str]:
    shares = shares_of({role: each._asdict() for role, each in window.roles.items()})
    named = (("Solar used here", shares.self_consumption), ("Load from solar", shares.self_sufficiency))
    return [f"{text}: {value * 100:.0f} %" for text, value in named if value is not None]


def _money_lines(money: Money | None) -> Sequence[str]:
    if money is None:
        return []
    named = (("Energy bought", money.bought), ("Credit for export", money.credit), ("Saved by solar", money.saved))
    return [f"{text}: {value:.2f} {money.currency}".rstrip() for text, value in named if value is not None]


def _value(window: EnergyWindow, role: str, name: str) -> float | None:
    energy: RoleEnergy | None = window.roles.get(role)  # type: ignore[call-overload]
    return None if energy is None else float(getattr(energy, name))


def _kwh(value: float) -> str:
    return f"{value:,.1f} kWh"


def _share(window: EnergyWindow) -> float:
    """The share of the time that is known, for the role for which it is lowest."""
    return min((window.complete(role) for role in window.roles), default=0.0)


def _next(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)
