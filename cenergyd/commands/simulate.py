"""``cenergyd simulate``: simulate solar sites whose loggers upload as real ones do, and check the result."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from cenergyd.commands.common import (
    Failed,
    SettingsSource,
    TimeParam,
    find_customer,
    pass_source,
    read_password,
    run_async,
    stores_of,
    utc_text,
)
from cenergyd.commands.simulated_customers import register_sites
from cenergyd.runtime.clock import Reactor, sleep
from cenergyd.settings.sections import Settings
from cenergyd.tools.simulator.check import Findings, compare, read_report
from cenergyd.tools.simulator.faults import KINDS, parse_faults
from cenergyd.tools.simulator.fleet import Fleet, FleetPlan, FleetReport
from cenergyd.tools.simulator.http import Target
from cenergyd.tools.simulator.logger import METERS, Counts
from cenergyd.tools.simulator.site import SimulatedSite, make_sites, site_of

_DAY = 86400


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="simulate")(simulate)


@click.option("--url", default="http://127.0.0.1:8080/consume", show_default=True, help="Where to upload to.")
@click.option("--sites", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="How many sites.")
@click.option("--interval", type=click.IntRange(1, 3600), default=60, show_default=True, help="Seconds between rows.")
@click.option(
    "--upload-every", type=click.IntRange(1, _DAY), default=900, show_default=True, help="Seconds between uploads."
)
@click.option(
    "--speed", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Simulated seconds a second, never past the present; 0: as fast as possible.",
)  # fmt: skip
@click.option("--from", "start", type=TimeParam(), help="First row. Default: as many days ago as --days says.")
@click.option("--days", type=click.FloatRange(0, min_open=True), help="How much to simulate. Default: 1, or up to now.")
@click.option("--live", is_flag=True, help="Continue for ever; once the present is reached, in real time.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same sites and days.")
@click.option("--layout", type=click.Choice(list(METERS)), default="veris", show_default=True, help="Kind of meter.")
@click.option(
    "--faults", "fault_words", default="none", show_default=True, help=f"none, all, or of: {', '.join(KINDS)}."
)
@click.option(
    "--config-exchange", is_flag=True, help="Also send STATUS before and the meters' config files after the logs."
)
@click.option("--concurrency", type=click.IntRange(1, 1000), default=16, show_default=True, help="Concurrent sessions.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write what was acknowledged to this file, as JSON lines.",
)  # fmt: skip
@click.option(
    "--check", "check_file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="Upload nothing; compare such a report with the store of the settings.",
)  # fmt: skip
@click.option(
    "--wait", type=click.FloatRange(0), default=0.0, show_default=True,
    help="With --check: seconds to wait for derivation.",
)  # fmt: skip
@click.option(
    "--customer",
    metavar="ID|SERIAL",
    help="Upload as the logger of this customer of the settings' store, such as one created in the browser.",
)
@click.option("--register", "add", is_flag=True, help="First add the sites' customers to the store of the settings.")
@click.option(
    "--password-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="The loggers' password. With --register a random one is written there if it is missing. "
    "Default: simulator.password in the --state folder or here.",
)  # fmt: skip
@pass_source
def simulate(source: SettingsSource, /, **given: Any) -> None:
    """Upload days of simulated solar sites with two of three meters each (the missing one alternates).

    Without --register the sites' customers must exist already: run it once with --register where the daemon's
    settings are, and use the same --seed and password file elsewhere.
    """
    if given["check_file"]:
        _check(source.load(), given["check_file"], given["wait"])
        return
    plan = _plan(given)
    name, add = given["customer"], given["add"]
    if name and add:
        raise click.UsageError("--customer names an existing one; --register adds others")
    password = _asked_password(given["password_file"]) if name else _password(source, given["password_file"], add)
    settings = source.load() if add or name else None
    with ExitStack() as stack:
        report = None
        if given["report"]:
            report = FleetReport(stack.enter_context(given["report"].open("w", encoding="utf-8")))
        started = time.monotonic()

        async def work(reactor: Reactor) -> Fleet:
            if name:
                assert settings is not None
                sites = [await _site_of(reactor, settings, name, given["seed"])]
            else:
                sites = list(make_sites(given["sites"], given["seed"]))
            if report is not None:
                report.begin(sites)
            to_register = settings if add else None
            return await _upload(reactor, plan, sites, password, given["url"], settings=to_register, report=report)

        fleet = run_async(work)
    _summary(fleet, time.monotonic() - started)


async def _site_of(reactor: Reactor, settings: Settings, name: str, seed: int) -> SimulatedSite:
    async with stores_of(settings, reactor) as stores:
        customer = await find_customer(stores.customers, name)
    try:
        return site_of(customer, seed)
    except ValueError as error:
        raise Failed(f"customer {name} cannot be simulated: {error}") from None


def _asked_password(file: Path | None) -> str:
    """The logger's password, from the file or entered by the user: only its hash is stored."""
    password = read_password(file, stdin=False) if file is not None else None
    return password or str(click.prompt("The logger's password", hide_input=True, err=True))


