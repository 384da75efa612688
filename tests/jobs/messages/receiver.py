"""An HTTP server in a thread that takes JSON messages, for daemons in processes of their own."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from select import select
from socket import MSG_PEEK
from threading import Thread
from typing import Any, NamedTuple


class Message(NamedTuple):
    """One that was taken."""

    key: str | None
    """Its Idempotency-Key."""
    body: dict[str, Any]


class Receiver(ThreadingHTTPServer):
    """Listens on a loopback port (``server_port``); answers 503, and takes nothing, as long as it is ``busy``, or where nobody waits for the answer."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.busy = False
        self.refused = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                busy = receiver.busy or self._is_left()
                if busy:
                    receiver.refused += 1
                else:
                    receiver.got.append(Message(self.headers["Idempotency-Key"], body))
                self.send_response(503 if busy else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _is_left(self) -> bool:
                """Whether who asks has gone: a daemon that was killed meanwhile sends it again."""
                readable, _, _ = select([self.connection], [], [], 0)
                return bool(readable) and not self.connection.recv(1, MSG_PEEK)

            def log_message(self, *words: Any) -> None:
                return None

        super().__init__(("127.0.0.1", 0), Handler)
        Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self.shutdown()
        self.server_close()
