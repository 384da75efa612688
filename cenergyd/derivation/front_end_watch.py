"""The service that notices changes by the existing front end and takes them over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from cenergyd.customers.front_end import FrontEndChange
from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.derivation.reconfigure import follow_front_end
from cenergyd.errors import CenergydError
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers, sleep

PASS_SECONDS = 30.0
"""Seconds between the starts of two passes over all customers: a change is noticed within a minute."""
STREAM_SECONDS = 1.0
"""Seconds between two reads of a change stream."""
STREAM_PASS_SECONDS = 1800.0
"""Seconds between two passes if there is a change stream, when a pass is only a safeguard."""
PAGE_SECONDS = 0.1
"""Seconds between two pages of a pass, so that 100,000 customers take half a minute and uploads have priority."""

log = Logger()


class FrontEndWatch(Service):
    """Follows the front end's changes; does nothing if no front end shares the collection.

    :param on_change: called with the customer before and after each change (after: None if it was removed).
    """

    name = "front_end_watch"

    def __init__(
        self,
        clock: Timers,
        customers: CustomerStore,
        readings: ReadingStore,
        on_change: Callable[[Customer | None, Customer | None], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._customers = customers
        self._readings = readings
        self._on_change = on_change
        self._sleeping: Deferred[None] | None = None
        self._ended: Deferred[None] | None = None

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Start the first pass."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._customers.front_end is not None:
            self._ended = Deferred.fromCoroutine(self._run())

    def stopService(self) -> Deferred[None] | None:  # noqa: N802 - Twisted's name
        """Stop; fires when the change in progress is stored."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._sleeping is not None:
            self._sleeping.cancel()
        return self._ended

    async def check(self) -> bool:
        """Process one page of a pass; returns whether the pass is complete. Raises StoreUnavailable."""
        front_end = self._customers.front_end
        if front_end is None:
            return True
        changes, complete = await front_end.next_changes()
        await self._take_over(changes)
        return complete

    async def check_stream(self) -> bool:
        """Process the changes of a change stream; False if there is no stream. Raises StoreUnavailable."""
        front_end = self._customers.front_end
        changes = await front_end.streamed_changes() if front_end is not None else None
        await self._take_over(changes or ())
        return changes is not None

    async def _take_over(self, changes: Iterable[FrontEndChange]) -> None:
        for change in changes:
            if await follow_front_end(self._customers, self._readings, change, int(self._clock.seconds())):
                log.info(
                    "the front end has changed customer {customer_id}: {fields}",
                    customer_id=change.customer.id,
                    fields="removed" if change.changes is None else ", ".join(change.changes) or "restored",
                )
                after = await self._customers.get(change.customer.id)
                await self._on_change(change.customer, after)

    async def _run(self) -> None:
        while self.running:
            began = self._clock.seconds()
            try:
                while self.running and not await self.check():
                    await self._sleep(PAGE_SECONDS)
                await self._follow_stream()
            except CenergydError as error:
                log.warn("the search for changes by the front end is postponed: {reason}", reason=str(error))
            except Exception:
                log.failure("changes by the front end could not be processed")
            took = max(0.0, self._clock.seconds() - began)  # the clock may have been set back
            await self._sleep(max(PAGE_SECONDS, PASS_SECONDS - took))

    async def _follow_stream(self) -> None:
        for _ in range(int(STREAM_PASS_SECONDS / STREAM_SECONDS)):
            if not self.running or not await self.check_stream():
                return
            await self._sleep(STREAM_SECONDS)

    async def _sleep(self, seconds: float) -> None:
        if self.running:
            self._sleeping = sleep(self._clock, seconds)
            with suppress(CancelledError):
                await self._sleeping
            self._sleeping = None
