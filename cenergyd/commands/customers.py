"""``cenergyd customers``: the settings of customers, from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cenergyd.commands.common import (
    F,
    SettingsGroup,
    SettingsSource,
    TimeParam,
    find_customer,
    pass_source,
    password_options,
    read_password,
    run_async,
    stores_of,
)
from cenergyd.customers import meter_history
from cenergyd.customers.fields import clean_password, clean_serial, clean_settings
from cenergyd.customers.meter_history import CHANGEABLE
from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import released_change, released_loggers
from cenergyd.customers.passwords import hash_password
from cenergyd.customers.place import clean_place, own_place, place_change
from cenergyd.daemon.plugins import find_plugins
from cenergyd.derivation.reconfigure import add_customer, change_customer
from cenergyd.errors import InvalidField
from cenergyd.runtime.clock import Reactor
from cenergyd.settings.sections import Settings

_PAGE = 500
_FIELD_OF_OPTION = {"serial": "logger_serial_number"}


def register(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(customers)


@click.group(cls=SettingsGroup)
def customers() -> None:
    """List, add, show, change and remove customers. A CUSTOMER is an id or a logger serial number."""


def _fields(command: F) -> F:
    for option in (
        click.option(
            "--derivation-plugin",
            metavar="NAME",
            help="The only plugin that may compute the missing meter; '': the first that answers.",
        ),
        click.option(
            "--place",
            metavar="LATITUDE,LONGITUDE",
            help="Where the site is, degrees, north and east positive: 39.7392,-104.9903; '': where the zone's city is.",
        ),
        click.option("--time-zone", metavar="ZONE", help="IANA name, for example America/Denver."),
        click.option("--serial", metavar="SERIAL", help="Serial number of the logger (its Ethernet MAC address)."),
        click.option(
            "--solar",
            metavar="METER",
            help="Meter id of the solar meter, or a sum such as 1+4 or 2*10; '' if none is fitted.",
        ),
        click.option(
            "--load",
            metavar="METER",
            help="Meter id of the load meter, or a sum such as 1+4 or 2*10; '' if none is fitted.",
        ),
        click.option(
            "--facility",
            metavar="METER",
            help="Meter id of the utility meter, or a sum such as 1+4 or 2*10; '' if none is fitted.",
        ),
        click.option("--name", help="Name for people."),
    ):
        command = option(command)
    return password_options(command)


@customers.command(name="add")
@_fields
@click.option("--no-password", is_flag=True, help="Add without a password: uploads are refused until one is set.")
@pass_source
def add(
    source: SettingsSource, /, password_file: Path | None, password_stdin: bool, no_password: bool, **fields: str | None
) -> None:
    """Add a customer. Asks for the logger's password if no option gives it."""
    settings = source.load()
    changes = _changes(fields, settings)
    password = read_password(password_file, password_stdin)
    if password is None and not no_password:
        if not sys.stdin.isatty():
            raise click.UsageError("give the logger's password: --password-file, --password-stdin or --no-password")
        password = click.prompt("Password of the logger", hide_input=True, confirmation_prompt=True, err=True)

    async def work(reactor: Reactor) -> Customer:
        async with stores_of(settings, reactor) as stores:
            added = Customer(id="", **changes, **_hashed(settings, password))
            return await add_customer(stores.customers, stores.readings, added, int(reactor.seconds()))

    added = run_async(work)
    click.echo(added.id)
    _warn(added)


@customers.command(name="set")
@click.argument("customer")
@_fields
@click.option(
    "--from",
    "since",
    type=TimeParam(),
    help="Meters and logger are valid from this time on (UTC); earlier readings keep their roles. Default: they always were.",
)
@pass_source
def change(
    source: SettingsSource,
    /,
    customer: str,
    password_file: Path | None,
    password_stdin: bool,
    since: int | None,
    **fields: str | None,
) -> None:
    """Change the given settings and leave the others."""
    settings = source.load()
    changes = _changes(fields, settings)
    password = read_password(password_file, password_stdin)
    if not changes and password is None:
        raise click.UsageError("nothing to change: give at least one option")

    async def work(reactor: Reactor) -> Customer:
        async with stores_of(settings, reactor) as stores:
            found = await find_customer(stores.customers, customer)
            now = int(reactor.seconds())
            given = _dated(found, since, changes, now) | _hashed(settings, password)
            etag = None if since is None else found.etag
            return (await change_customer(stores.customers, stores.readings, found.id, given, now, etag=etag)).new

    _warn(run_async(work))


@customers.command(name="release")
@click.argument("customer")
@click.argument("serial")
@click.option("--take-back", is_flag=True, help="Withdraw the release: the customer may no longer enter it.")
@pass_source
def release(source: SettingsSource, customer: str, serial: str, take_back: bool) -> None:
    """Let a customer enter, on their own settings page, a logger that was never theirs."""
    settings, serial = source.load(), clean_serial(serial)

    async def work(reactor: Reactor) -> None:
        async with stores_of(settings, reactor) as stores:
            found = await find_customer(stores.customers, customer)
            released = released_loggers(found) - {serial} if take_back else released_loggers(found) | {serial}
            now = int(reactor.seconds())
            changes = {"extensions": released_change(released)}
            await change_customer(stores.customers, stores.readings, found.id, changes, now)

    run_async(work)


