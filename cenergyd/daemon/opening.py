"""Opens the stores, retrying as long as necessary, and closes them at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from cenergyd.errors import StoreUnavailable
from cenergyd.runtime.clock import Timers, sleep
from cenergyd.runtime.isolation import error_text
from cenergyd.storage.open import Stores

REOPEN_SECONDS = 2.0
"""Seconds between two attempts to open stores that are down."""
log = Logger()


class StoreOpening(Service):
    """The stores of the daemon.

    :param opened: called once they are open. If it raises, they count as not open, and opening is retried.
    """

    name = "stores"

    def __init__(self, stores: Stores, clock: Timers, opened: Callable[[], Awaitable[None]]) -> None:
        self._stores = stores
        self._clock = clock
        self._opened = opened
        self._retrying: Deferred[None] | None = None
        self.fault: str | None = "the stores are not open yet"
        """Why they are not open, for people; None once they are."""

    async def open(self) -> None:
        """Try once, and keep trying in the background if a store does not answer. Raises any other error."""
        try:
            await self._open()
        except StoreUnavailable as error:
            self.fault = str(error)
            log.error("the stores do not answer yet, trying again: {reason}", reason=str(error))
            self._retrying = Deferred.fromCoroutine(self._retry())
            self._retrying.addErrback(lambda failure: failure.trap(CancelledError))

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Close them, or stop trying to open them."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._retrying is not None:
            self._retrying.cancel()
        return Deferred.fromCoroutine(self._stores.close())

    async def _open(self) -> None:
        await self._stores.open()
        await self._opened()
        self.fault = None

    async def _retry(self) -> None:
        while self.fault is not None:
            await sleep(self._clock, REOPEN_SECONDS)
            try:
                await self._open()
            except StoreUnavailable as error:
                self.fault = str(error)
            except CancelledError:
                raise
            except Exception as error:
                # Whatever the reason is, it may be repaired while the daemon runs.
                self.fault = error_text(error)
                log.failure("the stores cannot be opened, trying again")
