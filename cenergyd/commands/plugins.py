"""``cenergyd plugins``: which plugins are installed and what they do."""

from __future__ import annotations

import json

import attrs
import click

from cenergyd.commands.common import Failed, Source, pass_source
from cenergyd.daemon.plugins import list_plugins


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="plugins")(plugins)


@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_source
def plugins(source: Source, as_json: bool) -> None:
    """List installed plugins, built-in ones first; exit with 1 where an enabled one cannot be loaded."""
    found = list_plugins(source.load().plugins.disabled)
    for one in found:
        if as_json:
            click.echo(json.dumps(attrs.asdict(one)))
            continue
        state = one.problem or (" ".join(one.hooks) if one.enabled else "disabled by [plugins] disabled")
        click.echo(f"{one.name:16} {one.distribution} {one.version:10} {state}")
    broken = [one.name for one in found if one.problem]
    if broken:
        raise Failed(f"cannot be loaded: {', '.join(broken)}")
