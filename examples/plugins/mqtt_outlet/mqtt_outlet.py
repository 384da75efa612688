"""Publishes each customer's latest power to an MQTT broker, with what Home Assistant needs to discover it.

After new readings: ``<prefix>/<serial>/<role>`` = ``{"time": ..., "P": ..., ...}``, retained. Each meter is announced once under
``<discovery>/sensor/<serial>_<role>/config``. Published with quality of service 1, so a broker that is away makes the job fail, and the
daemon repeats it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta
from paho.mqtt import publish

from cenergyd.customers.model import ROLES, Customer
from cenergyd.hookspecs import JobContext, Resource, hookimpl
from cenergyd.readings.model import Reading

ANNOUNCED = "mqtt_outlet_announced"
Message = Mapping[str, Any]


class Options(Resource):
    """What [plugin:mqtt_outlet] in the ini may set."""

    host: Annotated[str, Meta(description="The broker; empty: nothing is published.")] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="The broker's port.")] = 1883
    username: Annotated[str, Meta(description="Account at the broker; empty: none.")] = ""
    password: Annotated[str, Meta(description="Its password, such as @credential:mqtt.", extra={"secret": True})] = ""
    prefix: Annotated[str, Meta(description="Topics of readings begin with this.")] = "cenergyd"
    discovery: Annotated[
        str, Meta(description="Where Home Assistant looks for devices; empty: they are not announced.")
    ] = "homeassistant"


@hookimpl
def cenergyd_options() -> type[Resource]:
    """The options."""
    return Options


@hookimpl
async def cenergyd_job(customer: Customer, start: int, end: int, context: JobContext, options: Options) -> None:
    """Publish the latest reading of each role whose meter has one in the range."""
    if not options.host:
        return
    series = {role: name for role in ROLES if (name := customer.series_of(role)) is not None}
    # What is published is the present, so the latest readings of all: late data must not take it back.
    latest = await context.readings.last(list(series.values()))
    found = {role: latest[name] for role, name in series.items() if name in latest and latest[name].time >= start}
    if not found:
        return
    announced = await announcements(customer, list(found), context, options)
    messages = [*announced, *(reading_message(customer, role, found[role], options) for role in found)]
    await context.in_thread(send, messages, options)
    if announced:
        await context.documents.put(ANNOUNCED, customer.id, fingerprint(customer, found), owner=customer.id)


async def announcements(
    customer: Customer, roles: Sequence[str], context: JobContext, options: Options
) -> list[Message]:
    """What Home Assistant has not been told yet."""
    known = await context.documents.get(ANNOUNCED, customer.id)
    if not options.discovery or (known is not None and known.body == fingerprint(customer, roles)):
        return []
    return [discovery_message(customer, role, options) for role in roles]


def fingerprint(customer: Customer, roles: Any) -> dict[str, Any]:
    """Changes where the announcements would."""
    return {"serial": customer.logger_serial_number, "name": customer.name, "roles": sorted(roles)}


def topic(customer: Customer, role: str, options: Options) -> str:
    """Where a role's readings are published."""
    return f"{options.prefix}/{customer.logger_serial_number}/{role}"


def reading_message(customer: Customer, role: str, reading: Reading, options: Options) -> Message:
    """A reading, retained, so that who subscribes later has it at once."""
    body = {"time": reading.time, "P": reading.P, "L1_PF": reading.L1_PF, "L1_V": reading.L1_V, "Q": reading.Q}
    return {"topic": topic(customer, role, options), "payload": json.dumps(body), "qos": 1, "retain": True}


def discovery_message(customer: Customer, role: str, options: Options) -> Message:
    """A sensor in Home Assistant's MQTT discovery format."""
    serial = customer.logger_serial_number
    body = {
        "name": f"{role} power",
        "unique_id": f"cenergyd_{serial}_{role}",
        "state_topic": topic(customer, role, options),
        "value_template": "{{ value_json.P }}",
        "unit_of_measurement": "kW",
        "device_class": "power",
        "state_class": "measurement",
        "device": {"identifiers": [f"cenergyd_{serial}"], "name": customer.name or serial, "manufacturer": "Obvius"},
    }
    where = f"{options.discovery}/sensor/{serial}_{role}/config"
    return {"topic": where, "payload": json.dumps(body), "qos": 1, "retain": True}


def send(messages: Sequence[Message], options: Options) -> None:
    """Publish and wait until the broker has all. Runs in a thread. Raises OSError or MQTTException."""
    auth = {"username": options.username, "password": options.password} if options.username else None
    publish.multiple(list(messages), hostname=options.host, port=options.port, auth=auth, client_id="")
