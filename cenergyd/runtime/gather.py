"""Running many small pieces of asynchronous work, a few at a time."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults

T = TypeVar("T")


async def gather_limited(work: Sequence[Coroutine[Any, Any, T]], at_once: int) -> list[T]:
    """What all return, in order; ``at_once`` run together, so that the threads' queue keeps room for others.

    Raises the first error, once what ran beside it has ended; what was not begun is not run.
    """
    results: list[T] = []
    for position in range(0, len(work), at_once):
        running = [Deferred.fromCoroutine(item) for item in work[position : position + at_once]]
        try:
            results += await gatherResults(running, consumeErrors=True)
        except FirstError as error:
            for item in work[position + at_once :]:
                item.close()
            error.subFailure.raiseException()
    return results
