"""A Debian that systemd-nspawn boots, without a network; commands in it run as root's.

What needs the network (debootstrap, the wheels of what cenergyd needs) is fetched once and kept in :data:`KEPT`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.parent_death import ending_with_tests

CHECKOUT = Path(__file__).parents[2]
KEPT = Path(os.environ.get("CENERGYD_TEST_MACHINES", "/var/cache/cenergyd-tests"))
SUITE = os.environ.get("CENERGYD_TEST_DEBIAN", "bookworm")
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv"
SOURCES = "/path/to/cenergyd"
"""Where the checkout is inside: the name that the README uses."""
_BOOT_SECONDS = 300.0
_NOT_COPIED = (".git", ".venv", "build", "dist", "var", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis", "tests")


def why_not() -> str | None:
    """Why no container can be booted here, or None."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    missing = [program for program in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian's packages debootstrap and systemd-container)"
    return None


class Machine:
    """One container, with a copy of Debian of its own.

    :param root: the folder of its files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = root.with_name(f"{root.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it, and wait until systemd has done what it does at a start. Raises RuntimeError with what it said."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ending_with_tests([*_nspawn(self.root), "--boot", "--private-network", "--console=read-only"]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(),
            )  # fmt: skip
        end = time.monotonic() + _BOOT_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            self._leader = _child_of(self._process.pid)
            if self._leader and self.run("systemctl is-system-running", check=False).stdout.strip() in (
                "running",
                "degraded",
            ):
                return
            time.sleep(0.2)
        said = self._log.read_text(errors="replace")[-2000:]
        self.end()
        raise RuntimeError(f"the container did not boot: {said}")

    def run(
        self, command: str, *, check: bool = True, stdin: str = "", timeout: float = 300, folder: str = SOURCES
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of bash inside, as root. With ``check``, fails with its output where it does not exit with 0."""
        inside = ["nsenter", "--target", str(self._leader), "--mount", "--uts", "--ipc", "--net", "--pid"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        done = subprocess.run(
            [*inside, *clean, "bash", "-c", f"cd {folder} 2>/dev/null || cd /; {command}"],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    def on_its_network(self, words: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program of this side that sees the container's network only."""
        inside = ["nsenter", "--target", str(self._leader), "--net", "--"]
        return subprocess.Popen([*inside, *words], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)

    def end(self) -> None:
        """Shut it down."""
        if self._process is None:
            return
        for number, seconds in ((signal.SIGTERM, 60), (signal.SIGKILL, 10)):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        self._process = None


def install_debian(suite: str = SUITE) -> Path:
    """A folder with a minimal Debian and the wheels of what cenergyd needs in ``/wheels``, made unless it is kept from before."""
    KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (KEPT / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run side by side begin at the same time
        return _installed(KEPT / suite)


def _installed(base: Path) -> Path:
    if not base.exists():
        suite = base.name
        unfinished = base.with_name(f"{suite}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _quiet(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(unfinished)])
        # Nothing is fetched from inside: pip finds everything in the folder.
        (unfinished / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        unfinished.rename(base)
    needed = hashlib.sha256((CHECKOUT / "setup.py").read_bytes()).hexdigest()
    mark = base / "wheels" / ".of"
    if not mark.exists() or mark.read_text() != needed:
        _fetch_wheels(base)
        mark.write_text(needed)
    return base


def copy_debian(base: Path, root: Path) -> None:
    """A copy to boot, with the checkout in :data:`SOURCES`."""
    _quiet(["cp", "-a", "--reflink=auto", str(base), str(root)])
    _copy_checkout(root)


def _fetch_wheels(base: Path) -> None:
    """By the Python inside, so that they fit it."""
    _copy_checkout(base)
    authorities = Path(os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"))
    trusted = [f"--bind-ro={authorities}:/tmp/ca.pem", "--setenv=PIP_CERT=/tmp/ca.pem"] if authorities.exists() else []
    fetch = (
        "set -e; rm -rf /wheels /tmp/venv; mkdir /wheels; python3 -m venv /tmp/venv; cd /;"
        f" PIP_CONFIG_FILE=/dev/null /tmp/venv/bin/pip -q wheel -w /wheels setuptools wheel {SOURCES};"
        f" rm -rf /tmp/venv {SOURCES} /wheels/cenergyd-*"
    )
    _quiet([*_nspawn(base), "--pipe", *trusted, "bash", "-c", fetch])


def _copy_checkout(root: Path) -> None:
    target = root / SOURCES.lstrip("/")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(CHECKOUT, target, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def _nspawn(root: Path) -> list[str]:
    # Without a systemd on this side there is no unit to make for it.
    booted = Path("/run/systemd/system").exists()
    words = ["systemd-nspawn", "--quiet", f"--directory={root}", f"--machine=cenergyd-{os.getpid()}", "--register=no"]
    return words if booted else [*words, "--keep-unit"]


def _environment() -> Mapping[str, str]:
    # systemd 256 and newer do not start on the older hierarchy, which some hosts still have.
    return {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


def _child_of(process: int) -> int:
    children = Path(f"/proc/{process}/task/{process}/children")
    words = children.read_text().split() if children.exists() else []
    return int(words[-1]) if words else 0


def _quiet(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=_environment(), timeout=1200)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
