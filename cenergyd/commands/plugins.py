"""``cenergyd plugins``: which plugins are installed, what they do, and what is wrong with them."""

from __future__ import annotations

import json

import attrs
import click

from cenergyd.commands.common import Failed, Source, pass_source
from cenergyd.daemon.plugins import PluginInfo, find_plugins
from cenergyd.errors import ConfigError
from cenergyd.runtime.plugin_options import ini_lines


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="plugins")(plugins)


@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--options", "show_options", is_flag=True, help="Print the ini sections of the options that plugins declare."
)
@pass_source
def plugins(source: Source, as_json: bool, show_options: bool) -> None:
    """List installed plugins, built-in ones first.

    Exits with 1 where one is missing, cannot be loaded, is hidden by another of its name, or has functions without @hookimpl.
    """
    manager = find_plugins(source.load())
    if show_options:
        for name, kind in manager.declared.items():
            click.echo("\n".join(ini_lines(name, kind)) + "\n")
        return
    problems = [f"{info.name}: {info.problem}" for info in manager.infos if info.problem]
    if manager.faults and not problems:
        raise ConfigError("\n".join(manager.faults))
    for info in manager.infos:
        click.echo(json.dumps(attrs.asdict(info)) if as_json else _line(info))
    if problems:
        raise Failed("\n".join(problems))


def _line(info: PluginInfo) -> str:
    where = f"{info.distribution} {info.version}".strip() or "-"
    said = " ".join(info.hooks) if info.state == "loaded" else info.state
    return f"{info.name:16} {where:24} {said}"
