"""A customer's alert rules and channels, ``extensions["alerts"]``, as frozen classes.

Every rule is off until it is switched on. An invalid value raises :class:`~cenergyd.errors.InvalidField`, whose ``field`` is the path of the
value (``alerts.net_load.threshold_kw``). Secrets of a channel are write-only: they are replaced by ``has_secret`` when settings are read, and
kept if an editor sends ``has_secret`` back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from cenergyd.customers.model import Customer, Role
from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import AlertRule as Rule
from cenergyd.hookspecs import AlertRuleType, ChannelType, Frequency
from cenergyd.jobs.front_end_settings import alerts_json
from cenergyd.runtime.structs import Resource, read, to_json, whole

MAX_CHANNELS = 10
MAX_CHANNEL_BYTES = 4096
MAX_PLUGIN_RULES = 50
MAX_PLUGIN_RULE_BYTES = 2048
KIND = r"[a-z][a-z0-9_]{0,31}"
"""A kind of alert."""
SECRET_KEYS = ("secret", "token", "password", "api_key")
"""Keys of a channel that are never returned."""
SHOWN_KEYS = ("has_secret", "confirmed")
"""Keys of a channel that are only returned; they are ignored if an editor sends them back."""

Kilowatts = Annotated[float, Meta(ge=0, le=1e6)]


class NetLoadRule(Rule, frozen=True, kw_only=True):
    """The 1-minute mean of what is drawn from the grid (load - solar) is above a threshold."""

    threshold_kw: Kilowatts = 100.0
    hysteresis_kw: Annotated[
        Kilowatts, Meta(description="The alert ends once the mean is below the threshold by this much.")
    ] = 1.0


class PowerFactorRule(Rule, frozen=True, kw_only=True):
    """The power factor of a 1-minute window is below a limit; not evaluated near zero power, where it is meaningless."""

    below: Annotated[float, Meta(ge=0, le=1)] = 0.9
    hysteresis: Annotated[float, Meta(ge=0, le=0.5)] = 0.02
    min_kw: Annotated[float, Meta(ge=0.001, le=1e6, description="Windows with a smaller |P| are not evaluated.")] = 1.0
    role: Role = "utility"


class VoltageRule(Rule, frozen=True, kw_only=True):
    """The 1-minute mean of the voltage is further from nominal than a percentage."""

    nominal_voltage: Annotated[float, Meta(ge=1, le=1e6)] = 120.0
    percent: Annotated[float, Meta(ge=0.1, le=100)] = 10.0
    hysteresis_percent: Annotated[float, Meta(ge=0, le=50)] = 1.0
    role: Role = "utility"


class SilentLoggerRule(Rule, frozen=True, kw_only=True):
    """The logger has not uploaded for this time. Set it well above the logger's own upload interval."""

    after_minutes: Annotated[int, Meta(ge=5, le=43200)] = 60


class StuckMeterRule(Rule, frozen=True, kw_only=True):
    """A meter repeats exactly the same values, other than zero power, for this time."""

    after_minutes: Annotated[int, Meta(ge=10, le=1440)] = 180


class ImplausibleRule(Rule, frozen=True, kw_only=True):
    """Solar is negative in daylight, or load is negative: likely swapped meters or a reversed CT."""

    noise_kw: Annotated[
        Kilowatts, Meta(description="A quarter-hour mean nearer to zero than this does not count as negative.")
    ] = 0.2


class MissedUploadRule(Rule, frozen=True, kw_only=True):
    """The logger misses the time at which it usually uploads, according to its own interval."""


class StoppedMeterRule(Rule, frozen=True, kw_only=True):
    """A meter gives no readings, or errors, though its logger uploads."""


class SolarZeroRule(Rule, frozen=True, kw_only=True):
    """Solar gives no power although the sun is up, unlike on previous days."""


class NotComputedRule(Rule, frozen=True, kw_only=True):
    """Both other meters have readings, but the third one is not computed."""


class MeterNotUnderstoodRule(Rule, frozen=True, kw_only=True):
    """A meter's logs are held unread because its columns have not been chosen."""


class MonthlySummary(Resource, frozen=True, kw_only=True):
    """A summary of each month's energy by e-mail."""

    enabled: bool = False


