"""docs/plugins.md: nothing left out, and its examples, installed with pip from outside the tree, work in a running daemon."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cenergyd import hookspecs
from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.commands.new_plugin import HOOKS, files
from cenergyd.readings.model import Reading
from tests import forking
from tests.daemon_process import RunningDaemon, raw_post
from tests.jobs.messages.receiver import Receiver
from tests.plugins.installing import PAIRS, PYTEST_ALONE, store_urls
from tests.servers import PATIENT

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
SERIAL = "001EC6001433"
MILL = "001EC6001444"
CHANNELS = {"channels": [{"type": "chat", "room": "energy"}]}
NIGHT = {"plugin_rules": {"night_use": {"enabled": True, "above_kw": 1, "until_hour": 24}}, **CHANNELS}

# What a test cannot do from outside: set the customer's channels, and read the points that the job wrote.
SET_UP = f"""
from cenergyd.customers.model import Customer
from twisted.internet.defer import Deferred
async def work(stores):
    carport = await stores.customers.by_serial("{SERIAL}")
    mill = await stores.customers.by_serial("{MILL}")
    await stores.customers.update(carport.id, {{"extensions": {{"alerts": {CHANNELS!r}}}}})
    await stores.customers.update(mill.id, {{"extensions": {{"alerts": {NIGHT!r}}}}})
    await stores.documents.put("good_morning", "reader", {{"customer_id": carport.id}})
"""
READ_RESULTS = f"""
import json
async def work(stores):
    name = "{SERIAL}_missing_meter"
    points = await stores.readings.read_points(name + "_daily_peak", 0, 1 << 40)
    readings = (await stores.readings.read([name], 0, 1 << 40))[name]
    print(json.dumps([[p.fields["peak_kw"] for p in points], [r.P for r in readings]]))
"""
RUN = """
import json, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import open_stores
async def main():
    stores = await open_stores(load_settings(Settings, None, json.loads(sys.argv[1])), reactor)
    try:
        await work(stores)
    finally:
        await stores.close()
def ended(result):
    if hasattr(result, "printTraceback"):
        result.printTraceback()
    reactor.stop()
reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addBoth(ended))
reactor.run()
"""


def blocks() -> dict[str, str]:
    """The files of the page by name."""
    found = re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


def hooks() -> dict[str, Any]:
    return {
        name: item
        for name, item in vars(hookspecs).items()
        if inspect.isfunction(item) and hasattr(item, "cenergyd_spec")
    }


def test_the_page_explains_every_hook_with_all_its_arguments_and_an_example_of_each() -> None:
    page, examples = PAGE.read_text(), "\n".join(blocks().values())
    assert set(hooks()) >= {"cenergyd_derive", "cenergyd_job", "cenergyd_periodic", "cenergyd_notify"}
    for name, hook in hooks().items():
        assert f"\n## {name}\n" in page, f"docs/plugins.md has no section on {name}"
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        arguments = ", ".join(inspect.signature(hook).parameters)
        assert f"`{name}({arguments})`" in section, f"docs/plugins.md must show {name}({arguments})"
        assert f"def {name}(" in examples, f"docs/plugins.md has no example of {name}"
        assert f"(#{name})" in page


def test_the_page_names_all_that_a_job_is_given() -> None:
    page = PAGE.read_text()
    members = {
        *hookspecs.JobContext.__annotations__,
        "notify",
        "pause",
        "in_thread",
        "for_customer",
        "alert",
        "alert_rule",
    }
    for member in members:
        assert f"context.{member}" in page, f"docs/plugins.md does not say what context.{member} is"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package, installed with pip into a folder of its own."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name, text in blocks().items():
        (source / name).write_text(text)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--target", target, source], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return target


def inside(daemon: RunningDaemon, work: str) -> str:
    settings = PATIENT | {name: daemon.settings[name] for name in ("customers.url", "readings.url")}
    done = forking.run(
        [sys.executable, "-c", work + RUN, json.dumps(settings)],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def upload(daemon: RunningDaemon, serial: str, meter: str, readings: list[Reading]) -> None:
    content = encode.gz(encode.log_text(readings, VERIS))
    form = encode.log_fields(serial, "secret", meter, content)
    kind, body = encode.multipart_form(form, encode.log_filename(meter), content)
    status, answer = raw_post(daemon.port, "/consume", kind, body)
    assert (status, b"SUCCESS" in answer) == (200, True)


def test_the_examples_run_in_a_daemon(
    installed: Path, tmp_path: Path, receiver: Receiver, daemon_urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(installed), str(PAGE.parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    folder = tmp_path / "state"
    folder.mkdir()
    daemon = RunningDaemon(
        folder,
        {
            **daemon_urls,
            "plugin:chat.url": f"http://127.0.0.1:{receiver.server_port}/",
            "cenergyd.jobs.service.PERIODIC_SECONDS": "1",
            "cenergyd.jobs.messages.sender.INTERVAL_SECONDS": "0.2",
        },
    )
    listed = daemon.run("plugins").stdout
    for name in ("carport", "daily_peak", "good_morning", "chat", "night_use"):
        assert name in listed
    for name, serial in (("Carport", SERIAL), ("Mill", MILL)):
        words = ("customers", "add", "--name", name, "--serial", serial, "--facility", "1", "--solar", "2")
        added = daemon.run(*words, "--password-stdin", stdin="secret\n")
        assert added.returncode == 0, added.stderr
    inside(daemon, SET_UP)
    begun = int(time.time())
    daemon.start()
    try:
        # Of this day, or of the next one where this day is about to end.
        start = (int(time.time()) + 600) // 86400 * 86400
        for meter, powers in (("1", (10.0, 30.0)), ("2", (10.0, 10.0))):
            upload(
                daemon, SERIAL, meter, [Reading(start + n, power, 0.99, 120.0, 0.5) for n, power in enumerate(powers)]
            )
        quarter = int(time.time()) // 900 * 900 - 900
        for meter in ("1", "2"):
            upload(daemon, MILL, meter, [Reading(quarter + 60 * n, 1.5, 0.99, 120.0, 0.5) for n in range(14)])
        said: set[str] = set()
        end = time.monotonic() + 120
        while time.monotonic() < end and len(said) < 3:
            said = {text for text in map(said_by, receiver.got) if not text.startswith("Mill: a record")}
            time.sleep(0.1)
        time.sleep(2.5)  # long enough for further rounds of what must not be said again
    finally:
        daemon.stop()
    texts = [text for text in map(said_by, receiver.got) if not text.startswith("Mill: a record")]
    alert = next((text for text in texts if text.startswith("Alert: High load at night at Mill\n")), "")
    assert "The load at night was above 1 kW." in alert, daemon.log()
    assert sorted({*texts} - {alert}) == [
        "Carport: a record load of 31 kW\nThe load of Carport was never higher: 31 kW.\n",
        "Good morning\nThere are 2 customers.\n",
    ], daemon.log()
    days = int(time.time()) // 86400 - begun // 86400 + 1
    assert len(texts) <= 2 + days, "each is said once, and good morning once a day"
    assert {message.body["room"] for message in receiver.got} == {"energy"}
    assert json.loads(inside(daemon, READ_RESULTS)) == [[31.0], [21.0, 41.0]]


def said_by(message: Any) -> str:
    text: str = message.body["text"]
    return text


@pytest.mark.parametrize("pair", PAIRS)
def test_the_pages_own_tests_pass(installed: Path, tmp_path: Path, pair: str, request: pytest.FixtureRequest) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_examples.py").write_text(blocks()["test_examples.py"])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tests, capture_output=True, text=True, timeout=120, check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(installed), str(PAGE.parents[1])]),
            **PYTEST_ALONE,
            **store_urls(pair, request),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def public_modules() -> list[str]:
    section = PAGE.read_text().partition("## The public interface")[2]
    return re.findall(r"^\| `(cenergyd[\w.]*)` \|", section, re.MULTILINE)


def test_what_is_said_to_be_public_is_there_and_is_all_that_examples_use() -> None:
    public = public_modules()
    assert len(public) == 8
    for module in public:
        assert importlib.import_module(module).__doc__
    assert f"| {hookspecs.HOOK_VERSION} |" in PAGE.read_text()
    examples = [path.read_text() for path in (PAGE.parents[1] / "examples" / "plugins").rglob("*.py")]
    made = [text for hook in HOOKS for path, text in files("x", hook).items() if path.endswith(".py")]
    for text in (*blocks().values(), *examples, *made):
        for module in re.findall(r"^from (cenergyd[\w.]*) import", text, re.MULTILINE):
            assert module in public, f"{module} is not public"


def test_all_that_hooks_are_given_can_be_named_from_the_contract() -> None:
    for name in ("AlertRule", "AlertRuleType", "WindowVerdict"):
        assert hasattr(hookspecs, name)
    for name in ("Attempt", "Channel", "ChannelType", "JobContext", "Notification", "Resource", "AlignedReading"):
        assert hasattr(hookspecs, name)
