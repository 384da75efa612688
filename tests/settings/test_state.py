"""The state folder: one place, wherever a command is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from cenergyd.errors import ConfigError
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.settings.state import SYSTEM_STATE, in_folder, state_folder


def settings(**overrides: str) -> Settings:
    return load_settings(Settings, None, {key.replace("__", "."): value for key, value in overrides.items()})


def test_which_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    systemd = {"STATE_DIRECTORY": "/var/lib/private/cenergyd:/var/lib/private/cenergyd/var"}
    assert state_folder(settings(state__folder="/srv/x"), systemd, system_wide=True) == Path("/srv/x")
    assert state_folder(settings(), systemd, system_wide=True) == Path("/var/lib/private/cenergyd")
    assert state_folder(settings(), {}, system_wide=True) == SYSTEM_STATE
    assert state_folder(settings(), {}, system_wide=False) == tmp_path
    with pytest.raises(ConfigError, match="an absolute path is needed"):
        settings(state__folder="x")


def test_relative_paths_count_from_it_and_others_stay() -> None:
    found = in_folder(settings(), Path("/srv/x"))
    assert found.customers.url == "sqlite:////srv/x/var/customers.sqlite"
    assert found.readings.url == "sqlite:////srv/x/var/readings.sqlite"
    given = settings(
        customers__url="mongodb://h/d", readings__url="sqlite:////data/r.sqlite", archive__folder="/data/archive"
    )
    assert in_folder(given, Path("/srv/x")) == given
