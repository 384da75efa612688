"""A proxy in front of a MongoDB server that counts finds, updates and, above all, documents written, from the wire.

MongoDB itself counts commands, of which one bulk update may write a thousand documents. Operations are also counted by collection and, for
cenergyd's documents, by kind.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import bson

PURPOSES = (
    (
        "update cenergyd_customer _id $or -> pending_claim",
        "mark what an upload brought, and claim it for the derivation",
    ),
    (
        "update cenergyd_customer _id pending_claim -> pending_start",
        "mark what somebody else has; of both marks one changes",
    ),
    ("update cenergyd_customer _id -> pending_start", "mark without claim"),
    (
        "update cenergyd_customer _id pending_claim jobs_claim jobs_start -> ",
        "end of the derivation, with its result, and of its jobs",
    ),
    ("update cenergyd_customer _id pending_claim -> ", "end of the derivation with its result, jobs next"),
    (
        "update cenergyd_customer _id pending_claim $or",
        "end of the derivation with its result, claimed for the jobs of the same daemon",
    ),
    ("update cenergyd_customer _id pending_start", "claim for the derivation"),
    ("update cenergyd_customer _id jobs_start", "claim for the jobs"),
    ("update cenergyd_customer _id jobs_claim", "end of the jobs"),
    ("update cenergyd_document logger", "what a logger and its meters did"),
    ("update cenergyd_document site", "a site's state"),
    ("find cenergyd_customer logger_serial_number", "whose logger it is"),
    ("find cenergyd_document layout", "columns of the logger's meters"),
    # Kinds of earlier versions.
    ("update cenergyd_document derivation", "how far a site is derived"),
    ("update cenergyd_document meter", "what a meter did"),
)
"""How a line of the details begins -> what it is for."""
_OP_MSG = 2013
_HEADER = 16


def purpose_of(detail: str) -> str:
    """The purpose of a counted operation; empty if it is rare or serves all sites together."""
    return next((purpose for start, purpose in PURPOSES if detail.startswith(start)), "")


class MongoCounter:
    """Listens on a free port and forwards everything to ``target``, in its own thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.counts: Counter[str] = Counter()
        self.detailed: Counter[str] = Counter()
        """Number of commands, and of statements in bulks, by subject."""
        self.port = 0
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, args=(ready,), daemon=True).start()
        ready.wait()

    @property
    def url(self) -> str:
        """The URL for clients."""
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
                        self.detailed.update(_details(document, body))
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


def _details(command: Mapping[str, Any], body: bytes) -> Counter[str]:
    name = next(iter(command))
    collection = str(command[name])
    if name == "find":
        query = command.get("filter", {})
        return Counter({f"find {collection} {_subject(query)}": 1})
    if name == "update":
        statements = [*command.get("updates", ()), *_sequence(body)]
        return Counter(f"update {collection} {_subject(each['q'], each.get('u'))}" for each in statements)
    return Counter({f"{name} {collection} {_subject(command.get('query', {}))}": 1})


def _subject(query: Mapping[str, Any], update: Any = None) -> str:
    """The kind of document in a query, or the fields of the query."""
    key = query.get("_id", "")
    if isinstance(key, Mapping):
        key = next(iter(key.values()))
    if isinstance(key, list):
        key = f"{key[0] if key else ''} and others"
    if isinstance(key, str) and "/" in key:
        return key.partition("/")[0] + (" and others" if key.endswith(" and others") else "")
    changes = update if isinstance(update, Mapping) else {}
    fields = [name for part in changes.values() if isinstance(part, Mapping) for name in part]
    return (
        " ".join(map(str, [*query, *(["->", *fields] if fields else ())]))
        if "kind" not in query
        else str(query["kind"])
    )


def _sequence(body: bytes) -> Iterator[Mapping[str, Any]]:
    """The documents of sections of kind 1."""
    position = 4  # flags
    while position < len(body):
        kind = body[position]
        (size,) = struct.unpack_from("<i", body, position + 1)
        end = position + 1 + size
        if kind == 1:
            at = body.index(b"\0", position + 5) + 1
            while at < end:
                (length,) = struct.unpack_from("<i", body, at)
                yield bson.decode(body[at : at + length])
                at += length
        position = end


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
