"""Alerts that rest on a site's state: watched for every site, sent to operators, and to customers who want it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.job import alerts_for
from cenergyd.jobs.alerts.rules import operator_channels
from cenergyd.jobs.alerts.site_alerts import SiteAlerts, alerts_of_state
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.site_state.model import Issue, SiteState
from cenergyd.jobs.site_state.service import SiteEvaluation
from cenergyd.jobs.site_state.summary import summary_of
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import OutboxSettings, Settings
from cenergyd.storage.sqlite.customers import SqliteCustomerStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore

NOW = 1_750_000_000
OPERATOR, OWNER = "ops@example.org", "owner@example.org"


@attrs.define
class Context:
    """What the alerts use of a job's context."""

    now: int
    documents: Any
    customers: Any
    settings: Any
    outbox: Any

    async def notify(self, notification: Notification) -> None:
        await self.outbox.notify(notification, self.now)


class AlertsUnderTest:
    """Alerts over real stores; the time is set by the test."""

    def __init__(self, folder: Path) -> None:
        self.customers = SqliteCustomerStore(reactor, folder / "c.sqlite")
        self.documents = SqliteDocumentStore(reactor, folder / "c.sqlite")
        settings = load_settings(Settings, None, {"alerts.operators": f"email:{OPERATOR}"})
        self.outbox = Outbox(
            self.documents, self.customers, OutboxSettings(), operator_channels(settings.alerts.operators)
        )
        self.context = Context(NOW, self.documents, self.customers, settings, self.outbox)
        self.alerts = SiteAlerts(lambda: self.context)  # type: ignore[arg-type,return-value]
        self.before: SiteState | None = None

    async def evaluate(self, customer: Customer, *issues: Issue) -> Mapping[str, int]:
        """An evaluation ten minutes after the last one."""
        self.context.now += 600
        kind = issues[0].kind if issues else "good"
        state = SiteState(kind=kind, issues=issues, roles=(), last_upload=NOW, usual_gap=900)
        before = summary_of(customer, self.before, energy_day="", energy=(), alerts=0) if self.before else None
        self.before = state
        return await self.alerts.evaluated([SiteEvaluation(customer, state, before)])

    async def sent(self, customer: Customer) -> list[tuple[str, str]]:
        """Receiver and subject of each message, oldest first."""
        found = await self.outbox.deliveries(customer.id)
        return [
            (each.channel["to"], each.subject)
            for each in sorted(found, key=lambda each: (each.created, each.channel["to"]))
        ]


@pytest_twisted.async_yield_fixture
async def under_test(tmp_path: Path) -> AsyncIterator[AlertsUnderTest]:
    under_test = AlertsUnderTest(tmp_path)
    await under_test.customers.open()
    await under_test.documents.open()
    yield under_test
    await under_test.customers.close()
    await under_test.documents.close()


async def customer(under_test: AlertsUnderTest, **alerts: Any) -> Customer:
    extensions = {"alerts": {**alerts, "channels": [{"type": "email", "to": OWNER}]}} if alerts else {}
    return await under_test.customers.add(
        Customer(id="", name="Roof", facility="1", solar="2", logger_serial_number="AA01", extensions=extensions)
    )


@pytest_twisted.ensureDeferred
async def test_an_operator_is_notified_once_and_when_it_is_over(under_test: AlertsUnderTest) -> None:
    site = await customer(under_test)
    stopped = Issue(kind="meter_error", role="solar", meter="2", since=NOW - 7200, code=139)
    assert await under_test.evaluate(site, stopped) == {site.id: 1}
    assert await under_test.evaluate(site, stopped) == {site.id: 1}
    assert await under_test.sent(site) == [(OPERATOR, "Alert: a meter has stopped at Roof")]
    (view,) = await alerts_for(under_test.documents, site.id)
    assert (view.kind, view.series, view.state.active, view.state.since) == (
        "stopped_meter",
        "AA01_2",
        True,
        NOW - 7200,
    )
    assert await under_test.evaluate(site) == {site.id: 0}
    assert await under_test.sent(site) == [
        (OPERATOR, "Alert: a meter has stopped at Roof"),
        (OPERATOR, "Alert over: a meter has stopped at Roof"),
    ]
    assert await under_test.evaluate(site) == {}, "nothing to look at"


