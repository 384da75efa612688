"""``cenergyd plugins new NAME``: the files of a working plugin, with tests and CI."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import click

from cenergyd import __version__
from cenergyd.commands.common import Failed
from cenergyd.commands.plugin_templates import TEMPLATES
from cenergyd.hookspecs import HOOK_VERSION

HOOKS = tuple(TEMPLATES)
"""The hooks that have a template."""

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=69"]
build-backend = "setuptools.build_meta"

[project]
name = "cenergyd-$dashed"
version = "0.1.0"
description = "A plugin of cenergyd"
requires-python = ">=3.11"
dependencies = ["cenergyd>=$version"]

[project.optional-dependencies]
test = ["pytest>=8"]

# The name on the left is the plugin's: in 'cenergyd plugins', and in [plugin:$name], the section of its options in the ini.
[project.entry-points.cenergyd]
$name = "$name"

[tool.setuptools]
py-modules = ["$name"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
addopts = "-p no:twisted"  # where pytest-twisted is installed: it would take the reactor
"""

_README = """\
# cenergyd-$dashed

A plugin of cenergyd (hook version $hook_version). Test it: `pip install -e '.[test]'` and `pytest`. Use it: `pip install .` into the daemon's
environment, restart; `cenergyd plugins` lists it, `cenergyd plugins --options` prints what `[plugin:$name]` may set.
"""

_WORKFLOW = """\
name: test
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - run: pip install '.[test]'
      - run: pytest
"""


def files(name: str, hook: str) -> dict[str, str]:
    """The plugin's files by path."""
    template = TEMPLATES[hook]
    words = {
        "name": name,
        "dashed": name.replace("_", "-"),
        "version": __version__,
        "hook_version": str(HOOK_VERSION),
    }
    texts = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        ".github/workflows/test.yml": _WORKFLOW,
        f"{name}.py": template.module,
        f"tests/test_{name}.py": template.test,
    }
    return {path: Template(text).safe_substitute(words) for path, text in texts.items()}


def make(name: str, hook: str, parent: Path) -> Path:
    """Write the files into a new folder named after the plugin. Raises Failed if it exists."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise click.BadParameter(
            "a plugin's name consists of small letters, digits and _, and begins with a letter", param_hint="NAME"
        )
    folder = parent / name
    if folder.exists():
        raise Failed(f"{folder} exists already")
    for path, text in files(name, hook).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder
