"""``cenergyd reread``: read archived uploads again, after a layout was corrected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from cenergyd.commands.common import (
    Failed,
    SettingsSource,
    TimeParam,
    find_customer,
    pass_source,
    progress_bar,
    run_async,
    stores_of,
    utc_text,
)
from cenergyd.customers.changes import normal_serial
from cenergyd.customers.fields import clean_meter
from cenergyd.customers.model import Customer, TimeRange
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.daemon.uploads import layout_table
from cenergyd.ingest.log_reader import LogReader
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.ingest.reread import DAY, MAX_DAYS, RereadCounts, Rereader
from cenergyd.jobs.windows import RESOLUTIONS, widen
from cenergyd.runtime.clock import Reactor
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores

P = ParamSpec("P")
T = TypeVar("T")


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="reread")(reread)


@click.argument("serial")
@click.option("--meter", metavar="METER", help="Only this meter of the logger. Default: all.")
@click.option(
    "--from", "start", type=TimeParam(), required=True, help="Rows from this time on (UTC): 2026-01-31, '30d ago'."
)
@click.option("--to", "end", type=TimeParam(), default="now", show_default=True, help="Up to this time, exclusive.")
@click.option(
    "--archive",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The archive's folder. Default: that of the ini's [archive].",
)
@click.option("--dry-run", is_flag=True, help="Only report what would change.")
@pass_source
def reread(
    source: SettingsSource, serial: str, meter: str | None, start: int, end: int, *, folder: Path | None, dry_run: bool
) -> None:
    """Read the archived uploads of the logger SERIAL again, by the present layouts, and replace what is stored of their rows.

    The running daemon, or the next one, recomputes what depends on them. May be repeated, and may run beside the daemon.
    """
    if not start < end <= start + MAX_DAYS * DAY:
        raise click.UsageError(f"--to must be later than --from, by {MAX_DAYS} days at most")
    settings = source.load()
    place = folder or settings.archive.folder
    if not place.is_dir():
        raise Failed(f"there is no archive in {place}: [archive] days switches it on")
    wanted = clean_meter("meter", meter) if meter else None

    async def work(reactor: Reactor) -> RereadCounts:
        async with stores_of(settings, reactor) as stores:
            customer = await find_customer(stores.customers, serial)
            if customer.logger_serial_number != normal_serial(serial):
                raise Failed(f"{serial} is the logger of no customer now")
            rereader = _rereader(settings, stores, reactor, customer, dry_run=dry_run, progress=progress)
            return await rereader.run(place, customer, TimeRange(start, end), meter=wanted)

    with progress_bar("reading again") as progress:
        counts = run_async(work)
    _report(counts, start, end, dry_run)


def _rereader(
    settings: Settings,
    stores: Stores,
    reactor: Reactor,
    customer: Customer,
    *,
    dry_run: bool,
    progress: Callable[[int, int], None],
) -> Rereader:
    zone = zone_or_utc(customer.time_zone)

    async def removed(series: str, first: int, last: int) -> None:
        for resolution in RESOLUTIONS:
            window = widen(first, last, resolution, zone)
            await stores.readings.replace_points(f"{series}_{resolution}", *window, ())

    layouts = MeterLayouts(layout_table(settings), stores.documents, reactor)
    return Rereader(
        readings=stores.readings,
        queue=stores.customers.derivation_queue,
        reader=LogReader(layouts, reactor, settings.upload.max_future_seconds),
        clock=reactor,
        in_thread=_in_thread,
        removed=removed,
        dry_run=dry_run,
        progress=progress,
    )


def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
    return deferToThread(function, *args, **kwargs)


def _report(counts: RereadCounts, start: int, end: int, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    click.echo(
        f"{counts.uploads} archived uploads read, {counts.readings} readings from {utc_text(start)} to {utc_text(end)}"
    )
    click.echo(f"{counts.changed} readings {would}changed or added, {counts.removed} {would}removed")
    for count, what in (
        (counts.unread, "uploads have rows whose columns are still unknown"),
        (counts.others, "uploads are from when the logger was another customer's: left out"),
        (counts.refused, "uploads cannot be read"),
    ):
        if count:
            click.echo(f"{count} {what}", err=True)
    for damaged in counts.damaged:
        click.echo(f"skipped: {damaged}", err=True)
