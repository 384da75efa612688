"""Sends what is due in the outbox, through the notifier hook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.model import Customer
from cenergyd.documents.store import Document
from cenergyd.errors import CenergydError, Conflict, DeliveryRefused, DeliveryUnknown, NotFound
from cenergyd.jobs.messages.outbox import Delivery, Outbox, Outcome, notification_of
from cenergyd.runtime.concurrency import Slots
from cenergyd.runtime.isolation import PluginFailed, PluginManager, failure_of, pending
from cenergyd.settings.sections import Settings

log = Logger()
_OWN_SECTIONS = ("email", "sms", "webhook")


class OutboxService(Service):
    """Looks for due messages regularly and sends them.

    :param plugins: the plugin manager, whose ``cenergyd_notify`` implementations send.
    :param options: channel type -> the settings its notifier is given.
    :param reactor: handed on to notifiers; also the clock, unless ``clock`` is given.
    """

    def __init__(
        self,
        outbox: Outbox,
        plugins: PluginManager,
        options: Callable[[str], Mapping[str, Any]],
        reactor: Any,
        clock: Any = None,
    ) -> None:
        self._outbox = outbox
        self._plugins = plugins
        self._options = options
        self._reactor = reactor
        self._clock = reactor if clock is None else clock
        self._places = Slots(outbox.settings.concurrency)
        self._busy: set[str] = set()
        self._unwritten: dict[str, tuple[Document, Outcome, str]] = {}
        self._loop = LoopingCall(self._tick_logged)
        self._loop.clock = self._clock
        self._round: Deferred[None] | None = None
        self.counts: Counter[str] = Counter()
        """Attempts by what came of them: sent, retry, refused, unknown."""

    async def tick(self) -> int:
        """Send what is due now; how many messages were looked at."""
        await self._write_outcomes()
        documents = await self._outbox.due(self._now(), limit=self._outbox.settings.concurrency * 10)
        todo = [d for d in documents if d.key not in self._busy and d.key not in self._unwritten]
        await gatherResults([self._places.run(self._handle, document) for document in todo], consumeErrors=True)
        return len(todo)

    async def send_test(self, customer: Customer, channel: Any) -> Delivery:
        """Send the test message of a channel now and say what became of it; at most one a minute goes out.

        Raises InvalidField for a wrong channel. A failed attempt stays queued like any other message.
        """
        key = await self._outbox.enqueue_test(customer, channel, self._now())
        document = await self._outbox.document(key)
        queued = document is not None and document.body["state"] == "queued" and (document.due or 0) <= self._now()
        if document is not None and queued and key not in self._busy:
            await self._places.run(self._handle, document)
        delivery = await self._outbox.delivery(key)
        if delivery is None:
            raise NotFound("the outbox is full: too many messages wait for this customer")
        return delivery

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to send."""
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(self._outbox.settings.interval_seconds, now=True)

    async def stop(self) -> None:
        """Take no new message, and wait for those being sent (each is bounded by its timeout)."""
        if self._loop.running:
            self._loop.stop()
        Service.stopService(self)
        if self._round is not None:
            await self._round
        await self._write_outcomes()

    def _now(self) -> int:
        return int(self._clock.seconds())

    def _tick_logged(self) -> Deferred[None]:
        def failed(failure: Failure) -> None:
            log.warn("the outbox is not looked at, will be tried again: {reason}", reason=failure.getErrorMessage())

        def ended(result: Any) -> None:
            self._round = None

        self._round = Deferred.fromCoroutine(self.tick()).addErrback(failed).addBoth(ended)
        return self._round

    def _handle(self, document: Document) -> Deferred[None]:
        self._busy.add(document.key)

        def done(result: Any) -> Any:
            self._busy.discard(document.key)
            return result

        return Deferred.fromCoroutine(self._send_one(document)).addBoth(done)

    async def _send_one(self, document: Document) -> None:
        # A sender that still runs must not lose its claim, so the claim is longer than any attempt.
        seconds = int(self._outbox.settings.send_timeout_seconds) * 2 + 30
        try:
            claimed = await self._outbox.claim(document, self._now(), seconds)
        except Conflict:
            return  # another daemon has it
        except CenergydError as trouble:
            log.warn("message {key} waits: {reason}", key=document.key, reason=str(trouble))
            return
        if claimed is None:
            return
        outcome, error = await self._attempt(claimed)
        await self._settle(claimed, outcome, error)

    async def _settle(self, claimed: Document, outcome: Outcome, error: str) -> None:
        self.counts[outcome] += 1
        await self._write(claimed, outcome, error)

    async def _write(self, claimed: Document, outcome: Outcome, error: str) -> None:
        try:
            settled = await self._outbox.settle(claimed, outcome, error, self._now())
        except Conflict:
            log.warn("message {key} was {outcome}, but the claim on it was lost", key=claimed.key, outcome=outcome)
        except CenergydError as failure:
            # Known here and nowhere else: written down as soon as the store is back.
            self._unwritten[claimed.key] = (claimed, outcome, error)
            log.warn("message {key} was {outcome}, not yet written: {reason}",
                     key=claimed.key, outcome=outcome, reason=str(failure))  # fmt: skip
        else:
            log.info(
                "message {key} to customer {customer} by {type}: {state} after {attempts} attempts {error}",
                key=claimed.key, customer=claimed.owner, type=claimed.body["channel"].get("type"),
                state=settled.body["state"], attempts=settled.body["attempts"], error=error,
            )  # fmt: skip

    async def _write_outcomes(self) -> None:
        waiting, self._unwritten = self._unwritten, {}
        for claimed, outcome, error in waiting.values():
            await self._write(claimed, outcome, error)

    async def _attempt(self, claimed: Document) -> tuple[Outcome, str]:
        channel_type = claimed.body["channel"].get("type")
        try:
            taken = await self._ask_plugins(claimed)
        except PluginFailed as error:
            return self._judge(error, channel_type)
        if taken is None:
            return "refused", f"no plugin sends to channels of type {channel_type}"
        return ("sent", "") if taken is True else ("retry", "the notifier did not take the message")

    def _judge(self, error: PluginFailed, channel_type: Any) -> tuple[Outcome, str]:
        """What the error of a notifier says of the message."""
        cause = error.__cause__
        if isinstance(cause, DeliveryRefused):
            return "refused", str(cause)
        if isinstance(cause, DeliveryUnknown):
            return "unknown", str(cause)
        if isinstance(cause, TimeoutError):
            return "unknown", f"the notifier gave {error.reason}"
        if isinstance(cause, CenergydError):
            return "retry", str(cause)
        log.failure("plugin {plugin} failed for {type}", failure_of(error), plugin=error.plugin, type=channel_type)
        return "retry", f"the notifier failed: {error.reason}"

    async def _ask_plugins(self, claimed: Document) -> Any:
        """The answer of the first plugin that has one. Raises PluginFailed.

        One that raises at once is passed over, for the message may be another's; if it is nobody else's, that failure counts.
        """
        channel = claimed.body["channel"]
        arguments = {
            "notification": notification_of(claimed),
            "channel": dict(channel),
            "settings": {
                **self._options(str(channel.get("type"))),
                "reactor": self._reactor,
                "attempt": claimed.body["attempts"],
                "unsure": claimed.body["unsure"],
            },
        }
        fault: PluginFailed | None = None
        for implementation in self._plugins.implementations("cenergyd_notify"):
            try:
                answer = self._plugins.call(implementation, arguments)
            except PluginFailed as error:
                if isinstance(error.__cause__, CenergydError):
                    raise
                fault = error
                continue
            if pending(answer):
                seconds = self._outbox.settings.send_timeout_seconds
                answer = await self._plugins.settled(implementation, answer, seconds, self._clock)
            if answer is not None:
                return answer
        if fault is not None:
            raise fault
        return None


def options_from(settings: Settings) -> Callable[[str], Mapping[str, Any]]:
    """What notifiers are given: the section of the ini for their type."""

    def options(channel_type: str) -> Mapping[str, Any]:
        if channel_type in _OWN_SECTIONS:
            return attrs.asdict(getattr(settings, channel_type))
        other = settings.notifier.get(channel_type)
        return dict(other.options) if other else {}

    return options
