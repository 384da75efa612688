"""Property tests that are asynchronous and use fixtures.

pytest-twisted wraps a hypothesis test anew for each of its parameters, one wrapper around the other, and the second then fails. So
here hypothesis runs inside an ordinary test, in a greenlet of its own that waits for each example.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest_twisted
from greenlet import greenlet
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


def for_all(
    max_examples: int = 12, **strategies: SearchStrategy[Any]
) -> Callable[[AsyncTest], Callable[..., Deferred[None]]]:
    """Run an ``async def`` test for drawn values of the named parameters; the other parameters are fixtures.

    The fixtures are shared by all examples: each example uses names of its own.
    """

    def decorate(test: AsyncTest) -> Callable[..., Deferred[None]]:
        def run(**fixtures: Any) -> Deferred[None]:
            @settings(max_examples=max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
            @given(**strategies)
            def example(**drawn: Any) -> None:
                pytest_twisted.blockon(Deferred.fromCoroutine(test(**fixtures, **drawn)))

            done: Deferred[None] = Deferred()

            def all_examples() -> None:
                # Fired by the reactor, so that this greenlet has ended by then.
                try:
                    example()
                except BaseException:
                    reactor.callLater(0, done.errback, Failure())  # type: ignore[attr-defined]
                else:
                    reactor.callLater(0, done.callback, None)  # type: ignore[attr-defined]

            greenlet(all_examples).switch()
            return done

        signature = inspect.signature(test)
        fixtures = [p for name, p in signature.parameters.items() if name not in strategies]
        run.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return run

    return decorate
