"""SIGHUP and SIGTERM sent to a working daemon."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS, Layout
from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import stored
from tests.servers import RunningInflux

SERIAL = "001EC6001433"
ODD = Layout.of("odd", P=5)
CHANGED_PASSWORD = "another horse"


class ReloadedDaemon:
    """A daemon with a settings file, and what it says to a change of that."""

    def __init__(self, folder: Path) -> None:
        self.daemon = RunningDaemon(folder, {"cenergyd.ingest.credentials.CACHE_SECONDS": "3600"})
        self._ini = folder / "etc" / "cenergyd.ini"
        self._ini.parent.mkdir()
        self.write("[logging]\nformat = json\n")
        self._seen = 0

    def write(self, text: str) -> None:
        self._ini.write_text(text)

    def events(self) -> list[str]:
        """What the log said since the last call."""
        lines = self.daemon.log().rpartition("\n")[0].splitlines()  # one that is being written has no end yet
        new, self._seen = lines[self._seen :], len(lines)
        return [json.loads(line)["event"] if line.startswith("{") else line for line in new]

    def hang_up(self, text: str) -> None:
        """Change the file and send SIGHUP."""
        self.write(text)
        assert self.daemon.process is not None
        self.daemon.process.send_signal(signal.SIGHUP)

    def reload(self, text: str, answer: str) -> list[str]:
        """The same, and wait for the answer in the log; everything said meanwhile."""
        self.events()
        said: list[str] = []
        self.hang_up(text)

        def answered() -> bool:
            said.extend(self.events())
            return any(answer in event for event in said)

        wait_for(answered, what=answer)
        return said


@pytest.fixture
def reloading(tmp_path: Path) -> Iterator[ReloadedDaemon]:
    one = ReloadedDaemon(tmp_path)
    one.daemon.start()
    yield one
    one.daemon.kill()


def test_a_reload(reloading: ReloadedDaemon) -> None:
    daemon = reloading.daemon
    add_customer(daemon, SERIAL, load="1", solar="2")
    now = int(time.time()) // 60 * 60
    ahead = Reading(now + 3600, P=1.0)
    assert acknowledged(upload(daemon, SERIAL, "1", [ahead]))

    new = "[logging]\nformat = json\n[upload]\nmax_future_seconds = 1800\n[layout:odd]\ndevice_classes = 99\nP = 5\n"
    elsewhere = "[derivation]\ntolerance_seconds = 7\n[email]\npassword = hunter2\n"
    said = reloading.reload(new + elsewhere, "settings read again from etc/cenergyd.ini")
    assert "changes of these settings need a restart: [email] password, [derivation] tolerance_seconds" in said
    assert upload(daemon, SERIAL, "1", [ahead._replace(time=now + 3660)])[0] == 503
    assert stored(daemon, [f"{SERIAL}_1"])[0][f"{SERIAL}_1"] == [ahead], "the new bound counts"
    assert acknowledged(upload(daemon, SERIAL, "2", [Reading(now, P=1.5)], layout=ODD, device_class="99"))
    assert stored(daemon, [f"{SERIAL}_2"])[0][f"{SERIAL}_2"] == [Reading(now, P=1.5)], "the new layout counts"

    for wrong, complaint in (
        (
            "[upload]\nmax_future_seconds = many\n",
            "etc/cenergyd.ini: [upload] max_future_seconds = 'many': a whole number",
        ),
        ("[layout:odd]\ndevice_classes = 99\nP = x\n", "[layout:...]: "),
        ("[email]\npassword = @file:/nowhere\n", "read /nowhere: [Errno 2] No such file"),
    ):
        said = reloading.reload(wrong, "the settings stay as they were: ")
        assert any(complaint in event for event in said), said
        assert upload(daemon, SERIAL, "1", [ahead._replace(time=now + 3660)])[0] == 503
        assert stored(daemon, [f"{SERIAL}_1"])[0][f"{SERIAL}_1"] == [ahead], "the old bound stays"
        assert acknowledged(upload(daemon, SERIAL, "2", [Reading(now + 60, P=2.5)], layout=ODD, device_class="99"))
    assert stored(daemon, [f"{SERIAL}_2"])[0][f"{SERIAL}_2"][1] == Reading(now + 60, P=2.5), "the old layout stays"

    reloading.write("")
    # Another process changes the password. This one believes the old one for an hour, unless it is told.
    changed = daemon.run("customers", "set", SERIAL, "--password-stdin", stdin=CHANGED_PASSWORD + "\n")
    assert changed.returncode == 0, changed.stderr
    assert acknowledged(upload(daemon, SERIAL, "1", [Reading(now, P=1.0)]))
    reloading.hang_up("[logging]\nlevel = warn\n")
    wait_for(lambda: upload(daemon, SERIAL, "1", [ahead])[0] == 401, what="the old password's end")
    later = ahead._replace(time=now + 3720)
    assert acknowledged(upload(daemon, SERIAL, "1", [later], password=CHANGED_PASSWORD))
    assert stored(daemon, [f"{SERIAL}_1"])[0][f"{SERIAL}_1"] == [Reading(now, P=1.0), ahead, later], (
        "the bound is as before"
    )
    lines = daemon.log().splitlines()
    assert any(" warn cenergyd.ingest.receiver" in line for line in lines), (
        "the log is text now, as the file no longer says json"
    )
    assert "hunter2" not in daemon.log()
    assert daemon.stop() == 0
    assert " info " not in "".join(daemon.log().splitlines(keepends=True)[len(lines) :]), "and has no info any more"


class KeptConnection(threading.Thread):
    """A proxy that keeps its connection open and brings one upload after the other."""

    def __init__(self, daemon: RunningDaemon, serial: str) -> None:
        super().__init__()
        self._port, self._serial = daemon.port, serial
        self.acknowledged: list[Reading] = []
        self.connections = 0

    def run(self) -> None:
        time_of = int(time.time()) // 60 * 60 - 100_000 * 60
        values = readings(time_of, 50_000, 7.0)
        while True:
            link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
            try:
                link.connect()
            except OSError:
                return
            self.connections += 1
            try:
                self._upload_over(link, values)
            except (OSError, http.client.HTTPException):
                continue  # the reply was lost: not acknowledged
            finally:
                link.close()

    def _upload_over(self, link: http.client.HTTPConnection, values: list[Reading]) -> None:
        while True:
            value = values[len(self.acknowledged)]
            content = encode.gz(encode.log_text([value], VERIS))
            form = encode.log_fields(self._serial, PASSWORD, "1", content)
            kind, body = encode.multipart_form(form, encode.log_filename("1"), content)
            link.request("POST", "/consume", body, {"Content-Type": kind})
            reply = link.getresponse()
            if acknowledged((reply.status, reply.read())):
                self.acknowledged.append(value)
            if reply.getheader("Connection") == "close":
                return


def open_events(daemon: RunningDaemon, customer: str, token: str) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", daemon.port), timeout=120)
    link.sendall(
        f"GET /api/v1/customers/{customer}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    first = link.recv(65536)
    assert first.startswith(b"HTTP/1.1 200")
    return link


def test_a_stop_under_load(tmp_path: Path) -> None:
    """Acknowledged uploads are stored, the daemon ends soon although connections are busy, live views end, the exit code is 0."""
    daemon = RunningDaemon(
        tmp_path, {"server.shutdown_grace_seconds": "200", "cenergyd.ingest.activity.INTERVAL_SECONDS": "300"}
    )
    daemon.start()
    serials = [f"001EC60000{i:02X}" for i in range(3)]
    try:
        for serial in serials:
            add_customer(daemon, serial, load="1", solar="2")
        customer = json.loads(daemon.run("customers", "show", serials[0], "--json").stdout)["id"]
        token = daemon.run("token", "add", "x", "--operator").stdout.strip()
        loggers = [KeptConnection(daemon, serial) for serial in serials]
        view = open_events(daemon, customer, token)
        idle = socket.create_connection(("127.0.0.1", daemon.port), timeout=120)
        for logger in loggers:
            logger.start()
        wait_for(lambda: all(len(logger.acknowledged) > 20 for logger in loggers))
        code = daemon.stop()  # waits for a minute at most, less than the grace
        for logger in loggers:
            logger.join()
        while view.recv(65536):
            pass  # the end, and no reset
        assert idle.recv(100) == b""
        for link in (view, idle):
            link.close()
    finally:
        daemon.kill()
    assert code == 0
    said = daemon.log().splitlines()
    assert said[-1].endswith(": stopped")
    assert "not clean" not in daemon.log()
    assert "Traceback" not in daemon.log()
    found, _ = stored(daemon, [f"{serial}_1" for serial in serials])
    for logger, rows in zip(loggers, found.values(), strict=True):
        assert logger.connections < 5
        assert rows[: len(logger.acknowledged)] == logger.acknowledged
        assert len(rows) <= len(logger.acknowledged) + 1


def test_a_stop_answers_the_upload_whose_body_is_arriving(tmp_path: Path) -> None:
    # A new connection's request may come as late as on a slow machine.
    daemon = RunningDaemon(
        tmp_path, {"cenergyd.web.server.site._NEW_SECONDS": "100", "server.shutdown_grace_seconds": "200"}
    )
    daemon.start()
    try:
        add_customer(daemon, SERIAL, load="1", solar="2")
        content = encode.gz(encode.log_text(readings(int(time.time()) // 60 * 60, 1, 1.0), VERIS))
        kind, body = encode.multipart_form(
            encode.log_fields(SERIAL, PASSWORD, "1", content), encode.log_filename("1"), content
        )
        head = f"POST /consume HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with (
            socket.create_connection(("127.0.0.1", daemon.port), timeout=120) as halfway,
            socket.create_connection(("127.0.0.1", daemon.port), timeout=120) as new,
        ):
            halfway.sendall(head + body[:100])
            wait_for(lambda: b"cenergyd_connections 3.0" in daemon.get("/metrics")[1])
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "stopping: " in daemon.log())
            new.sendall(head + body)  # it connected in time
            halfway.sendall(body[100:])
            for link in (halfway, new):
                assert b"SUCCESS" in b"".join(iter(lambda link=link: link.recv(65536), b""))
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_a_stop_does_not_wait_for_a_store_for_ever(tmp_path: Path, own_influx: Callable[[], RunningInflux]) -> None:
    """InfluxDB is frozen: the upload in progress is not acknowledged, and the daemon ends nevertheless."""
    influx = own_influx()
    settings = {
        "readings.url": f"{influx.url}/x",
        # Longer than /metrics waits for a frozen store, which is 5 s: it has to answer before the upload is refused.
        "readings.timeout_seconds": "12",
        "server.shutdown_grace_seconds": "1",
    }
    daemon = RunningDaemon(tmp_path, settings)
    daemon.start()
    add_customer(daemon, SERIAL, load="1", solar="2")
    answers: list[object] = []
    stopping = threading.Event()

    def send() -> None:
        # As a logger: an upload that was refused before anybody saw it is sent again.
        while not stopping.is_set():
            try:
                answers.append(acknowledged(upload(daemon, SERIAL, "1", readings(int(time.time()) // 60 * 60, 1, 1.0))))
            except OSError:
                answers.append("cut")

    sender = threading.Thread(target=send)
    try:
        influx.pause()
        sender.start()
        wait_for(lambda: b"cenergyd_queued_uploads 1.0" in daemon.get("/metrics")[1])
        stopping.set()
        assert daemon.stop() == 0
        sender.join()
    finally:
        stopping.set()
        influx.resume()
        daemon.kill()
    assert answers
    assert set(answers) <= {False, "cut"}
