"""Plugins of tests, put where a daemon finds them as if pip had installed them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def distribution(folder: Path, name: str, code: str, *, plugin: str | None = None, version: str = "1.2") -> None:
    """A distribution with one module and one entry point, in a folder that is on the path."""
    module = f"third_party_{name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[cenergyd]\n{plugin or name} = {module}\n")


def on_path_of_subprocesses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let daemons that a test starts find what is in the folder."""
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


# What plugins are installed beside these does not matter to them, and takes half of the time of such a run.
PYTEST_ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""The environment of a pytest that runs plugins' own tests."""

PAIRS = ("memory", "embedded", "production")
"""The stores that plugins' own tests run on: those of ``cenergyd.testing``, and both pairs of real ones."""


def store_urls(pair: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment that tells plugins' tests to use a pair of stores."""
    if pair == "memory":
        return {}
    if pair == "embedded":
        folder = f"sqlite:///{request.getfixturevalue('tmp_path')}"
        return {"CENERGYD_TEST_CUSTOMERS_URL": folder, "CENERGYD_TEST_READINGS_URL": folder}
    mongo, influx = request.getfixturevalue("mongo"), request.getfixturevalue("influx")
    return {"CENERGYD_TEST_CUSTOMERS_URL": mongo.url, "CENERGYD_TEST_READINGS_URL": influx.url}
