"""Several processes behind one socket of systemd: restarts under load refuse nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.systemd.conftest import InstalledDaemon, UploadLoad
from tests.systemd.machine import CHECKOUT

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


def documented_lines() -> str:
    """Those of docs/install.md."""
    text = (CHECKOUT / "docs" / "install.md").read_text(encoding="utf-8")
    block = re.search(r"(?:^    .*cenergyd@\.service.*\n)(?:^    .+\n)+", text, re.MULTILINE)
    assert block is not None
    return block[0]


@pytest.fixture
def pair(installed: InstalledDaemon) -> InstalledDaemon:
    """Two processes, installed by the documented lines, with one customer."""
    for line in documented_lines().splitlines():
        installed.run(line)
    for port in (8080, 18081, 18082):
        installed.wait_ready(port)
    installed.add_customer()
    return installed


def acknowledged(daemon: InstalledDaemon, port: int) -> float:
    """Uploads that one of the processes has acknowledged."""
    ask = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    text = daemon.run(f'python3 -c "{ask}"').stdout
    found = re.search(r'^cenergyd_uploads_total\{mode="LOGFILEUPLOAD",outcome="success"\} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_restarts_one_after_the_other_refuse_nothing(pair: InstalledDaemon, load: Callable[[int], UploadLoad]) -> None:
    uploads = load(8080)
    for port in (18081, 18082):
        pair.wait(lambda port=port: acknowledged(pair, port) > 5, f"uploads at {port}")  # type: ignore[misc]
    for number, port in (("1", 18081), ("2", 18082)):
        pair.run(f"systemctl restart cenergyd@{number}")
        pair.wait_ready(port)
        assert pair.show("Result", f"cenergyd@{number}") == "success"
    for port in (18081, 18082):
        pair.wait(lambda port=port: acknowledged(pair, port) > 5, f"uploads at {port} after its restart")  # type: ignore[misc]
    counts = uploads.end()
    assert counts.pop("acknowledged") > 20
    assert counts == {}


def test_one_that_is_killed_comes_back_and_the_other_answers_meanwhile(pair: InstalledDaemon) -> None:
    pair.run(f"kill -KILL {pair.show('MainPID', 'cenergyd@1')}")
    assert pair.ready(8080)
    pair.wait(lambda: pair.show("NRestarts", "cenergyd@1") == "1", "restart")
    pair.wait_ready(18081)


def test_a_reload_of_a_wrong_ini_fails_for_each(pair: InstalledDaemon) -> None:
    pair.set(server__max_connections="many")
    for number in ("1", "2"):
        assert pair.run(f"systemctl reload cenergyd@{number}", check=False).returncode != 0
        assert pair.show("ActiveState", f"cenergyd@{number}") == "active"


def test_the_socket_keeps_the_true_addresses_of_both_families(pair: InstalledDaemon) -> None:
    pair.run("systemctl stop cenergyd@1 cenergyd@2 cenergyd.socket")
    pair.drop_in("cenergyd.socket", "[Socket]\nListenStream=\nListenStream=8080\n")
    pair.run("systemctl start cenergyd.socket cenergyd@1 cenergyd@2")
    pair.wait_ready(18081)
    pair.wait_ready(18082)
    ask = "import urllib.request as u; u.urlopen('http://{}:8080/consume', b'MODE=LOGFILEUPLOAD')"
    for host in ("127.0.0.1", "[::1]"):
        pair.run(f'python3 -c "{ask.format(host)}"', check=False)

    def seen() -> set[str]:
        return set(re.findall(r"upload from (\S+) unauthorized", pair.journal("cenergyd@1 -u cenergyd@2")))

    # The journal has a line some time after it was written.
    pair.wait(lambda: len(seen()) > 1, "both")
    assert seen() == {"127.0.0.1", "::1"}
    assert "listening on http://[::]:8080/" in pair.journal("cenergyd@1 -u cenergyd@2")
