"""The command ``cenergyd``. Each subject's commands are in a file of :mod:`cenergyd.commands`."""

from __future__ import annotations

import sys

import click

from cenergyd.commands import backfill, check, customers, migrate, plugins, replay, run, simulate
from cenergyd.commands.common import SettingsGroup
from cenergyd.errors import CenergydError, ConfigError, InvalidField

_FAILED, _USAGE = 1, 2


@click.group(cls=SettingsGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cenergyd")
def cenergyd() -> None:
    """Receive AcquiSuite meter logs, store them, and compute the meter that is not there."""


for module in (run, check, migrate, plugins, customers, backfill, simulate, replay):
    module.register(cenergyd)


def main() -> None:
    """Run the command line. Exit code 2: wrong usage or settings; 1: the work failed; one line on stderr says what."""
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
        sys.stderr.close()  # the reader of our output has gone (| head), and nobody wants to hear of it
        sys.exit(_FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: CenergydError) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        click.echo(f"cenergyd: {line}", err=True)
