"""How often MongoDB is searched for work that nobody of this process has left."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from cenergyd.customers.model import Customer, PendingMark, PendingWork
from cenergyd.storage.mongodb.pending_queue import _SEARCHED, _SKIPPED, MongoPendingQueue
from cenergyd.storage.mongodb.queue_fields import DERIVATION, JOBS


class Searches:
    """A queue that finds nothing, and counts its searches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nowhere: Any = None
        jobs = MongoPendingQueue(nowhere, "c", JOBS)
        self.queues = MongoPendingQueue(nowhere, "c", DERIVATION, following=jobs), jobs
        self.count = 0

        async def candidates(*_: object) -> list[Any]:
            self.count += 1
            return []

        async def updated(_: object, requests: list[Any], **__: object) -> int:
            return len(requests)

        monkeypatch.setattr(MongoPendingQueue, "_candidates", candidates)
        monkeypatch.setattr(MongoPendingQueue, "_update", updated)

    def of(self, queue: MongoPendingQueue, claims: int) -> int:
        before = self.count
        for _ in range(claims):
            Deferred.fromCoroutine(queue.claim("c", 1000, 60, 10))
        return self.count - before


def test_every_fourth_claim_searches_for_what_others_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Searches(monkeypatch)
    for queue in here.queues:
        assert here.of(queue, 4 * (1 + _SKIPPED)) == 4


def test_what_this_process_has_left_is_searched_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Searches(monkeypatch)
    queue, jobs = here.queues
    work = PendingWork(Customer(id="1"), 0, 10, "claim")
    for leave, searched in (
        (lambda: queue.mark([PendingMark("1", 0, 10)]), queue),
        (lambda: queue.postpone([work], 5), queue),
        (lambda: queue.hand_over([work], [(0, 10)]), jobs),  # type: ignore[list-item]
    ):
        here.of(searched, 2)
        Deferred.fromCoroutine(leave())
        assert here.of(searched, _SEARCHED) == _SEARCHED
        assert here.of(searched, 1 + _SKIPPED) == 1
