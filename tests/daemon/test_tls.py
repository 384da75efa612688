"""A TLS endpoint of the daemon's own: uploads, cookies, HSTS."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from tests.certificates import Authority
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, acknowledged, add_customer, readings
from tests.http_call import call
from tests.servers import free_port

SERIAL = "001EC6001433"


class TlsDaemon:
    """A daemon that listens with TLS and, for comparison, without."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        chain, key = self.authority.issue("127.0.0.1")
        self.port = free_port()
        plain = free_port()
        self.daemon = RunningDaemon(
            folder,
            {
                "server.listen": f"tcp:{plain}:interface=127.0.0.1 "
                f"ssl:{self.port}:privateKey={key}:certKey={chain}:interface=127.0.0.1"
            },
            plain,
        )
        self.daemon.start()

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.pem))

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, secure: bool = True
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if secure:
            link = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=120, context=self.context())
        else:
            link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=120)
        return call(link, method, path, body, headers)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsDaemon]:
    one = TlsDaemon(tmp_path_factory.mktemp("tls"))
    yield one
    one.daemon.kill()


def test_an_upload(secure: TlsDaemon) -> None:
    add_customer(secure.daemon, SERIAL, load="1", solar="2")
    content = encode.log_text(readings(int(time.time()) // 60 * 60, 1, 1.0), VERIS)
    kind, body = encode.multipart_form(
        encode.log_fields(SERIAL, PASSWORD, "1", content), encode.log_filename("1"), content
    )
    status, _, said = secure.call("POST", "/consume", body, {"Content-Type": kind})
    assert acknowledged((status, said))
    assert f"listening on https://127.0.0.1:{secure.port}/" in secure.daemon.log()


def test_hsts_is_reported_over_tls_only(secure: TlsDaemon) -> None:
    for path in ("/api/v1/openapi.json", "/sign-in", "/"):
        _, headers, _ = secure.call("GET", path)
        assert headers["Strict-Transport-Security"] == "max-age=31536000", path
        _, headers, _ = secure.call("GET", path, secure=False)
        assert "Strict-Transport-Security" not in headers, path


def test_the_session_cookie_never_leaves_tls(secure: TlsDaemon) -> None:
    token = secure.daemon.run("token", "add", "x", "--operator").stdout.strip()
    body, kind = json.dumps({"token": token}).encode(), {"Content-Type": "application/json"}
    status, headers, _ = secure.call("POST", "/api/v1/session", body, kind)
    assert status == 200
    words = [word.strip().lower() for word in headers["Set-Cookie"].split(";")]
    assert words[0].startswith("__host-cenergyd=")
    assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(words)
    cookie = {"Cookie": headers["Set-Cookie"].split(";")[0]}
    assert secure.call("GET", "/api/v1/session", headers=cookie)[0] == 200
    assert secure.call("GET", "/api/v1/session", headers=cookie, secure=False)[0] == 401
    _, headers, _ = secure.call("POST", "/api/v1/session", body, kind, secure=False)
    assert "secure" not in headers["Set-Cookie"].lower()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(secure: TlsDaemon, version: ssl.TLSVersion) -> None:
    context = secure.context()
    context.minimum_version = context.maximum_version = version
    link = http.client.HTTPSConnection("127.0.0.1", secure.port, timeout=120, context=context)
    link.request("GET", "/healthz")
    assert link.getresponse().read() == b"ok\n"
    link.close()


def test_plain_http_at_the_tls_port_is_no_upload(secure: TlsDaemon) -> None:
    link = http.client.HTTPConnection("127.0.0.1", secure.port, timeout=120)
    with pytest.raises((http.client.HTTPException, OSError)):
        link.request("GET", "/healthz")
        link.getresponse()
    link.close()
    assert secure.daemon.ready()


def test_a_key_that_cannot_be_read_is_reported(secure: TlsDaemon, tmp_path: Path) -> None:
    result = secure.daemon.run("run", "--set", f"server.listen=ssl:{free_port()}:privateKey={tmp_path}/gone.pem")
    assert result.returncode == 2
    assert "gone.pem" in result.stderr
    assert "Traceback" not in result.stderr
