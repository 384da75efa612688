"""Alerts: a customer's rules and channels, active alerts, and messages sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from cenergyd.customers.model import ROLES, Customer
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.errors import Conflict, InvalidField, NotFound, Overloaded, StoreUnavailable
from cenergyd.hookspecs import ChannelType
from cenergyd.jobs.alerts.job import alerts_for
from cenergyd.jobs.alerts.receivers import edit_receivers, unconfirmed_channels
from cenergyd.jobs.alerts.rules import (
    MAX_CHANNELS,
    SITE_RULES,
    AlertSettings,
    alerts_of,
    alerts_to_json,
    channel_id,
    parse_channel,
    public_channel,
)
from cenergyd.jobs.alerts.text import device_words
from cenergyd.jobs.front_end_settings import alerts_json, is_existing
from cenergyd.jobs.messages.outbox import CONFIRMATION, Delivery
from cenergyd.jobs.messages.receiver_codes import send_code, use_code
from cenergyd.jobs.site_state.issue_text import issue_text
from cenergyd.web.pages import texts
from cenergyd.web.pages.alert_form import (
    RULE_TITLES,
    Rules,
    RulesDraft,
    checked,
    draft_from,
    draft_of,
    merged_draft,
    rules_json,
)
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.pages.saving import change_extension, save_extension
from cenergyd.web.views.context import Context
from cenergyd.web.views.receivers import confirm_receiver, send_codes
from cenergyd.web.views.site_state import states_of

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
    "code": "A code was sent there. Alerts go there once it is entered here.",
    "confirmed": "Confirmed: alerts go there from now on.",
    "removed": "The channel was removed.",
    "test": "A test message is queued. Its state is shown with the channel.",
    "again": "The message is queued again.",
}


class ChannelView(NamedTuple):
    """A channel as a page shows it."""

    id: str
    kind: str
    address: str
    has_secret: bool
    test: Delivery | None
    """Its newest test message."""
    confirmed: bool
    """Whether alerts go there; if not, its owner has not confirmed it yet."""


class ChannelDraft(NamedTuple):
    """A channel being entered, and its errors."""

    kind: str = "email"
    address: str = ""
    errors: Mapping[str, str] = {}


class AlertForms(NamedTuple):
    """Forms as they were sent, and the message to show, besides what is stored."""

    rules: RulesDraft | None = None
    adding: ChannelDraft = ChannelDraft()
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
        """Save the rules; the channels do not change."""
        draft = checked(draft_from(call.form, self._rules()))
        customer = await self._context.customer(customer_id)
        stored = _stored(customer)
        draft = merged_draft(draft, stored)
        if draft.conflict or draft.errors:
            return await self._page(call, customer_id, AlertForms(draft, status=409 if draft.conflict else 422))
        channels = [dict(channel) for channel in stored.channels] if stored else []
        value = self._edited(call, customer, {**rules_json(draft, stored), "channels": channels})
        try:
            await save_extension(self._context, customer, "alerts", value)
        except Conflict:
            problem = "Somebody else saved at the same moment. Nothing of yours was saved yet; save again."
            return await self._page(call, customer_id, AlertForms(draft, problem=problem, status=409))
        return _done(customer_id, "saved")

    async def add_channel(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Add a channel."""
        adding, channel = self._typed_channel(call.form)
        try:
            parsed = parse_channel(channel, types=self._context.channel_types)

            def added(customer: Customer) -> object:
                stored = _stored(customer) or AlertSettings()
                channels = [*stored.channels, parsed]
                return self._edited(call, customer, _with_channels(customer, channels))

            before = await self._context.customer(customer_id)
            after = await change_extension(self._context, customer_id, "alerts", added)
        except InvalidField as error:
            part = error.field.rpartition(".")[2]
            field = "secret" if part == "secret" else "address"
            errors = {field: texts.sentence(str(error))}
            return await self._page(call, customer_id, AlertForms(adding=adding._replace(errors=errors), status=422))
        await send_codes(self._context.outbox, before, after, call.now)
        waits = any(channel_id(each) == channel_id(parsed) for each in unconfirmed_channels(after))
        return _done(customer_id, "code" if waits else "added", "channels" if waits else "")

    async def remove_channel(self, call: PageCall, customer_id: str) -> Redirect:
        """Remove a channel; succeeds if it was removed already."""
        wanted = call.form.get("channel", "")

        def without(customer: Customer) -> object:
            stored = _stored(customer) or AlertSettings()
            channels = [channel for channel in stored.channels if channel_id(channel) != wanted]
            return self._edited(call, customer, _with_channels(customer, channels))

        await change_extension(self._context, customer_id, "alerts", without)
        return _done(customer_id, "removed")

    async def test(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Queue a test message to a stored channel."""
        customer = await self._context.customer(customer_id)
        stored = _stored(customer)
        channels = stored.channels if stored else ()
        channel = next((each for each in channels if channel_id(each) == call.form.get("channel")), None)
        if channel is None:
            problem = "That channel has been removed in the meantime."
            return await self._page(call, customer_id, AlertForms(problem=problem, status=409))
        try:
            await self._context.required_outbox().enqueue_test(customer, public_channel(channel), call.now)
        except (Overloaded, Conflict) as error:
            problem = f"No test message was sent: {error or 'another one was requested at the same time'}."
            return await self._page(call, customer_id, AlertForms(problem=problem, status=429))
        return _done(customer_id, "test", "channels")

    async def code(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Send a code to a receiver that is not confirmed."""
        customer = await self._context.customer(customer_id)
        channel = _unconfirmed(customer, call.form.get("channel", ""))
        if channel is None:
            return _done(customer_id, "confirmed", "channels")
        try:
            await send_code(self._context.required_outbox(), customer, channel, call.now)
        except Overloaded as error:
            problem = f"No code was sent: {error}."
            return await self._page(call, customer_id, AlertForms(problem=problem, status=429))
        return _done(customer_id, "code", "channels")

    async def confirm(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Confirm a receiver by its code; an operator needs none."""
        channel = _unconfirmed(await self._context.customer(customer_id), call.form.get("channel", ""))
        if channel is None:
            return _done(customer_id, "confirmed", "channels")
        code = call.form.get("code", "").strip()[:40]
        by_word = call.principal.is_operator and not code
        try:
            if not by_word:
                await use_code(self._context.documents, customer_id, channel, code, call.now)
        except InvalidField as error:
            problem = f"The code {error}."
            return await self._page(call, customer_id, AlertForms(problem=problem, status=422))
        await confirm_receiver(self._context, customer_id, channel, "operator" if by_word else "owner")
        return _done(customer_id, "confirmed", "channels")

    async def again(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Send a failed or unsure message again."""
        outbox, key = self._context.required_outbox(), call.form.get("message", "")
        found = await outbox.document(key) if key else None
        if found is None or found.owner != customer_id:
            raise NotFound("there is no such message")
        if not await outbox.send_again(key, call.now):
            problem = "That message is already on its way, or was sent."
            return await self._page(call, customer_id, AlertForms(problem=problem, status=409))
        return _done(customer_id, "again", "messages")

    def _rules(self) -> Rules:
        return Rules(self._context.alert_rules)

    def _edited(self, call: PageCall, customer: Customer, sent: object) -> dict[str, object]:
        types, rules = self._context.channel_types, self._context.alert_rules
        return edit_receivers(_raw(customer), sent, types, rules, by_operator=call.principal.is_operator, now=call.now)

    def _offered(self) -> dict[str, str]:
        """The kinds of channels that can send with the daemon's settings."""
        context = self._context
        own = {name: text for name, text in CHANNEL_NAMES.items() if name in context.channels_set_up}
        return own | {name: kind.label for name, kind in context.channel_types.items()}

    async def _no_alert_text(self, call: PageCall, customer: Customer, *, broken: bool) -> str:
        """The text where no alert is active: "nothing is wrong" only if something was evaluated."""
        if broken:
            return "Nothing is watched, because the stored settings are not valid."
        try:
            await self._context.readings.last(customer.role_series)
        except (StoreUnavailable, Overloaded):
            return "The readings store does not answer, so it is not known whether anything is wrong."
        (state,) = await states_of(self._context, [customer], call.now)
        if state.last_upload is None:
            return "The logger has not uploaded yet, so there was nothing to watch."
        if state.issues:
            text = issue_text(state.issues[0], state, call.now, zone_or_utc(customer.time_zone))
            return f"No alert is active, but not all is well: {text.title[0].lower()}{text.title[1:]}."
        return f"Nothing is wrong: the logger uploaded {texts.age(state.last_upload, call.now)}, no meter has stopped, and no rule that is watched has found anything."

    async def _page(self, call: PageCall, customer_id: str, shown: AlertForms = AlertForms()) -> Page:  # noqa: B008 - a constant
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
            "titles": {**rules.titles, CONFIRMATION: "Confirmation"},
            "confirmation": CONFIRMATION,
            "from_existing": is_existing(customer, "alerts"),
            "label": rules.label,
            "roles": ROLES,
            "channels": self._channel_views(customer, settings, messages),
            "channel_names": {**CHANNEL_NAMES, **{name: kind.label for name, kind in types.items()}},
            "hints": [kind.hint for kind in types.values() if kind.hint],
            "with_secret": " ".join(["webhook", *(name for name, kind in types.items() if _has_secret(kind))]),
            "max_channels": MAX_CHANNELS,
            "offered": self._offered(),
            "no_alert_text": await self._no_alert_text(call, customer, broken=bool(broken)),
            "can_send": outbox is not None,
            "alerts": await alerts_for(self._context.documents, customer_id),
            "operators_get": [RULE_TITLES[kind] for kind in SITE_RULES] if self._context.operators_alerted else [],
            "device_words": partial(device_words, customer),
            "messages": [(message, self._address(message.channel)) for message in messages],
            "states": _STATES,
            "zone": zone_or_utc(customer.time_zone),
        }
        return Page("alerts.html", values, shown.status, customer, "alerts")

    def _typed_channel(self, form: Mapping[str, str]) -> tuple[ChannelDraft, dict[str, str]]:
        kind = form.get("type", "")
        declared = self._context.channel_types.get(kind)
        kind = kind if kind in _ADDRESS or declared is not None else "email"
        address = form.get("address", "").strip()
        channel = {"type": kind, declared.address if declared else _ADDRESS[kind]: address}
        if form.get("secret") and (kind == "webhook" or (declared is not None and _has_secret(declared))):
            channel["secret"] = form["secret"]
        return ChannelDraft(kind, address), channel

    def _channel_views(
        self, customer: Customer, settings: AlertSettings | None, messages: Sequence[Delivery]
    ) -> list[ChannelView]:
        views = []
        waiting = {channel_id(channel) for channel in unconfirmed_channels(customer)}
        for channel in settings.channels if settings else ():
            named = channel_id(channel)
            shown = public_channel(channel)
            test = next((m for m in messages if m.kind == "test" and channel_id(m.channel) == named), None)
            views.append(
                ChannelView(
                    named,
                    str(shown["type"]),
                    self._address(shown),
                    bool(shown.get("has_secret")),
                    test,
                    named not in waiting,
                )
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
            PageRoute("POST", f"{base}/channels/code", self.code, "signed_in"),
            PageRoute("POST", f"{base}/channels/confirm", self.confirm, "signed_in"),
            PageRoute("POST", f"{base}/messages/again", self.again, "signed_in"),
        )


def _raw(customer: Customer) -> object:
    """The stored settings; None if they are not valid, so that saving the form repairs them."""
    return alerts_json(customer) if _stored(customer) is not None else None


def _unconfirmed(customer: Customer, named: str) -> Mapping[str, object] | None:
    return next((each for each in unconfirmed_channels(customer) if channel_id(each) == named), None)


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
