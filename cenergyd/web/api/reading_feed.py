"""Notification of new readings within this process, so that live views read them at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable


class ReadingFeed:
    """Carries no readings, only which customer has new ones: other daemons write to the store too, so live views read from there."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[Callable[[], None]]] = defaultdict(set)

    def publish(self, customer_id: str) -> None:
        """There are new readings, measured or computed, or new settings."""
        for listener in tuple(self._listeners.get(customer_id, ())):
            listener()

    def subscribe(self, customer_id: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` at every notification for a customer, until the returned function is called."""
        self._listeners[customer_id].add(listener)

        def unsubscribe() -> None:
            self._listeners[customer_id].discard(listener)
            if not self._listeners[customer_id]:
                del self._listeners[customer_id]

        return unsubscribe