def _plan(given: dict[str, Any]) -> FleetPlan:
    now = int(time.time())
    start, days = given["start"], given["days"]
    if start is None:
        start = now - round((days or 1) * _DAY)
    end = None if given["live"] else (start + round(days * _DAY) if days else now)
    if end is not None and end <= start:
        raise click.UsageError(f"--from {utc_text(start)} is not in the past, and no --days is given")
    try:
        faults = parse_faults(given["fault_words"])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--faults") from error
    return FleetPlan(
        start=start,
        end=end,
        interval=given["interval"],
        upload_every=max(given["upload_every"], given["interval"]),
        speed=given["speed"],
        concurrency=given["concurrency"],
        meter=METERS[given["layout"]],
        faults=faults,
        introduce=given["config_exchange"],
    )


def _password(source: SettingsSource, file: Path | None, create: bool) -> str:
    if file is None:
        customers = source.overrides.get("customers.url", "")
        folder = Path(customers.removeprefix("sqlite:///")).parent if customers.startswith("sqlite:///") else Path()
        file = folder / "simulator.password"
    if create and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(18) + "\n")
        click.echo(f"the loggers' new password is in {file}", err=True)
    if not file.exists():
        raise click.UsageError(
            f"{file} does not exist: give --password-file, or --register to create it and the customers"
        )
    password = read_password(file, stdin=False)
    assert password is not None
    return password


async def _upload(
    reactor: Reactor,
    plan: FleetPlan,
    sites: Sequence[SimulatedSite],
    password: str,
    url: str,
    *,
    settings: Settings | None,
    report: FleetReport | None,
) -> Fleet:
    try:
        target = Target(reactor, url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error
    if settings is not None:
        async with stores_of(settings, reactor) as stores:
            now = int(reactor.seconds())
            await register_sites(stores.customers, stores.readings, sites, password, now=now)
    total = plan.sessions_per_site
    with click.progressbar(
        length=(total or 0) * len(sites), label="upload sessions", file=sys.stderr, show_pos=True,
        hidden=total is None or not sys.stderr.isatty(),
    ) as bar:  # fmt: skip
        fleet = Fleet(
            reactor,
            plan,
            target,
            sites,
            password=password,
            acknowledged=report.acknowledged if report else lambda log: None,
            progress=lambda: bar.update(1),
        )
        await fleet.run()
    return fleet


def _summary(fleet: Fleet, seconds: float) -> None:
    counts = fleet.counts
    click.echo(
        f"{counts.acknowledged_readings} readings in {counts.acknowledged_logs} logs acknowledged, "
        f"{counts.uploads} uploads in {seconds:.1f} s"
    )
    for text in _faults(counts):
        click.echo(text)
    if fleet.unsent:
        raise Failed(f"{fleet.unsent} logs were not acknowledged; the last reply was {counts.last_refusal or 'none'}")


def _faults(counts: Counts) -> list[str]:
    said = {
        "sessions were skipped because of an outage": counts.skipped_sessions,
        "replies lost on purpose": counts.lost_replies,
        "logs sent once more after their acknowledgement": counts.resent,
        "uploads got no reply": counts.no_reply,
        "upload sessions abandoned": counts.abandoned_sessions,
    }
    lines = [f"{number} {text}" for text, number in said.items() if number]
    return lines + [f"{number} answers {status}" for status, number in sorted(counts.refused.items())]


def _check(settings: Settings, report: Path, wait: float) -> None:
    with report.open(encoding="utf-8") as lines:
        expected = read_report(lines)

    async def work(reactor: Reactor) -> Findings:
        deadline = reactor.seconds() + wait
        async with stores_of(settings, reactor) as stores:
            while True:
                found = await compare(expected, stores.readings)
                if not found.not_derived or reactor.seconds() >= deadline:
                    return found
                await sleep(reactor, 0.5)

    found = run_async(work)
    click.echo(
        f"{found.readings} acknowledged readings of {len(expected.sites)} sites: {found.lost} lost, "
        f"{found.different} different"
    )
    click.echo(
        f"{found.derivable} times with both meters: {found.not_derived} not derived, {found.wrongly_derived} wrongly derived"
    )
    if not found.good:
        raise Failed("\n".join(["the store does not hold what was acknowledged", *found.examples]))
