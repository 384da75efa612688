"""What the daemon stores and discloses: private files, no server name, no content sniffing, no 500."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.daemon_process import RunningDaemon
from tests.hostile.wire import exchange, status_of


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_state_folder_and_its_files_are_private_whoever_made_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    left = tmp_path / "customers.sqlite"
    left.touch()
    left.chmod(0o644)
    running = RunningDaemon(tmp_path, {})
    running.start()
    try:
        databases = [path for path in tmp_path.rglob("*") if ".sqlite" in path.name]
        assert len(databases) >= 2
        assert {path.name: mode(path) for path in databases} == {path.name: 0o600 for path in databases}
        made = {path.parent for path in databases}
        assert all(mode(folder) == 0o700 for folder in made if all(".sqlite" in file.name for file in folder.iterdir()))
    finally:
        running.kill()


@pytest.mark.parametrize("path", ["/", "/consume", "/healthz", "/readyz", "/metrics", "/static/app.css", "/api/v1/openapi.json", "/nothing", "/sign-in"])  # fmt: skip
def test_no_answer_names_the_server_or_lets_a_browser_guess(daemon: RunningDaemon, path: str) -> None:
    answer = exchange(daemon, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert status_of(answer) in (200, 302, 303, 400, 404)
    assert b"\r\nserver:" not in head
    assert b"\r\nx-content-type-options: nosniff" in head


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "\xff", "null", "http://a]b[", "x" * 4000])
@pytest.mark.parametrize("path", ["/api/v1/session", "/sign-in"])
def test_no_origin_is_an_error_of_ours(daemon: RunningDaemon, origin: str, path: str) -> None:
    body = json.dumps({"token": "cenergyd_x"})
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nOrigin: {origin}\r\n"
    answer = exchange(daemon, f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1"))
    assert 400 <= status_of(answer) < 500, answer[:200]
