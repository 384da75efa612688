"""The contract of the document store: small JSON documents by kind and key, with compare-and-set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from cenergyd.documents.json_types import ReadOnlyJson


class Document(NamedTuple):
    """One stored document."""

    kind: str
    key: str
    body: ReadOnlyJson
    """JSON values only."""
    version: int
    """1 when created, incremented by every put."""
    owner: str | None = None
    """Its owner (a customer id, a serial); indexed."""
    due: int | None = None
    """When to act on it (a retry, an expiry), UTC seconds; indexed."""


class NewDocument(NamedTuple):
    """What ``put_many`` takes: a document without its version."""

    key: str
    body: Mapping[str, object]
    owner: str | None = None
    due: int | None = None


OWNED_AT_ONCE = 200
"""Most documents of an owner that are read beside others."""


class DocumentStore(Protocol):
    """Keeps documents. Raises StoreUnavailable when the store does not answer."""

    async def open(self) -> None:
        """Connect; create indexes and tables. May be called again after StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    async def get(self, kind: str, key: str) -> Document | None:
        """One document or None."""
        ...

    async def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, Document]:
        """The documents that exist among these keys."""
        ...

    async def get_kinds(
        self, wanted: Mapping[str, Sequence[str]], *, owned: Mapping[str, str] = {}
    ) -> dict[str, dict[str, Document]]:
        """The documents that exist among these keys of several kinds, by kind and key, in as few round trips as possible.

        :param owned: kind -> owner: all documents of that kind and owner as well, at most :data:`OWNED_AT_ONCE` of each kind.
        """
        ...

    async def put(
        self,
        kind: str,
        key: str,
        body: Mapping[str, object],
        *,
        owner: str | None = None,
        due: int | None = None,
        expected_version: int | None = None,
    ) -> Document:
        """Create or replace. With ``expected_version`` (0: must not exist) raises Conflict if the stored version differs."""
        ...

    async def put_many(self, kind: str, documents: Sequence[NewDocument]) -> None:
        """Create or replace many, whatever their versions, in as few round trips as possible."""
        ...

    async def replace_many(self, kind: str, documents: Sequence[tuple[NewDocument, int]]) -> list[bool]:
        """Create or replace each that still has the version given with it (0 = must not exist), in as few round trips as possible.

        False: it was changed meanwhile, and is left as it is. No key may come twice.
        """
        ...

    async def delete(self, kind: str, key: str, *, expected_version: int | None = None) -> bool:
        """Remove; False if there was none. With ``expected_version`` raises Conflict if the stored version differs."""
        ...

    async def find(
        self,
        kind: str,
        *,
        owner: str | None = None,
        due_before: int | None = None,
        after_key: str | None = None,
        limit: int = 100,
    ) -> list[Document]:
        """By key ascending (by due ascending where ``due_before`` is given: those with due < due_before)."""
        ...

    async def count(self, kind: str, *, owner: str | None = None) -> int:
        """Number of documents."""
        ...

    async def purge(self, kind: str, due_before: int) -> int:
        """Delete those with due < due_before; returns how many."""
        ...
