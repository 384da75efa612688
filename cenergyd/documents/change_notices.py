"""Announcements of changes, from which every daemon knows how long it may use what it has cached.

Before a daemon changes something, it announces the name of it in one document. Daemons read that document every 20 seconds. An announced
name is not cached for some minutes, because the change may be made at any time, or never. A name that was not announced since a daemon read
it may be cached for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cenergyd.documents.kinds import CHANGES
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict

POLL_SECONDS = 20.0
"""Seconds between two reads of the announcements."""
MAX_CACHE_SECONDS = 6 * 3600.0
"""Seconds after which cached values are read again even without an announcement, for changes that somebody makes in the store by hand. Each of
these reads is a query for one site."""
UNSETTLED_SECONDS = 300
"""Seconds after an announcement within which its change is made, or not at all."""
_KEY = "all"
_RECENT = 500
"""Number of announcements kept; a daemon that has missed more does not use its cache for a while."""
_MAX_NAMES = 100_000
"""Maximum announced names kept in memory."""
_TRIES = 20


def customer_of_logger(serial: str) -> str:
    """The name under which a change of the customer of a logger is announced."""
    return f"customer:{serial}"


def columns_of_logger(serial: str) -> str:
    """The name under which a change of the known columns of a logger's meters is announced."""
    return f"columns:{serial}"


class ChangeNotices:
    """Announces changes, and decides what may be cached.

    :param seconds: UTC seconds.
    """

    def __init__(self, documents: DocumentStore, seconds: Callable[[], float]) -> None:
        self._documents = documents
        self._seconds = seconds
        self._read_at: float | None = None
        self._count = 0
        self._settled_at: dict[str, float] = {}
        """Name -> time until which it must not be cached."""
        self._all_settled_at = float("-inf")

    async def announce(self, names: Iterable[str]) -> None:
        """Announce to every daemon that these names may change; the change must follow within a minute. Raises StoreUnavailable, Conflict."""
        now = int(self._seconds())
        new = [[name, now] for name in dict.fromkeys(names)]
        if not new:
            return
        for tries_left in reversed(range(_TRIES)):
            document = await self._documents.get(CHANGES, _KEY)
            count, known = _read(document)
            body = {"count": count + len(new), "recent": [*known, *new][-_RECENT:]}
            try:
                await self._documents.put(
                    CHANGES, _KEY, body, expected_version=document.version if document is not None else 0
                )
                return
            except Conflict:
                if not tries_left:
                    raise

    async def refresh(self) -> None:
        """Read the announcements. Raises StoreUnavailable."""
        now = self._seconds()
        count, recent = _read(await self._documents.get(CHANGES, _KEY))
        missed = recent if self._read_at is None else recent[max(0, len(recent) - (count - self._count)) :]
        self._settled_at = {name: until for name, until in self._settled_at.items() if until + MAX_CACHE_SECONDS > now}
        self._settled_at.update((str(name), now + UNSETTLED_SECONDS) for name, _ in missed)
        if self._misses_some(count, recent, now) or len(self._settled_at) > _MAX_NAMES:
            self._all_settled_at = now + UNSETTLED_SECONDS
            self._settled_at.clear()
        self._count, self._read_at = count, now

    def is_current(self, name: str, looked_up: float) -> bool:
        """Whether a value that was read at ``looked_up`` (UTC seconds) is still current, according to the announcements."""
        now = self._seconds()
        if self._read_at is None or not 0 <= now - self._read_at < 2 * POLL_SECONDS:
            return False
        settled_at = max(self._settled_at.get(name, float("-inf")), self._all_settled_at)
        return settled_at < looked_up <= now < looked_up + MAX_CACHE_SECONDS

    def _misses_some(self, count: int, recent: list[list[object]], now: float) -> bool:
        """Whether announcements that still matter are no longer in the document."""
        if self._read_at is not None:
            return not 0 <= count - self._count <= len(recent)
        oldest = recent[0][1] if len(recent) == _RECENT else 0
        return isinstance(oldest, int) and oldest > now - 2 * UNSETTLED_SECONDS


def _read(document: Document | None) -> tuple[int, list[list[object]]]:
    """The number of names announced so far, and the latest ones with their times."""
    return (int(document.body["count"]), list(document.body["recent"])) if document is not None else (0, [])
