"""``cenergyd plugins new``: what it makes passes its own tests at once, and is found once it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cenergyd import hookspecs
from cenergyd.commands.new_plugin import HOOKS, files
from tests import forking
from tests.plugins.installing import PYTEST_ALONE

ROOT = Path(__file__).parents[2]


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return forking.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new plugin for every hook, ``my_HOOK``."""
    folder = tmp_path_factory.mktemp("plugins")
    for hook in HOOKS:
        done = run(folder, "cenergyd", "plugins", "new", f"my_{hook}", "--hook", hook)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("hook", HOOKS)
def test_a_new_plugin_passes_its_own_tests(made: Path, hook: str) -> None:
    folder = made / f"my_{hook}"
    assert (folder / ".github" / "workflows" / "test.yml").exists()
    tested = run(folder, "pytest", "-q", "-p", "no:cacheprovider", **PYTEST_ALONE)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " passed" in tested.stdout
    style = run(folder, "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--select", "E,F,W,UP,B", ".")
    assert style.returncode == 0, style.stdout


def test_new_plugins_are_found_when_they_are_installed(made: Path, tmp_path: Path) -> None:
    pip = ("pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(tmp_path))
    installed = run(made, *pip, *(f"./my_{hook}" for hook in HOOKS))
    assert installed.returncode == 0, installed.stderr
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    listed = run(made, "cenergyd", "plugins", PYTHONPATH=path)
    assert listed.returncode == 0, listed.stderr
    options = run(made, "cenergyd", "plugins", "--options", PYTHONPATH=path)
    for hook in HOOKS:
        assert f"cenergyd_{hook}" in next(line for line in listed.stdout.splitlines() if line.startswith(f"my_{hook}"))
        assert f"#[plugin:my_{hook}]" in options.stdout


def test_there_is_one_for_every_hook() -> None:
    hooks = {name.removeprefix("cenergyd_") for name, item in vars(hookspecs).items() if hasattr(item, "cenergyd_spec")}
    assert set(HOOKS) == hooks
    for hook in HOOKS:
        assert f"def cenergyd_{hook}(" in files("my_plugin", hook)["my_plugin.py"]


@pytest.mark.parametrize("name", ["My", "my-plugin", "1st", "../up", ""])
def test_a_name_that_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    made = run(tmp_path, "cenergyd", "plugins", "new", name)
    assert made.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    made = run(tmp_path, "cenergyd", "plugins", "new", "here")
    assert made.returncode == 1
    assert "exists already" in made.stderr


@pytest.mark.parametrize("hook", HOOKS)
def test_nothing_is_left_to_fill_in(hook: str) -> None:
    for path, text in files("my_plugin", hook).items():
        assert "$" not in text.replace("${{", ""), path
