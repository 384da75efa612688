"""Windows that one plugin's job failed on, kept apart so that the other plugins' jobs go on.

Documents of kind ``job_retry``, key ``<plugin>:<customer id>``, owner the customer, due when it is to be tried again. Body: ``plugin``,
``since``, ``until`` (inclusive), ``failures`` (in a row), ``message`` (of the last).
"""

from __future__ import annotations

from typing import Any

import attrs

from cenergyd.documents.kinds import JOB_RETRY
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict

LONGEST_RETRY = 3600
"""Seconds between attempts at most."""


@attrs.frozen(slots=True)
class Retries:
    """Keeps such windows in the document store. Methods raise StoreUnavailable."""

    documents: DocumentStore
    retry_seconds: int

    async def add(self, plugin: str, customer_id: str, window: tuple[int, int], message: str, now: int) -> bool:
        """Keep a window (inclusive), joined with what waits already. True where this is news: the first failure or another one."""
        key = f"{plugin}:{customer_id}"
        while True:
            old = await self.documents.get(JOB_RETRY, key)
            body, due = self._body(old, plugin, window, message, now)
            try:
                await self.documents.put(
                    JOB_RETRY, key, body, owner=customer_id, due=due, expected_version=old.version if old else 0
                )
            except Conflict:
                continue  # another daemon was faster: join with what it wrote
            return old is None or old.body.get("message") != message

    async def due(self, now: int, limit: int) -> list[Document]:
        """Windows to try again."""
        return await self.documents.find(JOB_RETRY, due_before=now + 1, limit=limit)

    async def take(self, document: Document, since: int, until_time: int) -> Document | None:
        """Claim one until a time, from ``since`` on. None: another daemon was faster."""
        return await self._put(document, dict(document.body) | {"since": since}, until_time)

    async def failed(self, document: Document, message: str, now: int) -> bool:
        """It failed again. True where the message is another one."""
        failures = int(document.body.get("failures", 0)) + 1
        body = dict(document.body) | {"failures": failures, "message": message}
        await self._put(document, body, now + self._delay(failures))
        return document.body.get("message") != message

    async def postpone(self, document: Document, due: int) -> None:
        """Try again at a time; nothing else changes."""
        await self._put(document, dict(document.body), due)

    async def done(self, document: Document) -> None:
        """It went well. What another daemon added meanwhile stays."""
        try:
            await self.documents.delete(JOB_RETRY, document.key, expected_version=document.version)
        except Conflict:
            return

    async def _put(self, document: Document, body: dict[str, Any], due: int) -> Document | None:
        try:
            return await self.documents.put(
                JOB_RETRY, document.key, body, owner=document.owner, due=due, expected_version=document.version
            )
        except Conflict:
            return None

    def _body(
        self, old: Document | None, plugin: str, window: tuple[int, int], message: str, now: int
    ) -> tuple[dict[str, Any], int]:
        since, until = window
        failures = 1
        if old is not None:
            since, until = min(since, int(old.body["since"])), max(until, int(old.body["until"]))
            failures = int(old.body.get("failures", 0)) + 1
        body = {"plugin": plugin, "since": since, "until": until, "failures": failures, "message": message}
        return body, now + self._delay(failures)

    def _delay(self, failures: int) -> int:
        return int(min(max(LONGEST_RETRY, self.retry_seconds), self.retry_seconds * 2 ** min(failures - 1, 12)))
