"""What ``cenergyd plugins new`` writes for each hook: the plugin's module and its tests. ``$name`` is the plugin's name."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class PluginTemplate:
    """A plugin that works, and tests that pass."""

    about: str
    """What it does, a sentence."""
    imports: str
    """Of its module, in the usual order."""
    option: str
    """Its one option."""
    code: str
    """What follows the declaration of options."""
    test: str

    @property
    def module(self) -> str:
        """The text of the plugin's module."""
        return f'''"""{self.about}"""

{self.imports}

class Options(Resource):
    """What [plugin:$name] in the ini may set."""

    {self.option}


@hookimpl
def cenergyd_options():
    return Options

{self.code}'''


_DERIVE = PluginTemplate(
    about="Computes the missing meter with a factor.",
    imports="""\
from typing import Annotated

from msgspec import Meta

from cenergyd.derivation.formulas import compute
from cenergyd.hookspecs import Resource, hookimpl
""",
    option='factor: Annotated[float, Meta(gt=0, description="The computed power is multiplied by this.")] = 1.0',
    code='''\

@hookimpl(tryfirst=True)
def cenergyd_derive(role, aligned, formula, options):
    """The built-in formula, with the computed power multiplied."""
    return [
        reading._replace(P=reading.P * options.factor, Q=None if reading.Q is None else reading.Q * options.factor)
        for reading in compute(role, aligned, formula)
    ]
''',
    test="""\
import $name
import pytest

from cenergyd.testing import PluginTest, aligned, make_customer, simulate_day


def test_the_power_is_multiplied():
    plugin = PluginTest($name, "$name", options={"factor": "2"})
    computed = plugin.derive(make_customer("load"), "load", aligned(utility=[1.0, 2.0], solar=[3.0, 4.0]))
    assert [reading.P for reading in computed] == [8.0, 12.0]


def test_a_day_of_a_site():
    day = simulate_day("load")
    computed = PluginTest($name, "$name").day(day)
    assert [reading.P for reading in computed] == pytest.approx([reading.P for reading in day.readings["load"]])
""",
)

_JOB = PluginTemplate(
    about="Keeps the highest power of each day.",
    imports="""\
from typing import Annotated, Literal

from msgspec import Meta

from cenergyd.hookspecs import Resource, hookimpl
from cenergyd.readings.model import FieldPoint

DAY = 86400
""",
    option='role: Annotated[Literal["utility", "load", "solar"], Meta(description="Whose highest power is kept.")] = "load"',
    code='''\

@hookimpl
async def cenergyd_job(customer, start, end, context, options):
    """Keep the highest power of each UTC day of a role."""
    series = customer.series_of(options.role)
    if series is None:
        return
    for day in range(start - start % DAY, end, DAY):
        readings = (await context.readings.read([series], day, day + DAY))[series]
        powers = [reading.P for reading in readings if reading.P is not None]
        points = [FieldPoint(day, {"highest_kw": max(powers)})] if powers else []
        # Replaced, and computed from the whole day: run again, or with late readings, it ends in the same.
        await context.readings.replace_points(f"{series}_$name", day, day + DAY, points)
''',
    test="""\
import $name

from cenergyd.testing import PluginTest, simulate_day


def test_the_highest_power_of_a_day():
    day = simulate_day("load")
    plugin = PluginTest($name, "$name", options={"role": "solar"})
    plugin.day(day)  # also that the job, run again, gives the same
    series = day.customer.series_of("solar")
    highest = max(reading.P for reading in day.readings["solar"])
    assert [point.fields for point in plugin.points(f"{series}_$name")] == [{"highest_kw": highest}]
""",
)

