"""``cenergyd migrate``: convert customers of the existing front end to the present format."""

from __future__ import annotations

from collections.abc import AsyncIterator

import click

from cenergyd.commands.common import (
    Failed,
    SettingsSource,
    find_customer,
    pass_source,
    progress_bar,
    run_async,
    stores_of,
)
from cenergyd.customers.model import Customer
from cenergyd.derivation.reconfigure import change_customer
from cenergyd.documents.json_types import JsonObject
from cenergyd.jobs.front_end_check import problems_of, usable_settings
from cenergyd.runtime.clock import Reactor
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from cenergyd.storage.mongodb.migrate import MigrationReport
from cenergyd.storage.mongodb.migrate import migrate as migrate_documents
from cenergyd.storage.open import Stores

_PAGE = 500


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="migrate")(migrate)


@click.option("--dry-run", is_flag=True, help="Report what would change and change nothing.")
@click.option(
    "--facility-is", type=click.Choice(["utility", "load"]),
    help="What the meter named as facility measures: the grid (nothing changes), or the site's load, as in systems whose net load was facility - solar.",
)  # fmt: skip
@click.option(
    "--customer", metavar="CUSTOMER", help="Only this one (id or serial number) for --facility-is and settings."
)
@pass_source
def migrate(source: SettingsSource, dry_run: bool, facility_is: str | None, customer: str | None) -> None:
    """Rewrite customers of older formats (lists of meters) and take over alerts and tariffs of the existing front end.

    Other fields stay. May be repeated, and run beside the daemon. Exit code 1 if something has to be corrected by hand: loggers used by two
    customers.
    """
    settings = source.load()

    async def work(reactor: Reactor) -> MigrationReport | None:
        async with stores_of(settings, reactor) as stores:
            if not isinstance(stores.customers, MongoCustomerStore):
                return None  # the embedded store never had another format; opening it has upgraded its schema
            report = await _rewrite(stores.customers, dry_run)
            async for each in _chosen(stores, customer):
                for line in await _take_over(stores, each, facility_is, int(reactor.seconds()), dry_run):
                    click.echo(f"{each.id}: {line}")
            return report

    report = run_async(work)
    if report is None:
        click.echo("the embedded store is up to date; only MongoDB can hold documents of older formats")
        return
    for line in report.lines():
        click.echo(line)
    if report.duplicates:
        raise Failed("two customers use the same logger, see above")


async def _rewrite(customers: MongoCustomerStore, dry_run: bool) -> MigrationReport:
    with progress_bar("documents") as progress:
        return await migrate_documents(customers.documents, dry_run=dry_run, progress=progress)


async def _chosen(stores: Stores, name: str | None) -> AsyncIterator[Customer]:
    if name is not None:
        yield await find_customer(stores.customers, name)
        return
    after: str | None = None
    while page := await stores.customers.page(after=after, limit=_PAGE):
        for each in page:
            yield each
        after = page[-1].id


async def _take_over(stores: Stores, customer: Customer, facility_is: str | None, now: int, dry_run: bool) -> list[str]:
    """Store what the front end's settings mean, and which role its facility has; returns what was done, for people."""
    changes: JsonObject = {}
    lines = [f"warning: {note}" for note in problems_of(customer)]
    for name, understood in usable_settings(customer).items():
        if understood.value is not None:
            changes.setdefault("extensions", {})[name] = understood.value
            lines.append(f"{name}: taken over from the existing settings")
    if facility_is == "load" and customer.facility and not customer.load:
        changes |= {"load": customer.facility, "facility": ""}
        lines.append(f"meter {customer.facility} measures the load: facility -> load")
    if changes and not dry_run:
        await change_customer(stores.customers, stores.readings, customer.id, changes, now)
    return lines
