"""``cenergyd readings``: show a meter's readings, and correct wrong ones."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypedDict, TypeVar, Unpack, cast

import click

from cenergyd.commands.common import (
    F,
    SettingsGroup,
    SettingsSource,
    TimeParam,
    find_customer,
    pass_source,
    run_async,
    stores_of,
    utc_text,
)
from cenergyd.customers.model import Customer
from cenergyd.derivation.corrector import CorrectionRequest, Corrector, Listed
from cenergyd.errors import InvalidField
from cenergyd.readings.corrected import as_measured
from cenergyd.readings.corrections import effect
from cenergyd.readings.model import CHANNELS, Reading, series_name
from cenergyd.runtime.clock import Reactor
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores

T = TypeVar("T")
_PAGE = 5000


class _Given(TypedDict, total=False):
    """Options that click passes by name."""

    meter: str
    start: int
    end: int
    reason: str
    factor: float
    seconds: int


def register(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(readings)


@click.group(cls=SettingsGroup)
def readings() -> None:
    """Show a meter's readings, and correct wrong ones: void, scale, shift, undo.

    The meter's own values stay stored; everything shown or computed follows the correction. The running daemon does the work.
    """


def _wanted(command: F) -> F:
    """The arguments and options that every correction has."""
    decorated: Callable[..., object] = command
    for add in (
        click.option("--reason", required=True, metavar="TEXT", help="The reason, in one line, for the record."),
        click.option("--to", "end", type=TimeParam(), required=True, help="Its end, exclusive; may be later than now."),
        click.option(
            "--from", "start", type=TimeParam(), required=True, help="Start of the range (UTC): 2026-01-31T18:30."
        ),
        click.option("--serial", default="", help="An earlier logger of the customer. Default: the present one."),
        click.argument("meter"),
        click.argument("customer"),
        pass_source,
    ):
        decorated = add(decorated)
    return cast(F, decorated)


@readings.command(name="void")
@_wanted
def void(source: SettingsSource, /, *, customer: str, serial: str, **given: Unpack[_Given]) -> None:
    """Void the readings of a range of METER (its id) of CUSTOMER: they become a gap."""
    _add(source, "void", customer, serial, given)


@readings.command(name="scale")
@click.option(
    "--factor",
    type=float,
    required=True,
    help="Factor for P and Q: 2 if the configured CT ratio is half of the real one.",
)
@_wanted
def scale(source: SettingsSource, /, *, customer: str, serial: str, **given: Unpack[_Given]) -> None:
    """Multiply power (P and Q) of a range of METER of CUSTOMER by a factor. Its energy registers are then ignored."""
    _add(source, "scale", customer, serial, given)


@readings.command(name="shift")
@click.option("--seconds", type=int, required=True, help="Seconds to add: 3600 for a clock that was an hour slow.")
@_wanted
def shift(source: SettingsSource, /, *, customer: str, serial: str, **given: Unpack[_Given]) -> None:
    """Move the readings of a range of METER of CUSTOMER in time.

    Refused if other readings already are at the new times: void those first.
    """
    _add(source, "shift", customer, serial, given)


@readings.command(name="corrections")
@click.argument("customer")
@click.option("--all", "undone", is_flag=True, help="Also those that were undone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_source
def show(source: SettingsSource, customer: str, undone: bool, as_json: bool) -> None:
    """List the corrections of CUSTOMER's meters: who made them, when and why."""

    async def work(stores: Stores, found: Customer) -> list[Listed]:
        return await _corrector(stores).listed(found)

    for each in _with_customer(source.load(), customer, work):
        if undone or each.correction.is_active:
            click.echo(json.dumps(_plain(each)) if as_json else _line(each))


@readings.command(name="undo")
@click.argument("customer")
@click.argument("correction")
@pass_source
def undo(source: SettingsSource, customer: str, correction: str) -> None:
    """Undo a CORRECTION of CUSTOMER, by its id: everything is then as if it had never been made."""

    async def work(stores: Stores, found: Customer) -> Listed:
        return await _corrector(stores).undo(found, correction, _author(), _now())

    click.echo(_line(_with_customer(source.load(), customer, work)))


@readings.command(name="show")
@click.argument("customer")
@click.argument("meter")
@click.option(
    "--from", "start", type=TimeParam(), required=True, help="Start of the range (UTC): 2026-01-31T18:30, '1h ago'."
)
@click.option("--to", "end", type=TimeParam(), default="now", show_default=True, help="Its end, exclusive.")
@click.option("--serial", default="", help="An earlier logger of the customer. Default: the present one.")
@click.option("--original", is_flag=True, help="The meter's own values, without corrections.")
@pass_source
def show_readings(
    source: SettingsSource, /, *, customer: str, meter: str, start: int, end: int, serial: str, original: bool
) -> None:
    """Show the readings of METER of CUSTOMER as tab-separated values: time (UTC), P kW, power factor, voltage, Q kvar."""

    async def work(stores: Stores, found: Customer) -> None:
        store = as_measured(stores.readings) if original else stores.readings
        name = _series(serial.upper() or found.logger_serial_number, meter)
        next_start = start
        while page := (await store.read([name], next_start, end, _PAGE))[name]:
            for reading in page:
                click.echo(_row(reading))
            next_start = page[-1].time + 1

    click.echo("\t".join(("time", *CHANNELS)))
    _with_customer(source.load(), customer, work)


def _add(source: SettingsSource, kind: str, customer: str, serial: str, given: _Given) -> None:
    wanted = CorrectionRequest(kind=kind, serial=serial.upper(), **given)

    async def work(stores: Stores, found: Customer) -> Listed:
        return await _corrector(stores).add(found, wanted, _author(), _now())

    click.echo(_line(_with_customer(source.load(), customer, work)))


def _with_customer(settings: Settings, name: str, work: Callable[[Stores, Customer], Awaitable[T]]) -> T:
    async def run(reactor: Reactor) -> T:
        async with stores_of(settings, reactor) as stores:
            return await work(stores, await find_customer(stores.customers, name))

    return run_async(run)


def _corrector(stores: Stores) -> Corrector:
    return Corrector(customers=stores.customers, readings=stores.readings, documents=stores.documents)


def _series(serial: str, meter: str) -> str:
    try:
        return series_name(serial, meter)
    except ValueError:
        raise InvalidField("meter", f"{meter!r} is not a meter id") from None


def _author() -> str:
    try:
        return f"operator: {getpass.getuser()}, on the command line"
    except (KeyError, OSError):  # a user without a name
        return "operator, on the command line"


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _row(reading: Reading) -> str:
    return "\t".join((utc_text(reading.time), *("" if value is None else repr(value) for value in reading.values[:4])))


def _plain(listed: Listed) -> dict[str, object]:
    each = listed.correction
    return {
        "id": listed.id, "kind": each.kind, "start": each.start, "end": each.end, "factor": each.factor,
        "seconds": each.seconds, "reason": each.reason, "made_by": each.by, "made_at": each.at,
        "undone_by": each.undone_by, "undone_at": each.undone_at,
    }  # fmt: skip


def _line(listed: Listed) -> str:
    each = listed.correction
    undone = "" if each.undone_at is None else f", undone by {each.undone_by} on {utc_text(each.undone_at)}"
    return (
        f"{listed.id}  {effect(each)}  {utc_text(each.start)} to {utc_text(each.end)}  {each.reason}  "
        f"(by {each.by} on {utc_text(each.at)}{undone})"
    )
