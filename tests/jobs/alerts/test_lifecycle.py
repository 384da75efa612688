"""An alert's life on a Clock: readings come in, messages go out."""

from __future__ import annotations

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import ALERT, LOGGER, SITE
from cenergyd.errors import StoreUnavailable
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.job import alerts_for
from cenergyd.jobs.alerts.site_alerts import SiteAlerts
from cenergyd.jobs.alerts.text import plain
from cenergyd.jobs.site_state.service import SiteStateService
from cenergyd.plugins.alerts import cenergyd_job, cenergyd_periodic
from cenergyd.readings.model import Reading
from tests.jobs.conftest import SERIAL, START, Context, JobsUnderTest
from tests.jobs.messages.sending import send_due

CHANNEL = {"type": "record", "to": "me"}
NET_LOAD = {
    "alert_frequency_in_minutes": 60,
    "net_load": {"enabled": True, "threshold_kw": 50, "hysteresis_kw": 5},
    "channels": [CHANNEL],
}


async def upload(jobs: JobsUnderTest, customer: Customer, meter: str, powers: list[float | Reading]) -> None:
    """One upload of minutes that end now, evaluated, and what is unsent sent."""
    now = jobs.context.now
    first = now - 60 * len(powers)
    readings = [p if isinstance(p, Reading) else Reading(first + n * 60, p) for n, p in enumerate(powers)]
    await jobs.write(meter, readings)
    await cenergyd_job(customer, readings[0].time, readings[-1].time + 1, jobs.context)
    await send_due(jobs.service)


async def minutes(jobs: JobsUnderTest, customer: Customer, powers: list[float]) -> None:
    for power in powers:
        jobs.clock.advance(60)
        await upload(jobs, customer, "1", [power])


def subjects(jobs: JobsUnderTest) -> list[str]:
    """The subjects of the messages sent, in order, without the site's name."""
    begins = {"Alert: ": "", "Alert continues: ": "still: ", "Alert over: ": "over: "}
    found = []
    for subject in jobs.recorder.subjects:
        begin = next(each for each in begins if subject.startswith(each))
        found.append(begins[begin] + subject.removeprefix(begin).replace(" at Mill", ""))
    return found