_PERIODIC = PluginTemplate(
    about="Notifies customers of a silent load meter.",
    imports="""\
from typing import Annotated

from msgspec import Meta

from cenergyd.hookspecs import Notification, Resource, hookimpl

DAY = 86400
""",
    option='silent_hours: Annotated[int, Meta(ge=1, le=720, description="A meter silent for this time is reported.")] = 24',
    code='''\

@hookimpl
async def cenergyd_periodic(context, options):
    """Called every minute: notify customers whose load meter has sent nothing for long, once a day."""
    after = None
    while customers := await context.customers.page(after=after, limit=100):
        after = customers[-1].id
        for customer in customers:
            series = customer.series_of("load")
            last = (await context.readings.last([series])).get(series) if series else None
            if last is not None and context.now - last.time > options.silent_hours * 3600:
                await context.notify(message(customer, context.now))
        await context.pause()


def message(customer, now):
    return Notification(
        # The same message is sent once: one a day, whichever of several daemons comes first.
        id=f"$name-{customer.id}-{now // DAY}",
        customer_id=customer.id,
        kind="$name",
        subject=f"{customer.name}: no readings",
        text=f"The load meter of {customer.name} has sent nothing for long.\\n",
        data={},
    )
''',
    test="""\
import $name

from cenergyd.testing import NOON, PluginTest, make_customer, make_readings

HOUR = 3600


def test_a_silent_meter_is_reported_once_a_day():
    customer = make_customer("solar")
    plugin = PluginTest($name, "$name", options={"silent_hours": "3"})
    plugin.add_customer(customer)
    plugin.write(customer.series_of("load"), make_readings([1.0]))
    plugin.now = NOON + 2 * HOUR
    plugin.periodic()
    assert plugin.messages == []
    plugin.now = NOON + 4 * HOUR
    plugin.periodic()
    plugin.periodic()
    assert [message.subject for message in plugin.messages] == ["Mill: no readings"]
    plugin.now += 24 * HOUR
    plugin.periodic()
    assert len(plugin.messages) == 2
""",
)

_ALERT_RULES = PluginTemplate(
    about="Alerts of a high load.",
    imports="""\
from typing import Annotated

from msgspec import Meta

from cenergyd.hookspecs import AlertRule, AlertRuleType, Resource, WindowVerdict, hookimpl

QUARTER = 900
""",
    option='clear_below: Annotated[float, Meta(gt=0, le=1, description="The alert ends at this part of the threshold.")] = 0.9',
    code='''\

class HighLoad(AlertRule):
    """What a customer sets on the alerts page, each with a default."""

    above_kw: Annotated[float, Meta(ge=0, le=1e6, title="Threshold", extra={"unit": "kW"})] = 10.0


@hookimpl
def cenergyd_alert_rules():
    return [AlertRuleType("$name", "High load", "The load of a quarter of an hour is high.", HighLoad)]


@hookimpl
async def cenergyd_job(customer, start, end, context, options):
    """Evaluate the quarter hours that the range touches; context.alert raises, repeats and ends the alert."""
    rule, series = context.alert_rule("$name"), customer.series_of("load")
    if rule is None or series is None:
        return
    over = context.now - context.now % QUARTER  # a quarter that is not over yet says nothing
    first, last = start - start % QUARTER, min(end - end % QUARTER + QUARTER, over)
    if first >= last:
        return
    quarters = (await context.readings.summarise([series], first, last, QUARTER, ["P"]))[series]
    verdicts = [evaluated(quarter, rule, options) for quarter in quarters if "P" in quarter.channels]
    await context.alert("$name", series, verdicts, f"The load was above {rule.above_kw:g} kW.")


def evaluated(quarter, rule, options):
    mean = quarter.channels["P"][1]
    if mean > rule.above_kw:
        return WindowVerdict(quarter.time, "breach", mean, badness=mean)
    # In between the alert neither ends nor begins, so that a load at the threshold does not do both all the time.
    return WindowVerdict(quarter.time, "clear" if mean <= rule.above_kw * options.clear_below else "hold", mean)
''',
    test='''\
import $name
import pytest

from cenergyd.errors import InvalidField
from cenergyd.testing import NOON, PluginTest, make_customer, make_readings

HALF_AN_HOUR = 1800


def customer_with(plugin, **rule):
    """A customer who has switched the rule on, as the page or the API would."""
    channels = [{"type": "email", "to": "a@example.org"}]
    alerts = {"plugin_rules": {"$name": {"enabled": True, **rule}}, "channels": channels}
    return make_customer("load", extensions={"alerts": plugin.check_alerts(alerts)})


def run(plugin, customer, powers, start):
    plugin.now = start + HALF_AN_HOUR
    plugin.write(customer.series_of("load"), make_readings(powers, start=start))
    plugin.job(customer, start, start + HALF_AN_HOUR)
    return [message.subject.partition(":")[0] for message in plugin.messages]


def test_an_alert_is_raised_once_and_ends():
    plugin = PluginTest($name, "$name")
    customer = customer_with(plugin, above_kw=2)
    assert run(plugin, customer, [5.0] * 30, NOON) == ["Alert"]
    assert "above 2 kW" in plugin.messages[0].text
    assert run(plugin, customer, [5.0] * 30, NOON) == ["Alert"]
    assert run(plugin, customer, [1.95] * 30, NOON + HALF_AN_HOUR) == ["Alert"]
    assert run(plugin, customer, [1.0] * 30, NOON + 2 * HALF_AN_HOUR) == ["Alert", "Alert over"]


def test_the_rule_is_checked_when_it_is_entered():
    with pytest.raises(InvalidField):
        customer_with(PluginTest($name, "$name"), above_kw=-1)


def test_without_the_rule_nothing_is_reported():
    plugin = PluginTest($name, "$name")
    assert run(plugin, make_customer("load"), [5.0] * 30, NOON) == []
''',
)

