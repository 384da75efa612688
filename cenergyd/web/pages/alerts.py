"""Alerts: what a customer wants to be told of and how, what is wrong now, what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cenergyd.customers.model import ROLES, Customer
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.errors import Conflict, InvalidField, NotFound, Overloaded
from cenergyd.hookspecs import ChannelType
from cenergyd.jobs.alerts.job import alerts_for
from cenergyd.jobs.alerts.rules import (
    MAX_CHANNELS,
    AlertSettings,
    alerts_of,
    alerts_to_json,
    channel_id,
    edit_alerts,
    parse_channel,
    public_channel,
)
from cenergyd.jobs.existing_settings import alerts_json, is_existing
from cenergyd.jobs.messages.outbox import Delivery, Outbox
from cenergyd.web.pages import texts
from cenergyd.web.pages.alert_form import (
    Rules,
    RulesDraft,
    checked,
    draft_from,
    draft_of,
    merged,
    rules_json,
)
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.pages.saving import change_extension, save_extension
from cenergyd.web.views.context import Context

_SHOWN_MESSAGES = 50
_ADDRESS: Mapping[str, str] = {"email": "to", "sms": "to", "webhook": "url"}
CHANNEL_NAMES: Mapping[str, str] = {"email": "E-mail", "sms": "SMS", "webhook": "Webhook"}
_STATES: Mapping[str, tuple[str, str]] = {
    "queued": ("idle", "Queued"),
    "sending": ("idle", "Sending"),
    "sent": ("ok", "Sent"),
    "failed": ("bad", "Failed"),
    "unsure": ("warn", "Unsure"),
}
_DONE: Mapping[str, str] = {
    "saved": "Saved.",
    "added": "The channel was added. Send a test message to see whether it works.",
    "removed": "The channel was removed.",
    "test": "A test message is queued. Its state is shown with the channel.",
    "again": "The message is queued once more.",
}


class ChannelView(NamedTuple):
    """A channel as a page shows it."""

    id: str
    kind: str
    address: str
    has_secret: bool
    test: Delivery | None
    """Its latest test message."""


class Adding(NamedTuple):
    """A channel that is being typed, and what is wrong with it."""

    kind: str = "email"
    address: str = ""
    errors: Mapping[str, str] = {}


class Shown(NamedTuple):
    """What a page shows besides what is stored."""

    rules: RulesDraft | None = None
    adding: Adding = Adding()
    problem: str = ""
    status: int = 200


class AlertPages:
    """A customer's ``alerts``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """Rules, channels, alerts, messages."""
        return await self._page(call, customer_id)

    async def save(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Save the rules; the channels stay."""
        draft = checked(draft_from(call.form, self._rules()))
        customer = await self._context.customer(customer_id)
        stored = _stored(customer)
        draft = merged(draft, stored)
        if draft.conflict or draft.errors:
            return await self._page(call, customer_id, Shown(draft, status=409 if draft.conflict else 422))
        channels = [dict(channel) for channel in stored.channels] if stored else []
        value = edit_alerts(
            _raw(customer), {**rules_json(draft, stored), "channels": channels}, rules=draft.rules.types
        )
        try:
            await save_extension(self._context, customer, "alerts", value)
        except Conflict:
            problem = "Somebody else saved at the same moment. Nothing of yours was saved yet; save once more."
            return await self._page(call, customer_id, Shown(draft, problem=problem, status=409))
        return _done(customer_id, "saved")

    async def add_channel(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Add a channel."""
        adding, channel = self._typed_channel(call.form)
        try:
            parsed = parse_channel(channel, types=self._context.channel_types)

            def added(customer: Customer) -> object:
                stored = _stored(customer) or AlertSettings()
                channels = [*stored.channels, parsed]
                return edit_alerts(_raw(customer), _with_channels(customer, channels))

            await change_extension(self._context, customer_id, "alerts", added)
        except InvalidField as error:
            part = error.field.rpartition(".")[2]
            field = "secret" if part == "secret" else "address"
            errors = {field: texts.sentence(str(error))}
            return await self._page(call, customer_id, Shown(adding=adding._replace(errors=errors), status=422))
        return _done(customer_id, "added")

    async def remove_channel(self, call: PageCall, customer_id: str) -> Redirect:
        """Remove a channel; one that is gone already is removed."""
        wanted = call.form.get("channel", "")

        def without(customer: Customer) -> object:
            stored = _stored(customer) or AlertSettings()
            channels = [channel for channel in stored.channels if channel_id(channel) != wanted]
            return edit_alerts(_raw(customer), _with_channels(customer, channels))

        await change_extension(self._context, customer_id, "alerts", without)
        return _done(customer_id, "removed")

    async def test(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Queue a test message to a stored channel."""
        customer = await self._context.customer(customer_id)
        stored = _stored(customer)
        channels = stored.channels if stored else ()
        channel = next((each for each in channels if channel_id(each) == call.form.get("channel")), None)
        if channel is None:
            problem = "That channel was removed meanwhile."
            return await self._page(call, customer_id, Shown(problem=problem, status=409))
        try:
            await self._outbox().enqueue_test(customer, public_channel(channel), call.now)
        except (Overloaded, Conflict) as error:
            problem = f"No test message was sent: {error or 'one was asked for at the same moment'}."
            return await self._page(call, customer_id, Shown(problem=problem, status=429))
        return _done(customer_id, "test", "channels")

    async def again(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Send a failed or unsure message once more."""
        outbox, key = self._outbox(), call.form.get("message", "")
        found = await outbox.document(key) if key else None
        if found is None or found.owner != customer_id:
            raise NotFound("there is no such message")
        if not await outbox.send_again(key, call.now):
            problem = "That message is on its way already, or was sent."
            return await self._page(call, customer_id, Shown(problem=problem, status=409))
        return _done(customer_id, "again", "messages")

    def _rules(self) -> Rules:
        return Rules(self._context.alert_rules)

    def _outbox(self) -> Outbox:
        if self._context.outbox is None:
            raise NotFound("this daemon sends no messages")
        return self._context.outbox

    async def _page(self, call: PageCall, customer_id: str, shown: Shown = Shown()) -> Page:  # noqa: B008 - a constant
        customer = await self._context.customer(customer_id)
        outbox = self._context.outbox
        messages = await outbox.deliveries(customer_id, _SHOWN_MESSAGES) if outbox else []
        broken = ""
        types, rules = self._context.channel_types, self._rules()
        try:
            settings = alerts_of(customer)
        except InvalidField as error:
            settings, broken = None, f"{error.field}: {error}"
        values = {
            "draft": shown.rules or draft_of(settings, rules),
            "adding": shown.adding,
            "problem": shown.problem,
            "broken": broken,
            "done": _DONE.get(call.query("done") or "", ""),
            "rules": rules.texts,
            "titles": rules.titles,
            "from_existing": is_existing(customer, "alerts"),
            "label": rules.label,
            "roles": ROLES,
            "channels": self._channel_views(settings, messages),
            "channel_names": {**CHANNEL_NAMES, **{name: kind.label for name, kind in types.items()}},
            "hints": [kind.hint for kind in types.values() if kind.hint],
            "with_secret": " ".join(["webhook", *(name for name, kind in types.items() if _has_secret(kind))]),
            "max_channels": MAX_CHANNELS,
            "can_send": outbox is not None,
            "alerts": await alerts_for(self._context.documents, customer_id),
            "messages": [(message, self._address(message.channel)) for message in messages],
            "states": _STATES,
            "zone": zone_or_utc(customer.time_zone),
        }
        return Page("alerts.html", values, shown.status, customer, "alerts")

    def _typed_channel(self, form: Mapping[str, str]) -> tuple[Adding, dict[str, str]]:
        kind = form.get("type", "")
        declared = self._context.channel_types.get(kind)
        kind = kind if kind in _ADDRESS or declared is not None else "email"
        address = form.get("address", "").strip()
        channel = {"type": kind, declared.address if declared else _ADDRESS[kind]: address}
        if form.get("secret") and (kind == "webhook" or (declared is not None and _has_secret(declared))):
            channel["secret"] = form["secret"]
        return Adding(kind, address), channel

    def _channel_views(self, settings: AlertSettings | None, messages: Sequence[Delivery]) -> list[ChannelView]:
        views = []
        for channel in settings.channels if settings else ():
            named = channel_id(channel)
            shown = public_channel(channel)
            test = next((m for m in messages if m.kind == "test" and channel_id(m.channel) == named), None)
            views.append(
                ChannelView(named, str(shown["type"]), self._address(shown), bool(shown.get("has_secret")), test)
            )
        return views

    def _address(self, channel: Mapping[str, object]) -> str:
        kind = str(channel.get("type"))
        declared = self._context.channel_types.get(kind)
        key = declared.address if declared is not None else _ADDRESS.get(kind)
        if key is not None:
            return str(channel.get(key, ""))
        return ", ".join(f"{name} {value}" for name, value in channel.items() if name not in ("type", "has_secret"))

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        base = "/customers/<customer_id>/alerts"
        return (
            PageRoute("GET", base, self.show, "signed_in"),
            PageRoute("POST", base, self.save, "signed_in"),
            PageRoute("POST", f"{base}/channels", self.add_channel, "signed_in"),
            PageRoute("POST", f"{base}/channels/remove", self.remove_channel, "signed_in"),
            PageRoute("POST", f"{base}/channels/test", self.test, "signed_in"),
            PageRoute("POST", f"{base}/messages/again", self.again, "signed_in"),
        )


def _raw(customer: Customer) -> object:
    """The stored settings; None where they are not valid, so that saving the form repairs them."""
    return alerts_json(customer) if _stored(customer) is not None else None


def _stored(customer: Customer) -> AlertSettings | None:
    try:
        return alerts_of(customer)
    except InvalidField:
        return None


def _with_channels(customer: Customer, channels: Sequence[Mapping[str, object]]) -> dict[str, object]:
    stored = alerts_to_json(_stored(customer) or AlertSettings(), secrets=False)
    return {**stored, "channels": [dict(channel) for channel in channels]}


def _has_secret(kind: ChannelType) -> bool:
    return "secret" in kind.fields.__struct_fields__


def _done(customer_id: str, what: str, anchor: str = "") -> Redirect:
    return Redirect(f"{customer_path(customer_id, 'alerts')}?done={what}" + (f"#{anchor}" if anchor else ""))
