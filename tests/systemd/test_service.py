"""cenergyd.service as shipped: start, reload, faults, watchdog, credentials, a port below 1024, stop under load."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.systemd.conftest import PASSWORD, SERIAL, InstalledDaemon, UploadLoad

pytestmark = [pytest.mark.systemd, pytest.mark.slow]
CREDENTIALS = {
    "customers-url": "sqlite:////var/lib/cenergyd/s3cret-customers.sqlite",
    "readings-url": "sqlite:////var/lib/cenergyd/s3cret-readings.sqlite",
}


def upload_once(daemon: InstalledDaemon, port: int = 8080) -> None:
    """Three hours of one meter, each log acknowledged."""
    script = (
        "import sys, time; from tests.systemd.load import body_of, outcome; now = int(time.time()) // 3600 * 3600;"
        f" print([outcome({port}, *body_of('{SERIAL}', '{PASSWORD}', '1', now - 3600 * n)) for n in (3, 2, 1)])"
    )
    process = daemon.machine.on_its_network([sys.executable, "-c", script])
    output, _ = process.communicate("", timeout=300)
    assert output.strip() == "['acknowledged', 'acknowledged', 'acknowledged']"


def test_the_readme_installs_a_daemon_that_takes_uploads(started: InstalledDaemon) -> None:
    assert started.show("ActiveState") == "active"
    assert started.run("systemctl is-enabled cenergyd").stdout.strip() == "enabled"
    started.wait(lambda: "One-time sign-in token" in started.journal(), "the token, a moment after it is ready")
    upload_once(started)
    assert started.stored() == 180
    process = started.show("MainPID")
    user = started.run(f"stat -c %u /proc/{process}").stdout.strip()
    assert int(user) > 0
    # As the daemon sees them: from outside, systemd 257 shows them as nobody's.
    look = (
        f"nsenter --target {process} --mount stat -L -c '%a %u' /var/lib/cenergyd /var/lib/cenergyd/var/readings.sqlite"
    )
    listed = started.run(look).stdout.split()
    assert listed == ["700", user, "600", user]
    assert started.run("ls -A /var/lib/cenergyd").stdout.split() == ["var"]


def test_the_journal_has_the_priority_of_each_line(started: InstalledDaemon) -> None:
    script = (
        "import sys; from tests.systemd.load import body_of, outcome;"
        f" print(outcome(8080, *body_of('{SERIAL}', 'wrong', '1', 1_700_000_000)))"
    )
    output, _ = started.machine.on_its_network([sys.executable, "-c", script]).communicate("", timeout=300)
    assert output.strip() == "401"
    journal = "journalctl --no-pager -o cat -u cenergyd --since @{:.6f} -p {}"

    def warnings() -> str:
        return started.run(journal.format(started.since, "warning..warning")).stdout

    # The journal has a line some time after it was written.
    started.wait(lambda: "unauthorized" in warnings(), "a warning")
    assert "listening on" not in warnings()
    assert "listening on" in started.run(journal.format(started.since, "info..info")).stdout


def test_commands_of_root_work_beside_it_and_after_it(started: InstalledDaemon) -> None:
    """What root's command leaves behind must not lock the daemon's own user out."""
    started.run("systemctl stop cenergyd")
    started.run(f"/opt/cenergyd/bin/cenergyd customers set {SERIAL} --name Other", folder="/")
    started.run("systemctl start cenergyd")
    started.wait_ready()
    assert "Other" in started.run("/opt/cenergyd/bin/cenergyd customers list", folder="/").stdout
    upload_once(started)


def test_a_reload_takes_new_settings_without_a_restart(started: InstalledDaemon) -> None:
    before = started.show("MainPID")
    started.set(server__max_connections="77", derivation__tolerance_seconds="31")
    done = started.run("systemctl reload cenergyd", check=False)
    assert done.returncode == 0, started.journal()
    started.wait(lambda: "settings read again" in started.journal(), "reload")
    started.wait(lambda: "need a restart: [derivation] tolerance_seconds" in started.journal(), "what needs a restart")
    assert started.show("MainPID") == before


def test_a_reload_of_a_wrong_ini_fails_and_changes_nothing(started: InstalledDaemon) -> None:
    before = started.show("MainPID")
    started.set(server__max_connections="many")
    done = started.run("systemctl reload cenergyd", check=False)
    assert done.returncode != 0
    started.wait(lambda: "max_connections" in started.journal(), "the reason")
    assert started.show("ActiveState") == "active"
    assert started.show("MainPID") == before
    assert started.ready()


def test_wrong_settings_are_not_restarted(installed: InstalledDaemon) -> None:
    installed.set(server__max_connections="many")
    assert installed.run("systemctl start cenergyd", check=False).returncode != 0
    assert (installed.show("ActiveState"), installed.show("ExecMainStatus")) == ("failed", "2")
    assert installed.show("NRestarts") == "0"


def test_a_program_that_ends_again_and_again_is_left_alone(installed: InstalledDaemon) -> None:
    installed.drop_in("cenergyd.service", "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=50ms\n")
    installed.run("systemctl start cenergyd", check=False)
    installed.wait(lambda: installed.show("Result") == "start-limit-hit" or started_often(installed), "start limit")
    installed.wait(lambda: installed.show("ActiveState") == "failed", "the end of starts")
    assert int(installed.show("NRestarts")) <= 10


def started_often(daemon: InstalledDaemon) -> bool:
    return "Start request repeated too quickly" in daemon.journal()


def test_a_frozen_daemon_is_restarted_by_the_watchdog(started: InstalledDaemon) -> None:
    upload_once(started)
    started.run("systemctl stop cenergyd")
    started.drop_in("cenergyd.service", "[Service]\nWatchdogSec=20\n")
    started.run("systemctl start cenergyd")
    started.wait_ready()
    # The watchdog is notified in time, again and again.
    reported: set[str] = set()
    started.wait(
        lambda: reported.add(started.show("WatchdogTimestampMonotonic")) or len(reported) > 2, "the watchdog's news"
    )  # type: ignore[func-returns-value]
    before = started.show("MainPID")
    assert started.show("NRestarts") == "0"
    started.run(f"kill -STOP {before}")
    started.wait(lambda: started.show("NRestarts") == "1", "restart")
    started.wait_ready()
    started.wait(lambda: "Watchdog timeout" in started.journal(), "the reason")
    assert started.show("MainPID") != before
    assert started.stored() == 180


def test_a_killed_daemon_comes_back_with_what_it_acknowledged(started: InstalledDaemon) -> None:
    upload_once(started)
    started.run(f"kill -KILL {started.show('MainPID')}")
    started.wait(lambda: started.show("NRestarts") == "1", "restart")
    started.wait_ready()
    assert started.stored() == 180
    upload_once(started)


def test_secrets_come_as_credentials_and_show_nowhere(installed: InstalledDaemon) -> None:
    installed.run("install -d -m700 /etc/cenergyd/secrets")
    for name, url in CREDENTIALS.items():
        installed.run(f"umask 077 && cat > /etc/cenergyd/secrets/{name}", stdin=url)
    installed.set(customers__url="@credential:customers-url", readings__url="@credential:readings-url")
    installed.run(r"sed -i -E 's/^#(LoadCredential=(customers|readings)-url)/\1/' /etc/systemd/system/cenergyd.service")
    installed.run("systemctl daemon-reload && systemctl start cenergyd")
    installed.wait_ready()
    # README: as root, commands find the secrets in their folder.
    installed.add_customer("CREDENTIALS_DIRECTORY=/etc/cenergyd/secrets")
    upload_once(installed)
    assert "s3cret" not in installed.journal()
    assert "s3cret" not in installed.run("systemctl show cenergyd").stdout
    assert installed.run("ls /var/lib/cenergyd/s3cret-readings.sqlite").returncode == 0


def test_port_443_with_a_key_that_only_root_reads(installed: InstalledDaemon, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("127.0.0.1")
    root = installed.machine.root
    installed.run("install -d -m700 /etc/cenergyd/secrets")
    shutil.copy(key, root / "etc/cenergyd/secrets/tls-key.pem")
    shutil.copy(chain, root / "etc/cenergyd/cert.pem")
    shutil.copy(authority.pem, root / "etc/cenergyd/ca.pem")
    installed.run("chmod 600 /etc/cenergyd/secrets/tls-key.pem; chmod 644 /etc/cenergyd/*.pem")
    installed.set(
        server__listen="ssl:443:privateKey=/run/credentials/cenergyd.service/tls-key.pem"
        ":certKey=/etc/cenergyd/cert.pem tcp:80"
    )
    installed.run(
        "sed -i 's/^#LoadCredential=tls-key.pem/LoadCredential=tls-key.pem/' /etc/systemd/system/cenergyd.service"
    )
    installed.run("systemctl daemon-reload && systemctl start cenergyd")
    installed.wait_ready(80)
    ask = (
        "import ssl, urllib.request as u; c = ssl.create_default_context(cafile='/etc/cenergyd/ca.pem');"
        " print(u.urlopen('https://127.0.0.1/readyz', context=c).status)"
    )
    assert installed.run(f'python3 -c "{ask}"').stdout.strip() == "200"
    assert installed.run(f"stat -c %u /proc/{installed.show('MainPID')}").stdout.strip() != "0"


def test_a_stop_under_load_cuts_no_upload_off(started: InstalledDaemon, load: Callable[[int], UploadLoad]) -> None:
    uploads = load(8080)
    started.wait(lambda: started.stored() > 1000, "uploads")
    started.run("systemctl stop cenergyd")
    started.wait(lambda: uploads.counts().get("refused", 0) > 0, "an upload after the stop")
    counts = uploads.end()
    assert counts.pop("acknowledged") * 60 > 1000
    assert counts.pop("refused") > 0
    assert counts == {}, "every upload that was begun was answered"
    assert (started.show("Result"), started.show("ExecMainStatus")) == ("success", "0")
    started.wait(lambda: "stopped" in started.journal(), "the last line")
