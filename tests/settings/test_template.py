"""The ini file that is shipped, and what is said about a wrong one."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import get_type_hints

import attrs
import pytest

from cenergyd.errors import ConfigError
from cenergyd.settings.loader import load_settings, settings_in
from cenergyd.settings.retired import CONSTANT, RENAMED
from cenergyd.settings.sections import Settings
from cenergyd.settings.template import default_ini

SHIPPED = Path(__file__).parents[2] / "etc" / "cenergyd.ini"


def test_the_shipped_file_is_what_the_declarations_say() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == default_ini(), "run 'make ini'"


def test_the_shipped_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_settings(Settings, SHIPPED) == load_settings(Settings, None)


def declared() -> list[tuple[str, attrs.Attribute[object]]]:
    hints = get_type_hints(Settings)
    found = []
    for section in attrs.fields(Settings):
        kind = hints[section.name]
        cls = kind.__args__[1] if getattr(kind, "__origin__", None) is dict else kind
        found += [(section.name, field) for field in settings_in(cls)]
    return found


@pytest.mark.parametrize(("section", "field"), declared(), ids=lambda value: getattr(value, "name", value))
def test_every_setting_says_why_and_its_default_is_within_its_bounds(
    section: str, field: attrs.Attribute[object]
) -> None:
    assert field.metadata["why"].rstrip().endswith((".", ")")), "a reason is a sentence"
    field.metadata["kind"](field.metadata["default"])
    mark = "" if field.metadata["essential"] else "#"
    assert f"{mark}{field.name} = {field.metadata['default']}".rstrip() in default_ini().splitlines()


def test_every_line_is_a_comment_or_a_setting() -> None:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.read_string(default_ini())
    assert "layout:NAME" not in parser
    assert max(map(len, default_ini().splitlines())) <= 200


def test_the_shipped_file_fits_on_three_screens() -> None:
    assert len(default_ini().splitlines()) <= 3 * 66


def test_what_is_a_constant_now_is_a_warning_and_no_error(tmp_path: Path) -> None:
    file = tmp_path / "my.ini"
    file.write_text("[jobs]\nbatch_customers = nonsense\ninterval_seconds = 7\n")
    said: list[str] = []
    settings = load_settings(Settings, file, {"derivation.claim_seconds": "5"}, said.append)
    assert settings.jobs.interval_seconds == 7
    assert said == [
        f"{file}: [jobs] batch_customers: ignored, it is a constant now; remove the line",
        "command line: [derivation] claim_seconds: ignored, it is a constant now; remove the line",
    ]


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("alerts.fresh_seconds", "max_age_seconds", "7200"),
        ("outbox.repeatable", "idempotent_channels", "webhook"),
    ],
)
def test_a_renamed_setting_works_under_its_old_name(old: str, new: str, value: str) -> None:
    said: list[str] = []
    section, key = old.split(".")
    settings = load_settings(Settings, None, {old: value}, said.append)
    assert settings == load_settings(Settings, None, {f"{section}.{new}": value})
    assert said == [f"command line: [{section}] {key}: is called {new} now; the old name still works"]
    both = load_settings(Settings, None, {old: value, f"{section}.{new}": "1800"}, said.append)
    assert both == load_settings(Settings, None, {f"{section}.{new}": "1800"}), "the new name wins"


def test_no_setting_is_retired_and_there() -> None:
    names = {f"{section}.{field.name}" for section, field in declared()}
    assert not names & (CONSTANT | RENAMED.keys())
    assert {f"{old.split('.')[0]}.{new}" for old, new in RENAMED.items()} <= names


def wrong(tmp_path: Path, text: str) -> str:
    file = tmp_path / "my.ini"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_settings(Settings, file)
    return str(raised.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nmax_connections = many\n", "/my.ini: [server] max_connections = 'many': a whole number from 10 to"),
        (
            "[server]\nmax_conections = 5\n",
            "/my.ini: [server] max_conections: no such setting; did you mean max_connections",
        ),
        ("[sever]\n", "/my.ini: [sever]: no such section; did you mean server?"),
        ("[derivation]\nformula = magic\n", "[derivation] formula = 'magic': one of physical, literal is needed"),
        ("[readings]\nurl = http://x\n", "[readings] url: a URL that starts with sqlite:// or influxdb://"),
        ("[customers]\nurl = @file:/nowhere/at/all\n", "[customers] url: cannot read /nowhere/at/all"),
        ("[customers]\nurl = @env:CENERGYD_NOT_SET\n", "the environment variable CENERGYD_NOT_SET is not set"),
        ("listen = 1\n", "/my.ini: not an ini file"),
        ("[server]\na = 1\na = 2\n", "/my.ini: not an ini file"),
    ],
)
def test_a_wrong_file_is_reported_by_file_section_key_and_what_would_be_right(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in wrong(tmp_path, text)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    said = wrong(tmp_path, "[server]\nmax_connections = x\n[web]\nhsts_seconds = -1\n")
    assert len(said.splitlines()) == 2


def test_a_secret_is_not_repeated_in_a_message(tmp_path: Path) -> None:
    assert "hunter2" not in wrong(tmp_path, "[readings]\nurl = http://me:hunter2@host/\n")


def test_a_missing_file_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere\.ini: cannot read the settings: No such file"):
        load_settings(Settings, Path("/nowhere.ini"))


def test_overrides_win_and_are_blamed_by_name(tmp_path: Path) -> None:
    file = tmp_path / "my.ini"
    file.write_text("[server]\nmax_connections = 100\n[layout:a.b]\nP = 4\n")
    settings = load_settings(Settings, file, {"server.max_connections": "200", "layout:a.b.L1_PF": "5"})
    assert settings.server.max_connections == 200
    assert (settings.layout["a.b"].P, settings.layout["a.b"].L1_PF) == ("4", "5")
    with pytest.raises(ConfigError, match=r"^command line: \[server\] max_connections"):
        load_settings(Settings, file, {"server.max_connections": "no"})
    with pytest.raises(ConfigError, match=r"^command line: \[nothing\]: no such section"):
        load_settings(Settings, file, {"nothing.at_all": "1"})


def test_secrets_come_from_files_credentials_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_text("sqlite:///one.sqlite\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("CENERGYD_URL", "sqlite:///two.sqlite")
    for source, wanted in (
        (f"@file:{tmp_path}/one", "sqlite:///one.sqlite"),
        ("@credential:one", "sqlite:///one.sqlite"),
        ("@env:CENERGYD_URL", "sqlite:///two.sqlite"),
    ):
        assert load_settings(Settings, None, {"customers.url": source}).customers.url == wanted
