"""The whole work of a site's quarter of an hour, against the design it replaces, in one run on one machine.

Every quarter each site's logger uploads the next 15 minutes (15 rows of 75 columns) of two meters, evenly over some seconds. Then
the third meter is computed and rolled up, net load and energy are stored, alerts are evaluated. Counted until nothing is pending and
the states of the sites are stored: CPU time of every process, the requests to the stores, and how long uploads took. The sides take
turns, quarter by quarter, each with stores of its own.

200 sites within 10 seconds arrive as often as those of a fleet of 18,000 within 15 minutes. Only the time between two quarters is left
out: before each, the daemons' clock is set forward to its end (:mod:`benchmarks.shifted_clock`), so readings are new when they are
uploaded, and a logger's uploads are 15 minutes apart, as in reality. The peer is the design to replace: Flask, one write an upload, a task that loops over all
customers and rolls up by InfluxQL, in its favour once a quarter and not each minute.

    python benchmarks/fleet.py [--sites 400] [--quarters 4] [--seconds 20] [--daemons 1 [2 ...]] [--reconnect] [--stores servers|influx|embedded]
        [--old CHECKOUT] [--no-peer] [--count] [--customers N] [--burst] [--backlog DAYS] [--limit SECONDS] [--set KEY=VALUE]

The quarter that begins an hour closes the one before, whose results are then written: it costs more than the others. So whole hours are
measured, four quarters or a multiple, and the table has both kinds. Two before them are not counted: the daemons learn how often the
loggers upload, and the first results of an hour make new series in InfluxDB. The peer needs ``pip install flask gunicorn``. ``--old`` is another checkout of cenergyd with its own .venv,
measured beside this one. ``--count`` counts MongoDB's documents by a proxy. ``--burst`` sends all sites at once
instead and, while they are derived, some further uploads, whose times are what is then printed. ``--customers`` is how many are in the
store; the others send nothing. ``--backlog`` has all sites send their last days at once instead of quarters, without the peer, and
measures the seconds until all of it is computed and the times of other sites' uploads meanwhile. Nothing is waited for longer than
``--limit``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.device import METERS, REFUSED, ROWS, percentile, send_at_once, send_evenly, session
from benchmarks.fleet_backlog import run_backlog
from benchmarks.fleet_sides import DETAIL, PROBES, Side, cenergyd, check_limit, exchange, peer
from benchmarks.mongo_counter import purpose_of
from benchmarks.processes import PROJECT

QUARTER = 900
HOUR = 3600
QUIET = 0.06
"""Of a core: a side that uses less for a second may have nothing more to do; then its queues are read."""
ASK_SECONDS = 5
LAST_WRITES = 110
"""Seconds after which the activity of loggers and the states of sites are stored, too."""
NOT_COUNTED = 2
"""Quarters before those that are measured: with the second upload the interval of a logger is known, and an hour is closed."""
AFTER_QUARTER = 30
"""Seconds from the end of a quarter to the first upload of its readings."""
WARM_UP_ROUNDS = 6
"""Times that the first quarter is sent before it begins, for each daemon but the first, so that nearly every daemon knows every logger: the first
upload of a logger to a daemon costs a hash of its password and look-ups of its customer and columns, once in months."""
STEP_SECONDS = 2.5
"""Seconds until the daemons notice that their clock was set forward; they look once a second."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=400)
    parser.add_argument("--customers", type=int, default=0)
    parser.add_argument(
        "--quarters",
        type=int,
        default=4,
        help="measured ones, a multiple of 4 to be fair: one quarter in four closes an hour",
    )
    parser.add_argument("--seconds", type=float, default=20, help="over which a quarter's uploads are spread")
    parser.add_argument("--daemons", type=int, nargs="+", default=[1], help="several numbers take turns")
    parser.add_argument("--reconnect", action="store_true", help="a connection for each upload, not for each session")
    parser.add_argument("--stores", choices=["servers", "influx", "embedded"], default="servers")
    parser.add_argument("--old", type=Path, help="another checkout")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--burst", action="store_true")
    parser.add_argument("--backlog", type=int, default=0, metavar="DAYS")
    parser.add_argument("--limit", type=float, default=1800, help="seconds until a run is given up")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if has_peer(arguments):
        check_installed("flask", "gunicorn")
    number = arguments.quarters + NOT_COUNTED
    # The first quarter is the last one of an hour, so the second, which is not counted either, makes the series of what is written per hour.
    start = (int(time.time()) - QUARTER * number - HOUR + QUARTER) // HOUR * HOUR + HOUR - QUARTER
    with ExitStack() as stack:
        sides = []
        if has_peer(arguments):
            sides.append(stack.enter_context(peer(arguments)))
        for name, project in (("old", arguments.old), ("cenergyd", PROJECT)):
            if project is not None:
                began = None if arguments.backlog else start + QUARTER
                for count in arguments.daemons:
                    sides.append(
                        stack.enter_context(
                            cenergyd(
                                side_name(name, count, arguments), Path(project).resolve(), arguments, began, count
                            )
                        )
                    )
        for side in sides if arguments.backlog else ():
            run_backlog(side, arguments)
        for quarter in range(0 if arguments.backlog else number):
            since = start + QUARTER * quarter
            sessions = [session(site, since) for site in range(arguments.sites)]
            probes = [session(site, since) for site in range(arguments.sites, arguments.sites + PROBES // len(METERS))]
            for side in sides:
                if quarter == 0 and side.helper is not None:
                    warm_up(side, sessions, since)
                run_quarter(side, sessions, probes if arguments.burst else [], arguments, since)
                if quarter >= NOT_COUNTED:
                    tell_quarter(side, quarter - NOT_COUNTED + 1, since, arguments)
        for side in sides:
            if side.helper is not None and not arguments.backlog:
                expected, end = number * ROWS * arguments.sites, start + QUARTER * number
                derived = int(side.tell(f"derived {arguments.sites} {start} {end}"))
                print(f"{side.name}: {derived} of {expected} readings are computed")
    if not arguments.backlog:
        table(sides, closing_quarters(start, arguments.quarters), arguments)


def closing_quarters(start: int, quarters: int) -> list[bool]:
    """Which of the measured quarters close an hour: those that begin the next one."""
    return [(start + QUARTER * (number + NOT_COUNTED)) % HOUR == 0 for number in range(quarters)]


def side_name(name: str, daemons: int, arguments: argparse.Namespace) -> str:
    """The name of a version, with how many daemons it has if several numbers are compared."""
    return name if len(arguments.daemons) == 1 else f"{name} x {daemons}"


def has_peer(arguments: argparse.Namespace) -> bool:
    """Whether the design to replace is measured too; it has no embedded stores, and takes in no backlog."""
    return arguments.stores == "servers" and not arguments.no_peer and not arguments.backlog


def check_installed(*modules: str) -> None:
    """Exit with what to install if one of them is missing."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise SystemExit(f"the peer needs: pip install {' '.join(missing)}  (or leave it out: --no-peer)")


def warm_up(side: Side, sessions: Sequence[Sequence[bytes]], since: int) -> None:
    """Send the same uploads several times, so that several daemons have had each."""
    assert side.clock is not None
    side.clock.set(since + QUARTER + AFTER_QUARTER)
    time.sleep(STEP_SECONDS)
    for _ in range(WARM_UP_ROUNDS * (len(side.processes["daemons"]) - 1)):
        asyncio.run(send_at_once(side.port, sessions))


def run_quarter(
    side: Side,
    sessions: Sequence[Sequence[bytes]],
    probes: Sequence[Sequence[bytes]],
    arguments: argparse.Namespace,
    since: int,
) -> None:
    """Send a quarter of an hour and wait until everything that follows from it is done."""
    if side.clock is not None:
        side.clock.set(since + QUARTER + AFTER_QUARTER)
        time.sleep(STEP_SECONDS)
    cpu, counts, refused = side.cpu(), side.counts(), REFUSED.total()
    if arguments.burst:
        asyncio.run(send_at_once(side.port, sessions))
        took = asyncio.run(send_evenly(side.port, probes, arguments.seconds))
    else:
        took = asyncio.run(send_evenly(side.port, sessions, arguments.seconds, reconnect=arguments.reconnect))
    if side.tasks is not None:
        exchange(side.tasks, f"{since} {since + QUARTER}")
    else:
        wait_until_done(side, arguments)
    side.used.append({name: used - cpu[name] for name, used in side.cpu().items()})
    side.asked.append(side.counts() - counts)
    side.refused += REFUSED.total() - refused
    side.took[:] = took if len(side.used) <= NOT_COUNTED + 1 else [*side.took, *took]


def wait_until_done(side: Side, arguments: argparse.Namespace) -> None:
    """Until nothing is pending. Asked for when the processes are quiet or from time to time: asking costs the stores something too."""
    waited, before, began = 0, sum(side.cpu().values()), time.monotonic()
    while True:
        time.sleep(1)
        check_limit(began, arguments)
        waited, now = waited + 1, sum(side.cpu().values())
        if (now - before < QUIET or waited >= ASK_SECONDS) and side.tell("pending") == "0":
            break
        waited = 0 if waited >= ASK_SECONDS else waited
        before = sum(side.cpu().values())
    assert side.clock is not None
    side.clock.forward(LAST_WRITES)
    time.sleep(STEP_SECONDS)
    wait_until_quiet(side, began, arguments)


def wait_until_quiet(side: Side, began: float, arguments: argparse.Namespace) -> None:
    """Until its processes use nearly no time."""
    before, now = float("-inf"), sum(side.cpu().values())
    while now - before >= QUIET:
        time.sleep(1)
        check_limit(began, arguments)
        before, now = now, sum(side.cpu().values())


def tell_quarter(side: Side, quarter: int, since: int, arguments: argparse.Namespace) -> None:
    """A line for a measured quarter."""
    per_site = {name: 1000 * used / arguments.sites for name, used in side.used[-1].items()}
    text = ", ".join(f"{name} {used:.2f}" for name, used in per_site.items())
    closing = " (closes an hour)" if since % HOUR == 0 else ""
    total = sum(per_site.values())
    print(f"{side.name:9} quarter {quarter}: ms of CPU a site: {text}; in all {total:.2f}{closing}", flush=True)


def table(sides: Sequence[Side], closing: Sequence[bool], arguments: argparse.Namespace) -> None:
    """The means of the measured quarters, a line for each side and kind of quarter."""
    costs: dict[str, float] = {}
    ours: dict[str, float] = {}
    print(
        f"\n{arguments.sites} sites, daemons: {arguments.daemons}, {arguments.stores}; means of {arguments.quarters} quarters, "
        f"{sum(closing)} of which closed an hour"
    )
    if sum(closing) * 4 != arguments.quarters:
        print("not whole hours: means of all quarters do not say what a site costs in the long run")
    for side in sides:
        parts = {
            name: fmean(used[name] for used in side.used[NOT_COUNTED:]) / arguments.sites * 1000
            for name in side.processes
        }
        costs[side.name] = sum(parts.values())
        ours[side.name] = sum(value for name, value in parts.items() if name != "MongoDB's protocol")
        text = ", ".join(f"{name} {value:.2f}" for name, value in parts.items())
        sites = 2 * QUARTER * 1000 / costs[side.name]
        print(
            f"{side.name:9} {costs[side.name]:7.2f} ms of CPU a site and quarter ({text}); two cores carry {sites:,.0f} sites"
        )
        for name, wanted in (("within an hour", False), ("that closed an hour", True)):
            chosen = [
                used for used, is_closing in zip(side.used[NOT_COUNTED:], closing, strict=True) if is_closing is wanted
            ]
            if chosen:
                means = {each: fmean(used[each] for used in chosen) / arguments.sites * 1000 for each in side.processes}
                text = ", ".join(f"{each} {value:.2f}" for each, value in means.items())
                print(f"          {sum(means.values()):7.2f} ms in quarters {name} ({text})")
        asked = {
            name: sum(each[name] for each in side.asked[NOT_COUNTED:])
            for name in sorted({k for c in side.asked for k in c})
        }
        share = arguments.sites * arguments.quarters
        counts = {name: count / share for name, count in asked.items() if count}
        print("          " + ", ".join(f"{name} {n:.2f}" for name, n in counts.items() if not name.startswith(DETAIL)))
        for name in sorted((name for name in counts if name.startswith(DETAIL)), key=counts.__getitem__, reverse=True):
            detail = name.removeprefix(DETAIL)
            purpose = purpose_of(detail)
            print(f"            {counts[name]:6.2f} {detail}" + (f" ({purpose})" if purpose else ""))
        times = [1000 * percentile(side.took, share) for share in (0.5, 0.99, 1.0)]
        print(
            "          an upload took {:.0f} ms (median), {:.0f} ms (99 %), {:.0f} ms (longest)".format(*times), end=""
        )
        print(f"; {side.refused} were answered 503 and sent again" if side.refused else "")
    first, *others = (side_name("cenergyd", number, arguments) for number in arguments.daemons)
    for name in others:
        print(
            f"ratio of {name} to {first}: {costs[name] / costs[first]:.2f} in all, "
            f"{ours[name] / ours[first]:.2f} without MongoDB's protocol"
        )
    for name in ("peer", "old"):
        if name in costs and "cenergyd" in costs:
            print(
                f"ratio to {name}: {costs[name] / costs['cenergyd']:.2f} in all, "
                f"{ours[name] / ours['cenergyd']:.2f} without MongoDB's protocol"
            )


if __name__ == "__main__":
    main()
