"""One daemon on InfluxDB and MongoDB's protocol, both behind proxies and with accounts: it goes through every fault in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from influxdb import InfluxDBClient
from pymongo import MongoClient
from pymongo.collection import Collection

from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD
from tests.faults.proxy import Proxy
from tests.servers import RunningInflux, RunningMongo

USER, SECRET = "cen", "s3cret"
TIMEOUT = 1.0
"""After so long a store counts as down, s."""
_serials = count(1)


class ProxiedDaemon:
    """The daemon, its stores, and the proxies between them."""

    def __init__(self, folder: Path) -> None:
        self.influx = RunningInflux(http="auth-enabled = true")
        self.mongo = RunningMongo()
        self.influx.start()
        self.mongo.start()
        self.influx_admin = InfluxDBClient(port=self.influx.port, username=USER, password=SECRET, timeout=20)
        words = f"CREATE USER {USER} WITH PASSWORD '{SECRET}' WITH ALL PRIVILEGES"
        self.influx_admin.request("query", "POST", params={"q": words})
        self.set_mongo_password(SECRET)
        self.mongo.stop()
        self.mongo.options = ("--standalone", "--auth")
        self.mongo.start()
        self.influx_proxy = Proxy(self.influx.port)
        self.mongo_proxy = Proxy(self.mongo.port)
        self.daemon = RunningDaemon(
            folder,
            {
                "customers.url": f"mongodb://{USER}:{SECRET}@127.0.0.1:{self.mongo_proxy.port}/shop?authSource=admin",
                "readings.url": f"influxdb://{USER}:{SECRET}@127.0.0.1:{self.influx_proxy.port}/cen",
                "customers.timeout_seconds": str(TIMEOUT),
                "customers.hash_passwords": "yes",
                "cenergyd.derivation.front_end_watch.PASS_SECONDS": "2",
                "readings.timeout_seconds": str(TIMEOUT),
                "cenergyd.ingest.credentials.CACHE_SECONDS": "0",
                "cenergyd.documents.change_notices.MAX_CACHE_SECONDS": "0",
                # What was claimed when a store went away is free again after so long.
                "cenergyd.derivation.service.CLAIM_SECONDS": "5",
                "cenergyd.jobs.service.CLAIM_SECONDS": "5",
                "jobs.timeout_seconds": "8",
                "derivation.plugin_timeout_seconds": "2",
            },
        )
        self.daemon.start()

    def set_mongo_password(self, password: str) -> None:
        """Make the account, or give it another password."""
        with MongoClient(self.mongo.url) as client:
            if client.admin.command("usersInfo", USER)["users"]:
                client.admin.command("dropUser", USER)
            client.admin.command("createUser", USER, pwd=password, roles=["root"])

    def add_customer(self, serial: str, facility: str = "") -> None:
        """One with load and solar, straight into the shared collection."""
        document = {
            "facility": facility, "load": "1", "solar": "2", "logger_serial_number": serial, "logger_password": PASSWORD,
        }  # fmt: skip
        with self.customers("customer") as customers:
            customers.insert_one(document)

    @contextmanager
    def customers(self, collection: str = "cenergyd_customer") -> Iterator[Collection[dict[str, Any]]]:
        """A collection of customers, past the proxy."""
        client: MongoClient[dict[str, Any]] = MongoClient(self.mongo.url, username=USER, password=SECRET, journal=True)
        with client:
            yield client.shop[collection]

    def close(self) -> None:
        """End all of it."""
        self.daemon.kill()
        for proxy in (self.influx_proxy, self.mongo_proxy):
            proxy.close()
        for server in (self.influx, self.mongo):
            server.destroy()


@pytest.fixture(scope="package")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedDaemon]:
    made = ProxiedDaemon(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.fixture
def site(proxied: ProxiedDaemon) -> Iterator[str]:
    """A customer as the front end adds one, with a password in clear text that the daemon hashes at the first upload.

    At the end the daemon must be the same process: it was not restarted.
    """
    assert proxied.daemon.process is not None
    before = proxied.daemon.process.pid
    serial = f"001EC67{next(_serials):05X}"
    proxied.add_customer(serial)
    yield serial
    assert proxied.daemon.process.pid == before
    assert proxied.daemon.process.poll() is None