class EmailChannel(Resource, frozen=True, kw_only=True):
    """Messages by e-mail."""

    type: str
    to: Annotated[
        str,
        Meta(
            # One plain address in ASCII: nothing that could start another header or recipient.
            max_length=254, pattern=whole(r"[!#-'*+\--9=?A-Z^-~]+@[A-Za-z0-9.-]+"),
            extra={"needed": "one plain e-mail address such as name@example.org is needed"},
        ),
    ]  # fmt: skip


class SmsChannel(Resource, frozen=True, kw_only=True):
    """Messages by SMS."""

    type: str
    to: Annotated[
        str,
        Meta(
            pattern=whole(r"\+[1-9][0-9]{6,14}"),
            extra={"needed": "a telephone number with country code such as +15551234567 is needed"},
        ),
    ]


_WEB_ADDRESS = "a URL such as https://example.org/hook is needed, without user and password"


class WebhookChannel(Resource, frozen=True, kw_only=True):
    """Messages as JSON to a web address."""

    type: str
    url: Annotated[str, Meta(max_length=2048, pattern=whole(r"https?://[!-~]+"), extra={"needed": _WEB_ADDRESS})]
    secret: Annotated[str, Meta(min_length=8, max_length=256)] | msgspec.UnsetType = msgspec.UNSET


class AlertSettings(Resource, frozen=True, kw_only=True):
    """All rules and channels of one customer."""

    alert_frequency_in_minutes: Frequency = 60
    net_load: NetLoadRule = NetLoadRule()
    power_factor: PowerFactorRule = PowerFactorRule()
    voltage: VoltageRule = VoltageRule()
    silent_logger: SilentLoggerRule = SilentLoggerRule()
    stuck_meter: StuckMeterRule = StuckMeterRule()
    implausible: ImplausibleRule = ImplausibleRule()
    missed_upload: MissedUploadRule = MissedUploadRule()
    stopped_meter: StoppedMeterRule = StoppedMeterRule()
    solar_zero: SolarZeroRule = SolarZeroRule()
    not_computed: NotComputedRule = NotComputedRule()
    meter_not_understood: MeterNotUnderstoodRule = MeterNotUnderstoodRule()
    monthly_summary: Annotated[
        MonthlySummary, Meta(description="Sent to the confirmed e-mail channels in the first days of the next month.")
    ] = MonthlySummary()
    plugin_rules: Annotated[
        Mapping[str, ReadOnlyJson],
        Meta(max_length=MAX_PLUGIN_RULES, description="Rules of plugins, by the kind that they declare."),
    ] = {}
    channels: Annotated[
        tuple[ReadOnlyJson, ...],
        Meta(
            max_length=MAX_CHANNELS,
            description='Where messages go: `{"type": "email", "to": ...}`, `{"type": "sms", "to": "+1..."}`, `{"type": "webhook", '
            '"url": ..., "secret": ...}` or what a third party\'s notifier takes. A secret is never returned: '
            "`has_secret` takes its place, and keeps the secret when it is sent back. `confirmed` says whether an e-mail "
            "address or number has been confirmed by its owner or an operator: until then no alert goes there.",
        ),
    ] = ()

    def rule(self, kind: str) -> Rule:
        """The rule of one kind of alert; for a plugin's, only the fields that all rules have."""
        if kind in RULES:
            found: Rule = getattr(self, kind)
            return found
        common = {name: value for name, value in self.plugin_rules.get(kind, {}).items() if name in _COMMON}
        return read(common, Rule)

    def frequency_seconds(self, kind: str) -> int:
        """The shortest time between two messages of one kind."""
        return 60 * (self.rule(kind).alert_frequency_in_minutes or self.alert_frequency_in_minutes)

    def __repr__(self) -> str:
        """Without the channels, which hold secrets."""
        return f"AlertSettings({', '.join(kind for kind in RULES if self.rule(kind).enabled)})"


