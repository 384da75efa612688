"""A durable queue in the document store: each document is to be worked on at its ``due`` time, by one daemon at once.

A daemon claims a document by moving ``due`` to when its claim ends (compare-and-set, so one daemon gets it). A daemon that dies leaves
a claim that ends by itself. Messages and failed jobs wait in such queues.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict


@attrs.frozen(slots=True)
class DueQueue:
    """The documents of one kind. Methods raise StoreUnavailable."""

    documents: DocumentStore
    kind: str
    first_retry_seconds: int
    """Wait after the first failure; each further wait is twice as long."""
    longest_retry_seconds: int

    async def get(self, key: str) -> Document | None:
        """One document."""
        return await self.documents.get(self.kind, key)

    async def add(self, key: str, body: Mapping[str, object], *, owner: str, due: int) -> bool:
        """Put a new document into the queue. False, and nothing changes, where the key is taken."""
        try:
            await self.documents.put(self.kind, key, body, owner=owner, due=due, expected_version=0)
        except Conflict:
            return False
        return True

    async def due(self, now: int, limit: int) -> list[Document]:
        """Documents whose time has come, the longest due first."""
        return await self.documents.find(self.kind, due_before=now + 1, limit=limit)

    async def update(self, document: Document, body: Mapping[str, object], due: int) -> Document:
        """Replace a document, and its time. Raises Conflict where somebody else changed it first."""
        return await self.documents.put(
            self.kind, document.key, body, owner=document.owner, due=due, expected_version=document.version
        )

    async def remove(self, document: Document) -> bool:
        """Take a document out of the queue. False where somebody else changed it meanwhile: then it stays."""
        try:
            return await self.documents.delete(self.kind, document.key, expected_version=document.version)
        except Conflict:
            return False

    def retry_delay(self, failures: int) -> int:
        """Seconds to wait after so many failures in a row (from 1)."""
        longest = max(self.longest_retry_seconds, self.first_retry_seconds)
        return min(longest, self.first_retry_seconds << min(max(failures - 1, 0), 16))
