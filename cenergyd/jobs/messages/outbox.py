"""Messages to customers: queued durably, sent by notifiers, retried, never sent twice.

This is a queue (:mod:`cenergyd.jobs.due_queue`) with one document per message and channel; its key is derived from both, so queueing the
same message again changes nothing. The states of a message:

- ``queued``: to be sent at ``due``.
- ``sending``: claimed by one sender, compare-and-set, until ``due``.
- ``sent``, ``failed`` (permanently refused, or too many attempts), ``unsure``: finished; displayed, and kept to prevent duplicates, until
  ``due``.

If a sender dies after a service has accepted a message and before that is stored, the message may be either lost or sent twice. Channel types
in ``[outbox] idempotent_channels`` are then retried, because their notifiers prevent duplicates: the webhook by an idempotency key, SMS by
querying Twilio for the message. Other types (e-mail) are not retried: the message is ``unsure``, and displayed as such. Messages that are
known not to have been accepted are always retried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from twisted.logger import Logger

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.kinds import OUTBOX
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Conflict, InvalidField, Overloaded
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.receivers import needs_confirmation, open_channels
from cenergyd.jobs.alerts.rules import alerts_of, channel_id, parse_channel, public_channel, with_secrets
from cenergyd.jobs.due_queue import DueQueue
from cenergyd.jobs.messages import daily_limits
from cenergyd.jobs.messages.site_name import site_name
from cenergyd.settings.sections import OutboxSettings

MAX_TEXT = 8000
MAX_ERROR = 300
MAX_ATTEMPTS = 12
"""Attempts at a message, over about eight hours with the waits below; then it has failed."""
FIRST_RETRY_SECONDS = 60
"""Seconds to wait after the first failed attempt; doubled after each further one, up to MAX_RETRY_SECONDS."""
MAX_RETRY_SECONDS = 3600
KEEP_SECONDS = 2 * 86400
"""Seconds for which sent and failed messages are kept, to display them and to recognise duplicates."""
MAX_PER_CUSTOMER = 2000
"""Maximum messages kept per customer; further ones are dropped and logged."""
MAX_TESTS_PER_DAY = 20
"""Maximum test messages of one customer in a UTC day."""
MAX_SMS_PER_DAY = 100
"""Maximum SMS to one customer's channels in a UTC day: each costs the operator money."""
CONFIRMATION = "confirmation"
"""Kind of the message that asks a receiver for confirmation."""
_MAX_DUE_HERE = 10_000
"""Maximum due times in memory; other messages are found a little later."""
_EARLIER_AUDIENCE = "told"
"""The key of ``audience`` in messages that an earlier version stored with an alert and did not queue."""
_NO_MORE_SMS = f"{MAX_SMS_PER_DAY} SMS were sent today: no more until tomorrow"

MessageState = Literal["queued", "sending", "sent", "failed", "unsure"]
AttemptResult = Literal["sent", "retry", "refused", "unknown"]
log = Logger()


class Delivery(NamedTuple):
    """One message to one channel, for display; without secrets."""

    key: str
    kind: str
    subject: str
    channel: Mapping[str, object]
    """The channel, without its secrets."""
    state: MessageState
    attempts: int
    error: str
    """Why the last attempt failed; '' if it did not."""
    created: int
    """UTC seconds."""
    due: int
    """When it is tried next (queued) or deleted (finished)."""


