"""A durable queue in the document store: each document is processed at its ``due`` time, by one daemon at a time.

A daemon claims a document by setting ``due`` to the expiry of its claim (compare-and-set, so only one daemon succeeds). The claim of a
daemon that dies expires. Messages and failed jobs wait in such queues.
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
    """Kind of the documents."""
    first_retry_seconds: int
    """Seconds to wait after the first failure; each further wait is twice as long."""
    longest_retry_seconds: int
    """Maximum seconds to wait."""

    async def get(self, key: str) -> Document | None:
        """One document."""
        return await self.documents.get(self.kind, key)

    async def add(self, key: str, body: Mapping[str, object], *, owner: str, due: int) -> bool:
        """Add a new document to the queue. False, and nothing changes, if the key exists."""
        try:
            await self.documents.put(self.kind, key, body, owner=owner, due=due, expected_version=0)
        except Conflict:
            return False
        return True

    async def due(self, now: int, limit: int) -> list[Document]:
        """Documents that are due, the earliest due time first."""
        return await self.documents.find(self.kind, due_before=now + 1, limit=limit)

    async def update(self, document: Document, body: Mapping[str, object], due: int) -> Document:
        """Replace a document's body and due time. Raises Conflict if it was changed by another daemon."""
        return await self.documents.put(
            self.kind, document.key, body, owner=document.owner, due=due, expected_version=document.version
        )

    async def remove(self, document: Document) -> bool:
        """Remove a document from the queue. False, and it stays, if it was changed by another daemon."""
        try:
            return await self.documents.delete(self.kind, document.key, expected_version=document.version)
        except Conflict:
            return False

    def retry_delay(self, failures: int) -> int:
        """Seconds to wait after this many consecutive failures (from 1)."""
        longest = max(self.longest_retry_seconds, self.first_retry_seconds)
        return min(longest, self.first_retry_seconds << min(max(failures - 1, 0), 16))
