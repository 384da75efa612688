"""The README is correct: its plugin installs and runs, its commands and links exist."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cenergyd.cli import COMMANDS
from tests.daemon_process import RunningDaemon

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_NAMED_BLOCK = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOLAR_IS_MISSING = "0242EC000002"
"""The third of 'simulate --sites 3 --seed 1'; the README's plugin names it."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's plugin, installed by pip."""
    source = tmp_path_factory.mktemp("source")
    blocks = dict(_NAMED_BLOCK.findall(README))
    assert set(blocks) == {"clipsolar/pyproject.toml", "clipsolar/cenergyd_clipsolar.py"}
    for name, text in blocks.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    target = tmp_path_factory.mktemp("target")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            "--disable-pip-version-check", "--target", target, source / "clipsolar",
        ],
        check=True, timeout=300,
    )  # fmt: skip
    return target


def solar_at_night(folder: Path) -> set[float]:
    """Computed solar power that differs from the simulated one, kW."""
    with sqlite3.connect(folder / "readings.sqlite") as database:
        rows = database.execute(
            "SELECT P FROM reading JOIN series ON series.id = series_id WHERE name = ? AND P < 0.001",
            (f"{SOLAR_IS_MISSING}_missing_meter",),
        ).fetchall()
    return {row[0] for row in rows}


def upload_a_day(daemon: RunningDaemon) -> None:
    words = (
        "--sites",
        "3",
        "--seed",
        "1",
        "--interval",
        "300",
        "--upload-every",
        "21600",
        "--report",
        "r",
        "--register",
    )
    uploaded = daemon.run("simulate", "--url", f"{daemon.url}/consume", *words)
    assert uploaded.returncode == 0, uploaded.stderr
    # Waits until all is derived; with the plugin some of it is not the plain difference, which is what we want to see.
    daemon.run("simulate", "--check", "r", "--wait", "100")


def test_the_plugin_of_the_readme_installs_and_computes(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), str(ROOT)]))
    daemon = RunningDaemon(tmp_path)
    listed = daemon.run("plugins")
    assert re.search(r"^clipsolar +cenergyd-clipsolar 1\.0 +cenergyd_derive$", listed.stdout, re.MULTILINE)
    try:
        daemon.start()
        upload_a_day(daemon)
    finally:
        daemon.kill()
    assert min(solar_at_night(tmp_path)) == 0.0


def test_disabled_it_leaves_the_work_to_the_built_in_one(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), str(ROOT)]))
    daemon = RunningDaemon(tmp_path, {"plugins.disabled": "clipsolar"})
    try:
        daemon.start()
        upload_a_day(daemon)
    finally:
        daemon.kill()
    assert min(solar_at_night(tmp_path)) == pytest.approx(-0.004)


def test_every_command_is_named() -> None:
    for command in COMMANDS:
        assert re.search(rf"`{command}\b|, `?{command}\b", README), command


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("## ")
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert anchor in headings


def test_settings_that_are_named_exist() -> None:
    ini = (ROOT / "etc" / "cenergyd.ini").read_text(encoding="utf-8")
    for section, key in re.findall(r"`\[(\w+)\] (\w+)`", README):
        assert re.search(rf"^\[{section}\]$.*?^#?{key} =", ini, re.MULTILINE | re.DOTALL), f"[{section}] {key}"


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+)", README):
        if target not in {"it", "git"}:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
