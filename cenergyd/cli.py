"""The command ``cenergyd``. Each subject's commands are in a file of :mod:`cenergyd.commands`."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import click

from cenergyd.commands.common import SettingsGroup
from cenergyd.errors import CenergydError, ConfigError, InvalidField

_FAILED, _USAGE = 1, 2
_YOUNG_OBJECTS = 100_000
COMMANDS = (
    "run", "check", "migrate", "plugins", "customers", "doctor", "backfill", "readings", "simulate", "replay", "reread", "token",
    "conformance",
    "backup", "restore",
)  # fmt: skip
"""Each is a module of :mod:`cenergyd.commands` whose ``register(group)`` adds the command of that name."""


class _LazyGroup(SettingsGroup):
    """Imports a command's module only when that command is called: drivers and plugins are slow to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, imported or not."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command; its module is imported if it has not been."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            import_module(f"cenergyd.commands.{cmd_name}").register(self)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cenergyd")
def cenergyd() -> None:
    """Receive AcquiSuite meter logs, store them, and compute the meter that is not installed."""


def main() -> None:
    """Run the command line. Exit code 2: wrong usage or settings; 1: the work failed; 130: interrupted. One line on stderr says why."""
    # Garbage is collected after this many new objects. After each 700, Python's default, collecting was a tenth of the daemon's start, which
    # imports 1,300 modules, and 4 % of the CPU time under uploads: hundreds in progress are thousands of young objects and hardly any garbage.
    # After each 20,000 it was 4 % of the jobs that close an hour: the readings of the customers in progress are some 60,000 objects.
    gc.set_threshold(_YOUNG_OBJECTS)
    try:
        code = cenergyd.main(prog_name="cenergyd", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("cenergyd: interrupted", err=True)
        sys.exit(130)
    except (ConfigError, InvalidField) as error:
        _complain(error)
        sys.exit(_USAGE)
    except CenergydError as error:
        _complain(error)
        sys.exit(_FAILED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has closed the pipe (| head): not an error
        sys.exit(_FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: CenergydError) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        click.echo(f"cenergyd: {line}", err=True)
