"""The documentation: builds without a warning, loads nothing from elsewhere, and agrees with settings, bounds, metrics and commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from html import unescape
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import attrs
import pytest
from twisted.internet.task import Clock

from cenergyd.acquisuite.layouts import TABLE
from cenergyd.cli import COMMANDS
from cenergyd.daemon.reloading import LIVE
from cenergyd.daemon.service import build_daemon
from cenergyd.readings.model import VALUES
from cenergyd.settings.loader import load_settings, settings_in
from cenergyd.settings.sections import Settings

ROOT = Path(__file__).parents[1]
DOCS = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
BOUND = re.compile(
    r"max_|timeout_seconds|^concurren|^keep_|^chunk_|^batch_|^page_size|^event_streams|^sessions_|^claim_"
)
NO_BOUNDS = {"readings.keep_days": "how long to keep what was taken, not how much to take"}


def test_every_package_is_on_the_map() -> None:
    table = DOCS["architecture.md"]
    packages = {path.parent.name for path in (ROOT / "cenergyd").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_the_picture_of_the_packages_shows_their_order() -> None:
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    level = {name: number for number, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    del level["cli"]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (ROOT / "docs" / "rooms.svg").read_text())
    rows = [names for text in texts if set(names := re.split(r", | \| ", text)) <= level.keys()]
    assert sorted(name for row in rows for name in row) == sorted(level)
    for upper, lower in pairwise(rows):
        assert max(level[name] for name in upper) < min(level[name] for name in lower)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as CI builds it."""
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def page(site: Path, name: str) -> str:
    """The text of a page without its tags."""
    return unescape(re.sub(r"<[^>]+>", "", (site / name).read_text()))


def settings() -> Iterator[tuple[str, attrs.Attribute[Any]]]:
    """Every setting as section.key."""
    hints = get_type_hints(Settings)
    for section in attrs.fields(Settings):
        cls = hints[section.name]
        family = getattr(cls, "__origin__", None) is dict
        for field in settings_in(cls.__args__[1] if family else cls):
            yield f"{section.name}.{field.name}", field


SETTINGS = dict(settings())


def test_a_reader_loads_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]*"', text), path.name
        assert not re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//[^"]*"', text), path.name
        assert not re.findall(r'<link[^>]+href="(?:https?:)?//[^"]*"[^>]+rel="stylesheet"', text), path.name


def test_every_page_has_its_tables_and_lists(site: Path) -> None:
    """What Markdown did not understand would stand there as it was written."""
    for path in site.glob("*.html"):
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
        assert "|---" not in text, path.name
        assert "```" not in text, path.name
        assert not re.search(r"\]\([a-z]+\.md", text), path.name


def test_every_setting_is_in_the_reference(site: Path) -> None:
    text = (site / "settings.html").read_text()
    for name, field in SETTINGS.items():
        section, key = name.split(".")
        live = "live" if name in LIVE or section in LIVE else ""
        part = text[text.index(f'id="{section}"') :].split("<h2")[0]
        (row,) = re.findall(rf"<td><code>{key}</code>(.*?)</tr>", part, re.DOTALL)
        assert ("(live)" in row) == bool(live), name
        if field.metadata["default"]:
            assert field.metadata["default"] in unescape(row), name


def test_every_operation_and_schema_is_in_the_reference(site: Path) -> None:
    clock: Any = Clock()
    document = build_daemon(load_settings(Settings, None), clock).api_document
    text = page(site, "api.html")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in text
            for parameter in operation["parameters"]:
                assert parameter["name"] in text
    raw = (site / "api.html").read_text()
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name.lower()}"' in raw, name
    assert len(document["paths"]) > 30


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def bounds() -> Iterator[tuple[str, str, str, Path, str]]:
    """Rows of the tables: name, default, what happens, and the test's file and name."""
    for line in DOCS["bounds.md"].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if "::test_" in line:
            name, default, beyond, test = cells
            file, _, function = test.strip("` |").partition("::")
            yield name.strip("` "), default, beyond, ROOT / file, function


def test_every_bound_has_a_test() -> None:
    rows = list(bounds())
    assert len(rows) > 50
    for name, _, beyond, file, function in rows:
        assert beyond, name
        assert function in functions_of(file), f"{name}: {file.name} has no {function}"


def test_the_bounds_are_those_of_the_settings() -> None:
    listed = {name: default for name, default, *_ in bounds() if re.fullmatch(r"[a-z_]+\.[a-z_]+", name)}
    for name, default in listed.items():
        assert default == SETTINGS[name].metadata["default"], name
    missing = {name for name in SETTINGS if BOUND.search(name.split(".")[1])} - listed.keys() - NO_BOUNDS.keys()
    assert not missing, "these look like bounds: put them into docs/bounds.md, with a test"


def test_the_bounds_are_those_of_the_code() -> None:
    constants = [(name, value) for name, value, *_ in bounds() if name.rpartition(".")[2].isupper()]
    assert len(constants) > 30
    for name, value in constants:
        module, _, constant = name.rpartition(".")
        assert getattr(import_module(f"cenergyd.{module}"), constant) == float(value), name


def test_settings_that_are_named_exist() -> None:
    for name, text in DOCS.items():
        for section, key in re.findall(r"`\[(\w+)\] (\w+)`", text):
            assert f"{section}.{key}" in SETTINGS, f"{name}: [{section}] {key}"
        for section in re.findall(r"`\[(\w+)(?::\w+|:\.\.\.)?\]`", text):
            assert section in get_type_hints(Settings), f"{name}: [{section}]"


def test_commands_files_and_figures_that_are_named_exist(site: Path) -> None:
    known = page(site, "operating.html")
    for name, text in DOCS.items():
        for command in re.findall(r"(?:`|^ {4,}|/bin/)cenergyd ([a-z]+)", text, re.MULTILINE):
            assert command in COMMANDS, f"{name}: cenergyd {command}"
        for path in re.findall(r"`((?:contrib|systemd|etc|cenergyd|tests)/[\w./@-]+)`", text):
            assert (ROOT / path).exists(), f"{name}: {path}"
        for figure in re.findall(r"`(cenergyd_[a-z_]+_(?:total|seconds|uploads|customers)|cenergyd_ready)`", text):
            assert figure in known, f"{name}: {figure}"


def test_the_layouts_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([\w ]+) \| (.+?) \| (.+?) \|" + r" (\d+|none) \|" * 7 + "$",
        DOCS["protocol.md"],
        re.MULTILINE,
    )
    assert len(rows) == len(TABLE)
    for known, (name, classes, _, points, *columns) in zip(TABLE, rows, strict=True):
        assert name == known.layout.name
        assert frozenset(classes.split()) == known.classes
        assert frozenset(map(int, re.findall(r"\d+", points))) == known.points
        assert columns == [str(known.layout.columns.get(value, "none")) for value in VALUES]


def test_the_picture_is_an_image_of_its_own() -> None:
    picture = (ROOT / "docs" / "data-path.svg").read_text()
    assert "<title" in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
