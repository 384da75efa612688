"""``cenergyd token`` as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from cenergyd.customers.model import Customer
from cenergyd.storage.sqlite.customers import SqliteCustomerStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from cenergyd.web.access.tokens import Tokens
from tests import forking
from tests.databases import make_databases


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return forking.run(
        [sys.executable, "-m", "cenergyd", "token", "--state", str(folder), *words],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
    )  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_add_list_revoke(tmp_path: Path) -> None:
    customers = SqliteCustomerStore(reactor, tmp_path / "customers.sqlite")
    await customers.open()
    customer = await customers.add(Customer(id="", logger_serial_number="A1"))
    await customers.close()
    await deferToThread(make_databases, tmp_path)
    operator = await deferToThread(run, tmp_path, "add", "--operator", "my laptop")
    assert operator.returncode == 0, operator.stderr
    own = await deferToThread(run, tmp_path, "add", "--customer", "a1", "--days", "3", "--once", "the customer's")
    assert own.returncode == 0, own.stderr
    listed = await deferToThread(run, tmp_path, "list", "--json")
    entries = {entry["name"]: entry for entry in map(json.loads, listed.stdout.splitlines())}
    assert entries["my laptop"]["role"] == "operator"
    assert entries["my laptop"]["expires"] is None
    assert entries["the customer's"]["customer_id"] == customer.id
    assert entries["the customer's"]["one_time"] is True
    assert entries["the customer's"]["expires"] - entries["the customer's"]["created"] == 3 * 86400
    assert operator.stdout.strip() not in listed.stdout
    documents = SqliteDocumentStore(reactor, tmp_path / "customers.sqlite")
    await documents.open()
    tokens = Tokens(documents)
    now = entries["my laptop"]["created"]
    assert await tokens.check(operator.stdout.strip(), now) is not None
    revoked = await deferToThread(run, tmp_path, "revoke", entries["my laptop"]["id"])
    assert revoked.returncode == 0, revoked.stderr
    assert await tokens.check(operator.stdout.strip(), now) is None
    assert await tokens.check(own.stdout.strip(), now) is not None
    await documents.close()
    again = await deferToThread(run, tmp_path, "revoke", entries["my laptop"]["id"])
    assert again.returncode == 1
    assert "no token" in again.stderr
    plain = await deferToThread(run, tmp_path, "list")
    assert f"customer {customer.id}, once" in plain.stdout


@pytest.mark.parametrize(
    "words",
    [("add", "x"), ("add", "x", "--operator", "--customer", "1"), ("add", "x", "--customer", "nobody"), ("revoke",)],
)
def test_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
