"""Messages to customers: queued durably, sent by notifiers, retried, never sent twice.

A queue (:mod:`cenergyd.jobs.due_queue`) with one document per message and channel, its key made from both, so that queueing the same
message again changes nothing.
``due`` is when something is to happen to it. Its states:

- ``queued``: to be sent at ``due``.
- ``sending``: claimed by one sender, compare-and-set, until ``due``.
- ``sent``, ``failed`` (refused for good, or tried too often), ``unsure``: finished; shown, and kept against duplicates, until ``due``.

Never twice and never lost cannot both be had where a sender dies between the service's taking the message and our writing that down.
What happens then depends on the channel's type. Types in ``[outbox] idempotent_channels`` are tried again, because their notifier prevents a
duplicate: the webhook by an idempotency key, SMS by asking Twilio whether it has the message. The others (e-mail) are not sent again: the
message is ``unsure``, and shown as such. Everything that is known not to have been taken is tried again, whatever the type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
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
from cenergyd.jobs.messages import rations
from cenergyd.jobs.messages.wording import site_name
from cenergyd.settings.sections import OutboxSettings

MAX_TEXT = 8000
MAX_ERROR = 300
FIRST_RETRY_SECONDS = 60
"""Wait after the first failed attempt; each further wait is twice as long, up to MAX_RETRY_SECONDS."""
MAX_RETRY_SECONDS = 3600
KEEP_SECONDS = 2 * 86400
"""Sent and failed messages are kept for so long, to be shown and to recognize duplicates."""
MAX_PER_CUSTOMER = 2000
"""Messages kept per customer; further ones are dropped and logged."""
MAX_TESTS_PER_DAY = 20
"""Test messages that one customer may have sent in a UTC day."""
MAX_SMS_PER_DAY = 100
"""SMS to one customer's channels in a UTC day: each costs the operator money."""
CONFIRMATION = "confirmation"
"""Kind of the message with which a receiver is asked to confirm."""
_NO_MORE_SMS = f"{MAX_SMS_PER_DAY} SMS were sent today: no more until tomorrow"

State = Literal["queued", "sending", "sent", "failed", "unsure"]
AttemptResult = Literal["sent", "retry", "refused", "unknown"]
log = Logger()


class Delivery(NamedTuple):
    """One message over one channel, for a page or the API; without secrets."""

    key: str
    kind: str
    subject: str
    channel: Mapping[str, object]
    state: State
    attempts: int
    error: str
    created: int
    """UTC seconds."""
    due: int
    """When it is tried next (queued) or forgotten (done)."""


