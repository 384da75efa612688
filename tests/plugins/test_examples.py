"""examples/plugins: each is installed by pip, found by the daemon, and passes its own tests as it was installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forking
from tests.plugins.installing import PAIRS, PYTEST_ALONE, store_urls

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples" / "plugins").glob("*/pyproject.toml"))


def run(folder: Path, path: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=180, check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )  # fmt: skip


def test_there_is_one_for_each_kind() -> None:
    assert [example.name for example in EXAMPLES] == ["mqtt_outlet", "notify_ntfy", "site_corrections"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path on which all of them are, installed by one pip."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for example in EXAMPLES:
        left_out = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        shutil.copytree(example, source / example.name, ignore=left_out)
    pip = ["pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = run(source, "", *pip, *(f"./{example.name}" for example in EXAMPLES))
    assert done.returncode == 0, done.stderr
    return os.pathsep.join([str(target), str(ROOT)])


def test_all_are_found_when_they_are_installed(installed: str, tmp_path: Path) -> None:
    listed = run(tmp_path, installed, "cenergyd", "plugins")
    assert listed.returncode == 0, listed.stderr
    options = run(tmp_path, installed, "cenergyd", "plugins", "--options").stdout
    for example in EXAMPLES:
        assert any(line.startswith(example.name) for line in listed.stdout.splitlines())
        assert f"#[plugin:{example.name}]" in options


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_installed_example_passes_its_tests(
    example: Path, pair: str, installed: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tests = tmp_path / "tests"
    shutil.copytree(example / "tests", tests)
    # As ``python -m pytest`` with this path, by a process that has imported cenergyd already.
    code = "import sys, pytest; sys.path[:0] = sys.argv[1].split(':'); sys.exit(pytest.main(sys.argv[2:]))"
    passed = forking.run(
        [sys.executable, "-c", code, installed, "-q", "-p", "no:cacheprovider", "."],
        cwd=tests, capture_output=True, text=True, timeout=180,
        env={**os.environ, **PYTEST_ALONE, **store_urls(pair, request)},
    )  # fmt: skip
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert " passed" in passed.stdout
