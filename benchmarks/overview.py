"""Time of the list of all sites over HTTP, at 10,000 customers: the first response after a start, and later ones.

    python benchmarks/overview.py [--customers 10000] [--mongo mongodb://...]

Every site's state is invented; the store is SQLite, or a server of MongoDB's protocol. "reading": the time to read all sites, as the daemon does at
its start and once a minute; "first": the first response after that; "other": responses to other queries; "reread": the same while all sites are read again.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet import defer, reactor, task

from cenergyd.customers.model import ROLES, Customer
from cenergyd.documents.kinds import SITE
from cenergyd.documents.store import NewDocument
from cenergyd.jobs.site_state.model import KINDS, Issue, RoleState, SiteState
from cenergyd.jobs.site_state.summary import DayEnergy, SiteSummary, summary_of, summary_to_json
from tests.web.harness import WebSide

QUERIES: tuple[dict[str, str], ...] = (
    {},
    {"state": "logger_silent"},
    {"sort": "solar_today", "order": "descending"},
    {"search": "site 99"},
    {"cursor": "5000"},
)
BATCH = 1000


def made_up(number: int, now: int) -> SiteSummary:
    """A site in a random state."""
    kind = random.choice(KINDS)
    issues = () if kind == "good" else (Issue(kind=kind, role="solar", meter="2", since=now - 3600),)
    roles = tuple(
        RoleState(role=role, computed=role == "load", time=now, power=random.random(), stale=False) for role in ROLES
    )
    state = SiteState(kind=kind, issues=issues, roles=roles, last_upload=now, usual_gap=900, lag_seconds=0)
    customer = Customer(
        id=f"{number:024x}", name=f"Site {number}", time_zone="America/Denver", logger_serial_number=f"AA{number:010}"
    )
    energy = tuple(DayEnergy(role, random.random(), random.random()) for role in ROLES)
    return summary_of(customer, state, energy_day="2026-01-01", energy=energy, alerts=0)


async def timed(work: Any) -> float:
    """Seconds that an awaitable takes."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def asked(web: WebSide, query: dict[str, str]) -> None:
    """One request over HTTP."""
    answer = await web.operator.get("overview", params=query)
    assert answer.status == 200


async def run(customers: int, mongo_url: str | None) -> None:
    """Fill the store, ask, print."""
    with tempfile.TemporaryDirectory() as folder:
        web = WebSide(Path(folder), mongo_url=mongo_url)
        await web.start()
        now = web.clock.now
        for first in range(0, customers, BATCH):
            sites = [made_up(number, now) for number in range(first, min(first + BATCH, customers))]
            await web.documents.put_many(
                SITE, [NewDocument(site.customer_id, summary_to_json(site), site.state.kind, now) for site in sites]
            )
        times: dict[str, list[float]] = {"reading": [], "first": [], "other": [], "reread": []}
        fleet = web.context.fleet
        for _ in range(5):
            fleet.forget()
            times["reading"].append(await timed(fleet.sites()))
            for number, query in enumerate(QUERIES):
                times["other" if number else "first"].append(await timed(asked(web, query)))
            reading = defer.Deferred.fromCoroutine(fleet._read())
            for query in QUERIES:
                times["reread"].append(await timed(asked(web, query)))
            await reading
        for name, found in times.items():
            print(
                f"{name}: median {median(found) * 1000:.0f} ms, slowest {max(found) * 1000:.0f} ms, {customers} customers"
            )
        await web.stop()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--mongo", help="address of a MongoDB server")
    options = parser.parse_args()
    main_: Any = lambda _: defer.Deferred.fromCoroutine(run(options.customers, options.mongo))  # noqa: E731
    task.react(main_, _reactor=reactor)


if __name__ == "__main__":
    main()
