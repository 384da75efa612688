"""The fields of cenergyd's own documents in which the pending queues keep their ranges and claims, and expressions of them."""

from __future__ import annotations

import attrs


@attrs.frozen
class QueueFields:
    """The names of the fields in which a queue keeps its ranges; each begins with the queue's name."""

    queue: str

    @property
    def start(self) -> str:
        """Start of the pending range."""
        return f"{self.queue}_start"

    @property
    def end(self) -> str:
        """End of the pending range."""
        return f"{self.queue}_end"

    @property
    def work_start(self) -> str:
        """Start of the working range."""
        return f"{self.queue}_work_start"

    @property
    def work_end(self) -> str:
        """End of the working range."""
        return f"{self.queue}_work_end"

    @property
    def claim(self) -> str:
        """The claim on the working range."""
        return f"{self.queue}_claim"

    @property
    def claim_until(self) -> str:
        """When that claim expires."""
        return f"{self.queue}_claim_until"

    @property
    def retry_at(self) -> str:
        """Earliest time of the next claim after the work was postponed."""
        return f"{self.queue}_retry_at"

    @property
    def done(self) -> str:
        """The claim that finished last, until the next claim. From it :meth:`~cenergyd.storage.mongodb.pending_queue.MongoPendingQueue.finish` recognises its own update."""
        return f"{self.queue}_done"

    @property
    def ended(self) -> str:
        """The last claims on the derivation that have ended, each with the earliest time of readings that may have changed under it."""
        return f"{self.queue}_ended"

    @property
    def work(self) -> tuple[str, ...]:
        """The working range and its claim."""
        return self.work_start, self.work_end, self.claim, self.claim_until

    @property
    def all(self) -> tuple[str, ...]:
        """Every field of the queue."""
        return self.start, self.end, *self.work, self.retry_at, self.done, self.ended

    def merged(self) -> dict[str, object]:
        """The smallest range that holds the working and the pending one, for an update by pipeline."""
        return {
            self.work_start: {"$min": [f"${self.start}", f"${self.work_start}"]},
            self.work_end: {"$max": [f"${self.end}", f"${self.work_end}"]},
        }

    def free(self, now: int) -> dict[str, object]:
        """Matches customers not under a live claim, and not postponed."""
        return {self.claim_until: {"$not": {"$gt": now}}, self.retry_at: {"$not": {"$gt": now}}}


DERIVATION = QueueFields("pending")
JOBS = QueueFields("jobs")
