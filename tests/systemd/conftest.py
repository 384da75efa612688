"""One container for all tests of this folder, with cenergyd installed by the README's own lines; each test begins with nothing stored."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote

import pytest

from tests.systemd.machine import CHECKOUT, Machine, copy_debian, install_debian, why_not

SERIAL = "001EC6001433"
PASSWORD = "correct horse"
INI = "/etc/cenergyd/cenergyd.ini"
# By bash alone: Python takes 0.2 s of CPU to start.
_ASK_READY = (
    "exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3"
    ' && read -r -t 60 _ status _ <&3 && [ "$status" = 200 ]'
)
_SECTION = re.compile(r"^## In production.*?$(.*?)^## ", re.MULTILINE | re.DOTALL)


def readme_lines() -> tuple[str, str]:
    """The README's lines that install, and those that start."""
    section = _SECTION.search((CHECKOUT / "README.md").read_text(encoding="utf-8"))
    assert section is not None
    blocks = re.findall(r"(?:^    .+\n)+", section[1], re.MULTILINE)
    install = next(block for block in blocks if "-m venv" in block)
    start = next(block for block in blocks if "systemctl" in block)
    return install, start.splitlines()[0]


class InstalledDaemon:
    """The daemon in the container."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.run = machine.run
        self.since = 0.0

    def clear(self) -> None:
        """As after the installation: nothing runs, nothing is stored, units and ini as shipped."""
        install = "".join(line + ";" for line in readme_lines()[0].splitlines() if line.strip().startswith("install "))
        self.run(
            "systemctl stop cenergyd.socket 'cenergyd*.service'; systemctl disable cenergyd 2>/dev/null;"
            " systemctl disable cenergyd.socket cenergyd@1 cenergyd@2 2>/dev/null;"
            " rm -rf /var/lib/cenergyd /var/lib/private/cenergyd /etc/cenergyd /etc/systemd/system/cenergyd*;"
            " rm -rf /run/systemd/system/cenergyd*;"
            f" {install} systemctl daemon-reload; systemctl reset-failed 2>/dev/null; true"
        )
        self.since = time.time()

    def start(self) -> None:
        """By the README's line."""
        self.run(readme_lines()[1])

    def set(self, **settings: str) -> None:
        """Write settings, ``section__key``, into the ini instead of the defaults."""
        lines = ""
        for name, value in settings.items():
            section, _, key = name.partition("__")
            lines += f"[{section}]\n{key} = {value}\n"
        self.run(f"cat > {INI}", stdin=lines)

    def drop_in(self, unit: str, lines: str) -> None:
        """More lines of a unit."""
        self.run(f"mkdir -p /run/systemd/system/{unit}.d && cat > /run/systemd/system/{unit}.d/test.conf", stdin=lines)
        self.run("systemctl daemon-reload")

    def show(self, what: str, unit: str = "cenergyd") -> str:
        """A property of a unit."""
        return self.run(f"systemctl show --value -p {what} {unit}").stdout.strip()

    def journal(self, unit: str = "cenergyd") -> str:
        """What it said since the test began."""
        return self.run(f"journalctl --no-pager -o cat --since @{self.since:.6f} -u {unit}").stdout

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
        """Poll until it is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}\n{self.journal()[-3000:]}"
            time.sleep(0.2)

    def ready(self, port: int = 8080) -> bool:
        """What /readyz says."""
        return self.run(f"bash -c {quote(_ASK_READY.format(port=port))}", check=False).returncode == 0

    def wait_ready(self, port: int = 8080) -> None:
        """Return once it is."""
        # One process inside that asks until then; a new one for each question took more CPU than the daemon's start.
        until = (
            f"for _ in $(seq 600); do bash -c {quote(_ASK_READY.format(port=port))} && exit; sleep 0.1; done; exit 1"
        )
        self.wait(lambda: self.run(until, check=False).returncode == 0, "ready")

    def add_customer(self, environment: str = "") -> None:
        """A customer whose meters 1 and 2 are load and solar, by the command line, as root."""
        self.run(
            f"{environment} /opt/cenergyd/bin/cenergyd customers add --config {INI} --name Main --serial {SERIAL}"
            " --load 1 --solar 2 --password-stdin",
            stdin=f"{PASSWORD}\n",
        )

    def stored(self) -> int:
        """Readings of the meters in the embedded store."""
        count = (
            "import sqlite3; d = sqlite3.connect('/var/lib/cenergyd/var/readings.sqlite');"
            " print(d.execute('SELECT count(*) FROM reading JOIN series ON id = series_id'"
            f" ' WHERE name LIKE \\'{SERIAL}_%\\' AND name NOT LIKE \\'%missing%\\'').fetchone()[0])"
        )
        return int(self.run(f'python3 -c "{count}"').stdout)


class UploadLoad:
    """Loggers that upload all the time."""

    def __init__(self, machine: Machine, port: int) -> None:
        script = Path(__file__).with_name("load.py")
        self._process = machine.on_its_network([sys.executable, str(script), str(port), SERIAL, PASSWORD])

    def counts(self) -> dict[str, int]:
        """How many uploads have ended how."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        counts: dict[str, int] = json.loads(self._process.stdout.readline())
        return counts

    def end(self) -> dict[str, int]:
        """Stop; how many uploads ended how."""
        output, _ = self._process.communicate("", timeout=500)
        counts: dict[str, int] = json.loads(output)
        return counts


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("machine") / "debian"
    try:
        copy_debian(install_debian(), root)
        booted = Machine(root)
        booted.boot()
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no container boots here: {error}")
    try:
        # As root's shell is on a machine that was hardened: what is installed must be readable for the daemon's user nevertheless.
        booted.run("umask 077;" + readme_lines()[0], timeout=300)
        yield booted
    finally:
        booted.end()


@pytest.fixture
def installed(machine: Machine) -> Iterator[InstalledDaemon]:
    """Installed and not started."""
    daemon = InstalledDaemon(machine)
    daemon.clear()
    yield daemon


@pytest.fixture
def started(installed: InstalledDaemon) -> InstalledDaemon:
    """Running on the settings as shipped, with one customer."""
    installed.start()
    installed.wait_ready()
    installed.add_customer()
    return installed


@pytest.fixture
def load(machine: Machine) -> Iterator[Callable[[int], UploadLoad]]:
    """Begins uploads to a port."""
    begun: list[UploadLoad] = []

    def begin(port: int) -> UploadLoad:
        begun.append(UploadLoad(machine, port))
        return begun[-1]

    yield begin
    for one in begun:
        if one._process.poll() is None:
            one._process.kill()
            one._process.wait()
