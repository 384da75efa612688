"""A proxy in front of a MongoDB server that counts finds, updates and, above all, documents written, from the wire.

MongoDB counts commands; one bulk update may write a thousand documents.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import bson

_OP_MSG = 2013
_HEADER = 16


class MongoCounter:
    """Listens on a free port and passes everything on to ``target``, in a thread of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.counts: Counter[str] = Counter()
        self.port = 0
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, args=(ready,), daemon=True).start()
        ready.wait()

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"mongodb://127.0.0.1:{self.port}"

    def _serve(self, ready: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        asked: dict[int, str] = {}
        await asyncio.gather(
            self._pass_on(client, to_server, asked, is_request=True),
            self._pass_on(server, to_client, asked, is_request=False),
        )

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, asked: dict[int, str], *, is_request: bool
    ) -> None:
        try:
            while True:
                head = await source.readexactly(_HEADER)
                size, number, answers, opcode = struct.unpack("<iiii", head)
                body = await source.readexactly(size - _HEADER)
                target.write(head + body)
                if opcode == _OP_MSG:
                    document = _first_document(body)
                    if is_request:
                        asked[number] = next(iter(document))
                    else:
                        self._count(asked.pop(answers, "?"), document)
        except (asyncio.IncompleteReadError, ConnectionError):
            target.close()

    def _count(self, command: str, reply: Mapping[str, Any]) -> None:
        self.counts[f"{command} commands"] += 1
        cursor = reply.get("cursor", {})
        self.counts["documents read"] += len(cursor.get("firstBatch", cursor.get("nextBatch", ())))
        if command == "update":
            self.counts["documents written"] += reply.get("nModified", 0) + len(reply.get("upserted", ()))
        elif command in ("insert", "delete"):
            self.counts["documents written"] += reply.get("n", 0)
        elif command.lower() == "findandmodify":
            self.counts["documents written"] += reply.get("lastErrorObject", {}).get("n", 0)


def _first_document(body: bytes) -> Mapping[str, Any]:
    """The section of kind 0, which names the command or is the reply."""
    position = 4  # flags
    while position < len(body):
        kind = body[position]
        (size,) = struct.unpack_from("<i", body, position + 1)
        if kind == 0:
            return bson.decode(body[position + 1 : position + 1 + size])
        position += 1 + size
    return {"?": 1}
