"""The monthly summary from stored energy to a mailbox at a real SMTP server, on a Clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import MONTHLY_SUMMARY
from cenergyd.errors import StoreUnavailable
from cenergyd.jobs.energy import monthly_summary
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.messages.sender import OutboxService
from cenergyd.plugins import notify_email
from cenergyd.plugins.monthly_summary import cenergyd_periodic
from cenergyd.readings.model import FieldPoint
from cenergyd.runtime.plugin_threads import PluginThreads
from tests.jobs.conftest import SERIAL, JobsUnderTest, plugin_manager
from tests.jobs.messages.sending import send_due
from tests.plugins.test_notify_email import Mailbox, authority, serve  # noqa: F401 - fixtures

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
WANTED = {"monthly_summary": {"enabled": True}, "channels": [{"type": "email", "to": "owner@example.org"}]}
TARIFF = {
    "currency": "USD",
    "energy": [{"season": "all", "period": "all", "import_per_kwh": "0.25", "export_per_kwh": "0.1"}],
}


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=LOS_ANGELES).timestamp())  # type: ignore[misc,arg-type]


def move_to(jobs: JobsUnderTest, *when: int) -> None:
    jobs.clock.advance(at(*when) - jobs.clock.seconds())


async def fill(jobs: JobsUnderTest, first: datetime, after: datetime, *, factor: float = 1.0) -> None:
    """An hour of each role for every hour of a time."""
    hours = range(int(first.timestamp()), int(after.timestamp()), 3600)
    for meter, imported, exported in (("1", 2.0, 1.0), ("2", 3.0, 0.0), ("missing_meter", 4.0, 0.0)):
        fields = {
            "import_kwh": imported * factor,
            "export_kwh": exported * factor,
            "covered_seconds": 3600.0,
            "seconds": 3600,
        }
        await jobs.context.readings.write_points(
            energy_series(f"{SERIAL}_{meter}"), [FieldPoint(hour, fields) for hour in hours]
        )


async def month(jobs: JobsUnderTest, year: int, number: int, **more: Any) -> None:
    first = datetime(year, number, 1, tzinfo=LOS_ANGELES)
    await fill(jobs, first, (first + timedelta(days=32)).replace(day=1), **more)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def sender(jobs: JobsUnderTest, mailbox: Mailbox, serve: Any) -> OutboxService:  # noqa: F811 - the fixture
    manager = plugin_manager(notify_email, options=serve(mailbox))
    return OutboxService(jobs.outbox, manager, PluginThreads(reactor), reactor, jobs.clock)  # type: ignore[arg-type]


async def hours(jobs: JobsUnderTest, sender: OutboxService, count: int) -> None:
    for _ in range(count):
        await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
        await send_due(sender)
        jobs.clock.advance(3600)


@pytest_twisted.ensureDeferred
async def test_once_a_month_by_mail(jobs: JobsUnderTest, mailbox: Mailbox, sender: OutboxService) -> None:
    customer = await jobs.customer({**WANTED}, extensions={"alerts": WANTED, "tariff": TARIFF})
    for year, number, factor in ((2026, 1, 0.5), (2026, 12, 2.0), (2027, 1, 1.0)):
        await month(jobs, year, number, factor=factor)
    move_to(jobs, 2027, 2, 1, 0, 5)
    await hours(jobs, sender, 5)
    assert mailbox.messages == [], "it is before six in the morning there"
    await hours(jobs, sender, 24 * 12)
    (message,) = mailbox.messages
    assert (message["To"], message["Subject"]) == ("owner@example.org", "Energy of January 2027 at Mill")
    lines = message.get_content().replace("\r\n", "\n").splitlines()
    assert "From the grid: 1,488.0 kWh (December: 2,976.0 kWh; January 2026: 744.0 kWh)" in lines
    assert "Solar: 2,232.0 kWh (December: 4,464.0 kWh; January 2026: 1,116.0 kWh)" in lines
    assert {"Solar used here: 67 %", "Load from solar: 50 %"} <= set(lines)
    assert "Energy bought: 372.00 USD" in lines
    assert "Credit for export: 74.40 USD" in lines
    assert any(line.startswith("Saved by solar: ") for line in lines)
    assert not any("is known" in line for line in lines)
    noted = await jobs.context.documents.get(MONTHLY_SUMMARY, customer.id)
    assert noted is not None
    assert noted.body == {"month": "2027-01"}


@pytest_twisted.ensureDeferred
async def test_a_crash_before_it_is_recorded_sends_the_summary_only_once(
    jobs: JobsUnderTest, mailbox: Mailbox, sender: OutboxService
) -> None:
    customer = await jobs.customer(WANTED)
    await month(jobs, 2027, 1)
    move_to(jobs, 2027, 2, 1, 7)
    await hours(jobs, sender, 1)
    await jobs.context.documents.delete(MONTHLY_SUMMARY, customer.id)
    await hours(jobs, sender, 3)
    assert len(mailbox.messages) == 1


@pytest_twisted.ensureDeferred
async def test_what_is_missing_is_waited_for_and_then_reported(
    jobs: JobsUnderTest, mailbox: Mailbox, sender: OutboxService
) -> None:
    await jobs.customer(WANTED)
    await fill(jobs, datetime(2027, 1, 1, tzinfo=LOS_ANGELES), datetime(2027, 1, 16, 12, tzinfo=LOS_ANGELES))
    move_to(jobs, 2027, 2, 1, 7)
    await hours(jobs, sender, 24)
    assert mailbox.messages == []
    await hours(jobs, sender, 48)
    (message,) = mailbox.messages
    assert "Data are available for 50 % of the month; the rest is not estimated." in message.get_content()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "alerts",
    [
        {"channels": WANTED["channels"]},
        {**WANTED, "confirmed": {}},
        {**WANTED, "channels": [{"type": "sms", "to": "+15551234567"}]},
        {**WANTED, "channels": []},
    ],
    ids=["off", "not confirmed", "no e-mail", "nobody"],
)
async def test_who_gets_none(
    jobs: JobsUnderTest, mailbox: Mailbox, sender: OutboxService, alerts: dict[str, Any]
) -> None:
    await jobs.customer(alerts)
    await month(jobs, 2027, 1)
    move_to(jobs, 2027, 2, 4, 7)
    await hours(jobs, sender, 3)
    assert mailbox.messages == []
    assert await jobs.outbox_documents() == []


@pytest_twisted.ensureDeferred
async def test_other_channels_get_none(jobs: JobsUnderTest, mailbox: Mailbox, sender: OutboxService) -> None:
    channels = [*WANTED["channels"], {"type": "webhook", "url": "https://example.org/hook"}]  # type: ignore[misc]
    await jobs.customer({**WANTED, "channels": channels})
    await month(jobs, 2027, 1)
    move_to(jobs, 2027, 2, 1, 7)
    await hours(jobs, sender, 2)
    assert [each.body["channel"]["type"] for each in await jobs.outbox_documents()] == ["email"]


@pytest_twisted.ensureDeferred
async def test_late_in_the_month_nobody_is_checked(
    jobs: JobsUnderTest, mailbox: Mailbox, sender: OutboxService
) -> None:
    await jobs.customer(WANTED)
    await month(jobs, 2027, 1)
    asked: list[object] = []
    page = jobs.context.customers.page

    async def counting(**options: Any) -> list[Customer]:
        asked.append(options)
        found: list[Customer] = await page(**options)
        return found

    jobs.context.customers.page = counting
    move_to(jobs, 2027, 2, 15, 7)
    await hours(jobs, sender, 30)
    assert (asked, mailbox.messages) == ([], [])
    move_to(jobs, 2027, 3, 1, 7)
    await hours(jobs, sender, 1)
    for _ in range(20):
        await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
    assert len(asked) <= 4, "once an hour"


async def fleet(jobs: JobsUnderTest, count: int) -> list[str]:
    """Customers who want a summary, each with a month of energy; their ids in the order of the store."""
    first = datetime(2027, 1, 1, tzinfo=LOS_ANGELES)
    fields = {"import_kwh": 2.0, "export_kwh": 0.0, "covered_seconds": 3600.0, "seconds": 3600}
    hours_of_month = range(int(first.timestamp()), int((first + timedelta(days=31)).timestamp()), 3600)
    made = []
    for number in range(count):
        serial = f"001EC60{number:05d}"
        customer = await jobs.customer(WANTED, logger_serial_number=serial, solar="")
        made.append(customer.id)
        points = [FieldPoint(hour, fields) for hour in hours_of_month]
        await jobs.context.readings.write_points(energy_series(f"{serial}_1"), points)
    return [customer.id for customer in await jobs.context.customers.page(after=None, limit=count)]


async def recipients(jobs: JobsUnderTest) -> list[str]:
    """The customers whose summary is queued, in the order of their ids."""
    return [each.key for each in await jobs.context.documents.find(MONTHLY_SUMMARY)]


@pytest_twisted.ensureDeferred
async def test_a_call_does_a_bounded_part_and_the_next_goes_on(
    jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monthly_summary, "PAGE", 2)
    monkeypatch.setattr(monthly_summary, "MAX_MONTHS", 3)
    customers = await fleet(jobs, 8)
    move_to(jobs, 2027, 2, 1, 7)
    counts = []
    for _ in range(5):
        await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
        counts.append(len(await recipients(jobs)))
        jobs.clock.advance(60)
    assert counts == [3, 6, 8, 8, 8]
    assert await recipients(jobs) == sorted(customers)


@pytest_twisted.ensureDeferred
async def test_a_scan_goes_on_where_a_failure_ended_it(jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monthly_summary, "PAGE", 2)
    customers = await fleet(jobs, 8)
    move_to(jobs, 2027, 2, 1, 7)
    failing, read = customers[5], monthly_summary._read
    asked: list[str] = []
    fault: list[Exception] = [StoreUnavailable("the store is down")]

    async def reading(customer: Customer, month: Any, context: Any) -> Any:
        asked.append(customer.id)
        if customer.id == failing and fault:
            raise fault.pop()
        return await read(customer, month, context)

    monkeypatch.setattr(monthly_summary, "_read", reading)
    with pytest.raises(StoreUnavailable):
        await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
    assert asked == customers[:6]
    # A daemon waits until the claim of the scan has expired; then it continues after the last complete page.
    await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
    assert asked == customers[:6]
    jobs.clock.advance(monthly_summary.CLAIM_SECONDS)
    asked.clear()
    await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
    assert asked == customers[5:], "those whose summary is queued are not read again, nor is the list begun anew"
    assert await recipients(jobs) == sorted(customers)
    assert len(await jobs.outbox_documents()) == 8


@pytest_twisted.ensureDeferred
async def test_one_customer_that_fails_does_not_hold_up_the_others(
    jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = await fleet(jobs, 4)
    move_to(jobs, 2027, 2, 1, 7)
    read = monthly_summary._read

    async def reading(customer: Customer, month: Any, context: Any) -> Any:
        if customer.id == customers[1]:
            raise ValueError("damaged")
        return await read(customer, month, context)

    monkeypatch.setattr(monthly_summary, "_read", reading)
    await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
    assert await recipients(jobs) == sorted({*customers} - {customers[1]})


@pytest_twisted.ensureDeferred
async def test_two_daemons_do_not_go_through_the_same_customers(
    jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon whose claim has ended stops at its next page."""
    monkeypatch.setattr(monthly_summary, "PAGE", 2)
    customers = await fleet(jobs, 6)
    move_to(jobs, 2027, 2, 1, 7)
    read = monthly_summary._read
    asked: list[str] = []

    async def reading(customer: Customer, month: Any, context: Any) -> Any:
        asked.append(customer.id)
        if len(asked) == 2:
            jobs.clock.advance(monthly_summary.CLAIM_SECONDS)
            await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
        return await read(customer, month, context)

    monkeypatch.setattr(monthly_summary, "_read", reading)
    await cenergyd_periodic(jobs.context)  # type: ignore[arg-type]
    # The second of the first page is read by both; everything after it by the other one alone.
    assert asked == [customers[0], customers[1], *customers[1:]]
    assert len(await jobs.outbox_documents()) == 6
