"""``cenergyd plugins``: list plugins, what they do, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import click

from cenergyd.commands.common import Failed, SettingsGroup, SettingsSource, pass_source
from cenergyd.commands.new_plugin import HOOKS, make
from cenergyd.daemon.plugins import find_plugins
from cenergyd.errors import ConfigError
from cenergyd.runtime.plugin_info import PluginInfo
from cenergyd.runtime.plugin_options import ini_lines


def register(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(plugins)


@click.group(cls=SettingsGroup, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--options", "show_options", is_flag=True, help="Print the ini sections of the options that plugins declare."
)
@click.pass_context
@pass_source
def plugins(source: SettingsSource, context: click.Context, as_json: bool, show_options: bool) -> None:
    """List installed plugins, built-in ones first.

    Exit code 1 if one is missing, cannot be loaded, is hidden by another of the same name, or has functions without @hookimpl.
    """
    if context.invoked_subcommand is not None:
        return
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


@plugins.command(name="new")
@click.argument("name")
@click.option(
    "--hook", type=click.Choice(HOOKS), default="job", show_default=True, help="The example that it starts from."
)
@click.option("--folder", type=click.Path(file_okay=False, exists=True, path_type=Path), default=".", show_default=True)
def new(name: str, hook: str, folder: Path) -> None:
    """Create a working plugin package, with tests and CI, in a new folder NAME."""
    made = make(name, hook, folder)
    click.echo(f"{made}: pip install -e '{made}[test]', then pytest in it; 'cenergyd plugins' lists it once installed")


def _line(info: PluginInfo) -> str:
    where = f"{info.distribution} {info.version}".strip() or "-"
    said = " ".join(info.hooks) if info.state == "loaded" else info.state
    return f"{info.name:16} {where:24} {said}"
