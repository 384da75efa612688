"""Confirmation of receivers: messages are sent only to e-mail addresses and phone numbers that their owner or an operator confirmed. Pure.

Confirmations are kept with the alert settings, ``extensions["alerts"]["confirmed"]``: id of a channel -> who confirmed it (``owner``,
``operator``, ``earlier``) and when. Only :func:`edit_receivers` and :func:`confirm` write it; an editor's input for it is ignored. Settings
without it are from before confirmation existed, or from an existing front end. The operator was responsible for their receivers, so these
count as confirmed, and are recorded as ``earlier`` when the settings are next saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField
from cenergyd.jobs.alerts.rules import (
    AlertSettings,
    ChannelTypes,
    RuleTypes,
    alerts_of,
    channel_id,
    edit_alerts,
    public_channel,
)
from cenergyd.jobs.front_end_settings import alerts_json

CONFIRMED = "confirmed"
"""Key in the stored settings, and in a displayed channel."""
CONFIRMED_TYPES = ("email", "sms")
"""Types of channels that may reach a person who did not ask for messages."""

By = Literal["owner", "operator", "earlier"]


def needs_confirmation(channel: Mapping[str, object]) -> bool:
    """Whether messages are sent to such a channel only after it is confirmed."""
    return channel.get("type") in CONFIRMED_TYPES


def is_confirmed(stored: object, channel: Mapping[str, object]) -> bool:
    """Whether messages may be sent to a channel of the stored settings."""
    if not needs_confirmation(channel) or not isinstance(stored, Mapping) or CONFIRMED not in stored:
        return True
    return channel_id(channel) in stored[CONFIRMED]


def open_channels(customer: Customer) -> tuple[Mapping[str, object], ...]:
    """The channels to which messages may be sent. Raises InvalidField if the settings are invalid."""
    settings, stored = alerts_of(customer), alerts_json(customer)
    return tuple(channel for channel in (settings.channels if settings else ()) if is_confirmed(stored, channel))


def unconfirmed_channels(customer: Customer) -> tuple[Mapping[str, object], ...]:
    """The channels that are not confirmed yet; none if the settings are invalid."""
    try:
        settings, stored = alerts_of(customer), alerts_json(customer)
    except InvalidField:
        return ()
    return tuple(channel for channel in (settings.channels if settings else ()) if not is_confirmed(stored, channel))


def shown_channel(stored: object, channel: Mapping[str, object]) -> dict[str, object]:
    """A channel without its secrets, with the information whether it is confirmed."""
    shown = public_channel(channel)
    return {**shown, CONFIRMED: is_confirmed(stored, channel)} if needs_confirmation(channel) else shown


def edit_receivers(
    stored: object, sent: object, types: ChannelTypes, rules: RuleTypes, *, by_operator: bool, now: int
) -> dict[str, object]:
    """The settings to store after an edit (:func:`~cenergyd.jobs.alerts.rules.edit_alerts`). Raises InvalidField.

    Confirmed receivers stay confirmed. Receivers that an operator adds count as confirmed; those that a customer adds must be confirmed.
    """
    edited = edit_alerts(stored, sent, types, rules)
    known = _known(stored, now)
    confirmed: dict[str, object] = {}
    for channel in _channels(edited):
        named = channel_id(channel)
        if named in known:
            confirmed[named] = known[named]
        elif needs_confirmation(channel) and by_operator and named not in _ids(stored):
            confirmed[named] = _entry("operator", now)
    return {**edited, CONFIRMED: confirmed}


def confirm(stored: object, channel: Mapping[str, object], by: By, now: int) -> dict[str, object]:
    """The stored settings with one of their channels confirmed. Raises InvalidField if it is none of their channels."""
    named = channel_id(channel)
    if not isinstance(stored, Mapping) or named not in _ids(stored):
        raise InvalidField("channel", "is not one of the stored channels")
    return {**stored, CONFIRMED: {**_known(stored, now), named: _entry(by, now)}}


def public_settings(settings: AlertSettings, stored: object) -> AlertSettings:
    """The settings for display: without secrets, with the information which receivers are confirmed."""
    return AlertSettings(
        **{name: getattr(settings, name) for name in settings.__struct_fields__ if name != "channels"},
        channels=tuple(shown_channel(stored, channel) for channel in settings.channels),
    )


def _known(stored: object, now: int) -> dict[str, object]:
    """Id -> confirmation, from the stored settings."""
    if not isinstance(stored, Mapping):
        return {}
    if CONFIRMED in stored:
        return dict(stored[CONFIRMED])
    earlier = (channel for channel in _channels(stored) if needs_confirmation(channel))
    return {channel_id(channel): _entry("earlier", now) for channel in earlier}


def _ids(stored: object) -> set[str]:
    return {channel_id(channel) for channel in _channels(stored)}


def _channels(stored: object) -> Iterable[Mapping[str, object]]:
    return stored.get("channels", ()) if isinstance(stored, Mapping) else ()


def _entry(by: By, now: int) -> dict[str, object]:
    return {"by": by, "at": now}
