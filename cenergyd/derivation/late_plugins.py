"""Handles customers whose plugin did not answer at once: each is finished separately, and its batch continues without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from twisted.internet.defer import Deferred, DeferredList

from cenergyd.derivation.committer import Committer, Task, TaskResult
from cenergyd.derivation.task_runner import TaskRunner
from cenergyd.runtime.clock import Timers

MAX_WAITING_PLUGINS = 200
"""Customers that may wait for a slow plugin at the same time; others are retried later."""
BATCH_WAIT_SECONDS = 0.2
"""How long a batch waits for plugins that did not answer at once before it continues without them."""


class LatePlugins:
    """Waits for slow plugins."""

    def __init__(self, runner: TaskRunner, committer: Committer, clock: Timers) -> None:
        self._runner = runner
        self._committer = committer
        self._clock = clock
        self._waiting: dict[str, Deferred[TaskResult]] = {}

    async def separate(
        self,
        tasks: list[Task],
        waiting: Sequence[tuple[Task, Deferred[TaskResult]]],
        earlier: Mapping[str, Mapping[str, object]],
    ) -> list[TaskResult]:
        """The results available within BATCH_WAIT_SECONDS; all other tasks are removed from ``tasks`` and finished separately."""
        results: list[TaskResult] = []
        if waiting:
            await self._briefly([deferred for _, deferred in waiting])
        for task, deferred in waiting:
            if not take_result(deferred, results):
                tasks.remove(task)
                self._wait_alone(task, deferred, earlier)
        return results

    def cancel(self) -> None:
        """Stop waiting: the tasks are released or fail."""
        for waiting in list(self._waiting.values()):
            waiting.cancel()

    def _wait_alone(
        self, task: Task, deferred: Deferred[TaskResult], earlier: Mapping[str, Mapping[str, object]]
    ) -> None:
        too_many = len(self._waiting) >= MAX_WAITING_PLUGINS
        self._waiting[task.customer_id] = deferred
        self._runner.start(self._runner.guarded([task], self._finish(task, deferred, earlier)))
        if too_many or self._runner.stopping:
            deferred.cancel()

    async def _finish(
        self, task: Task, deferred: Deferred[TaskResult], earlier: Mapping[str, Mapping[str, object]]
    ) -> None:
        status = self._committer.status
        status.waiting_plugins += 1
        try:
            done = await deferred
        finally:
            status.waiting_plugins -= 1
            del self._waiting[task.customer_id]
        if done.failure is not None and self._runner.stopping:
            await self._runner.release([task], self._clock.seconds())
        else:
            await self._committer.commit([done], earlier)

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
    """Whether a Deferred has fired; if so, its result is appended.

    This does not use a callback, because it may be called from one of the Deferred's callbacks: a further callback would only run after
    this function has returned.
    """
    if not deferred.called:
        return False
    results.append(cast(TaskResult, deferred.result))
    return True
