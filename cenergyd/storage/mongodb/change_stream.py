"""MongoDB's change stream of one collection: which documents were inserted, changed or removed.

Replica sets and sharded clusters have change streams, a single server has none. The stream is polled with short commands, because a command
that waits would block other commands on the same connection. It is not resumed after an error, because
:mod:`cenergyd.storage.mongodb.front_end` reads the whole collection each time a stream begins.

The commands: https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStream/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import Int64
from twisted.logger import Logger
from txmongo.database import Database
from txmongo.sessions import ClientSession

from cenergyd.errors import CenergydError
from cenergyd.storage.mongodb.connection import MongoDatabase

_BATCH = 500
_WAIT_MS = 1
# Only the document's id is needed. An event's "_id" is its position in the stream; MongoDB ends the stream if it is projected away.
_PIPELINE = [{"$changeStream": {}}, {"$project": {"_id": 1, "documentKey": 1}}]

log = Logger()


class ChangeStream:
    """The ids of changed documents, in order. No method raises: an error ends the stream."""

    def __init__(self, mongo: MongoDatabase, collection: str) -> None:
        self._mongo = mongo
        self._collection = collection
        # A cursor may only be read in the session that opened it.
        self._session: ClientSession | None = None
        self._cursor = Int64(0)
        self._refused = ""

    @property
    def is_open(self) -> bool:
        """Whether changes are being recorded."""
        return bool(self._cursor)

    async def begin(self) -> None:
        """Open the stream, if the server supports it and it is not open. Changes from now on are found."""
        if self.is_open:
            return
        command = {"aggregate": self._collection, "pipeline": _PIPELINE, "cursor": {"batchSize": 0}}
        try:
            reply = await self._mongo.run(lambda database: self._send(database, command))
        except CenergydError as error:
            await self.end()
            if str(error) != self._refused:
                log.info(
                    "no change stream, the collection {collection} is read instead: {reason}",
                    collection=self._collection, reason=str(error),
                )  # fmt: skip
            self._refused = str(error)
            return
        self._cursor = Int64(reply["cursor"]["id"])
        self._refused = ""

    async def next_ids(self) -> list[object] | None:
        """``_id`` of at most a few hundred changed documents; None if the stream has ended and changes may have been missed."""
        if not self.is_open:
            return None
        command = {
            "getMore": self._cursor, "collection": self._collection, "batchSize": _BATCH, "maxTimeMS": _WAIT_MS,
        }  # fmt: skip
        try:
            reply = await self._mongo.run(lambda database: self._send(database, command))
        except CenergydError as error:
            log.info("the change stream has ended: {reason}", reason=str(error))
            await self.end()
            return None
        events = reply["cursor"]["nextBatch"]
        if not reply["cursor"]["id"] or any("documentKey" not in event for event in events):
            # The collection was dropped or renamed.
            await self.end()
            return None
        return [event["documentKey"]["_id"] for event in events]

    async def end(self) -> None:
        """Close the stream."""
        session, cursor = self._session, self._cursor
        self._session, self._cursor = None, Int64(0)
        try:
            if cursor:
                command = {"killCursors": self._collection, "cursors": [cursor]}
                await self._mongo.run(lambda database: database.command(command, session=session, check=False))
            if session is not None:
                await self._mongo.run(lambda _: session.end_session())
        except CenergydError as error:
            # The server closes a cursor that is not read.
            log.debug("the change stream was not closed: {reason}", reason=str(error))

    async def _send(self, database: Database, command: Mapping[str, object]) -> Mapping[str, Any]:
        if self._session is None:
            self._session = database.connection.start_session()
        reply: Mapping[str, object] = await database.command(dict(command), session=self._session)
        return reply
