"""Sends messages that are due in the outbox, through the notifier hook.

Messages are sent concurrently, and a host that does not answer does not delay other customers' messages: each customer and each destination
(a host, or all e-mail) may only use a few of the slots for concurrent messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from functools import partial
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.documents.store import Document
from cenergyd.errors import CenergydError, Conflict, DeliveryRefused, DeliveryUnknown
from cenergyd.hookspecs import Attempt
from cenergyd.jobs.messages.outbox import AttemptResult, Outbox, notification_of
from cenergyd.runtime.clock import DelayedCall, Reactor, Timers, twisted_clock
from cenergyd.runtime.isolation import PluginFailed, PluginManager, failure_of, pending
from cenergyd.runtime.plugin_threads import PluginThreads

log = Logger()
INTERVAL_SECONDS = 5.0
"""Seconds between two passes over messages that this daemon has queued or will try again."""
SEARCH_SECONDS = 30.0
"""Seconds between two searches for messages that another daemon or a program has queued."""
SEND_TIMEOUT_SECONDS = 60.0
"""Seconds after which a notifier has failed. Longer than the timeouts of the built-in notifiers, whose errors are more precise."""
CLAIM_MARGIN_SECONDS = 30.0
"""A claim on a message lasts twice SEND_TIMEOUT_SECONDS plus this, s."""
CONCURRENCY = 20
"""Maximum messages sent concurrently by one daemon."""
PER_DESTINATION = 4
"""Maximum of these to one host, or by one service such as the mail server."""
PER_CUSTOMER = 4
"""Maximum of these of one customer."""
DUE_LIMIT = 500
"""Maximum due messages read in one pass."""
CROWDED_SECONDS = 60
"""If more than DUE_LIMIT are due, messages without a free slot are postponed by this many seconds, so that others behind them are read."""
STOP_SECONDS = 10.0
"""Seconds after the start of the stop at which running sends are cancelled."""


class OutboxService(Service):
    """Looks for due messages regularly and sends them.

    :param plugins: the plugin manager, whose ``cenergyd_notify`` implementations send.
    :param threads: threads for notifiers with synchronous clients.
    :param reactor: passed to notifiers; also the clock, unless ``clock`` is given.
    """

    name = "outbox"

    def __init__(
        self,
        outbox: Outbox,
        plugins: PluginManager,
        threads: PluginThreads,
        reactor: Reactor,
        clock: Timers | None = None,
    ) -> None:
        self._outbox = outbox
        self._plugins = plugins
        self._threads = threads
        self._reactor = reactor
        self._clock: Timers = reactor if clock is None else clock
        self._sending: dict[str, Deferred[None]] = {}
        self._calls: dict[str, Deferred[object]] = {}
        self._busy: Counter[str] = Counter()
        self._unwritten: dict[str, tuple[Document, AttemptResult, str]] = {}
        self._more_due = False
        self._next_pass: DelayedCall | None = None
        self._loop = LoopingCall(self._pass)
        self._loop.clock = twisted_clock(self._clock)
        self._passing: Deferred[None] | None = None
        self._passed_at = float("-inf")
        self.counts: Counter[str] = Counter()
        """Number of attempts by result: sent, retry, refused, unknown."""

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Start sending."""
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(INTERVAL_SECONDS, now=True).addErrback(lambda failure: log.failure("sending ended", failure))

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Start no new message. Fires when running sends have ended; after STOP_SECONDS they are cancelled."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        return Deferred.fromCoroutine(self._finish())

    async def tick(self) -> int:
        """Start sending due messages for which there are slots; returns their number without waiting for them."""
        await self._write_results()
        found = await self._outbox.due(self._now(), DUE_LIMIT)
        waiting: list[Document] = []
        begun = 0
        for document in found:
            if document.key in self._sending or document.key in self._unwritten:
                continue
            if self._has_slot(document):
                self._begin(document)
                begun += 1
            else:
                waiting.append(document)
        self._more_due = bool(waiting)
        if len(found) == DUE_LIMIT:
            await self._postpone(waiting)
        return begun

    async def idle(self) -> None:
        """Wait until nothing is being sent."""
        while self._sending:
            await DeferredList(list(self._sending.values()))

    def _pass(self) -> Deferred[None]:
        now = self._clock.seconds()
        nothing_new = not (self._more_due or self._unwritten or self._outbox.has_due(int(now)))
        if self._passing is None and nothing_new and 0 <= now - self._passed_at < SEARCH_SECONDS:
            return succeed(None)
        if self._passing is not None:
            return self._passing
        self._passed_at = now
        passing: Deferred[None] = Deferred()
        self._passing = passing  # before the pass, because a store that is down may fail at once
        Deferred.fromCoroutine(self.tick()).addBoth(self._passed, passing)
        return passing

    def _passed(self, result: object, passing: Deferred[None]) -> None:
        self._passing = None
        passing.callback(None)
        if isinstance(result, Failure):
            # Other services already report that the store is down.
            level = "warn" if result.check(CenergydError) else "error"
            getattr(log, level)("messages cannot be sent now: {reason}", reason=result.getErrorMessage())

    async def _finish(self) -> None:
        if self._next_pass is not None and self._next_pass.active():
            self._next_pass.cancel()
        if self._passing is not None:
            await self._passing
        deadline = self._clock.callLater(STOP_SECONDS, self._cancel_calls)
        await self.idle()
        if deadline.active():
            deadline.cancel()
        await self._write_results()

    def _cancel_calls(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()

    def _now(self) -> int:
        return int(self._clock.seconds())

    def _has_slot(self, document: Document) -> bool:
        busy, (customer, destination) = self._busy, _groups_of(document)
        return (
            len(self._sending) < CONCURRENCY and busy[customer] < PER_CUSTOMER and busy[destination] < PER_DESTINATION
        )

    def _begin(self, document: Document) -> None:
        self._busy.update(_groups_of(document))
        sending = Deferred.fromCoroutine(self._send_one(document))
        if not sending.called:
            self._sending[document.key] = sending
        sending.addBoth(self._ended, document)

    def _ended(self, result: object, document: Document) -> None:
        self._sending.pop(document.key, None)
        self._busy.subtract(_groups_of(document))
        self._busy += Counter()  # removes zero counts
        if isinstance(result, Failure):
            log.failure("a message cannot be sent", result)
        idle = self._next_pass is None or not self._next_pass.active()
        if self._more_due and idle and self._loop.running:
            self._next_pass = self._clock.callLater(0, self._pass)

    async def _postpone(self, documents: list[Document]) -> None:
        for document in documents:
            await self._outbox.postpone(document, self._now() + CROWDED_SECONDS)

    async def _send_one(self, document: Document) -> None:
        # The claim is longer than any attempt, so that a running sender does not lose it.
        seconds = int(SEND_TIMEOUT_SECONDS * 2 + CLAIM_MARGIN_SECONDS)
        try:
            claimed = await self._outbox.claim(document, self._now(), seconds)
        except Conflict:
            return  # another daemon has claimed it
        except CenergydError as trouble:
            log.warn("message {key} waits: {reason}", key=document.key, reason=str(trouble))
            return
        if claimed is None:
            return
        result, error = await self._attempt(claimed)
        self.counts[result] += 1
        await self._write(claimed, result, error)

    async def _write(self, claimed: Document, result: AttemptResult, error: str) -> None:
        try:
            settled = await self._outbox.settle(claimed, result, error, self._now())
        except Conflict:
            log.warn("message {key} was {result}, but the claim on it was lost", key=claimed.key, result=result)
        except CenergydError as failure:
            # Only this daemon knows the result: it is stored as soon as the store is back.
            self._unwritten[claimed.key] = (claimed, result, error)
            log.warn("message {key} was {result}, but the result is not stored yet: {reason}",
                     key=claimed.key, result=result, reason=str(failure))  # fmt: skip
        else:
            log.info(
                "message {key} to customer {customer} by {type}: {state} after {attempts} attempts {error}",
                key=claimed.key, customer=claimed.owner, type=claimed.body["channel"].get("type"),
                state=settled.body["state"], attempts=settled.body["attempts"], error=error,
            )  # fmt: skip

    async def _write_results(self) -> None:
        waiting, self._unwritten = self._unwritten, {}
        for claimed, result, error in waiting.values():
            await self._write(claimed, result, error)

    async def _attempt(self, claimed: Document) -> tuple[AttemptResult, str]:
        channel_type = claimed.body["channel"].get("type")
        try:
            taken = await self._ask_plugins(claimed)
        except PluginFailed as error:
            return self._evaluate(error, channel_type)
        if taken is None:
            return "refused", f"no plugin sends to channels of type {channel_type}"
        return ("sent", "") if taken is True else ("retry", "the notifier did not accept the message")

    def _evaluate(self, error: PluginFailed, channel_type: object) -> tuple[AttemptResult, str]:
        """The result of an attempt in which a notifier raised an error."""
        cause = error.__cause__
        if isinstance(cause, DeliveryRefused):
            return "refused", str(cause)
        if isinstance(cause, DeliveryUnknown):
            return "unknown", str(cause)
        if isinstance(cause, CancelledError):
            return "unknown", "the daemon stopped while the message was being sent"
        if isinstance(cause, TimeoutError):
            return "unknown", f"the notifier gave {error.reason}"
        if isinstance(cause, CenergydError):
            return "retry", str(cause)
        log.failure("plugin {plugin} failed for {type}", failure_of(error), plugin=error.plugin, type=channel_type)
        return "retry", f"the notifier failed: {error.reason}"

    async def _ask_plugins(self, claimed: Document) -> object:
        """The result of the first plugin that returns one. Raises PluginFailed.

        A plugin that raises at once is skipped, because the message may be for another plugin; if none returns a result, its failure counts.
        """
        channel = claimed.body["channel"]
        arguments = {
            "notification": notification_of(claimed),
            "channel": dict(channel),
        }
        fault: PluginFailed | None = None
        only = self._plugins.notifiers.get(str(channel.get("type")))
        for implementation in self._plugins.implementations("cenergyd_notify"):
            if only is not None and implementation.plugin != only:
                continue
            attempt = Attempt(
                number=claimed.body["attempts"],
                unsure=claimed.body["unsure"],
                now=self._now(),
                reactor=self._reactor,
                in_thread=partial(self._threads.run, implementation.plugin),
            )
            try:
                answer = self._plugins.call(implementation, {**arguments, "attempt": attempt})
            except PluginFailed as error:
                if isinstance(error.__cause__, CenergydError):
                    raise
                fault = error
                continue
            if pending(answer):
                settled = self._plugins.settled(implementation, answer, SEND_TIMEOUT_SECONDS, self._clock)
                answer = await self._cancellable(claimed.key, settled)
            if answer is not None:
                return answer
        if fault is not None:
            raise fault
        return None

    async def _cancellable(self, key: str, settled: Coroutine[Deferred[object], object, object]) -> object:
        call = self._calls[key] = Deferred.fromCoroutine(settled)
        try:
            return await call
        finally:
            del self._calls[key]


def _groups_of(document: Document) -> tuple[str, str]:
    """The customer and the destination of a message, for both of which slots are limited."""
    channel = document.body["channel"]
    try:
        host = urlsplit(str(channel.get("url", ""))).hostname
    except ValueError:
        host = None
    return f"customer {document.owner}", f"destination {host or channel.get('type')}"