_COMMON = ("enabled", "alert_frequency_in_minutes")
RULES: Mapping[str, type[Rule]] = {
    "net_load": NetLoadRule,
    "power_factor": PowerFactorRule,
    "voltage": VoltageRule,
    "silent_logger": SilentLoggerRule,
    "stuck_meter": StuckMeterRule,
    "implausible": ImplausibleRule,
    "missed_upload": MissedUploadRule,
    "stopped_meter": StoppedMeterRule,
    "solar_zero": SolarZeroRule,
    "not_computed": NotComputedRule,
    "meter_not_understood": MeterNotUnderstoodRule,
}
"""Kind of alert -> the class of its rule."""
NOT_UNDERSTOOD = "meter_not_understood"
SITE_RULES = ("missed_upload", "stopped_meter", "solar_zero", "not_computed", NOT_UNDERSTOOD)
"""Evaluated for every site, whatever its settings. Operators are notified, and customers whose rule is on."""


def operator_channels(addresses: Iterable[str]) -> tuple[dict[str, object], ...]:
    """Channels of ``[alerts] operators``: ``email:ops@example.org``, ``sms:+1555...``, ``webhook:https://...``. Raises InvalidField."""
    found = []
    for text in addresses:
        kind, _, address = text.partition(":")
        name = {"email": "to", "sms": "to", "webhook": "url"}.get(kind)
        if name is None:
            raise InvalidField("operators", f"{text!r}: email:, sms: or webhook: and an address is needed")
        found.append(parse_channel({"type": kind, name: address}, "operators"))
    return tuple(found)


ChannelTypes = Mapping[str, ChannelType]
"""Channels that plugins declare, by type."""
_NONE: ChannelTypes = {}
RuleTypes = Mapping[str, AlertRuleType]
"""Kinds of alerts that plugins declare, by kind."""
_NO_RULES: RuleTypes = {}


def parse_alerts(
    value: object, field: str = "alerts", types: ChannelTypes = _NONE, rules: RuleTypes = _NO_RULES
) -> AlertSettings:
    """Checked settings from JSON. Raises InvalidField for the first invalid value.

    :param types: the types of channels that plugins declare; channels of an unknown type are accepted unchanged.
    :param rules: the kinds of alerts that plugins declare; rules of an unknown kind are kept unchanged.
    """
    if isinstance(value, Mapping) and isinstance(value.get("confirmed"), Mapping):
        # Not part of the settings: only cenergyd.jobs.alerts.receivers writes it.
        value = {name: item for name, item in value.items() if name != "confirmed"}
    settings = read(value, AlertSettings, field, style="dots")
    place = f"{field}.plugin_rules"
    return msgspec.structs.replace(
        settings,
        plugin_rules={
            kind: _parse_plugin_rule(rule, f"{place}.{kind}", rules.get(kind))
            for kind, rule in settings.plugin_rules.items()
            if _is_kind(kind, place)
        },
        channels=_parse_channels(settings.channels, f"{field}.channels", types),
    )


def _is_kind(kind: str, place: str) -> bool:
    if not re.fullmatch(KIND, kind) or kind in RULES:
        raise InvalidField(place, "kinds of alerts that plugins declare are needed")
    return True


def _parse_plugin_rule(rule: Mapping[str, object], field: str, declared: AlertRuleType | None) -> Mapping[str, object]:
    if declared is not None:
        checked: Mapping[str, object] = to_json(read(rule, declared.fields, field, style="dots"))
        return checked
    read({name: value for name, value in rule.items() if name in _COMMON}, Rule, field, style="dots")
    for name, value in rule.items():
        if not isinstance(value, str | int | float | None):
            raise InvalidField(f"{field}.{name[:50]}", "text, a number, true or false is needed")
    if len(json.dumps(rule)) > MAX_PLUGIN_RULE_BYTES:
        raise InvalidField(field, f"a rule may have at most {MAX_PLUGIN_RULE_BYTES} bytes")
    return rule


def alerts_of(customer: Customer) -> AlertSettings | None:
    """The customer's settings, otherwise those of an existing front end; None if there are none. Raises InvalidField."""
    value = alerts_json(customer)
    try:
        return None if value is None else parse_alerts(value)
    except InvalidField:
        if customer.extensions.get("alerts") is None:
            return None  # the front end's settings, whose errors are in the setup report
        raise


