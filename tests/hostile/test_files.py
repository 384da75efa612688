"""Every file that the daemon or a command makes is its owner's alone, whatever the umask."""

from __future__ import annotations

import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.config_files import HIDDEN, redact
from cenergyd.testing.daemon import RunningDaemon
from tests.e2e.device import PASSWORD, add_customer, raw_post, readings, upload, wait_for

SERIAL = "001EC6700009"
FIELD = Path(__file__).parent.parent / "field"


class Umask(subprocess.Popen[Any]):
    """Processes that begin with a umask that hides nothing."""

    mask = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, umask=self.mask)


@pytest.fixture(params=[0o000, 0o022], ids=["umask 000", "umask 022"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon that keeps all it can keep, in a state folder of its own."""
    popen = type("Popen", (Umask,), {"mask": request.param})
    state = tmp_path / "state"
    running = type("Running", (RunningDaemon,), {"popen": popen})(
        tmp_path,
        {
            "customers.url": f"sqlite:///{state}/customers.sqlite",
            "readings.url": f"sqlite:///{state}/readings.sqlite",
            "archive.folder": str(state / "archive"),
            "archive.days": "5",
        },
    )
    yield running
    running.kill()


def loose(folder: Path) -> dict[str, str]:
    """Files and folders that others than the owner may look at."""
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    return {str(path.relative_to(folder.parent)): oct(mode) for path, mode in found.items() if mode & 0o077}


def send_config(daemon: RunningDaemon, content: bytes) -> int:
    fields = {"MODE": "CONFIGFILEUPLOAD", "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD, "MODBUSDEVICE": "0"}
    kind, body = encode.multipart_form(fields, "loggerconfig.ini", content)
    return raw_post(daemon.port, "/consume", kind, body)[0]


def test_whatever_is_made_is_private(daemon: RunningDaemon, tmp_path: Path) -> None:
    daemon.start()
    add_customer(daemon, SERIAL, load="1", solar="2")
    now = int(time.time()) // 60 * 60
    assert upload(daemon, SERIAL, "1", readings(now - 600, 3, 1.0))[0] == 200
    assert upload(daemon, SERIAL, "9", readings(now - 600, 3, 1.0), device_class="4711")[0] in (200, 406)  # held
    send_config(daemon, b"[x]\nPASSWORD=topsecret\n")
    made = daemon.run("backup", str(tmp_path / "backup"))
    assert made.returncode == 0, made.stderr
    wait_for(lambda: any((tmp_path / "state" / "archive").glob("*")), what="the archive")
    names = {path.name for path in (tmp_path / "state").rglob("*")}
    assert {"customers.sqlite", "customers.sqlite-wal", "readings.sqlite", "readings.sqlite-wal", "archive"} <= names
    assert any((tmp_path / "state" / "archive").iterdir())
    assert any((tmp_path / "backup").iterdir())
    assert loose(tmp_path / "state") == {}
    assert loose(tmp_path / "backup") == {}
    daemon.stop()
    restored = tmp_path / "restored"
    daemon.settings |= {f"{store}.url": f"sqlite:///{restored}/{store}.sqlite" for store in ("customers", "readings")}
    done = daemon.run("restore", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert loose(restored) == {}


def test_the_token_that_a_first_start_prints_goes_to_no_file_but_the_log(daemon: RunningDaemon, tmp_path: Path) -> None:
    daemon.start()

    def printed() -> list[str]:
        return [word for word in daemon.log().split() if word.startswith("cenergyd_")]

    wait_for(printed, what="the token, which comes a moment after the daemon is ready")
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            assert printed()[0].encode() not in path.read_bytes(), path.name


SECRETS = (
    "PASSWORD", "PASS", "PASSCODE", "PASSPHRASE", "PASSWD", "UPLOADPASSWORD", "PWD", "PIN", "PSK", "WPAKEY", "WPAPSK", "WPA2KEY", "WEPKEY",
    "WEP0", "SECRET", "SHAREDSECRET", "PRIVATEKEY", "KEY", "APIKEY", "TOKEN", "ACCESSTOKEN", "COMMUNITY", "SNMPCOMMUNITY", "READCOMMUNITY",
    "USERNAME", "USER", "LOGIN", "CREDENTIALS", "AUTH", "SMTPAUTH",
)  # fmt: skip
HARMLESS = ("POINT00NAME", "BYPASS", "PASSIVE", "PASSTHRU", "SERIALNUMBER", "TIMEZONE", "LOOPNAME", "PINGTIME")


@pytest.mark.parametrize("separator", ["=", " = ", ":"])
@pytest.mark.parametrize("key", SECRETS)
def test_keys_that_mean_a_secret_are_hidden_in_a_config_file(key: str, separator: str) -> None:
    for name in (key, key.lower(), f"MODEM{key}", f"{key.title()}"):
        text = redact(f"[net]\r\n{name}{separator}hunter2-xyz\r\nLOOPNAME=Main\r\n".encode())
        assert "hunter2-xyz" not in text, name
        assert HIDDEN in text
        assert "LOOPNAME=Main" in text


@pytest.mark.parametrize("key", HARMLESS)
def test_others_are_shown(key: str) -> None:
    assert f"{key}=main" in redact(f"{key}=main\n".encode())


def test_real_config_files_show_no_secret_and_everything_else() -> None:
    files = [*FIELD.glob("*.ini"), *(FIELD.parent / "samples").glob("*.ini")]
    assert files
    for path in files:
        content = path.read_bytes()
        shown = redact(content).splitlines()
        lines = content.decode("latin-1").splitlines()
        assert len(shown) == len(lines)
        for line, was in zip(shown, lines, strict=True):
            key, _, value = was.partition("=")
            hides = HIDDEN in line
            assert not (hides and key.strip().startswith("POINT")), was
            if value.strip() and any(word in key.upper() for word in ("PASSW", "SECRET", "COMMUNITY", "WPA", "TOKEN")):
                assert hides, was
