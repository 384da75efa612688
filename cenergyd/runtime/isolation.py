"""Calling plugins one by one, so that none can harm the daemon or another plugin.

Whatever a plugin does - raise, never answer, raise something absurd - becomes a :class:`PluginFailed` that names it. What
cannot be helped is a plugin that blocks the thread: the contract says that hooks return soon or return a Deferred.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from typing import Any

import pluggy
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from cenergyd.errors import CenergydError


class PluginFailed(CenergydError):
    """A plugin raised, took too long or gave a wrong answer."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(f"plugin {plugin}: {reason}")
        self.plugin = plugin
        self.reason = reason


def implementations(caller: pluggy.HookCaller) -> list[pluggy.HookImpl]:
    """Those of one hook in the order in which pluggy calls them (tryfirst, then latest registered first)."""
    return [each for each in reversed(caller.get_hookimpls()) if not (each.wrapper or each.hookwrapper)]


def call(implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    """Call with those of the arguments that it asks for. Raises PluginFailed."""
    try:
        return implementation.function(*[arguments[name] for name in implementation.argnames])
    except (Exception, SystemExit) as error:
        raise PluginFailed(implementation.plugin_name, describe(error)) from error


def pending(result: Any) -> bool:
    """Whether a plugin's result is still to come (a Deferred, a coroutine)."""
    return isinstance(result, Deferred) or inspect.isawaitable(result)


async def settled(plugin: str, result: Any, seconds: float, clock: Any) -> Any:
    """What a Deferred or coroutine of a plugin comes to. Raises PluginFailed, at the latest after ``seconds``."""
    try:
        return await within(as_deferred(result), seconds, clock)
    except TimeoutError as error:
        raise PluginFailed(plugin, f"no answer within {seconds:g} s") from error
    except (Exception, SystemExit) as error:
        raise PluginFailed(plugin, describe(error)) from error


def as_deferred(awaitable: Deferred[Any] | Awaitable[Any]) -> Deferred[Any]:
    """Any kind of awaitable as a Deferred."""
    if isinstance(awaitable, Deferred):
        return awaitable
    return Deferred.fromCoroutine(_awaited(awaitable))


def within(deferred: Deferred[Any], seconds: float, clock: Any) -> Deferred[Any]:
    """Fires as ``deferred`` does, or with TimeoutError; for certain, even where a coroutine ignores its cancellation."""

    def expire() -> None:
        outer.errback(TimeoutError())
        deferred.cancel()

    def cancel(_: Deferred[Any]) -> None:
        if timer.active():
            timer.cancel()
        deferred.cancel()

    def done(result: Any) -> None:
        if timer.active():
            timer.cancel()
        if not outer.called:
            outer.callback(result)  # a Failure makes it an errback
        # Later than that, an answer is no longer wanted and its failure was told already.

    outer: Deferred[Any] = Deferred(cancel)
    timer = clock.callLater(seconds, expire)
    deferred.addBoth(done)
    return outer


def describe(error: BaseException) -> str:
    """An exception in one line of bounded length."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a plugin's exception may be as broken as the plugin
        text = ""
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:300]


def failure_of(error: BaseException) -> Failure:
    """The error with its traceback, for the log."""
    return Failure(error.__cause__ or error)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
