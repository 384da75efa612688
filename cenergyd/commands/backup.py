"""``cenergyd backup`` and ``cenergyd restore``: the embedded store, whether or not the daemon runs."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cenergyd.commands.common import (
    Failed,
    SettingsSource,
    make_state_folders,
    pass_source,
    progress_bar,
    require_databases,
)
from cenergyd.runtime.logs import secrets_of
from cenergyd.runtime.redact import Redactor
from cenergyd.settings.sections import Settings
from cenergyd.storage.backup import Database, back_up
from cenergyd.storage.backup import restore as put_back

_OTHER_TOOLS = {"customers": "mongodump", "readings": "influxd backup"}


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="backup")(backup)


@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@pass_source
def backup(source: SettingsSource, folder: Path) -> None:
    """Copy the embedded store into DIR, a new or empty folder. The daemon may run; uploads may wait for two seconds.

    DIR then holds everything: password hashes, tokens' hashes, contacts. Keep it as safe as the store itself.
    """
    settings = source.load()
    databases = embedded(settings)
    require_databases(settings)
    with progress_bar("backing up") as progress:
        back_up(databases, folder, int(time.time()), progress)
    click.echo(f"{' and '.join(database.name for database in databases)} backed up into {folder}")


@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR")
@click.option("--force", is_flag=True, help="Replace existing databases; they are kept under another name.")
@pass_source
def restore(source: SettingsSource, folder: Path, force: bool) -> None:
    """Replace the embedded store by a backup.

    Stop the daemon first: a database in use is never replaced. Messages that were waiting when the backup was made are not sent but marked
    as unsure: they may have been sent since.
    """
    settings = source.load()
    databases = embedded(settings)
    make_state_folders(settings)
    with progress_bar("restoring") as progress:
        aside = put_back(databases, folder, progress, force=force, now=int(time.time()))
    for path in aside:
        click.echo(f"kept what was there as {path}")
    click.echo(f"{' and '.join(database.name for database in databases)} restored from {folder}")


def embedded(settings: Settings) -> list[Database]:
    """The databases of the settings that are SQLite files; reports on stderr those that are not. Raises Failed if none is."""
    redact = Redactor(secrets_of(settings))
    found: list[Database] = []
    for name, url in (("customers", settings.customers.url), ("readings", settings.readings.url)):
        if url.startswith("sqlite:///"):
            found.append(Database(name, Path(url.removeprefix("sqlite:///")).absolute()))
        else:
            click.echo(f"not in this backup: {name}, in {redact(url)}; use {_OTHER_TOOLS[name]}", err=True)
    if not found:
        raise Failed("no store is embedded")
    return found