@pytest_twisted.ensureDeferred
async def test_which_alerts_a_state_says_already(under_test: AlertsUnderTest) -> None:
    site = await customer(under_test, silent_logger={"enabled": True, "after_minutes": 60})
    for issue in (
        Issue(kind="meter_stopped", role="solar", meter="2", since=NOW - 7200),
        Issue(kind="logger_silent", since=NOW - 7200),
        Issue(kind="not_computed", role="load", since=NOW - 7200),
    ):
        await under_test.evaluate(site, issue)
        active = {
            (view.kind, view.series) for view in await alerts_for(under_test.documents, site.id) if view.state.active
        }
        state = SiteState(kind=issue.kind, issues=(issue,), roles=(), last_upload=NOW - 7200, usual_gap=900)
        assert active and active <= alerts_of_state(site, state), issue.kind


@pytest_twisted.ensureDeferred
async def test_a_customer_is_notified_whose_rule_is_on(under_test: AlertsUnderTest) -> None:
    site = await customer(under_test, missed_upload={"enabled": True})
    await under_test.evaluate(site, Issue(kind="logger_silent", since=NOW - 7200))
    assert await under_test.sent(site) == [
        (OPERATOR, "Alert: the logger is silent at Roof"),
        (OWNER, "Alert: the logger is silent at Roof"),
    ]
    other = Issue(kind="not_computed", role="load", since=NOW - 7200)
    await under_test.evaluate(site, other)
    subject = "Alert: a meter is not computed at Roof"
    assert [receiver for receiver, each in await under_test.sent(site) if each == subject] == [OPERATOR]


@pytest_twisted.ensureDeferred
async def test_the_message_names_the_error(under_test: AlertsUnderTest) -> None:
    site = await customer(under_test)
    await under_test.evaluate(site, Issue(kind="meter_error", role="solar", meter="2", since=NOW - 7200, code=139))
    (delivery,) = await under_test.outbox.deliveries(site.id)
    document = await under_test.outbox.document(delivery.key)
    assert document is not None
    text = document.body["notification"]["text"]
    assert "The solar meter gives no readings though its logger uploads." in text
    assert "error 139 (Modbus: gateway target did not respond)" in text


@pytest_twisted.ensureDeferred
async def test_operators_are_notified_of_a_meter_that_is_not_understood(under_test: AlertsUnderTest) -> None:
    site = await customer(under_test)
    await under_test.evaluate(site, Issue(kind="meter_not_understood", role="solar", meter="2", since=NOW - 7200))
    (delivery,) = await under_test.outbox.deliveries(site.id)
    document = await under_test.outbox.document(delivery.key)
    assert document is not None
    text = document.body["notification"]["text"]
    assert "Logs of the solar meter are kept unread" in text
    await under_test.evaluate(site)
    assert [view.state.active for view in await alerts_for(under_test.documents, site.id)] == [False]


@pytest_twisted.ensureDeferred
async def test_other_states_are_no_alerts(under_test: AlertsUnderTest) -> None:
    site = await customer(under_test)
    for kind in ("settings_incomplete", "waiting", "never_uploaded", "computing"):
        assert await under_test.evaluate(site, Issue(kind=kind, role="solar", since=NOW)) == {}  # type: ignore[arg-type]
    assert await alerts_for(under_test.documents, site.id) == []


@pytest.mark.parametrize("wrong", ["ops@example.org", "fax:1", "email:nobody", "sms:12", "webhook:ftp://x"])
def test_operators_that_are_none(wrong: str) -> None:
    with pytest.raises(InvalidField):
        operator_channels([wrong])
