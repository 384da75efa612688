"""A document store in memory, for tests, including those of plugin authors. It passes the same contract tests as the real stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cenergyd.documents.body import body_of, body_text
from cenergyd.documents.store import OWNED_AT_ONCE, Document, NewDocument
from cenergyd.errors import Conflict


class MemoryDocumentStore:
    """Keeps everything in a dictionary, :attr:`kept`."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Document] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def get(self, kind: str, key: str) -> Document | None:
        """One document or None."""
        return self.kept.get((kind, key))

    async def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, Document]:
        """The documents that exist among these keys."""
        return {key: self.kept[kind, key] for key in keys if (kind, key) in self.kept}

    async def get_kinds(
        self, wanted: Mapping[str, Sequence[str]], *, owned: Mapping[str, str] = {}
    ) -> dict[str, dict[str, Document]]:
        """The documents that exist among these keys of several kinds, and those of owners."""
        found = {kind: await self.get_many(kind, keys) for kind, keys in wanted.items()}
        for kind, owner in owned.items():
            mine = await self.find(kind, owner=owner, limit=OWNED_AT_ONCE)
            found.setdefault(kind, {}).update((each.key, each) for each in mine)
        return found

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
        """Create or replace."""
        version = self.kept[kind, key].version if (kind, key) in self.kept else 0
        if expected_version is not None and expected_version != version:
            raise Conflict(f"{kind} {key} is at version {version}, not {expected_version}")
        document = self.kept[kind, key] = Document(kind, key, body_of(body_text(body)), version + 1, owner, due)
        return document

    async def put_many(self, kind: str, documents: Sequence[NewDocument]) -> None:
        """Create or replace many."""
        for document in documents:
            body_text(document.body)
        for key, body, owner, due in documents:
            await self.put(kind, key, body, owner=owner, due=due)

    async def replace_many(self, kind: str, documents: Sequence[tuple[NewDocument, int]]) -> list[bool]:
        """Create or replace those with the version given."""
        replaced = []
        for (key, body, owner, due), version in documents:
            try:
                await self.put(kind, key, body, owner=owner, due=due, expected_version=version)
            except Conflict:
                replaced.append(False)
            else:
                replaced.append(True)
        return replaced

    async def delete(self, kind: str, key: str, *, expected_version: int | None = None) -> bool:
        """Remove; False if there was none."""
        document = self.kept.get((kind, key))
        if expected_version is not None and expected_version != (document.version if document else 0):
            raise Conflict(f"{kind} {key} was changed")
        return self.kept.pop((kind, key), None) is not None

    async def find(
        self,
        kind: str,
        *,
        owner: str | None = None,
        due_before: int | None = None,
        after_key: str | None = None,
        limit: int = 100,
    ) -> list[Document]:
        """By key ascending, or by due ascending where ``due_before`` is given."""
        found = [d for (each, _), d in sorted(self.kept.items()) if each == kind and owner in (None, d.owner)]
        if due_before is not None:
            found = [d for d in found if d.due is not None and d.due < due_before]
            found.sort(key=lambda d: (d.due, d.key))
        return [d for d in found if after_key is None or d.key > after_key][:limit]

    async def count(self, kind: str, *, owner: str | None = None) -> int:
        """Number of documents."""
        return len(await self.find(kind, owner=owner, limit=len(self.kept)))

    async def purge(self, kind: str, due_before: int) -> int:
        """Delete those with due < due_before; returns how many."""
        old = await self.find(kind, due_before=due_before, limit=len(self.kept))
        for document in old:
            del self.kept[kind, document.key]
        return len(old)
