"""What :mod:`cenergyd.testing` gives plugin authors does what the daemon does."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta
from twisted.internet.defer import Deferred

from cenergyd.errors import ConfigError, DeliveryRefused
from cenergyd.hookspecs import Notification, Resource, hookimpl
from cenergyd.jobs.guarded_stores import NotAllowed
from cenergyd.plugins import load
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.runtime.isolation import PluginFailed
from cenergyd.testing import NOON, PluginTest, aligned, make_customer, make_readings, simulate_day
from tests.plugins.installing import PYTEST_ALONE, store_urls

NOTE = Notification("n1", "c1", "k", "Subject", "Text.\n", {})


class Options(Resource):
    factor: Annotated[float, Meta(gt=0, description="Factor.")] = 2.0


class Plugin:
    @hookimpl
    def cenergyd_options(self) -> type[Resource]:
        return Options

    @hookimpl(tryfirst=True)
    def cenergyd_derive(self, role: str, aligned: Any, options: Options) -> Any:
        if role == "solar":
            return [Reading(0, P=1.0)]
        return [Reading(pair.time, P=pair.utility.P * options.factor) for pair in aligned] if role == "load" else None

    @hookimpl
    async def cenergyd_job(self, customer: Any, start: int, end: int, context: Any) -> None:
        series = customer.series_of("load")
        found = (await context.readings.read([series], start, end))[series]
        points = [FieldPoint(start, {"count": len(found)})]
        await context.readings.replace_points(f"{series}_count", start, end, points)
        await context.pause()
        await context.in_thread(sum, [1, 2])
        await context.notify(NOTE)

    @hookimpl
    def cenergyd_periodic(self, context: Any) -> Any:
        return context.readings.write_points("001EC6001433_x", [FieldPoint(0, {"a": 1})])

    @hookimpl
    async def cenergyd_notify(self, channel: Any) -> bool:
        if channel["to"] == "nobody":
            raise DeliveryRefused("no such person")
        return True


def test_each_hook_is_run_with_the_options_of_the_ini() -> None:
    plugin = PluginTest(Plugin(), "mine", options={"factor": "3"})
    customer = make_customer("load")
    assert plugin.options.factor == 3
    computed = plugin.derive(customer, "load", aligned(utility=[1, 2], solar=[0, 0]))
    assert computed == [Reading(NOON, P=3.0), Reading(NOON + 60, P=6.0)]
    assert plugin.derive(customer, "utility", aligned(load=[1], solar=[0])) is None
    plugin.write(customer.series_of("load") or "", make_readings([1, None, 2]))
    plugin.job(customer, NOON, NOON + 3600)
    plugin.job(customer, NOON, NOON + 3600)
    assert [p.fields for p in plugin.points("001EC6001433_missing_meter_count")] == [{"count": 2}]
    assert plugin.messages == [NOTE]
    assert plugin.notify(NOTE, {"type": "x", "to": "me"}) is True


def test_what_the_daemon_refuses_is_refused() -> None:
    plugin = PluginTest(Plugin(), "mine")
    with pytest.raises(PluginFailed, match="time 0 was not requested"):
        plugin.derive(make_customer("solar"), "solar", aligned(utility=[1], load=[1]))
    with pytest.raises(NotAllowed, match="for_customer"):
        plugin.periodic()
    with pytest.raises(DeliveryRefused, match="no such person"):
        plugin.notify(NOTE, {"type": "x", "to": "nobody"})
    with pytest.raises(ConfigError, match="factor = '0'"):
        PluginTest(Plugin(), "mine", options={"factor": "0"})
    with pytest.raises(ConfigError, match="no such setting"):
        PluginTest(Plugin(), "mine", options={"fact": "0"})
    with pytest.raises(LookupError, match="cenergyd_derive"):
        PluginTest(types.SimpleNamespace(), "empty").derive(make_customer(), "load", [])


@pytest.mark.parametrize("missing", ["utility", "load", "solar"])
def test_a_simulated_day_obeys_the_site_equation(missing: Any) -> None:
    day = simulate_day(missing)
    assert len(day.aligned) == 1440
    for utility, load_, solar in zip(*(day.readings[role] for role in ("utility", "load", "solar")), strict=True):
        assert (load_.P or 0) == pytest.approx((utility.P or 0) + (solar.P or 0))
    computed = PluginTest(types.SimpleNamespace(), "none").day(day)  # the built-in plugin computes it
    assert [reading.P for reading in computed] == pytest.approx([reading.P for reading in day.readings[missing]])


def test_a_job_that_adds_to_what_is_stored_is_found_out() -> None:
    class Adds:
        total = 0

        @hookimpl
        async def cenergyd_job(self, customer: Any, start: int, context: Any) -> None:
            self.total += 1
            await context.readings.write_points(
                f"{customer.logger_serial_number}_n", [FieldPoint(start, {"n": self.total})]
            )

    with pytest.raises(AssertionError, match="other results"):
        PluginTest(Adds(), "adds").day(simulate_day(hours=1))


def test_aligned_readings_need_two_roles() -> None:
    for wrong in ({"load": [1.0]}, {"load": [1.0], "sun": [1.0]}, {"load": [1.0], "solar": []}):
        with pytest.raises(ValueError, match=r"needed|number"):
            aligned(**wrong)


def test_a_built_in_plugin_is_tested_the_same_way() -> None:
    plugin = PluginTest(load, "load")
    (reading,) = plugin.derive(make_customer(), "load", aligned(utility=[1.5], solar=[2.0])) or []
    assert reading.P == 3.5


WITH_IO = """
from twisted.internet import reactor
from twisted.internet.task import deferLater
from cenergyd.hookspecs import hookimpl
from cenergyd.testing import PluginTest, make_customer
import pytest

class Waits:
    @hookimpl
    async def cenergyd_job(self, customer):
        assert await deferLater(reactor, 0.05, lambda: 7) == 7
        raise KeyError(customer.id)

def test_it():
    plugin = PluginTest(Waits(), "waits")
    for _ in range(2):
        with pytest.raises(KeyError):
            plugin.job(make_customer(), 0, 1)

pytest_plugins = ["cenergyd.testing.fixtures"]

def test_a_daemon(running_daemon, simulated_day):
    daemon = running_daemon({"logging.level": "debug"})
    assert daemon.get("/healthz")[0] == 200
    assert len(simulated_day.aligned) == 1440
"""


def test_io_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "test_io.py").write_text(WITH_IO)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        env={**os.environ, **PYTEST_ALONE}, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("pair", ["embedded", "production"])
def test_all_of_it_works_on_both_pairs_of_stores(pair: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    urls = store_urls(pair, request)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:twisted", "-p", "no:cacheprovider", __file__, "-k", "not (on_both_pairs or io_is_waited or within_pytest_twisted)"],
        cwd=Path(__file__).parents[2], env={**os.environ, **urls}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_real_store_of_two_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CENERGYD_TEST_CUSTOMERS_URL", raising=False)
    monkeypatch.setenv("CENERGYD_TEST_READINGS_URL", "influxdb://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"only readings\.url is given"):
        PluginTest(types.SimpleNamespace(), "empty")


def test_within_pytest_twisted_what_cannot_end_is_reported() -> None:
    class Waits:
        @hookimpl
        def cenergyd_job(self) -> Deferred[None]:
            return Deferred()

    with pytest.raises(RuntimeError, match="-p no:twisted"):
        PluginTest(Waits(), "waits").job(make_customer(), 0, 1)