class Outbox:
    """The queue of messages.

    :param documents: the store of the messages.
    :param customers: the store of the customers, who have the channels.
    :param operators: channels of operators, who are notified about every site.
    :param idempotent: channel types whose notifiers prevent duplicates, besides those in the settings.
    """

    def __init__(
        self,
        documents: DocumentStore,
        customers: CustomerStore,
        settings: OutboxSettings,
        operators: Sequence[Mapping[str, object]] = (),
        idempotent: Collection[str] = (),
    ) -> None:
        self.documents = documents
        self.settings = settings
        self._idempotent = {*settings.idempotent_channels, *idempotent}
        self._queue = DueQueue(documents, OUTBOX, FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._customers = customers
        self._operators = operators
        self._due_here: list[int] = []
        """A heap of the times at which messages that this daemon has changed are due."""
        self.oldest_due: int | None = None
        """When the longest overdue message should have been sent, at the last count; None if none was overdue."""

    def has_due(self, now: int) -> bool:
        """Whether a message is due that this daemon has queued or will try again."""
        return bool(self._due_here) and self._due_here[0] <= now

    def _will_be_due(self, due: int, now: int) -> None:
        if due <= now + MAX_RETRY_SECONDS and len(self._due_here) < _MAX_DUE_HERE:
            heappush(self._due_here, due)

    async def notify(self, notification: Notification, now: int) -> int:
        """Queue a message to every channel of its customer; returns the number of channels. Durable when this returns.

        If its ``data`` has ``audience``, a list of ``customer`` and ``operators``, it is sent to those; if it has ``channels``, a list of types,
        it is sent only to the customer's channels of these types.
        """
        data = notification.data
        audience = data.get("audience", data.get(_EARLIER_AUDIENCE, ("customer",)))
        count = 0
        for channel in self._operators if "operators" in audience else ():
            await self.enqueue(notification, channel, now, is_limited=False)
            count += 1
        return count + (await self._notify_customer(notification, now) if "customer" in audience else 0)

    async def _notify_customer(self, notification: Notification, now: int) -> int:
        customer = await self._customers.get(notification.customer_id)
        if customer is None:
            return 0
        try:
            channels = open_channels(customer)
        except InvalidField as error:
            log.error(
                "customer {customer} gets no message, because its channels are invalid at {field}: {reason}",
                customer=customer.id, field=error.field, reason=str(error),
            )  # fmt: skip
            return 0
        types = notification.data.get("channels")
        chosen = [channel for channel in channels if types is None or channel.get("type") in types]
        for channel in chosen:
            await self.enqueue(notification, channel, now)
        return len(chosen)

    async def enqueue(
        self, notification: Notification, channel: Mapping[str, object], now: int, *, is_limited: bool = True
    ) -> str:
        """Queue a message to one channel and return its key; nothing changes if it is already queued or finished.

        :param is_limited: whether an SMS counts towards the customer's daily limit.
        """
        key = message_key(notification, channel)
        owner = notification.customer_id
        if await self.documents.count(OUTBOX, owner=owner) >= MAX_PER_CUSTOMER:
            log.error("the outbox of customer {customer} is full: a message is dropped", customer=owner, key=key)
            return key
        body = {
            "notification": _bounded(notification)._asdict() | {"data": dict(notification.data)},
            "channel": dict(channel),
            "state": "queued",
            "attempts": 0,
            "unsure": False,
            "error": "",
            "created": now,
        }
        counts = is_limited and channel.get("type") == "sms" and not await self._queue.get(key)
        if counts and not await self._count_sms(owner, now):
            # Stored as failed, so that the reason is displayed with the other messages.
            body |= {"state": "failed", "error": _NO_MORE_SMS}
            log.warn("customer {customer}: {reason}", customer=owner, reason=_NO_MORE_SMS)
            await self._queue.add(key, body, owner=owner, due=now + KEEP_SECONDS)
            return key
        if not await self._queue.add(key, body, owner=owner, due=now):
            log.debug("message {key} is already in the outbox", key=key)
        self._will_be_due(now, now)
        return key

    async def enqueue_test(self, customer: Customer, channel: object, now: int) -> str:
        """Queue the test message of a channel, at most one a minute.

        A channel with ``has_secret`` gets the secret of the stored one. Raises InvalidField for an invalid channel or one that is not
        confirmed, Overloaded after MAX_TESTS_PER_DAY messages, so that the operator's services cannot be used to flood others.
        """
        checked = parse_channel(with_secrets(channel, _channels_of(customer)))
        named = channel_id(checked)
        if needs_confirmation(checked) and named not in {channel_id(each) for each in _open_channels_of(customer)}:
            raise InvalidField("channel", "its owner has not confirmed it yet")
        site = site_name(customer)
        notification = Notification(
            f"test-{customer.id}-{named}-{now // 60}",
            customer.id,
            "test",
            f"Test message of the alerts of {site}",
            f"This is the test message that you requested. Energy alerts of {site} are sent to you this way.\n",
            {"customer": customer.id, "kind": "test", "at": now},
        )
        new = await self._queue.get(message_key(notification, checked)) is None
        if new and not await daily_limits.count_message(self.documents, customer.id, "test", MAX_TESTS_PER_DAY, now):
            raise Overloaded(f"{MAX_TESTS_PER_DAY} test messages were sent today; try again tomorrow")
        return await self.enqueue(notification, checked, now)

    async def _count_sms(self, customer_id: str, now: int) -> bool:
        return await daily_limits.count_message(self.documents, customer_id, "sms", MAX_SMS_PER_DAY, now)

    async def due(self, now: int, limit: int) -> list[Document]:
        """Messages that are due now."""
        while self.has_due(now):
            heappop(self._due_here)
        found = await self._queue.due(now, limit)
        self.oldest_due = found[0].due if found else None
        return found

    async def deliveries(self, customer_id: str, limit: int = 100) -> list[Delivery]:
        """A customer's messages, newest first."""
        found = await self.documents.find(OUTBOX, owner=customer_id, limit=MAX_PER_CUSTOMER)
        deliveries = [as_delivery(document) for document in found]
        return sorted(deliveries, key=lambda delivery: (-delivery.created, delivery.key))[:limit]

    async def document(self, key: str) -> Document | None:
        """One message as stored, with its channel's secrets."""
        return await self._queue.get(key)

    async def delivery(self, key: str) -> Delivery | None:
        """One message."""
        document = await self._queue.get(key)
        return as_delivery(document) if document else None

    async def send_again(self, key: str, now: int) -> bool:
        """Queue a failed or unsure message again, at a person's request. False if it is neither."""
        document = await self._queue.get(key)
        if document is None or document.body["state"] not in ("failed", "unsure"):
            return False
        if document.body["notification"]["kind"] == CONFIRMATION:
            return False  # the person requests a new code instead, for which there is a limit
        is_sms = document.body["channel"].get("type") == "sms" and document.owner
        if is_sms and not await self._count_sms(str(document.owner), now):
            return False
        body = {**document.body, "state": "queued", "attempts": 0}
        try:
            await self._queue.update(document, body, now)
        except Conflict:
            return False
        self._will_be_due(now, now)
        return True

    async def claim(self, document: Document, now: int, seconds: int) -> Document | None:
        """Claim a due message for sending until ``now + seconds``; None if there is nothing to send.

        A finished message is deleted. An expired claim of a sender that died is settled.
        """
        body = document.body
        if body["state"] in ("sent", "failed", "unsure"):
            await self._queue.remove(document)
            return None
        if body["state"] == "sending":
            settled = await self.settle(document, "unknown", "the sender ended before the result was stored", now)
            if settled.body["state"] != "queued":
                return None
            document, body = settled, settled.body
        claimed = {**body, "state": "sending", "attempts": body["attempts"] + 1}
        return await self._queue.update(document, claimed, now + seconds)

    async def postpone(self, document: Document, due: int) -> None:
        """Set the due time of a message; nothing else changes. Ignored if another daemon changed the message."""
        with suppress(Conflict):
            await self._queue.update(document, document.body, due)

    async def settle(self, document: Document, result: AttemptResult, error: str, now: int) -> Document:
        """Store the result of an attempt to send a claimed message. Raises Conflict if the claim was lost."""
        body = {**document.body, "error": error[:MAX_ERROR]}
        attempts: int = body["attempts"]
        again = attempts < MAX_ATTEMPTS
        if result == "unknown":
            body["unsure"] = True
            again = again and body["channel"].get("type") in self._idempotent
        if result in ("retry", "unknown") and again:
            wait = self._queue.retry_delay(attempts)
            self._will_be_due(now + wait, now)
            return await self._queue.update(document, {**body, "state": "queued"}, now + wait)
        finished: Mapping[AttemptResult, MessageState] = {
            "sent": "sent",
            "unknown": "unsure",
            "retry": "failed",
            "refused": "failed",
        }
        body["state"] = finished[result]
        return await self._queue.update(document, body, now + KEEP_SECONDS)


def message_key(notification: Notification, channel: Mapping[str, object]) -> str:
    """The key of a message to a channel."""
    return hashlib.sha256(f"{notification.id}\0{channel_id(channel)}".encode()).hexdigest()[:40]


def as_delivery(document: Document) -> Delivery:
    """A stored message without secrets."""
    body = document.body
    notification = body["notification"]
    return Delivery(
        document.key,
        notification["kind"],
        notification["subject"],
        public_channel(body["channel"]),
        body["state"],
        body["attempts"],
        body["error"],
        body["created"],
        document.due or 0,
    )


def _channels_of(customer: Customer) -> tuple[Mapping[str, object], ...]:
    try:
        settings = alerts_of(customer)
    except InvalidField:
        return ()
    return settings.channels if settings else ()


def _open_channels_of(customer: Customer) -> tuple[Mapping[str, object], ...]:
    try:
        return open_channels(customer)
    except InvalidField:
        return ()


def notification_of(document: Document) -> Notification:
    """The notification in a stored message."""
    return Notification(**document.body["notification"])


def _bounded(notification: Notification) -> Notification:
    subject = " ".join(notification.subject.split())[:200]
    return notification._replace(subject=subject, text=notification.text[:MAX_TEXT])
