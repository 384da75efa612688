"""Runs asynchronous calls at the same time: many small ones a few at a time, or a few of different kinds."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeAlias, TypeVar, cast, overload

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from cenergyd.runtime.yielding import Cooperate, without_yielding

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
Work: TypeAlias = Coroutine[Deferred[Any], Any, T]


async def gather_limited(
    work: Sequence[Coroutine[Deferred[object], object, T]], at_once: int, pause: Cooperate = without_yielding
) -> list[T]:
    """Run the coroutines, ``at_once`` at a time so that the threads' queue keeps room for others; returns all results in order.

    If one fails, no further ones are started. The error of the first failed one, in that order, is raised once all that run have ended.

    :param pause: awaited before each is started.
    """
    results: list[T] = []
    for position in range(0, len(work), at_once):
        running: list[Deferred[T]] = []
        try:
            for item in work[position : position + at_once]:
                await pause()
                running.append(Deferred.fromCoroutine(item))
            answers = await DeferredList(running, consumeErrors=True)
            for success, answer in answers:
                if not success:
                    cast(Failure, answer).raiseException()
                results.append(answer)
        except BaseException:
            for deferred in running:  # those that have not ended, because a pause was cancelled
                deferred.addErrback(lambda _: None)
                deferred.cancel()
            for item in work[position + len(running) :]:
                item.close()
            raise
    return results


@overload
async def concurrently(first: Work[A], second: Work[B], /) -> tuple[A, B]: ...
@overload
async def concurrently(first: Work[A], second: Work[B], third: Work[C], fourth: Work[D], /) -> tuple[A, B, C, D]: ...
async def concurrently(*work: Work[Any]) -> tuple[Any, ...]:
    """Run a few coroutines at the same time and return their results; raises as :func:`gather_limited`."""
    return tuple(await gather_limited(work, len(work)))
