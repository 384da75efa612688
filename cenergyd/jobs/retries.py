"""Ranges of times on which one plugin's job failed, kept separately so that the other plugins' jobs continue.

This is a queue (:mod:`cenergyd.jobs.due_queue`) of documents with the key ``<plugin>:<customer id>``, owned by the customer. Body:
``plugin``, ``start``, ``end`` (``start <= time < end``), ``failures`` (consecutive), ``message`` (of the last). Documents of earlier versions
have ``since`` and ``until`` instead, both inclusive.
"""

from __future__ import annotations

from contextlib import suppress

from cenergyd.customers.model import TimeRange
from cenergyd.documents.json_types import JsonObject
from cenergyd.documents.kinds import JOB_RETRY
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict
from cenergyd.jobs.due_queue import DueQueue

LONGEST_RETRY_SECONDS = 3600
"""The longest wait between two attempts."""
MAX_CHECKED = 1000


class Retries:
    """Keeps ranges on which a job failed. Methods raise StoreUnavailable.

    :param retry_seconds: wait after the first failure; each further wait is twice as long, up to an hour.
    """

    def __init__(self, documents: DocumentStore, retry_seconds: int) -> None:
        self._queue = DueQueue(documents, JOB_RETRY, retry_seconds, LONGEST_RETRY_SECONDS)

    async def add(self, plugin: str, customer_id: str, time_range: TimeRange, message: str, now: int) -> bool:
        """Keep a range, joined with the one already kept. True if this is the first failure or its message differs from the last one's."""
        key = f"{plugin}:{customer_id}"
        while True:
            old = await self._queue.get(key)
            body = _joined(old, plugin, time_range, message)
            due = now + self._queue.retry_delay(body["failures"])
            if old is None:
                if await self._queue.add(key, body, owner=customer_id, due=due):
                    return True
                continue
            with suppress(Conflict):  # another daemon wrote first: join with its range
                await self._queue.update(old, body, due)
                return old.body.get("message") != message

    async def due(self, now: int, limit: int) -> list[Document]:
        """Ranges to try again."""
        return await self._queue.due(now, limit)

    async def oldest(self) -> int | None:
        """The earliest start of all kept ranges; None if there are none, 0 if there are too many to check."""
        documents = await self._queue.documents.find(JOB_RETRY, limit=MAX_CHECKED)
        if len(documents) == MAX_CHECKED:
            return 0
        return min((retried_range(document).start for document in documents), default=None)

    async def claim(self, document: Document, start: int, expires: int) -> Document | None:
        """Claim one until ``expires``; its remaining range begins at ``start``. None if another daemon was faster."""
        return await self._update(document, {"start": start}, expires)

    async def failed(self, document: Document, message: str, now: int) -> bool:
        """Record a further failure. True if its message differs from the last one's."""
        failures = int(document.body.get("failures", 0)) + 1
        await self._update(
            document, {"failures": failures, "message": message}, now + self._queue.retry_delay(failures)
        )
        return document.body.get("message") != message

    async def postpone(self, document: Document, due: int) -> None:
        """Set the time of the next attempt; nothing else changes."""
        await self._update(document, {}, due)

    async def succeeded(self, document: Document) -> None:
        """Remove it. A range that another daemon added meanwhile stays."""
        await self._queue.remove(document)

    async def _update(self, document: Document, changes: dict[str, object], due: int) -> Document | None:
        try:
            rest = {name: value for name, value in document.body.items() if name not in ("since", "until")}
            body = {**rest, **retried_range(document)._asdict(), **changes}
            return await self._queue.update(document, body, due)
        except Conflict:
            return None


def _joined(old: Document | None, plugin: str, time_range: TimeRange, message: str) -> JsonObject:
    start, end = time_range
    failures = 1
    if old is not None:
        before = retried_range(old)
        start, end = min(start, before.start), max(end, before.end)
        failures = int(old.body.get("failures", 0)) + 1
    return {"plugin": plugin, "start": start, "end": end, "failures": failures, "message": message}


def retried_range(document: Document) -> TimeRange:
    """The range to retry, from a document of any version."""
    body = document.body
    if "until" in body:
        return TimeRange(int(body["since"]), int(body["until"]) + 1)
    return TimeRange(int(body["start"]), int(body["end"]))
