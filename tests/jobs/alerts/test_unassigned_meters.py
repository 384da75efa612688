"""Operators are notified of meters without a role whose logs cannot be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest_twisted

from cenergyd.acquisuite.resolve import MeterFacts, Resolution
from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import ALERT, HELD_METER, OUTBOX
from cenergyd.ingest.held_meters import ALERT_AFTER_SECONDS, HeldMeters, Unread
from cenergyd.jobs.alerts.job import CHECK_AGAIN_SECONDS, alerts_for, maintain_alerts
from cenergyd.jobs.alerts.unassigned_meters import check_unassigned_meters
from tests.jobs.alerts.test_site_alerts import NOW, OPERATOR, AlertsUnderTest, customer

METER = "AA01_7"


@attrs.frozen
class HeldLog:
    """A log of a device that nobody knows."""

    serial: str = "AA01"
    meter: str = "7"
    received: int = NOW
    device_name: str = "Strange"
    device_type: str = ""
    device_class: str = ""


@attrs.define
class MeterWithHeldLogs:
    """A customer, and a meter with held logs."""

    under_test: AlertsUnderTest
    meters: HeldMeters
    site: Customer

    def seconds(self) -> float:
        return self.under_test.context.now

    async def hold(self, state: str = "unknown") -> None:
        why = Unread(MeterFacts(), Resolution(state=state, reason="its columns are not known"), None)  # type: ignore[arg-type]
        await self.meters.add(HeldLog(), 100, why)

    async def later(self, seconds: int) -> None:
        self.under_test.context.now += seconds
        await check_unassigned_meters(self.under_test.context)  # type: ignore[arg-type]
        await maintain_alerts(self.under_test.context)  # type: ignore[arg-type]

    async def active(self) -> list[str]:
        return [view.series for view in await alerts_for(self.under_test.documents, self.site.id) if view.state.active]


@pytest_twisted.async_yield_fixture
async def held(tmp_path: Path) -> AsyncIterator[MeterWithHeldLogs]:
    under_test = AlertsUnderTest(tmp_path)
    await under_test.customers.open()
    await under_test.documents.open()
    clock: Any = attrs.make_class("Now", {"seconds": attrs.field()})(lambda: under_test.context.now)
    meters = HeldMeters(under_test.documents, clock, logger_bytes=1000, all_bytes=1000)
    yield MeterWithHeldLogs(under_test, meters, await customer(under_test))
    await under_test.customers.close()
    await under_test.documents.close()


@pytest_twisted.ensureDeferred
async def test_operators_are_notified_once_and_when_columns_are_chosen(held: MeterWithHeldLogs) -> None:
    await held.hold()
    await held.later(ALERT_AFTER_SECONDS - 1)
    assert await held.active() == []  # its config file may come yet
    await held.later(1)
    assert await held.active() == [METER]
    for _ in range(3):
        await held.hold()
        await held.later(CHECK_AGAIN_SECONDS)
    assert await held.active() == [METER]
    assert await held.under_test.sent(held.site) == [(OPERATOR, "Alert: a meter's columns are unknown at Roof")]
    (queued,) = await held.under_test.documents.find(OUTBOX, limit=5)
    assert queued.body["notification"]["text"].startswith("Logs of meter 7, which has no role, are kept unread")
    await held.meters.set_counts(METER, 0, 0, None)
    await held.later(60)
    assert await held.active() == []
    assert len(await held.under_test.sent(held.site)) == 2


@pytest_twisted.ensureDeferred
async def test_nobody_is_notified_of_a_meter_whose_config_file_comes(held: MeterWithHeldLogs) -> None:
    await held.hold()
    await held.meters.set_counts(METER, 0, 0, None)
    await held.later(2 * ALERT_AFTER_SECONDS)
    assert await held.under_test.documents.count(ALERT) == 0


@pytest_twisted.ensureDeferred
async def test_nobody_is_notified_of_other_devices_and_dismissed_ones(held: MeterWithHeldLogs) -> None:
    await held.hold("other")
    await held.later(2 * ALERT_AFTER_SECONDS)
    assert await held.active() == []
    await held.hold("unknown")
    await held.meters.flush()
    await held.meters.dismiss(METER, True)
    await held.later(2 * ALERT_AFTER_SECONDS)
    assert await held.active() == []


@pytest_twisted.ensureDeferred
async def test_dismissing_ends_the_alert(held: MeterWithHeldLogs) -> None:
    await held.hold()
    await held.later(ALERT_AFTER_SECONDS)
    assert await held.active() == [METER]
    await held.meters.dismiss(METER, True)
    await held.later(60)
    assert await held.active() == []


@pytest_twisted.ensureDeferred
async def test_a_meter_with_a_role_is_left_to_the_sites_state(held: MeterWithHeldLogs) -> None:
    await held.hold()
    await held.under_test.customers.update(held.site.id, {"load": "7", "solar": ""})
    await held.later(ALERT_AFTER_SECONDS)
    assert await held.under_test.documents.count(ALERT) == 0
    assert await held.under_test.documents.find(HELD_METER, due_before=1 << 40, limit=5) == []
