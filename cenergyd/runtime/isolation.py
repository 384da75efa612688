"""Calls plugins one by one, so that none can harm the daemon or another plugin. Whatever a plugin does (raise anything, never answer,
return nonsense) becomes a :class:`PluginFailed` that names it. A plugin that blocks the thread cannot be stopped; it is timed and named
(:mod:`cenergyd.runtime.hook_times`, :mod:`cenergyd.runtime.plugin_hangs`).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextvars import copy_context
from typing import NamedTuple, cast

import pluggy
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.errors import CenergydError
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.hook_times import HookTimes

MAX_REASON = 300
"""Characters of an exception's text that are kept."""

log = Logger()


class PluginFailed(CenergydError):
    """A plugin raised, took too long or gave a wrong answer; what it raised is the ``__cause__``."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(f"plugin {plugin}: {reason}")
        self.plugin = plugin
        self.reason = reason


class Implementation(NamedTuple):
    """One plugin's function for one hook."""

    plugin: str
    hook: str
    function: Callable[..., object]
    arguments: Sequence[str]
    """The arguments of the hook that it asks for."""


class PluginManager(pluggy.PluginManager):
    """pluggy's manager. Hooks are called only by :meth:`call` and :meth:`settled`: each plugin by itself, isolated and timed."""

    def __init__(self) -> None:
        super().__init__("cenergyd")
        self.times = HookTimes()
        self.built_in: frozenset[str] = frozenset()
        """Names of cenergyd's own plugins."""
        self.notifiers: dict[str, str] = {}
        """Type of channel -> the only plugin that sends to it, if one has declared the type."""
        self.options: dict[str, object] = {}
        """The ``options`` of each plugin, by its name."""
        self._implementations: dict[str, tuple[list[pluggy.HookImpl], tuple[Implementation, ...]]] = {}

    def implementations(self, hook: str) -> tuple[Implementation, ...]:
        """The implementations of one hook in the order in which pluggy calls them (tryfirst, then latest registered first)."""
        caller: pluggy.HookCaller = getattr(self.hook, hook)
        registered = caller.get_hookimpls()
        known = self._implementations.get(hook)
        if known is None or known[0] != registered:
            known = self._implementations[hook] = registered, _callable(hook, registered)
        return known[1]

    def call(self, implementation: Implementation, arguments: Mapping[str, object]) -> object:
        """Call an implementation with those of the arguments that it asks for. Raises PluginFailed."""
        plugin, hook, function, names = implementation
        before = self.times.enter(plugin, hook)
        try:
            return function(*[self.options.get(plugin) if name == "options" else arguments[name] for name in names])
        except BaseException as error:
            raise PluginFailed(plugin, error_text(error)) from error
        finally:
            self.times.leave(before)

    async def settled(self, implementation: Implementation, result: object, seconds: float, clock: Timers) -> object:
        """The result of a plugin's Deferred or coroutine. Raises PluginFailed, at the latest after ``seconds``."""
        plugin = implementation.plugin
        if isinstance(result, Deferred):
            answer = result
        else:
            steps = _TimedSteps(cast(Awaitable[object], result), implementation, self.times)
            context = copy_context()
            try:
                if context.run(steps.begin):  # it did not have to wait, like most jobs
                    return steps.value
            except BaseException as error:
                raise PluginFailed(plugin, error_text(error)) from error
            answer = context.run(Deferred.fromCoroutine, steps.others())

        def failed(failure: Failure) -> Failure:
            # Here and not around the await, because what ends this coroutine itself (GeneratorExit) is not the plugin's failure.
            error = failure.value or RuntimeError()
            late = isinstance(error, TimeoutError) and failure.value is expired
            reason = f"no answer within {seconds:g} s" if late else error_text(error)
            raise PluginFailed(plugin, reason) from error

        expired = TimeoutError()
        if answer.called and not answer.paused:
            return await answer.addErrback(failed)
        waiting = within(answer, seconds, clock, expired)
        return await waiting.addErrback(failed)


def _callable(hook: str, registered: Sequence[pluggy.HookImpl]) -> tuple[Implementation, ...]:
    return tuple(
        Implementation(each.plugin_name, hook, each.function, each.argnames)
        for each in reversed(registered)
        if not (each.wrapper or each.hookwrapper)
    )


def pending(result: object) -> bool:
    """Whether a plugin's result is still to come (a Deferred, a coroutine)."""
    if type(result) is list:
        return False
    try:
        return isinstance(result, Deferred) or inspect.isawaitable(result)
    except BaseException:  # its __class__ may be a property that raises
        return False


def within(deferred: Deferred[object], seconds: float, clock: Timers, expired: Exception) -> Deferred[object]:
    """Fires as ``deferred`` does, or with ``expired``, even if a coroutine ignores its cancellation."""

    def expire() -> None:
        outer.errback(expired)
        _cancel(deferred)

    def cancel(_: Deferred[object]) -> None:
        if timer.active():
            timer.cancel()
        _cancel(deferred)

    def done(result: object) -> None:
        if timer.active():
            timer.cancel()
        if not outer.called:
            outer.callback(result)  # a Failure makes it an errback
        # After that, an answer is no longer needed and the failure has been reported.

    outer: Deferred[object] = Deferred(cancel)
    timer = clock.callLater(seconds, expire)
    deferred.addBoth(done)
    return outer


def error_text(error: BaseException) -> str:
    """An exception in one line of bounded length."""
    name = type(error).__name__[:100]
    try:
        text = " ".join(str(error)[: 10 * MAX_REASON].split())
    except BaseException:  # its __str__ may raise as well
        text = ""
    return (f"{name}: {text}" if text else name)[:MAX_REASON]


def failure_of(error: BaseException) -> Failure:
    """The error with its traceback, for the log."""
    return Failure(error.__cause__ or error)


def _cancel(deferred: Deferred[object]) -> None:
    try:
        deferred.cancel()
    except BaseException:
        log.failure("a plugin's Deferred cannot be cancelled")


class _TimedSteps:
    """The steps of an awaitable, from one await to the next, each timed like a call.

    :ivar value: its result, once it has ended.
    """

    def __init__(self, awaitable: Awaitable[object], implementation: Implementation, times: HookTimes) -> None:
        self._steps = awaitable if inspect.iscoroutine(awaitable) else _steps_of(awaitable)
        self._plugin, self._hook = implementation.plugin, implementation.hook
        self._times = times
        self._waits_for: object = None
        self.value: object = None

    def begin(self) -> bool:
        """Take the first step. Whether it was the only one."""
        return self._ends(self._steps.send, None)

    def others(self) -> Generator[Deferred[object], object, object]:
        """The steps after the first one, for ``Deferred.fromCoroutine``."""
        step: Callable[..., object]
        ended = False
        while not ended:
            try:
                step, given = self._steps.send, (yield cast(Deferred[object], self._waits_for))
            except GeneratorExit:
                self._steps.close()
                raise
            except BaseException as error:
                step, given = self._steps.throw, error
            ended = self._ends(step, given)
        return self.value

    def _ends(self, step: Callable[..., object], given: object) -> bool:
        before = self._times.enter(self._plugin, self._hook)
        try:
            self._waits_for = step(given)
        except StopIteration as end:
            self.value = end.value
            return True
        finally:
            self._times.leave(before)
        return False


def _steps_of(awaitable: Awaitable[object]) -> Generator[object, object, object]:
    return (yield from awaitable.__await__())
