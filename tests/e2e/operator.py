"""An operator of a running daemon, over its API."""

from __future__ import annotations

import http.client
import json
from typing import Any

from cenergyd.testing.daemon import RunningDaemon
from tests.e2e.device import PASSWORD


class Operator:
    """Makes requests with an operator's token."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._daemon = daemon
        self._token = daemon.run("token", "add", "--operator", "o").stdout.strip()

    def text(self, method: str, path: str, body: Any = None) -> str:
        """The body of a response, which must be a success."""
        link = http.client.HTTPConnection("127.0.0.1", self._daemon.port, timeout=120)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", "If-Match": "*"}
        link.request(method, f"/api/v1/{path}", json.dumps(body) if body is not None else None, headers)
        reply = link.getresponse()
        content = reply.read().decode()
        link.close()
        assert reply.status in (200, 201, 202), (path, reply.status, content)
        return content

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The same, parsed."""
        return json.loads(self.text(method, path, body))

    def add_customer(self, serial: str, **settings: str) -> str:
        """The id of a new customer, whose logger has the password of :mod:`tests.e2e.device`."""
        wanted = {"name": f"Site {serial}", "logger_serial_number": serial, "logger_password": PASSWORD, **settings}
        return str(self.ask("POST", "customers", wanted)["id"])
