"""``cenergyd plugins new NAME``: the files of a working plugin, with tests and CI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

import click

from cenergyd import __version__
from cenergyd.commands.common import Failed
from cenergyd.hookspecs import HOOK_VERSION

HOOKS = ("derive", "job", "notify")

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

# The name on the left is what 'cenergyd plugins' lists, and [plugin:$name] in the ini sets the options of.
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

_HEAD = '''\
"""$about"""

from typing import Annotated

from msgspec import Meta

from cenergyd.hookspecs import $imports


class Options(Resource):
    """What [plugin:$name] in the ini may set."""

    $option


@hookimpl
def cenergyd_options():
    return Options

'''

_CODE: Mapping[str, str] = {
    "derive": '''
@hookimpl(tryfirst=True)
def cenergyd_derive(role, aligned, formula, options):
    """The built-in formula, with the computed power multiplied."""
    return [
        reading._replace(P=reading.P * options.factor, Q=None if reading.Q is None else reading.Q * options.factor)
        for reading in compute(role, aligned, formula)
    ]
''',
    "job": '''
@hookimpl
async def cenergyd_job(customer, start, end, context, options):
    """Keep the highest power of each UTC day of a role."""
    series = customer.series_of(options.role)
    if series is None:
        return
    for day in range(start - start % DAY, end, DAY):
        readings = (await context.readings.read([series], day, day + DAY))[series]
        powers = [reading.P for reading in readings if reading.P is not None]
        points = [FieldPoint(day, {"highest_kw": max(powers)})] if powers else []
        # Replaced, and computed from the whole day: run again, or with late readings, it ends in the same.
        await context.readings.replace_points(f"{series}_$name", day, day + DAY, points)
''',
    "notify": '''
@hookimpl
def cenergyd_notify(notification, channel, attempt, options):
    """Send to channels {"type": "$name", "to": ...}."""
    if channel["type"] != "$name":
        return None
    return attempt.in_thread(send, notification, channel["to"], options)


def send(notification, to, options):
    """Runs in a thread. True once the service has the message; docs/plugins.md says what to raise."""
    body = json.dumps({"to": to, "text": f"{notification.subject}\\n{notification.text}"}).encode()
    request = urllib.request.Request(options.url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.status == 200
''',
}

_TEST: Mapping[str, str] = {
    "derive": """\
import $name
import pytest

from cenergyd.testing import PluginTest, aligned, make_customer, simulate_day


def test_the_power_is_multiplied():
    plugin = PluginTest($name, "$name", options={"factor": "2"})
    computed = plugin.derive(make_customer("load"), "load", aligned(utility=[1.0, 2.0], solar=[3.0, 4.0]))
    assert [reading.P for reading in computed] == [8.0, 12.0]


def test_a_day_of_a_site():
    day = simulate_day("load")
    computed = PluginTest($name, "$name").day(day)
    assert [reading.P for reading in computed] == pytest.approx([reading.P for reading in day.readings["load"]])
""",
    "job": """\
import $name

from cenergyd.testing import PluginTest, simulate_day


def test_the_highest_power_of_a_day():
    day = simulate_day("load")
    plugin = PluginTest($name, "$name", options={"role": "solar"})
    plugin.day(day)  # also that the job, run again, gives the same
    series = day.customer.series_of("solar")
    highest = max(reading.P for reading in day.readings["solar"])
    assert [point.fields for point in plugin.points(f"{series}_$name")] == [{"highest_kw": highest}]
""",
    "notify": '''\
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import $name
import pytest

from cenergyd.hookspecs import Notification
from cenergyd.testing import PluginTest

MESSAGE = Notification("n1", "c1", "test", "Subject", "Text.", {})


@pytest.fixture
def service():
    """A service that takes messages, and what it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(server.answer)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answer = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def sender(service):
    return PluginTest($name, "$name", options={"url": f"http://127.0.0.1:{service.server_port}/"})


def test_a_message_is_taken(service):
    assert sender(service).notify(MESSAGE, {"type": "$name", "to": "me"}) is True
    assert service.got == [{"to": "me", "text": "Subject\\nText."}]


def test_a_service_in_trouble_is_tried_again(service):
    service.answer = 503
    with pytest.raises(OSError):
        sender(service).notify(MESSAGE, {"type": "$name", "to": "me"})


def test_another_channel_is_not_ours(service):
    assert sender(service).notify(MESSAGE, {"type": "email", "to": "a@example.org"}) is None
''',
}

_ABOUT = {
    "derive": "Computes the missing meter with a factor.",
    "job": "Keeps the highest power of each day.",
    "notify": "Sends messages to a service by HTTP.",
}
_OPTION = {
    "derive": 'factor: Annotated[float, Meta(gt=0, description="The computed power is multiplied by this.")] = 1.0',
    "job": (
        'role: Annotated[Literal["utility", "load", "solar"], Meta(description="Whose highest power is kept.")] = "load"'
    ),
    "notify": 'url: Annotated[str, Meta(description="Where the service takes messages.")] = "https://example.org/"',
}


def files(name: str, hook: str) -> dict[str, str]:
    """The plugin's files by path."""
    words = {
        "name": name,
        "dashed": name.replace("_", "-"),
        "about": _ABOUT[hook],
        "option": _OPTION[hook],
        "imports": "Resource, hookimpl",
        "version": __version__,
        "hook_version": str(HOOK_VERSION),
    }
    code = _HEAD + _CODE[hook]
    if hook == "derive":
        code = code.replace(
            "from cenergyd.hookspecs", "from cenergyd.derivation.formulas import compute\nfrom cenergyd.hookspecs"
        )
    if hook == "job":
        code = code.replace("import Annotated", "import Annotated, Literal")
        code = code.replace("$imports\n", "$imports\nfrom cenergyd.readings.model import FieldPoint\n\nDAY = 86400\n")
    if hook == "notify":
        code = code.replace('"""$about"""\n\n', '"""$about"""\n\nimport json\nimport urllib.request\n')
    texts = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        ".github/workflows/test.yml": _WORKFLOW,
        f"{name}.py": code,
        f"tests/test_{name}.py": _TEST[hook],
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
