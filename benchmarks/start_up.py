"""How long a daemon with many customers takes from its start until it answers, and what it does then.

    python benchmarks/start_up.py [--customers 100000] [--stores sqlite|servers] [--seconds 30]

Every customer has a logger and a stored state, as after a restart; the daemon is started twice on the same stores. Prints the seconds from
the start of the process until /healthz and /readyz answer 200 and until a first upload is acknowledged; then the CPU time of the daemon
and the stores in some seconds without uploads, and the daemon's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from twisted.internet import defer, task

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.derivation_backlog import store_urls
from benchmarks.device import password_of, request, send_at_once, serial_of, upload
from benchmarks.overview import made_up
from benchmarks.processes import PROJECT, children, cpu_seconds
from cenergyd.customers.model import Customer
from cenergyd.documents.body import body_text
from cenergyd.documents.kinds import SITE
from cenergyd.documents.store import NewDocument
from cenergyd.jobs.site_state.summary import summary_to_json
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.mongodb.customer_documents import OWN_COLLECTION
from cenergyd.storage.mongodb.documents import COLLECTION
from cenergyd.storage.mongodb.own_document import own_of_shared
from cenergyd.storage.open import Stores, open_stores
from tests.servers import free_port

BATCH = 1000
AT_ONCE = 50
MOST_SECONDS = 200


async def add_customers(stores: Stores, url: str, count: int) -> list[str]:
    """Customers with the loggers of :mod:`benchmarks.device`; their ids."""
    ids: list[str] = []
    for first in range(0, count, BATCH):
        numbers = range(first, min(count, first + BATCH))
        ids += insert(url, numbers) if url.startswith("mongodb") else await add(stores, numbers)
    return ids


def insert(url: str, numbers: Sequence[int]) -> list[str]:
    """Insert into MongoDB directly, as if the front end had added them and a daemon had already compared them."""
    shared = [
        {
            "_id": ObjectId(),
            "name": f"Site {number}",
            "facility": "",
            "load": "1",
            "solar": "2",
            "logger_serial_number": serial_of(number),
            "logger_password": password_of(number),
        }
        for number in numbers
    ]
    with MongoClient[dict[str, Any]](url) as client:
        database = client.get_default_database()
        database["customer"].insert_many(shared)
        database[OWN_COLLECTION].insert_many([own_of_shared(each) for each in shared])
    return [str(each["_id"]) for each in shared]


def insert_documents(url: str, documents: Sequence[NewDocument]) -> None:
    """Insert into MongoDB directly: the tests' server takes minutes for so many upserts."""
    found = [
        {
            "_id": f"{SITE}/{each.key}",
            "kind": SITE,
            "key": each.key,
            "body": body_text(each.body),
            "version": 1,
            "owner": each.owner,
            "due": each.due,
        }
        for each in documents
    ]
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database()[COLLECTION].insert_many(found)


async def add(stores: Stores, numbers: Sequence[int]) -> list[str]:
    """Add them through the store, one by one."""
    ids: list[str] = []
    for first in range(0, len(numbers), AT_ONCE):
        some = [
            stores.customers.add(
                Customer(
                    id="", name=f"Site {number}", load="1", solar="2",
                    logger_serial_number=serial_of(number), logger_password=password_of(number),
                )
            )
            for number in numbers[first : first + AT_ONCE]
        ]  # fmt: skip
        added = await defer.gatherResults([defer.Deferred.fromCoroutine(each) for each in some])
        ids += [customer.id for customer in added]
    return ids


async def fill(stores: Stores, url: str, count: int, now: int) -> None:
    """Add customers, and a state of each that is due for evaluation within the next hour."""
    ids = await add_customers(stores, url, count)
    for first in range(0, count, BATCH):
        documents = []
        for number in range(first, min(count, first + BATCH)):
            site = made_up(number, now)
            due = now + 600 + number * 3000 // count
            documents.append(NewDocument(ids[number], summary_to_json(site), site.state.kind, due))
        if url.startswith("mongodb"):
            insert_documents(url, documents)
        else:
            await stores.documents.put_many(SITE, documents)


def answers(port: int, path: str, began: float) -> float:
    """Seconds from ``began`` until a path is answered with 200."""
    while time.monotonic() < began + MOST_SECONDS:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10):
                return time.monotonic() - began
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{path} was not answered within {MOST_SECONDS} s")


def memory(pid: int) -> float:
    """Resident memory of a process and its children, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return own / 1024 + sum(map(memory, children(pid)))


def start(urls: dict[str, str], folder: Path, seconds: float, site: int) -> None:
    """Start a daemon, print how long its start takes, and stop it."""
    port = free_port()
    settings = {"server.listen": f"tcp:{port}:interface=127.0.0.1", "logging.level": "error", **urls}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    began = time.monotonic()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "cenergyd", *words, "run"],
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL,
    )
    try:
        healthy, ready = answers(port, "/healthz", began), answers(port, "/readyz", began)
        sent = request(upload(site, 1, int(time.time()) // 900 * 900 - 900))
        asyncio.new_event_loop().run_until_complete(send_at_once(port, [[sent]]))
        acknowledged = time.monotonic() - began
        used, peak = cpu_seconds(daemon.pid), memory(daemon.pid)
        print(
            f"  /healthz after {healthy:.2f} s, /readyz after {ready:.2f} s, an upload acknowledged after {acknowledged:.2f} s; "
            f"until then {used:.1f} s of CPU, {peak:.0f} MB",
            flush=True,
        )
        time.sleep(seconds)
        print(
            f"  {seconds:.0f} s later: {cpu_seconds(daemon.pid) - used:.1f} s more of CPU, {memory(daemon.pid):.0f} MB",
            flush=True,
        )
    finally:
        daemon.terminate()
        daemon.wait(60)


async def main(reactor: Any) -> None:
    """Fill the stores, start twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--stores", choices=("sqlite", "servers"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=30)
    chosen = parser.parse_args()
    with store_urls(chosen.stores) as urls:
        stores = await open_stores(load_settings(Settings, None, urls), reactor)
        began = time.monotonic()
        await fill(stores, urls["customers.url"], chosen.customers, int(time.time()))
        await stores.close()
        print(f"{chosen.customers} customers, {chosen.stores}; added in {time.monotonic() - began:.0f} s", flush=True)
        folder = (
            Path(urls["customers.url"].removeprefix("sqlite:///")).parent if chosen.stores == "sqlite" else Path("/tmp")
        )
        for number in range(2):
            print(f" start {number + 1}:")
            start(urls, folder, chosen.seconds, number)


if __name__ == "__main__":
    task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
