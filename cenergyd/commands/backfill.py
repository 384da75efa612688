"""``cenergyd backfill``: compute a customer's missing meter again over a range."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import cast

import click

from cenergyd.commands.common import (
    Failed,
    SettingsSource,
    TimeParam,
    find_customer,
    pass_source,
    run_async,
    stores_of,
    utc_text,
)
from cenergyd.customers.meter_history import uses_sums
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation.backfill import Progress, follow, run_backfill
from cenergyd.derivation.derive import Deriver
from cenergyd.derivation.plan import CHUNK_READINGS
from cenergyd.hookspecs import Formula
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.isolation import PluginFailed
from cenergyd.settings.sections import Settings

_STEPS = 1000


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="backfill")(backfill)


@click.argument("customer")
@click.option(
    "--from", "start", type=TimeParam(), required=True, help="Start of the range (UTC): 2026-01-31, '30d ago'."
)
@click.option("--to", "end", type=TimeParam(), default="now", show_default=True, help="Its end, exclusive.")
@click.option("--through-daemon", is_flag=True, help="Leave the work to the running daemon and watch it.")
@pass_source
def backfill(source: SettingsSource, customer: str, start: int, end: int, through_daemon: bool) -> None:
    """Derive the missing meter, and sums of meters, of CUSTOMER (id or logger serial) again, from stored readings and the present settings.

    For times before a change of meters, the meters of that time are used.
    """
    if end <= start:
        raise click.UsageError(f"--to {utc_text(end)} is not after --from {utc_text(start)}")
    settings = source.load()

    async def work(reactor: Reactor) -> Progress:
        async with stores_of(settings, reactor) as stores:
            found = await find_customer(stores.customers, customer)
            if found.missing_role is None and not uses_sums(found):
                raise Failed(
                    "\n".join(["nothing is computed for this customer", *(p.message for p in found.problems())])
                )
            with _Bar() as bar:
                if through_daemon:
                    return await follow(
                        found.id, start, end,
                        customers=stores.customers,
                        tolerance=settings.derivation.tolerance_seconds, report=bar.show, clock=reactor,
                    )  # fmt: skip
                return await run_backfill(
                    found, start, end,
                    readings=stores.readings, documents=stores.documents, customers=stores.customers,
                    deriver=_deriver(settings, reactor),
                    limit=CHUNK_READINGS, report=bar.show,
                )  # fmt: skip

    try:
        progress = run_async(work)
    except PluginFailed as error:
        raise Failed(str(error)) from error
    if progress.derived is None:
        click.echo(f"{utc_text(start)} to {utc_text(end)} is derived")
    else:
        click.echo(f"{progress.derived} readings computed, {progress.written} of them new or different")


def _deriver(settings: Settings, reactor: Reactor) -> Deriver:
    return Deriver(
        plugins=build_plugin_manager(settings),
        formula=cast(Formula, settings.derivation.formula),
        tolerance=settings.derivation.tolerance_seconds,
        timeout=settings.derivation.plugin_timeout_seconds,
        clock=reactor,
    )


class _Bar:
    """A progress bar on stderr if that is a terminal; a failure that stops progress is reported once."""

    def __init__(self) -> None:
        self._bar = click.progressbar(
            length=_STEPS, label="derived", file=sys.stderr, hidden=not sys.stderr.isatty(), show_eta=True
        )
        self._failure: str | None = None

    def __enter__(self) -> _Bar:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, traceback)

    def show(self, progress: Progress) -> None:
        """How far it is."""
        self._bar.update(max(0, int(progress.fraction * _STEPS) - self._bar.pos))
        if progress.failure and progress.failure != self._failure:
            click.echo(f"no progress at the moment: {progress.failure}", err=True)
        self._failure = progress.failure
