"""The corrections of all series, in the documents store, as every daemon reads them.

Each series' corrections are one document. Another document names the series that changed most recently; from its version a daemon
knows whether it has missed a change. That document is read at most every few seconds, and once after every claim of work
(:meth:`CorrectionCache.refresh`): a change is stored before the times that it affects are marked, so the daemon that claims these
times reads with that change applied.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, DeferredLock

from cenergyd.documents.kinds import CORRECTIONS, CORRECTIONS_CHANGED
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict
from cenergyd.readings.corrections import Correction, CorrectionMap, correction_map, of_body

REFRESH_SECONDS = 5.0
"""Seconds by which displayed values may lag behind a change made in another daemon."""
MAX_MAPS = 5000
"""Series whose corrections are kept in memory; of the others only the names are kept."""
_RECENT = 200
_KEY = "all"
_PAGE = 500
_TRIES = 20


class CorrectionCache:
    """Reads corrections and caches what has not changed. Methods raise StoreUnavailable.

    :param seconds: a clock, of which only differences are used.
    """

    def __init__(self, documents: DocumentStore, seconds: Callable[[], float]) -> None:
        self.documents = documents
        self._refreshing = DeferredLock()
        self._waiting: list[Deferred[None]] | None = None
        """Those that wait for the read in progress because one was due; None if there is none."""
        self._seconds = seconds
        self._refreshed_at: float | None = None
        self._version = -1
        self._of_serial: dict[str, set[str]] = {}
        self._maps: OrderedDict[str, CorrectionMap] = OrderedDict()

    @property
    def knows_any(self) -> bool:
        """Whether any series is known to have, or have had, corrections."""
        return bool(self._of_serial)

    async def maps(self, series: Sequence[str]) -> dict[str, CorrectionMap]:
        """The combined corrections of those of the series that have active ones, by series."""
        names = await self.ever_corrected(series)
        found = {name: await self._map(name) for name in series if name in names} if names else {}
        return {name: found for name, found in found.items() if not found.changes_nothing}

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        """Those of the series that have, or had, corrections."""
        await self._refresh_if_due()
        if not self._of_serial:
            return frozenset()
        return frozenset(name for name in series if name in self._of_serial.get(serial_of(name), ()))

    async def of_serial(self, serial: str) -> dict[str, CorrectionMap]:
        """The combined corrections of those of a logger's meters that have active ones, by series."""
        await self._refresh_if_due()
        return await self.maps(sorted(self._of_serial.get(serial, ())))

    async def refresh(self) -> None:
        """Read every change that is stored by now."""
        await self._refreshing.acquire()
        try:
            await self._read_changes()
        finally:
            self._refreshing.release()

    async def _read_changes(self) -> None:
        read_at = self._seconds()
        document = await self.documents.get(CORRECTIONS_CHANGED, _KEY)
        version = document.version if document is not None else 0
        self._refreshed_at = read_at
        if version <= self._version:
            return
        names: list[str] = list(document.body["series"])[-(version - self._version) :] if document is not None else []
        if self._version < 0 or version - self._version > len(names):
            await self._learn_all()
            self._maps.clear()
        else:
            for name in names:
                self._of_serial.setdefault(serial_of(name), set()).add(name)
                self._maps.pop(name, None)
        self._version = version

    async def _refresh_if_due(self) -> None:
        while self._is_due():
            if self._waiting is None:
                await self._refresh_for_all()
                return
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting

    async def _refresh_for_all(self) -> None:
        """Refresh, and serve those that wait one after another: a lock would serve each from within the one before, however many there are."""
        waiting = self._waiting = []
        try:
            await self.refresh()
        finally:
            self._waiting = None
            for each in waiting:
                if not each.called:  # not cancelled
                    each.callback(None)

    def _is_due(self) -> bool:
        since = None if self._refreshed_at is None else self._seconds() - self._refreshed_at
        return since is None or self._version < 0 or not 0 <= since < REFRESH_SECONDS

    async def _learn_all(self) -> None:
        found: dict[str, set[str]] = {}
        after: str | None = None
        while True:
            page = await self.documents.find(CORRECTIONS, after_key=after, limit=_PAGE)
            for each in page:
                found.setdefault(serial_of(each.key), set()).add(each.key)
            if len(page) < _PAGE:
                break
            after = page[-1].key
        self._of_serial = found

    async def _map(self, name: str) -> CorrectionMap:
        while name not in self._maps:
            version = self._version
            found = correction_map(corrections_in(await self.documents.get(CORRECTIONS, name)))
            if version == self._version:  # otherwise it may be older than a change noticed meanwhile
                self._maps[name] = found
                if len(self._maps) > MAX_MAPS:
                    self._maps.popitem(last=False)
                return found
        return self._maps[name]


async def announce_corrections(documents: DocumentStore, series: Iterable[str]) -> None:
    """Announce to every daemon that the corrections of series have changed. Raises StoreUnavailable, Conflict."""
    for name in series:
        for tries_left in reversed(range(_TRIES)):
            document = await documents.get(CORRECTIONS_CHANGED, _KEY)
            known: Sequence[object] = document.body["series"] if document is not None else ()
            try:
                await documents.put(
                    CORRECTIONS_CHANGED,
                    _KEY,
                    {"series": [*known, name][-_RECENT:]},
                    expected_version=document.version if document is not None else 0,
                )
                break
            except Conflict:
                if not tries_left:
                    raise


def corrections_in(document: Document | None) -> list[Correction]:
    """The corrections that a series' document holds."""
    return [] if document is None else [of_body(each) for each in document.body.get("corrections", ())]


def serial_of(series: str) -> str:
    """The logger's serial number."""
    return series.partition("_")[0]
