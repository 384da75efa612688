"""``cenergyd restore``; implemented in :mod:`cenergyd.commands.backup` beside its counterpart."""

from __future__ import annotations

import click

from cenergyd.commands.backup import restore


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="restore")(restore)
