"""examples/plugins: each is installed by pip, found by the daemon, and passes its own tests as it was installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.installing import PAIRS, store_urls

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples" / "plugins").glob("*/pyproject.toml"))


def run(folder: Path, path: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=180, check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )  # fmt: skip


def test_there_is_one_for_each_kind() -> None:
    assert [example.name for example in EXAMPLES] == ["mqtt_outlet", "notify_ntfy", "site_corrections"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_installs_and_works_on_all_stores(
    example: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(example, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    pip = ["pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), "."]
    installed = run(source, "", *pip)
    assert installed.returncode == 0, installed.stderr
    path = os.pathsep.join([str(target), str(ROOT)])
    listed = run(tmp_path, path, "cenergyd", "plugins")
    assert listed.returncode == 0, listed.stderr
    assert any(line.startswith(example.name) for line in listed.stdout.splitlines())
    assert f"#[plugin:{example.name}]" in run(tmp_path, path, "cenergyd", "plugins", "--options").stdout
    tests = tmp_path / "tests"
    shutil.copytree(example / "tests", tests)
    for pair in PAIRS:
        words = ("pytest", "-q", "-p", "no:twisted", "-p", "no:cacheprovider", ".")
        passed = run(tests, path, *words, **store_urls(pair, request))
        assert passed.returncode == 0, pair + passed.stdout + passed.stderr