def alerts_to_json(settings: AlertSettings, *, secrets: bool) -> dict[str, object]:
    """JSON for the store (``secrets=True``) or for display (with ``has_secret`` instead of secrets)."""
    found: JsonObject = to_json(settings if secrets else without_secrets(settings))
    return {**found, "channels": list(found["channels"])}


def without_secrets(settings: AlertSettings) -> AlertSettings:
    """The settings with ``has_secret`` instead of a channel's secrets."""
    return msgspec.structs.replace(settings, channels=tuple(map(public_channel, settings.channels)))


def edit_alerts(
    stored: object, sent: object, types: ChannelTypes = _NONE, rules: RuleTypes = _NO_RULES
) -> dict[str, object]:
    """The settings to store after an editor sent ``sent``: checked, with the secrets that the editor could not see.

    A channel with ``has_secret`` true and no secret gets the secret of the stored channel with the same address.
    """
    old = {} if stored is None else {channel_id(c): c for c in parse_alerts(stored).channels}
    values = dict(sent) if isinstance(sent, Mapping) else sent
    if isinstance(values, dict) and isinstance(values.get("channels"), list | tuple):
        values["channels"] = [with_secrets(channel, old.values()) for channel in values["channels"]]
    return alerts_to_json(parse_alerts(values, types=types, rules=rules), secrets=True)


def public_channel(channel: Mapping[str, object]) -> dict[str, object]:
    """A channel without its secrets."""
    shown = {key: value for key, value in channel.items() if key not in SECRET_KEYS}
    if any(channel.get(key) for key in SECRET_KEYS):
        shown["has_secret"] = True
    return shown


def with_secrets(channel: object, stored: Iterable[Mapping[str, object]]) -> object:
    """A channel that an editor sent (``has_secret``), with the secrets of the stored one with the same address."""
    if not isinstance(channel, Mapping) or not channel.get("has_secret") or any(channel.get(k) for k in SECRET_KEYS):
        return channel
    known = next((item for item in stored if channel_id(item) == channel_id(channel)), {})
    return {**channel, **{key: known[key] for key in SECRET_KEYS if key in known}}


def channel_id(channel: Mapping[str, object]) -> str:
    """An id of a channel that depends on its address but not on its secrets."""
    shown = {k: v for k, v in channel.items() if k not in SECRET_KEYS and k not in SHOWN_KEYS}
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()[:16]


def parse_channel(value: object, field: str = "channel", types: ChannelTypes = _NONE) -> dict[str, object]:
    """One checked channel. Raises InvalidField."""
    if not isinstance(value, Mapping):
        raise InvalidField(field, 'an object such as {"type": "email", "to": ...} is needed')
    channel = {key: item for key, item in value.items() if key not in SHOWN_KEYS}
    kind = channel.get("type")
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", kind):
        raise InvalidField(f"{field}.type", "email, sms, webhook or the type of a plugin's channel is needed")
    known = BUILT_IN_CHANNELS.get(kind) or (types[kind].fields if kind in types else None)
    if known is None:
        _check_plain(channel, field)
    elif isinstance(found := read(channel, known, field, style="dots"), WebhookChannel):
        _check_web_address(found.url, f"{field}.url")
    if len(json.dumps(channel)) > MAX_CHANNEL_BYTES:
        raise InvalidField(field, f"a channel may have at most {MAX_CHANNEL_BYTES} bytes")
    return channel


def _check_plain(channel: Mapping[str, object], field: str) -> None:
    for key, item in channel.items():
        if not isinstance(item, str | int | float):
            raise InvalidField(f"{field}.{key}", "text, a number, true or false is needed")


def _parse_channels(value: Iterable[object], field: str, types: ChannelTypes) -> tuple[Mapping[str, object], ...]:
    channels = tuple(parse_channel(item, f"{field}.{n}", types) for n, item in enumerate(value))
    seen: set[str] = set()
    for n, channel in enumerate(channels):
        if channel_id(channel) in seen:
            raise InvalidField(f"{field}.{n}", "this channel already exists")
        seen.add(channel_id(channel))
    return channels


def _check_web_address(url: str, field: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidField(field, _WEB_ADDRESS)


BUILT_IN_CHANNELS: Mapping[str, type[Resource]] = {"email": EmailChannel, "sms": SmsChannel, "webhook": WebhookChannel}
