"""contrib/nginx/cenergyd.conf, run by a real nginx: people over TLS only, loggers also without."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from tests.certificates import Authority
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, acknowledged, add_customer, readings, wait_for
from tests.http_call import call
from tests.parent_death import ending_with_tests
from tests.servers import free_port, program

CONF = Path(__file__).parent.parent / "contrib" / "nginx" / "cenergyd.conf"
SERIAL = "001EC6001433"
pytestmark = pytest.mark.skipif(
    shutil.which(program("nginx")) is None, reason="nginx is not there (make test takes it out of Debian's package)"
)
MAIN = """daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
{example}
}}
"""


class NginxProxy:
    """nginx before a daemon."""

    def __init__(self, folder: Path) -> None:
        self.secure, self.plain = free_port(), free_port()
        self.authority = Authority(folder)
        chain, key = self.authority.issue("127.0.0.1")
        self.daemon = RunningDaemon(folder, {"server.trusted_proxies": "127.0.0.1 ::1"})
        self.daemon.start()
        example = CONF.read_text()
        for there, here in (
            ("127.0.0.1:8080", f"127.0.0.1:{self.daemon.port}"),
            ("listen 443", f"listen 127.0.0.1:{self.secure}"),
            ("listen [::]:443", f"listen [::1]:{self.secure}"),
            ("listen 80", f"listen 127.0.0.1:{self.plain}"),
            ("listen [::]:80", f"listen [::1]:{self.plain}"),
            ("/etc/nginx/tls/cert.pem", str(chain)),
            ("/etc/nginx/tls/key.pem", str(key)),
        ):
            assert there in example
            example = example.replace(there, here)
        conf = folder / "nginx.conf"
        conf.write_text(MAIN.format(folder=folder, example=example))
        self.log = folder / "error.log"
        self.process = subprocess.Popen(ending_with_tests([program("nginx"), "-p", folder, "-e", self.log, "-c", conf]))

    def end(self) -> None:
        """Both."""
        self.process.terminate()
        self.process.wait(120)
        self.daemon.kill()

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, secure: bool,
        host: str = "127.0.0.1",
    ) -> tuple[int, http.client.HTTPMessage, bytes]:  # fmt: skip
        """One request through nginx."""
        context = ssl.create_default_context(cafile=str(self.authority.pem))
        context.check_hostname = host == "127.0.0.1"
        link = (
            http.client.HTTPSConnection(host, self.secure, timeout=120, context=context)
            if secure
            else http.client.HTTPConnection(host, self.plain, timeout=120)
        )
        return call(link, method, path, body, headers)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxProxy]:
    one = NginxProxy(tmp_path_factory.mktemp("nginx"))
    try:
        wait_for(lambda: _answers(one), 120, "nginx")
        yield one
    finally:
        one.end()


def _answers(front: NginxProxy) -> bool:
    assert front.process.poll() is None, front.log.read_text()
    try:
        return front.call("GET", "/sign-in", secure=True)[0] == 200
    except OSError:
        return False


def test_people_sign_in_over_tls_only(front: NginxProxy) -> None:
    token = front.daemon.run("token", "add", "x", "--operator").stdout.strip()
    body, kind = json.dumps({"token": token}).encode(), {"Content-Type": "application/json"}
    status, headers, _ = front.call("POST", "/api/v1/session", body, kind, secure=False)
    assert status == 308
    assert headers["Location"] == "https://127.0.0.1/api/v1/session"
    assert "Set-Cookie" not in headers
    status, headers, _ = front.call("POST", "/api/v1/session", body, kind, secure=True)
    assert status == 200
    assert headers["Set-Cookie"].startswith("__Host-cenergyd=")
    assert "secure" in headers["Set-Cookie"].lower()
    cookie = {"Cookie": headers["Set-Cookie"].split(";")[0]}
    assert front.call("GET", "/api/v1/session", headers=cookie, secure=True)[0] == 200
    assert front.call("GET", "/api/v1/session", headers=cookie, secure=False)[0] == 308


@pytest.mark.parametrize("secure", [False, True])
def test_loggers_upload_both_ways(front: NginxProxy, secure: bool) -> None:
    if not any("Site" in line for line in front.daemon.run("customers", "list").stdout.splitlines()):
        add_customer(front.daemon, SERIAL, load="1", solar="2")
    content = encode.log_text(readings(int(time.time()) // 60 * 60, 1, 1.0), VERIS)
    fields = encode.log_fields(SERIAL, PASSWORD, "1", content)
    kind, body = encode.multipart_form(fields, encode.log_filename("1"), content)
    status, _, said = front.call("POST", "/consume", body, {"Content-Type": kind}, secure=secure)
    assert acknowledged((status, said))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_daemon_sees_who_asks(front: NginxProxy, host: str) -> None:
    headers = {"X-Forwarded-For": "192.0.2.99", "Content-Type": "application/x-www-form-urlencoded"}
    front.call("POST", "/consume", b"MODE=LOGFILEUPLOAD", headers, secure=False, host=host)
    # Both hops are proxies of ours here, so the address that the client itself claims is the last that is none.
    wait_for(lambda: "upload from 192.0.2.99" in front.daemon.log(), 120, "the log line")


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz"])
def test_what_is_for_the_inside_stays_inside(front: NginxProxy, path: str) -> None:
    assert front.call("GET", path, secure=True)[0] == 404
    assert front.call("GET", path, secure=False)[0] == 308