@pytest_twisted.ensureDeferred
async def test_raised_throttled_resolved(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    await minutes(jobs, customer, [40, 49])
    assert subjects(jobs) == []
    await minutes(jobs, customer, [60])
    assert subjects(jobs) == ["net load is high"]
    await minutes(jobs, customer, [55, 48, 62] + [55] * 50)  # 48 is within the hysteresis
    assert subjects(jobs) == ["net load is high"]
    await minutes(jobs, customer, [55] * 10)
    assert subjects(jobs) == ["net load is high", "still: net load is high"]
    await minutes(jobs, customer, [44])
    assert subjects(jobs)[2:] == ["over: net load is high"]
    await minutes(jobs, customer, [44, 70, 44, 44])  # within the hour: neither its beginning nor its end is sent
    await minutes(jobs, customer, [44] * 60)
    assert len(subjects(jobs)) == 3
    await minutes(jobs, customer, [70])
    assert subjects(jobs)[3:] == ["net load is high"]


@pytest_twisted.ensureDeferred
async def test_the_message_says_what_when_and_where_in_the_sites_own_time(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    await minutes(jobs, customer, [61.25])
    notification, channel, _ = jobs.recorder.sent[0]
    assert channel == CHANNEL
    assert notification.text.startswith("The net load rose to 61.25 kW (1-minute mean); the threshold is 50 kW.\n")
    assert "It began on Fri 15 Jan 2027, 04:00 PST." in notification.text
    assert notification.data["since"] == START
    assert notification.data["series"] == f"{SERIAL}_1"
    assert notification.customer_id == customer.id


@pytest_twisted.ensureDeferred
async def test_a_site_s_name_is_no_text_of_the_customer_s_in_a_webhook_s_data_either(jobs: JobsUnderTest) -> None:
    typed = "Win now\r\nBcc: all@example.org \x00\u202e http://evil.example/?a=b call +1 555 010 0199 " + "n" * 300
    customer = await jobs.customer(NET_LOAD)
    await minutes(jobs, attrs.evolve(customer, name=typed), [61.25])
    notification = jobs.recorder.sent[0][0]
    name = str(notification.data["site"])
    assert len(name) <= 40
    assert name.isprintable()
    assert not any(part in name for part in ("://", "@", "/", "555 010", "\n"))
    assert "\n" not in notification.subject
    assert "evil.example" not in notification.subject + notification.text


@pytest_twisted.ensureDeferred
async def test_the_computed_grid_meter_is_evaluated_like_a_measured_one(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD, facility="", load="3")
    jobs.clock.advance(60)
    await upload(jobs, customer, "missing_meter", [60.0])
    assert subjects(jobs) == ["net load is high"]
    assert jobs.recorder.sent[0][0].data["series"] == f"{SERIAL}_missing_meter"
    assert "Meter: computed, utility (grid)" in jobs.recorder.sent[0][0].text.splitlines()


@pytest_twisted.ensureDeferred
async def test_a_grid_meter_mounted_the_wrong_way_is_evaluated_by_its_true_sign(jobs: JobsUnderTest) -> None:
    extensions = {"alerts": NET_LOAD, "meters": {"reversed": ["utility"]}}
    customer = await jobs.customer({}, extensions=extensions)
    await minutes(jobs, customer, [60])
    assert subjects(jobs) == []
    await minutes(jobs, customer, [-60])
    assert subjects(jobs) == ["net load is high"]


@pytest_twisted.ensureDeferred
async def test_a_quarter_of_an_hour_at_once_with_a_spike_is_one_message(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    jobs.clock.advance(900)
    await upload(jobs, customer, "1", [40.0] * 5 + [70.0, 80.0, 70.0] + [40.0] * 7)
    assert subjects(jobs) == ["net load is high (already over)"]
    assert "80 kW" in jobs.recorder.sent[0][0].text


@pytest_twisted.ensureDeferred
async def test_a_backlog_of_days_reports_only_its_fresh_part(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    jobs.clock.advance(3 * 86400)
    day = [70.0] * 1440
    await upload(jobs, customer, "1", day + day + day[: 1440 - 120] + [40.0] * 120)
    assert subjects(jobs) == []
    assert await jobs.context.documents.count(ALERT) == 0
    await upload(jobs, customer, "1", day + [40.0] * 10 + [70.0])
    assert subjects(jobs) == ["net load is high"]
    assert jobs.recorder.sent[0][0].data["since"] == jobs.context.now - 60


@pytest_twisted.ensureDeferred
async def test_yesterdays_hour_that_comes_late_raises_nothing_and_ends_nothing(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    await minutes(jobs, customer, [60])
    late = START - 86400
    await jobs.write("1", [Reading(late + n * 60, 10.0 if n % 2 else 90.0) for n in range(60)])
    await cenergyd_job(customer, late, late + 3600, jobs.context)
    await send_due(jobs.service)
    assert subjects(jobs) == ["net load is high"]
    (view,) = await alerts_for(jobs.context.documents, customer.id)
    assert view.state.active


@pytest_twisted.ensureDeferred
async def test_the_same_window_again_after_a_crash_sends_nothing_twice(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    jobs.clock.advance(900)
    await upload(jobs, customer, "1", [40.0] * 5 + [70.0] * 10)
    jobs.clock.advance(120)
    for _ in range(3):
        await cenergyd_job(customer, START, START + 900, jobs.context)
        await send_due(jobs.service)
    assert subjects(jobs) == ["net load is high"]


@pytest_twisted.ensureDeferred
async def test_two_daemons_that_evaluate_the_same_readings_notify_once(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    for power in (70.0, 40.0):
        jobs.clock.advance(7200)
        now = jobs.context.now
        await jobs.write("1", [Reading(now - 60, power)])
        works = [Deferred.fromCoroutine(cenergyd_job(customer, now - 60, now, jobs.context)) for _ in range(4)]
        await gatherResults(works)
    documents = await jobs.outbox_documents()
    subjects = sorted(document.body["notification"]["subject"] for document in documents)
    assert subjects == ["Alert over: net load is high at Mill", "Alert: net load is high at Mill"]


@attrs.define
class FailingContext(Context):
    """Raises where a message is queued: before or right after."""

    after: bool = False

    async def notify(self, notification: Notification) -> None:
        if self.after:
            await Context.notify(self, notification)
        raise StoreUnavailable("gone")


@pytest.mark.parametrize("after", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_crash_between_deciding_and_queueing_loses_nothing_and_repeats_nothing(
    jobs: JobsUnderTest, after: bool
) -> None:
    customer = await jobs.customer(NET_LOAD)
    jobs.clock.advance(60)
    await jobs.write("1", [Reading(START, 70.0)])
    dying = FailingContext(*attrs.astuple(jobs.context, recurse=False), after)
    with pytest.raises(StoreUnavailable):
        await cenergyd_job(customer, START, START + 1, dying)
    for _ in range(3):
        jobs.clock.advance(60)
        await cenergyd_job(customer, START, START + 1, jobs.context)
        await cenergyd_periodic(jobs.context)
        await send_due(jobs.service)
    assert subjects(jobs) == ["net load is high"]


@pytest_twisted.ensureDeferred
async def test_every_kind_on_its_own(jobs: JobsUnderTest) -> None:
    rules = {
        "power_factor": {"enabled": True, "below": 0.9},
        "voltage": {"enabled": True, "percent": 5},
        "implausible": {"enabled": True},
        "stuck_meter": {"enabled": True, "after_minutes": 30},
        "channels": [CHANNEL],
    }
    customer = await jobs.customer(rules, time_zone="UTC", facility="1", solar="2")
    jobs.clock.advance(3600)
    now = jobs.context.now
    solar = [Reading(now - 3600 + n * 60, -3.0, 0.99, 120.0) for n in range(60)]
    grid = [Reading(now - 3600 + n * 60, 5.0 + n % 2, 0.7, 130.0, 0.1 if n < 30 else 6.0) for n in range(60)]
    await jobs.write("1", grid)
    await jobs.write("2", solar)
    await cenergyd_job(customer, now - 3600, now, jobs.context)
    await send_due(jobs.service)
    texts = {n.kind: n.text for n, _, _ in jobs.recorder.sent}
    assert sorted(texts) == ["implausible", "power_factor", "stuck_meter", "voltage"]
    assert "power factor of the utility (grid) meter fell to 0.640" in texts["power_factor"]
    assert "was 130 V; it should be between 114 and 126 V" in texts["voltage"]
    assert "solar meter shows -3 kW, which is impossible" in texts["implausible"]
    assert "solar meter has repeated exactly the same values (-3 kW) for 30 minutes" in texts["stuck_meter"]
    views = await alerts_for(jobs.context.documents, customer.id)
    assert {view.kind for view in views} == set(texts)
    # Everything is normal again.
    jobs.clock.advance(3600)
    now = jobs.context.now
    await jobs.write("1", [Reading(now - 3600 + n * 60, 5.0 + n % 2, 0.99, 121.0, 0.1) for n in range(60)])
    await jobs.write("2", [Reading(now - 3600 + n * 60, 3.0 + n % 3, 0.99, 120.0) for n in range(60)])
    await cenergyd_job(customer, now - 3600, now, jobs.context)
    await send_due(jobs.service)
    assert sorted(s for s in subjects(jobs) if s.startswith("over:")) == [
        "over: a meter is stuck", "over: power factor is low", "over: readings are implausible",
        "over: voltage is out of range",
    ]  # fmt: skip
    assert not any(view.state.active for view in await alerts_for(jobs.context.documents, customer.id))


@pytest.mark.parametrize(
    ("value", "text"),
    [(61.25, "61.25"), (50.0, "50"), (-3.0, "-3"), (1234567.891, "1234567.89"), (-0.001, "0"), (100.0, "100")],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert plain(value) == text


SILENT = {
    "alert_frequency_in_minutes": 120,
    "silent_logger": {"enabled": True, "after_minutes": 60},
    "channels": [CHANNEL],
}


class JobsClock:
    """The test's time with the reactor's timers, which batched reads of a real store wait for."""

    def __init__(self, jobs: JobsUnderTest) -> None:
        self.seconds = jobs.clock.seconds
        self.callLater = reactor.callLater  # type: ignore[attr-defined]


def watching(jobs: JobsUnderTest) -> SiteStateService:
    """What evaluates the sites' states, and with them who is silent."""
    context = jobs.context
    return SiteStateService(
        clock=JobsClock(jobs),  # type: ignore[arg-type]
        customers=context.customers,
        documents=context.documents,
        readings=context.readings,
        evaluated=SiteAlerts(lambda: context).evaluated,  # type: ignore[arg-type,return-value]
    )


async def heard(jobs: JobsUnderTest, watch: SiteStateService) -> None:
    now = jobs.context.now
    await jobs.context.documents.put(LOGGER, SERIAL, {"last_upload": now}, due=now)
    for customer in await jobs.context.customers.page():
        watch.site_changed(customer.id)


async def let_pass(jobs: JobsUnderTest, watch: SiteStateService, count: int) -> None:
    for _ in range(count):
        jobs.clock.advance(60)
        await watch.tick()
        await cenergyd_periodic(jobs.context)
        await send_due(jobs.service)


@pytest_twisted.ensureDeferred
async def test_a_silent_logger(jobs: JobsUnderTest) -> None:
    await jobs.customer(SILENT)
    watch = watching(jobs)
    await heard(jobs, watch)
    await let_pass(jobs, watch, 59)
    assert subjects(jobs) == []
    await let_pass(jobs, watch, 2)
    assert subjects(jobs) == ["the logger is silent"]
    assert jobs.recorder.sent[0][0].data["since"] == START  # its last upload
    assert jobs.recorder.sent[0][0].data["value"] == 60
    await let_pass(jobs, watch, 118)
    assert len(subjects(jobs)) == 1
    await let_pass(jobs, watch, 3)
    assert subjects(jobs)[1:] == ["still: the logger is silent"]
    await heard(jobs, watch)
    await let_pass(jobs, watch, 2)
    assert subjects(jobs)[2:] == ["over: the logger is silent"]
    await heard(jobs, watch)
    await let_pass(jobs, watch, 50)
    assert len(subjects(jobs)) == 3


@pytest_twisted.ensureDeferred
async def test_two_daemons_watch_the_same_silence(jobs: JobsUnderTest) -> None:
    await jobs.customer(SILENT)
    daemons = [watching(jobs) for _ in range(3)]
    await heard(jobs, daemons[0])
    for _ in range(90):
        jobs.clock.advance(60)
        await gatherResults([Deferred.fromCoroutine(each.tick()) for each in daemons])
    assert len(await jobs.outbox_documents()) == 1


@pytest_twisted.ensureDeferred
async def test_a_rule_longer_than_the_upload_interval_waits_for_its_own_time(jobs: JobsUnderTest) -> None:
    await jobs.customer({**SILENT, "silent_logger": {"enabled": True, "after_minutes": 240}})
    watch, now = watching(jobs), jobs.context.now
    await heard(jobs, watch)
    await jobs.context.documents.put(LOGGER, SERIAL, {"last_upload": now, "gaps": [[now // 86400, 900]] * 3}, due=now)
    await let_pass(jobs, watch, 239)
    (site,) = await jobs.context.documents.find(SITE)
    assert site.owner == "logger_silent", "by its rhythm"
    assert subjects(jobs) == []
    await let_pass(jobs, watch, 2)
    assert subjects(jobs) == ["the logger is silent"]


@pytest_twisted.ensureDeferred
async def test_switching_a_rule_off_ends_its_alert_without_a_message(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer({**NET_LOAD, **SILENT, "alert_frequency_in_minutes": 600})
    watch = watching(jobs)
    await minutes(jobs, customer, [70])
    await heard(jobs, watch)
    await let_pass(jobs, watch, 100)
    assert subjects(jobs) == ["net load is high", "the logger is silent"]
    await jobs.context.customers.update(customer.id, {"extensions": {"alerts": {"channels": [CHANNEL]}}})
    await heard(jobs, watch)
    await let_pass(jobs, watch, 61)
    assert len(subjects(jobs)) == 2
    kept = await alerts_for(jobs.context.documents, customer.id)
    assert [(view.kind, view.state.active) for view in kept] == [("missed_upload", False)], "that one every site has"


@pytest_twisted.ensureDeferred
async def test_an_alert_without_news_is_deleted(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer(NET_LOAD)
    await minutes(jobs, customer, [70])
    jobs.clock.advance(29 * 86400)
    await cenergyd_periodic(jobs.context)
    assert len(await alerts_for(jobs.context.documents, customer.id)) == 1
    jobs.clock.advance(2 * 86400)
    await cenergyd_periodic(jobs.context)
    assert await alerts_for(jobs.context.documents, customer.id) == []


@pytest_twisted.ensureDeferred
async def test_invalid_stored_settings_affect_only_the_alerts(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer({"net_load": {"enabled": "yes"}})
    await minutes(jobs, customer, [70])
    await cenergyd_periodic(jobs.context)
    assert subjects(jobs) == []


@pytest_twisted.ensureDeferred
async def test_without_a_channel_the_alert_is_kept_for_the_page_and_nothing_is_queued(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer({**NET_LOAD, "channels": []})
    await minutes(jobs, customer, [70])
    assert [view.kind for view in await alerts_for(jobs.context.documents, customer.id)] == ["net_load"]
    assert await jobs.outbox_documents() == []
