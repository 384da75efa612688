"""Daily limits of messages that cost money or may annoy others, per customer or address and UTC day. The counts are shared by all daemons."""

from __future__ import annotations

from cenergyd.documents.kinds import MESSAGE_COUNT
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Conflict

DAY = 86400
_TRIES = 10


async def count_message(documents: DocumentStore, key: str, what: str, most: int, now: int) -> bool:
    """Count one more message on the day of ``now``; False, and nothing is counted, if the limit ``most`` is reached.

    Raises StoreUnavailable, and Conflict if others keep changing the count.
    """
    day = now // DAY
    for _ in range(_TRIES):
        document = await documents.get(MESSAGE_COUNT, key)
        counts = dict(document.body["counts"]) if document and document.body["day"] == day else {}
        if counts.get(what, 0) >= most:
            return False
        counts[what] = counts.get(what, 0) + 1
        try:
            await documents.put(
                MESSAGE_COUNT, key, {"day": day, "counts": counts},
                owner=None, due=(day + 1) * DAY, expected_version=document.version if document else 0,
            )  # fmt: skip
        except Conflict:
            continue
        return True
    raise Conflict(f"others keep changing the count of messages of {key}")


async def purge(documents: DocumentStore, now: int) -> None:
    """Delete the counts of past days."""
    await documents.purge(MESSAGE_COUNT, now)
