"""The systemd units: valid, hardened, and the same in both variants."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from cenergyd.daemon.service import build_daemon
from cenergyd.runtime.ordered_services import CANCEL_SECONDS, LATE_SECONDS
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ("cenergyd.service", "cenergyd@.service")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not (os.access("/run", os.W_OK) or Path("/run/systemd").is_dir()),
    reason="systemd-analyze is not installed, or there is no /run/systemd and only root could make it",
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a program that exists here, under the names that they would have."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/cenergyd/bin/cenergyd", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    shutil.copy(tmp_path / "cenergyd@.service", tmp_path / "cenergyd@1.service")
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("unit", ["cenergyd.service", "cenergyd@1.service", "cenergyd.socket"])
def test_systemd_finds_nothing_wrong(installed: Path, unit: str) -> None:
    result = subprocess.run(
        ["systemd-analyze", "verify", installed / unit], capture_output=True, text=True, timeout=60, check=False,
        env={"SYSTEMD_UNIT_PATH": f"{installed}:", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "cenergyd" not in result.stderr


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_exposure_is_below_2(unit: str) -> None:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / unit],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert score, result.stdout + result.stderr
    assert float(score[1]) < 2


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_both_services_are_hardened_alike() -> None:
    one, many = map(settings, SERVICES)
    differ = {"Description", "After", "Requires", "ExecStart", "Sockets", "User"}
    assert {k: v for k, v in one.items() if k not in differ} == {k: v for k, v in many.items() if k not in differ}


@pytest.mark.parametrize("unit", SERVICES)
def test_what_the_daemon_relies_on(unit: str) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) >= 10
    assert found["DynamicUser"] == ["yes"]
    # pyOpenSSL makes callbacks at run time: TLS would fail under it.
    assert "MemoryDenyWriteExecute" not in found
    clock: Any = Clock()
    daemon = build_daemon(load_settings(Settings, None), clock)
    parts = len(daemon.services)  # type: ignore[arg-type]
    longest = daemon.stop_seconds + parts * (LATE_SECONDS + CANCEL_SECONDS)
    assert int(found["TimeoutStopSec"][0]) > longest, "even if every part hangs"
