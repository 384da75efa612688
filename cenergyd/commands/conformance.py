"""``cenergyd conformance``: check any server against the device's protocol."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cenergyd.commands.common import Failed, password_options, read_password
from cenergyd.tools.conformance.checks import run_checks
from cenergyd.tools.conformance.client import Server


def register(group: click.Group) -> None:
    """Add the command; it needs no settings, as it is a client like any device."""
    group.command(name="conformance", cls=click.Command)(conformance)


@click.argument("url", metavar="URL")
@click.option("--serial", required=True, help="Serial number of a logger that the server knows.")
@password_options
def conformance(url: str, serial: str, *, password_file: Path | None, password_stdin: bool) -> None:
    """Check the upload endpoint at URL against every rule of the AcquiSuite protocol.

    It uploads to meters 240 to 249 of the given logger, with times in the year 2001, so use a logger set up for this purpose.
    """
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("URL must start with http:// or https://")
    password = read_password(password_file, password_stdin)
    if password is None:
        if not sys.stdin.isatty():
            raise click.UsageError("give the logger's password: --password-file or --password-stdin")
        password = click.prompt("Password of the logger", hide_input=True, err=True)
    failed = total = 0
    for rule, fault in run_checks(Server(url, serial.upper(), password)):
        total += 1
        failed += fault is not None
        click.echo(f"{'FAIL' if fault else 'ok  '} {rule.section}  {rule.says}")
        if fault:
            click.echo(f"        {fault}")
    click.echo(f"{total - failed} of {total} hold")
    if failed:
        raise Failed(f"{failed} of {total} rules of the protocol are violated at {url}")