@customers.command(name="show")
@click.argument("customer")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@pass_source
def show(source: SettingsSource, customer: str, as_json: bool) -> None:
    """Show one customer, never the password."""
    settings = source.load()

    async def work(reactor: Reactor) -> Customer:
        async with stores_of(settings, reactor) as stores:
            return await find_customer(stores.customers, customer)

    found = run_async(work)
    if as_json:
        click.echo(json.dumps(_plain(found)))
        return
    for key, value in _plain(found).items():
        if key != "problems":
            click.echo(f"{key:20} {_word(value)}")
    _warn(found)


@customers.command(name="list")
@click.option("--search", metavar="TEXT", help="Only those with this in their name or serial.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_source
def list_customers(source: SettingsSource, search: str | None, as_json: bool) -> None:
    """List customers: id, serial, which meter is computed, name."""
    settings = source.load()

    async def work(reactor: Reactor) -> None:
        async with stores_of(settings, reactor) as stores:
            after: str | None = None
            while page := await stores.customers.page(after=after, limit=_PAGE, search=search):
                for one in page:
                    click.echo(json.dumps(_plain(one)) if as_json else _line(one))
                after = page[-1].id

    run_async(work)


@customers.command(name="remove")
@click.argument("customer")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_source
def remove(source: SettingsSource, customer: str, yes: bool) -> None:
    """Remove a customer. Its readings stay in the store."""
    if not yes:
        click.confirm(f"Remove {customer}?", abort=True, err=True)
    settings = source.load()

    async def work(reactor: Reactor) -> None:
        async with stores_of(settings, reactor) as stores:
            found = await find_customer(stores.customers, customer)
            await stores.customers.remove(found.id)

    run_async(work)


def _changes(fields: Mapping[str, str | None], settings: Settings) -> dict[str, Any]:
    """Fields of Customer from options, cleaned. Raises InvalidField for all wrong ones, one line each."""
    given = {_FIELD_OF_OPTION.get(key, key): value for key, value in fields.items() if value is not None}
    plugin = given.pop("derivation_plugin", None)
    place = given.pop("place", None)
    cleaned, faults = clean_settings(given)
    extensions: dict[str, object] = {}
    if place is not None:
        north, _, east = place.partition(",")
        try:
            extensions |= place_change(clean_place(north, east))
        except InvalidField as fault:
            faults.append(InvalidField("place", f"{fault.field}: {fault}"))
    if faults:
        raise InvalidField(faults[0].field, "\n".join(_with_option(fault) for fault in faults))
    changes: dict[str, object] = dict(cleaned)
    if plugin is not None:
        extensions["derivation"] = {"plugin": _derivation_plugin(plugin, settings)} if plugin else None
    if extensions:
        changes["extensions"] = extensions
    return changes


def _dated(customer: Customer, since: int | None, changes: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The same changes; meters and logger only from a time on."""
    meters = {field: value for field, value in changes.items() if field in CHANGEABLE}
    if since is None:
        return dict(changes)
    if not meters:
        raise click.UsageError("--from is the time of a change of meters or logger: give one")
    dated = meter_history.dated_change(customer, since, meters, now)
    return {**changes, **dated, "extensions": {**changes.get("extensions", {}), **dated["extensions"]}}


def _derivation_plugin(name: str, settings: Settings) -> str:
    known = [info.name for info in find_plugins(settings).infos if "cenergyd_derive" in info.hooks]
    if name not in known:
        raise InvalidField("derivation_plugin", f"--derivation-plugin: no such plugin; there are {', '.join(known)}")
    return name


def _with_option(fault: InvalidField) -> str:
    option = next((key for key, field in _FIELD_OF_OPTION.items() if field == fault.field), fault.field)
    return f"--{option.replace('_', '-')}: {fault}"


def _hashed(settings: Settings, password: str | None) -> dict[str, Any]:
    if password is None:
        return {}
    return {"logger_password": hash_password(clean_password(password))}


def _plain(customer: Customer) -> dict[str, object]:
    return {
        "id": customer.id,
        "name": customer.name,
        "time_zone": customer.time_zone,
        "place": f"{place.latitude},{place.longitude}" if (place := own_place(customer)) else "",
        "facility": customer.facility,
        "load": customer.load,
        "solar": customer.solar,
        "logger_serial_number": customer.logger_serial_number,
        "logger_password_set": bool(customer.logger_password),
        "computed": customer.missing_role,
        "derivation_plugin": customer.derivation_plugin,
        "problems": [problem._asdict() for problem in customer.problems()],
    }


def _line(customer: Customer) -> str:
    computed = customer.missing_role or ("-" if not customer.problems() else "!")
    return f"{customer.id}\t{customer.logger_serial_number or '-'}\t{computed}\t{customer.name}"


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value else "-"


def _warn(customer: Customer) -> None:
    for problem in customer.problems():
        click.echo(f"note: {problem.field}: {problem.message}", err=True)
