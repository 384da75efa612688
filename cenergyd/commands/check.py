"""``cenergyd check``: what the settings say, whether the stores answer, and whether the archive can be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable

import click

from cenergyd.commands.common import Failed, SettingsSource, is_missing, pass_source, run_async
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.errors import CenergydError
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.logs import secrets_of
from cenergyd.runtime.redact import Redactor
from cenergyd.settings.sections import Settings
from cenergyd.settings.template import default_ini


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="check")(check)


@click.option("--print-defaults", is_flag=True, help="Print the complete default ini file and exit.")
@click.option("--offline", is_flag=True, help="Check the settings only; do not contact the stores.")
@pass_source
def check(source: SettingsSource, print_defaults: bool, offline: bool) -> None:
    """Check the settings and report what they mean; check that the stores answer and the archive can be written."""
    if print_defaults:
        click.echo(default_ini(), nl=False)
        return
    settings = source.load()
    manager = build_plugin_manager(settings)
    redact = Redactor(secrets_of(settings) | manager.secrets())
    click.echo(f"settings   {source.shown}")
    for dotted, value in source.overrides.items():
        click.echo(f"           {dotted} = {redact(value)} (command line)")
    for endpoint in settings.server.listen:
        click.echo(f"listen     {endpoint}")
    click.echo(f"uploads    POST {settings.upload.path}")
    click.echo(f"derivation {settings.derivation.formula}, every {settings.derivation.interval_seconds:g} s")
    for name, layout in settings.layout.items():
        classes = " ".join(layout.device_classes) or "no device class"
        click.echo(f"layout     {name} for {classes}")
    for info in manager.infos:
        if info.distribution != "cenergyd" or info.problem:
            click.echo(f"plugin     {info.name} {info.version} {info.state} {info.problem}".rstrip())
    click.echo(f"customers  {redact(settings.customers.url)}")
    click.echo(f"readings   {redact(settings.readings.url)}")
    if offline:
        return
    faults = _archive_faults(settings)
    missing = [url for url in (settings.customers.url, settings.readings.url) if is_missing(url)]
    for url in missing:
        click.echo(f"           {url} does not exist yet: 'cenergyd run' creates it")
    if not missing:
        faults += run_async(lambda reactor: _ask_stores(settings, reactor))
    if faults:
        raise Failed(redact("\n".join(faults)))


def _archive_faults(settings: Settings) -> list[str]:
    """Whether accepted uploads could be archived; nothing is left behind."""
    archive = settings.archive
    if not archive.days:
        return []
    click.echo(f"archive    {archive.folder}, {archive.days} days, {archive.max_gb} GB at most")
    place = archive.folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return [f"[archive] folder: {place} cannot be written: {error.strerror}"]
    if place == archive.folder:
        click.echo("           it can be written")
    else:
        click.echo("           does not exist yet: 'cenergyd run' creates it")
    return []


async def _ask_stores(settings: Settings, reactor: Reactor) -> list[str]:
    from cenergyd.storage.open import open_stores

    try:
        stores = await open_stores(settings, reactor)
    except CenergydError as error:
        return [f"the stores cannot be opened: {error}"]
    faults: list[str] = []
    try:
        await _ask("customers", stores.customers.ping, faults)
        await _ask("readings", stores.readings.ping, faults)
        if not faults:
            click.echo(f"customers  {await stores.customers.count()} stored")
    finally:
        await stores.close()
    return faults


async def _ask(name: str, ping: Callable[[], Awaitable[None]], faults: list[str]) -> None:
    try:
        await ping()
        click.echo(f"{name:10} the store answers")
    except CenergydError as error:
        faults.append(f"[{name}] url: the store does not answer: {error}")
