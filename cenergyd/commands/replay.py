"""``cenergyd replay``: upload folders of real logs as the device would."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cenergyd.commands.common import Failed, password_options, read_password, run_async
from cenergyd.runtime.clock import Reactor, sleep
from cenergyd.tools.simulator.http import Target
from cenergyd.tools.simulator.replay import FoundLog, Replay, ReplayCounts, ReplayJournal, Stopped, find_logs

PROGRESS_FILE = ".cenergyd-replay.jsonl"


def register(group: click.Group) -> None:
    """Add the command; it needs no settings, as it is a client like any device."""
    group.command(name="replay", cls=click.Command)(replay)


@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--url", default="http://127.0.0.1:8080/consume", show_default=True, help="Where to upload to.")
@click.option("--serial", help="Serial number of the logger. Default: the name of the folder that a log is in.")
@click.option("--device-class", default="", help="MODBUSDEVICECLASS of the meters, such as 10 for ION6200.")
@password_options
@click.option(
    "--progress-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help=f"Remembers what was acknowledged. Default: DIR/{PROGRESS_FILE}.",
)  # fmt: skip
def replay(
    folder: Path,
    url: str,
    serial: str | None,
    device_class: str,
    *,
    password_file: Path | None,
    password_stdin: bool,
    progress_file: Path | None,
) -> None:
    """Upload the log files (mb-NNN*.log, .gz) below DIR, oldest first.

    Moves no files; run it again to continue. Config files (mb-NNN.ini) in the same folders are offered to the server first, so
    that it knows the meters' columns.
    """
    password = read_password(password_file, password_stdin)
    if password is None:
        if not sys.stdin.isatty():
            raise click.UsageError("give the logger's password: --password-file or --password-stdin")
        password = click.prompt("Password of the logger", hide_input=True, err=True)
    logs = find_logs(folder, serial.upper() if serial else None)
    if not logs:
        raise Failed(f"there is no log file (mb-NNN*.log or .log.gz) below {folder}")
    journal = ReplayJournal(progress_file or folder / PROGRESS_FILE, url, folder)
    options = {"journal": journal, "password": password, "device_class": device_class}
    counts = run_async(lambda reactor: _upload(reactor, logs, folder, url, **options))
    click.echo(
        f"{counts.uploaded} log files uploaded, {counts.skipped} acknowledged before, {counts.configs} config files"
    )
    if counts.refused:
        raise Failed("\n".join([f"{len(counts.refused)} log files were refused:", *counts.refused]))


async def _upload(reactor: Reactor, logs: Sequence[FoundLog], folder: Path, url: str, **options: Any) -> ReplayCounts:
    """Upload them, with a progress bar on a terminal; the options are those of :class:`Replay`. Raises Failed, click.BadParameter."""
    try:
        target = Target(reactor, url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error

    async def pause(seconds: float) -> None:
        await sleep(reactor, seconds)

    with click.progressbar(
        length=len(logs), label="log files", file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()
    ) as bar:
        one = Replay(target.post, pause, **options, step=lambda: bar.update(1))
        try:
            return await one.run(logs, folder)
        except Stopped as error:
            done = one.counts.uploaded + one.counts.skipped
            raise Failed(f"stopped after {done} of {len(logs)} files: {error}; run it again to continue") from error
