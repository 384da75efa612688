"""The conformance suite passes against our daemon, and fails against servers that violate the protocol."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cenergyd.tools.conformance.checks import RULES, run_checks
from cenergyd.tools.conformance.client import Server
from cenergyd.tools.conformance.rules import ProtocolRule
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, add_customer

SERIAL = "001EC6001433"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    daemon = RunningDaemon(
        tmp_path_factory.mktemp("conformance"),
        {
            "cenergyd.ingest.log_reader.MAX_INFLATED_BYTES": "67108864",
            "cenergyd.ingest.activity.INTERVAL_SECONDS": "0.1",
            "cenergyd.ingest.activity.REPEAT_SECONDS": "0",
        },
    )
    daemon.start()
    add_customer(daemon, SERIAL, load="1", solar="2")
    yield Server(f"{daemon.url}/consume", SERIAL, PASSWORD, timeout=120)
    assert daemon.stop() == 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.section}-{rule.check.__name__}")
def test_our_daemon(server: Server, rule: ProtocolRule) -> None:
    assert rule.check(server) is None


class FixedResponse(BaseHTTPRequestHandler):
    """Always gives the same response."""

    status, body = 200, b"SUCCESS\n"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.mark.parametrize(("status", "body"), [(200, b"SUCCESS\n"), (406, b"FAILURE: no\n"), (500, b"oops")])
def test_other_servers_fail(status: int, body: bytes) -> None:
    handler = type("Handler", (FixedResponse,), {"status": status, "body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        faults = [
            fault for _, fault in run_checks(Server(f"http://127.0.0.1:{http.server_port}/", SERIAL, PASSWORD)) if fault
        ]
        http.shutdown()
        thread.join()
    assert len(faults) >= 10


def test_the_command(server: Server, tmp_path: Path) -> None:
    client = RunningDaemon(tmp_path)
    client.settings = {}
    done = client.run("conformance", server.url, "--serial", SERIAL, "--password-stdin", stdin=PASSWORD + "\n")
    assert done.returncode == 0, done.stdout
    assert f"{len(RULES)} of {len(RULES)} hold" in done.stdout
    nobody = f"http://127.0.0.1:{client.port}/consume"
    wrong = client.run("conformance", nobody, "--serial", SERIAL, "--password-stdin", stdin=PASSWORD + "\n")
    assert wrong.returncode == 1
    assert "FAIL" in wrong.stdout
    assert PASSWORD not in done.stdout
