"""A fleet with every fault uploads a day to a daemon that is killed once: the store holds what was acknowledged, and no more is lost.

``cenergyd simulate`` and ``simulate --check`` are programs of their own here, as an operator would run them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import forking
from tests.daemon_process import RunningDaemon
from tests.e2e.device import wait_for

SITES = 20


def lines_of(report: Path) -> int:
    return report.read_bytes().count(b"\n") if report.exists() else 0


def test_store_holds_what_was_acknowledged(daemon: RunningDaemon) -> None:
    report = daemon.folder / "report.jsonl"
    words = [
        "simulate", "--url", f"{daemon.url}/consume", "--sites", str(SITES), "--days", "1", "--interval", "1800",
        "--upload-every", "7200", "--faults", "all", "--config-exchange", "--seed", "11", "--register",
        "--report", str(report), "--password-file", str(daemon.folder / "password"),
    ]  # fmt: skip
    fleet = forking.Popen(
        daemon.arguments(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=daemon.folder
    )
    wait_for(lambda: lines_of(report) > SITES + 100 or fleet.poll() is not None, 120, "a hundred uploads")
    daemon.kill()  # before the fleet has ended, unless this process did not run for seconds
    daemon.start()
    said, _ = fleet.communicate(timeout=400)
    assert fleet.returncode == 0, said
    assert f"in {SITES * 2 * 12} logs acknowledged" in said
    assert "replies lost on purpose" in said
    checked = daemon.run("simulate", "--check", str(report), "--wait", "100")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert ": 0 lost, 0 different" in checked.stdout
    assert ": 0 not derived, 0 wrongly derived" in checked.stdout