class Outbox:
    """The queue itself.

    :param documents: where the messages are.
    :param customers: where the channels are.
    :param operators: channels of those who are told about every site.
    :param idempotent: channel types whose notifiers prevent duplicates, beside those that the settings name.
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

    async def notify(self, notification: Notification, now: int) -> int:
        """Queue a message to every channel of its customer; how many. Durable when this returns.

        Where its ``data`` has ``told``, a list of ``customer`` and ``operators``, those are told; where it has ``channels``, a list of types,
        only the customer's channels of these types are.
        """
        told = notification.data.get("told", ("customer",))
        count = 0
        for channel in self._operators if "operators" in told else ():
            await self.enqueue(notification, channel, now, rationed=False)
            count += 1
        return count + (await self._notify_customer(notification, now) if "customer" in told else 0)

    async def _notify_customer(self, notification: Notification, now: int) -> int:
        customer = await self._customers.get(notification.customer_id)
        if customer is None:
            return 0
        try:
            channels = open_channels(customer)
        except InvalidField as error:
            log.error(
                "customer {customer} gets no message, its channels are wrong at {field}: {reason}",
                customer=customer.id, field=error.field, reason=str(error),
            )  # fmt: skip
            return 0
        types = notification.data.get("channels")
        chosen = [channel for channel in channels if types is None or channel.get("type") in types]
        for channel in chosen:
            await self.enqueue(notification, channel, now)
        return len(chosen)

    async def enqueue(
        self, notification: Notification, channel: Mapping[str, object], now: int, *, rationed: bool = True
    ) -> str:
        """Queue a message to one channel and return its key; nothing changes where it is queued or done already.

        :param rationed: whether an SMS counts as one of the customer's.
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
        counts = rationed and channel.get("type") == "sms" and not await self._queue.get(key)
        if counts and not await self._takes_sms(owner, now):
            # Shown with the others, so that whoever waits for it learns why.
            body |= {"state": "failed", "error": _NO_MORE_SMS}
            log.warn("customer {customer}: {reason}", customer=owner, reason=_NO_MORE_SMS)
            await self._queue.add(key, body, owner=owner, due=now + KEEP_SECONDS)
            return key
        if not await self._queue.add(key, body, owner=owner, due=now):
            log.debug("message {key} is in the outbox already", key=key)
        return key

    async def enqueue_test(self, customer: Customer, channel: object, now: int) -> str:
        """Queue the test message of a channel, at most one a minute. Raises InvalidField for a wrong channel.

        A channel as the page shows it (``has_secret``) gets the secret of the stored one. Raises InvalidField for an address or number
        that is not confirmed, Overloaded past MAX_TESTS_PER_DAY: nobody is to be flooded in the operator's name.
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
            f"This is the test message you asked for. Energy alerts of {site} come to you this way.\n",
            {"customer": customer.id, "kind": "test", "at": now},
        )
        new = await self._queue.get(message_key(notification, checked)) is None
        if new and not await rations.take(self.documents, customer.id, "test", MAX_TESTS_PER_DAY, now):
            raise Overloaded(f"{MAX_TESTS_PER_DAY} test messages were sent today; try again tomorrow")
        return await self.enqueue(notification, checked, now)

    async def _takes_sms(self, customer_id: str, now: int) -> bool:
        return await rations.take(self.documents, customer_id, "sms", MAX_SMS_PER_DAY, now)

    async def due(self, now: int, limit: int) -> list[Document]:
        """Messages to which something is to happen now."""
        return await self._queue.due(now, limit)

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
        """Queue a failed or unsure message once more, on a person's wish. False where it is neither."""
        document = await self._queue.get(key)
        if document is None or document.body["state"] not in ("failed", "unsure"):
            return False
        if document.body["notification"]["kind"] == CONFIRMATION:
            return False  # a new code is sent instead, which is rationed
        is_sms = document.body["channel"].get("type") == "sms" and document.owner
        if is_sms and not await self._takes_sms(str(document.owner), now):
            return False
        body = {**document.body, "state": "queued", "attempts": 0}
        try:
            await self._queue.update(document, body, now)
        except Conflict:
            return False
        return True

    async def claim(self, document: Document, now: int, seconds: int) -> Document | None:
        """Claim a due message for sending until ``now + seconds``; None where there is nothing to send.

        What is done is forgotten here; a claim of somebody who died is settled.
        """
        body = document.body
        if body["state"] in ("sent", "failed", "unsure"):
            await self._queue.remove(document)
            return None
        if body["state"] == "sending":
            settled = await self.settle(document, "unknown", "the sender ended before the answer was written down", now)
            if settled.body["state"] != "queued":
                return None
            document, body = settled, settled.body
        claimed = {**body, "state": "sending", "attempts": body["attempts"] + 1}
        return await self._queue.update(document, claimed, now + seconds)

    async def postpone(self, document: Document, due: int) -> None:
        """Look at it again at a time; nothing else changes. Nor does that where somebody else was faster."""
        with suppress(Conflict):
            await self._queue.update(document, document.body, due)

    async def settle(self, document: Document, result: AttemptResult, error: str, now: int) -> Document:
        """Write down what became of a claimed message. Raises Conflict where the claim was lost."""
        body = {**document.body, "error": error[:MAX_ERROR]}
        attempts: int = body["attempts"]
        again = attempts < self.settings.max_attempts
        if result == "unknown":
            body["unsure"] = True
            again = again and body["channel"].get("type") in self._idempotent
        if result in ("retry", "unknown") and again:
            wait = self._queue.retry_delay(attempts)
            return await self._queue.update(document, {**body, "state": "queued"}, now + wait)
        finished: Mapping[AttemptResult, State] = {
            "sent": "sent",
            "unknown": "unsure",
            "retry": "failed",
            "refused": "failed",
        }
        body["state"] = finished[result]
        return await self._queue.update(document, body, now + KEEP_SECONDS)


def message_key(notification: Notification, channel: Mapping[str, object]) -> str:
    """The key of a message over a channel."""
    return hashlib.sha256(f"{notification.id}\0{channel_id(channel)}".encode()).hexdigest()[:40]


def as_delivery(document: Document) -> Delivery:
    """A stored message without what nobody is to see."""
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
    """The message itself."""
    return Notification(**document.body["notification"])


def _bounded(notification: Notification) -> Notification:
    subject = " ".join(notification.subject.split())[:200]
    return notification._replace(subject=subject, text=notification.text[:MAX_TEXT])
