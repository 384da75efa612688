"""``cenergyd migrate``: brings customers of the existing front end into today's shape."""

from __future__ import annotations

import sys
from typing import Any

import click

from cenergyd.commands.common import Failed, Source, pass_source, run_async, stores_of
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from cenergyd.storage.mongodb.migrate import MigrationReport
from cenergyd.storage.mongodb.migrate import migrate as migrate_documents


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="migrate")(migrate)


@click.option("--dry-run", is_flag=True, help="Tell what would change and change nothing.")
@pass_source
def migrate(source: Source, dry_run: bool) -> None:
    """Rewrite customers of older shapes (lists of meters); fields of others stay. May be repeated, beside a running daemon.

    Exit code 1 where something is left for a person to put right: loggers named by two customers.
    """
    settings = source.load()

    async def work(reactor: Any) -> MigrationReport | None:
        async with stores_of(settings, reactor) as stores:
            if not isinstance(stores.customers, MongoCustomerStore):
                return None  # the embedded store never had another shape; opening it has upgraded its schema
            with click.progressbar(
                length=0, label="documents", file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()
            ) as bar:

                def progress(seen: int, total: int) -> None:
                    bar.length = total
                    bar.update(seen - bar.pos)

                return await migrate_documents(stores.customers.documents, dry_run=dry_run, progress=progress)

    report = run_async(work)
    if report is None:
        click.echo("the embedded store is up to date; only MongoDB can hold documents of older shapes")
        return
    for line in report.lines():
        click.echo(line)
    if report.duplicates:
        raise Failed("two customers name the same logger, see above")
