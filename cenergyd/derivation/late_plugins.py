"""Customers whose plugin did not answer at once: each waits on its own, and its batch goes on without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from twisted.internet.defer import Deferred, DeferredList

from cenergyd.derivation.committer import Committer, Task, TaskResult
from cenergyd.derivation.task_runner import TaskRunner
from cenergyd.runtime.clock import Timers

MAX_WAITING_PLUGINS = 200
"""Customers that may wait for a slow plugin at once; more are tried again later."""
BATCH_WAIT_SECONDS = 0.2
"""How long a batch waits for plugins that did not answer at once, before it goes on without them."""


class LatePlugins:
    """Waits for plugins that are late."""

    def __init__(self, runner: TaskRunner, committer: Committer, clock: Timers) -> None:
        self._runner = runner
        self._committer = committer
        self._clock = clock
        self._waiting: dict[str, Deferred[TaskResult]] = {}

    async def separate(
        self,
        tasks: list[Task],
        waiting: Sequence[tuple[Task, Deferred[TaskResult]]],
        bodies: Mapping[str, Mapping[str, object]],
    ) -> list[TaskResult]:
        """The results that come within a moment; each other task leaves ``tasks`` and is waited for on its own."""
        results: list[TaskResult] = []
        if waiting:
            await self._briefly([deferred for _, deferred in waiting])
        for task, deferred in waiting:
            if not take_result(deferred, results):
                tasks.remove(task)
                self._wait_alone(task, deferred, bodies)
        return results

    def cancel(self) -> None:
        """Stop waiting: their tasks are given back or fail."""
        for waiting in list(self._waiting.values()):
            waiting.cancel()

    def _wait_alone(
        self, task: Task, deferred: Deferred[TaskResult], bodies: Mapping[str, Mapping[str, object]]
    ) -> None:
        too_many = len(self._waiting) >= MAX_WAITING_PLUGINS
        self._waiting[task.customer_id] = deferred
        self._runner.start(self._runner.guarded([task], self._finish(task, deferred, bodies)))
        if too_many or self._runner.stopping:
            deferred.cancel()

    async def _finish(
        self, task: Task, deferred: Deferred[TaskResult], bodies: Mapping[str, Mapping[str, object]]
    ) -> None:
        status = self._committer.status
        status.waiting_plugins += 1
        try:
            done = await deferred
        finally:
            status.waiting_plugins -= 1
            del self._waiting[task.customer_id]
        if done.failure is not None and self._runner.stopping:
            await self._runner.give_back([task], self._clock.seconds())
        else:
            await self._committer.commit([done], bodies)

    async def _briefly(self, deferreds: Sequence[Deferred[TaskResult]]) -> None:
        """Wait until all have fired, but no longer than BATCH_WAIT_SECONDS; none is cancelled."""
        gate: Deferred[None] = Deferred()

        def open_gate(_: object = None) -> None:
            if timer.active():
                timer.cancel()
            if not gate.called:
                gate.callback(None)

        timer = self._clock.callLater(BATCH_WAIT_SECONDS, open_gate)
        DeferredList(deferreds).addCallback(open_gate)
        await gate


def take_result(deferred: Deferred[TaskResult], results: list[TaskResult]) -> bool:
    """Whether it has fired; then its result is appended.

    At once, and not by a callback: we may be called from one of its callbacks, and another would only run after we have returned.
    """
    if not deferred.called:
        return False
    results.append(cast(TaskResult, deferred.result))
    return True
