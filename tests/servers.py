"""Real servers for tests: InfluxDB and one that speaks MongoDB's wire protocol, each on free loopback ports.

Every server has a temporary folder of its own, is waited for by polling, and is ended by its process id.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from cenergyd.testing.daemon import freeze_process
from cenergyd.testing.ports import free_port
from tests.parent_death import ending_with_tests

READY_SECONDS = 120.0
PATIENT_SECONDS = 100.0
"""The timeout of a store in a test in which its server does not fail: a slow answer on a busy machine is no outage."""
PATIENT = {f"{store}.timeout_seconds": str(PATIENT_SECONDS) for store in ("customers", "readings")}
"""The same as settings."""


def program(name: str) -> str:
    """A server's program: beside Python, where ``make test`` puts it, or installed. Its bare name where it is neither."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=os.pathsep.join([str(beside), os.environ["PATH"], "/usr/sbin"])) or name


class RunningServer:
    """A server process with its folder; the data survive :meth:`stop`, :meth:`kill` and :meth:`start`.

    :param folder: where its folder is to be kept, under its name; by default a new temporary one.
    """

    name = "server"

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder / self.name if folder else Path(mkdtemp(prefix=f"cenergyd-{self.name}-"))
        self.folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where a client finds it."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it serves a request now."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            ending_with_tests(self.command()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        log.close()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return once it answers; raise with the end of its log if it does not."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if self.process is None or self.process.poll() is not None:
                break
            if self.answers():
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} did not start: {self.log()[-2000:]}")

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop it cleanly; the data stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would; the data stay."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing is answered."""
        if self.process is not None and self.process.poll() is None:
            freeze_process(self.process.pid)

    def resume(self) -> None:
        """Thaw it."""
        self._send(signal.SIGCONT)

    def fill_disk(self) -> None:
        """None of its files may grow any more: its writes fail, as on a full disk (with EFBIG for ENOSPC; its log's too)."""
        self._limit_files(1)

    def free_disk(self) -> None:
        """Its files may grow again. What has given up because of it needs a restart."""
        self._limit_files(resource.RLIM_INFINITY)

    def destroy(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _limit_files(self, size: int) -> None:
        if self.process is not None and self.process.poll() is None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self._send(number)
        self._send(signal.SIGCONT)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class RunningMongo(RunningServer):
    """A single server that speaks MongoDB's wire protocol.

    :param options: further command line options (``--auth``, ``--tls-cert-file``, ...).
    :param replica_set: whether it is a replica set of one server, which has change streams.
    """

    name = "mongo"

    def __init__(self, options: Sequence[str] = (), *, replica_set: bool = False, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.options = (*(() if replica_set else ("--standalone",)), *options)
        self.client_options: dict[str, object] = {}
        """What a client needs besides the address, in order to see that it answers (TLS)."""

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        program = Path(sys.executable).with_name("secantusd-py")
        return (
            str(program), "--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.folder / "data"),
            "--cache-size", "64M", "--log-level", "WARNING", *self.options,
        )  # fmt: skip

    def answers(self) -> bool:
        client: MongoClient[dict[str, object]] = MongoClient(
            self.url, serverSelectionTimeoutMS=500, directConnection=True, **self.client_options
        )
        try:
            client.admin.command("hello")
        except PyMongoError:
            return False
        else:
            return True
        finally:
            client.close()


class RunningMongoeco(RunningMongo):
    """Another server that speaks MongoDB's wire protocol, of another maker, without replica sets and options. It needs Python 3.13 or newer."""

    name = "mongoeco"

    def command(self) -> Sequence[str]:
        python = mongoeco_python()
        assert python is not None
        return (
            python,
            str(Path(__file__).with_name("mongoeco_server.py")),
            str(self.port),
            str(self.folder / "data.sqlite"),
        )


@cache
def mongoeco_python() -> str | None:
    """The Python that has ``mongoeco``: that of the tests, or of the environment that ``make test`` puts beside it; None without one."""
    for python in (Path(sys.executable), Path(sys.prefix) / "mongoeco" / "bin" / "python"):
        found = python.exists() and subprocess.run(
            [python, "-c", "import mongoeco.wire"], capture_output=True, check=False
        )
        if found and found.returncode == 0:
            return str(python)
    return None


INFLUX_CONF = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
  cache-max-memory-size = 268435456
  cache-snapshot-memory-size = 8388608
  {data}
[monitor]
  store-enabled = false
[retention]
  check-interval = "10m"
[continuous_queries]
  enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  {http}
"""


class RunningInflux(RunningServer):
    """An ``influxd`` 1.x.

    :param http: further lines of the configuration's ``[http]`` section (``auth-enabled = true``, ...).
    :param data: further lines of its ``[data]`` section.
    """

    name = "influx"

    def __init__(self, http: str = "", data: str = "", folder: Path | None = None) -> None:
        super().__init__(folder)
        self._scheme = "https" if "https-enabled = true" in http else "http"
        self._conf = self.folder / "influxdb.conf"
        self._conf.write_text(
            INFLUX_CONF.format(folder=self.folder, port=self.port, rpc_port=free_port(), http=http, data=data)
        )

    @property
    def http_url(self) -> str:
        """The address of its HTTP API."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"influxdb://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        return (program("influxd"), "run", "-config", str(self._conf))

    def answers(self) -> bool:
        try:
            unchecked = ssl._create_unverified_context() if self._scheme == "https" else None
            with urllib.request.urlopen(f"{self.http_url}/ping", timeout=1, context=unchecked) as response:
                return bool(response.status == 204)
        except (urllib.error.URLError, OSError):
            return False
