"""``cenergyd doctor``: the setup report of a customer."""

from __future__ import annotations

import json
import time

import click

from cenergyd.commands.common import SettingsCommand, SettingsSource, find_customer, pass_source, run_async, stores_of
from cenergyd.jobs.doctor.report import DoctorReport
from cenergyd.jobs.doctor.report import doctor as examine
from cenergyd.runtime.clock import Reactor

_FOUND_ERRORS = 3


def register(group: click.Group) -> None:
    """Add the command."""
    group.add_command(doctor)


@click.command(cls=SettingsCommand)
@click.argument("customer")
@click.option("--days", type=click.IntRange(1, 31), default=3, show_default=True, help="Days of readings to check.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@pass_source
def doctor(source: SettingsSource, customer: str, days: int, as_json: bool) -> int:
    """Check the set-up of CUSTOMER (an id or a logger serial number): settings, logger, meters, CTs, clocks.

    Exit code 3 where something is wrong (ERROR), 0 otherwise.
    """
    settings = source.load()

    async def work(reactor: Reactor) -> DoctorReport:
        async with stores_of(settings, reactor) as stores:
            found = await find_customer(stores.customers, customer)
            return await examine(found, stores.readings, stores.documents, int(time.time()), days=days)

    report = run_async(work)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.to_text(), nl=as_json)
    return _FOUND_ERRORS if report.worst == "error" else 0