_NOTIFY = PluginTemplate(
    about="Sends messages to a service by HTTP.",
    imports="""\
import json
import urllib.request
from typing import Annotated

from msgspec import Meta

from cenergyd.hookspecs import Channel, ChannelType, Resource, hookimpl
""",
    option='url: Annotated[str, Meta(description="Where the service takes messages.")] = "https://example.org/"',
    code='''\

class Address(Channel):
    """A channel {"type": "$name", "to": ...}, checked when it is entered."""

    to: Annotated[str, Meta(min_length=1, max_length=80, extra={"needed": "a name of 1 to 80 letters is needed"})]


@hookimpl
def cenergyd_channels():
    return [ChannelType("$name", "$name", Address, address="to", hint="a name")]


@hookimpl
def cenergyd_notify(notification, channel, attempt, options):
    """Send to the channels that are declared above."""
    if channel["type"] != "$name":
        return None
    return attempt.in_thread(send, notification, channel["to"], options)


def send(notification, to, options):
    """Runs in a thread. True once the service has the message; docs/plugins.md says what to raise."""
    body = json.dumps({"to": to, "text": f"{notification.subject}\\n{notification.text}"}).encode()
    request = urllib.request.Request(options.url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.status == 200
''',
    test='''\
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import $name
import pytest

from cenergyd.errors import InvalidField
from cenergyd.hookspecs import Notification
from cenergyd.testing import PluginTest

MESSAGE = Notification("n1", "c1", "test", "Subject", "Text.", {})


@pytest.fixture
def service():
    """A service that takes messages, and what it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(server.answer)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answer = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def sender(service):
    return PluginTest($name, "$name", options={"url": f"http://127.0.0.1:{service.server_port}/"})


def test_a_message_is_taken(service):
    assert sender(service).notify(MESSAGE, {"type": "$name", "to": "me"}) is True
    assert service.got == [{"to": "me", "text": "Subject\\nText."}]


def test_a_failing_service_is_tried_again(service):
    service.answer = 503
    with pytest.raises(OSError):
        sender(service).notify(MESSAGE, {"type": "$name", "to": "me"})


def test_another_channel_is_not_ours(service):
    assert sender(service).notify(MESSAGE, {"type": "email", "to": "a@example.org"}) is None


def test_a_channel_is_checked_when_it_is_entered():
    plugin = PluginTest($name, "$name")
    assert plugin.check_channel({"type": "$name", "to": "me"}) == {"type": "$name", "to": "me"}
    with pytest.raises(InvalidField, match="1 to 80 letters"):
        plugin.check_channel({"type": "$name", "to": ""})
''',
)

TEMPLATES: Mapping[str, PluginTemplate] = {
    "derive": _DERIVE,
    "job": _JOB,
    "periodic": _PERIODIC,
    "alert_rules": _ALERT_RULES,
    "notify": _NOTIFY,
    "channels": _NOTIFY,
    "options": _JOB,
}
"""By the hook's name without ``cenergyd_``. All of them declare options, and those that send declare their channels."""
