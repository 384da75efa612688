"""What a customer wants to be told of, and how: ``extensions["alerts"]``, JSON <-> frozen classes.

Every rule is off until it is switched on. A wrong value raises :class:`~cenergyd.errors.InvalidField`, whose ``field`` is the
path of the value (``alerts.net_load.threshold_kw``). Secrets of a channel are write-only: they are replaced by
``has_secret`` on the way out, and kept where an editor sends ``has_secret`` back.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.errors import InvalidField

MAX_CHANNELS = 10
MAX_CHANNEL_BYTES = 4096
SECRET_KEYS = ("secret", "token", "password", "api_key")
"""Keys of a channel that never leave the store."""

T = TypeVar("T")
Check = Callable[[str, Any], Any]


def _number(low: float, high: float) -> Check:
    def check(field: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidField(field, f"a number from {low:g} to {high:g} is needed")
        if not low <= value <= high:
            raise InvalidField(field, f"a number from {low:g} to {high:g} is needed")
        return float(value)

    return check


def _minutes(low: int, high: int) -> Check:
    def check(field: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidField(field, f"whole minutes from {low} to {high} are needed")
        return value

    return check


def _optional(inner: Check) -> Check:
    return lambda field, value: None if value is None else inner(field, value)


def _switch(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidField(field, "true or false is needed")
    return value


def _role(field: str, value: Any) -> Role:
    for role in ROLES:
        if value == role:
            return role
    raise InvalidField(field, f"one of {', '.join(ROLES)} is needed")


def _value(default: Any, check: Check) -> Any:
    return attrs.field(default=default, metadata={"check": check})


FREQUENCY = _minutes(1, 43200)


@attrs.frozen(slots=True, kw_only=True)
class Rule:
    """What all rules have."""

    enabled: bool = _value(False, _switch)
    alert_frequency_in_minutes: int | None = _value(None, _optional(FREQUENCY))
    """At most one message about this in so many minutes; None: the customer's general value."""


@attrs.frozen(slots=True, kw_only=True)
class NetLoadRule(Rule):
    """The 1-minute mean of what is drawn from the grid (load - solar) is above a threshold."""

    threshold_kw: float = _value(100.0, _number(0, 1e6))
    hysteresis_kw: float = _value(1.0, _number(0, 1e6))
    """It is over once the mean is below the threshold by this much."""


@attrs.frozen(slots=True, kw_only=True)
class PowerFactorRule(Rule):
    """The power factor of a 1-minute window is below a bound; not judged near zero power, where it means nothing."""

    below: float = _value(0.9, _number(0, 1))
    hysteresis: float = _value(0.02, _number(0, 0.5))
    min_kw: float = _value(1.0, _number(0.001, 1e6))
    """Windows with a smaller \\|P\\| are not judged."""
    role: Role = _value("utility", _role)  # noqa: RUF009


@attrs.frozen(slots=True, kw_only=True)
class VoltageRule(Rule):
    """The 1-minute mean of the voltage is further from nominal than some percent."""

    nominal_voltage: float = _value(120.0, _number(1, 1e6))
    percent: float = _value(10.0, _number(0.1, 100))
    hysteresis_percent: float = _value(1.0, _number(0, 50))
    role: Role = _value("utility", _role)  # noqa: RUF009


@attrs.frozen(slots=True, kw_only=True)
class SilentLoggerRule(Rule):
    """The logger has not uploaded for so long. Set it well above the logger's own upload interval."""

    after_minutes: int = _value(60, _minutes(5, 43200))


@attrs.frozen(slots=True, kw_only=True)
class StuckMeterRule(Rule):
    """A meter repeats exactly the same values, other than zero power, for so long."""

    after_minutes: int = _value(180, _minutes(10, 1440))


@attrs.frozen(slots=True, kw_only=True)
class ImplausibleRule(Rule):
    """Solar is negative in daylight, or load is negative: likely swapped meters or a reversed CT."""

    noise_kw: float = _value(0.2, _number(0, 1e6))
    """A quarter-hour mean nearer to zero than this is not judged negative."""


@attrs.frozen(slots=True, kw_only=True)
class AlertSettings:
    """All rules and channels of one customer."""

    alert_frequency_in_minutes: int = _value(60, FREQUENCY)
    net_load: NetLoadRule = attrs.field(factory=NetLoadRule)
    power_factor: PowerFactorRule = attrs.field(factory=PowerFactorRule)
    voltage: VoltageRule = attrs.field(factory=VoltageRule)
    silent_logger: SilentLoggerRule = attrs.field(factory=SilentLoggerRule)
    stuck_meter: StuckMeterRule = attrs.field(factory=StuckMeterRule)
    implausible: ImplausibleRule = attrs.field(factory=ImplausibleRule)
    channels: tuple[Mapping[str, Any], ...] = attrs.field(factory=tuple, repr=False)
    """Where messages go: ``{"type": "email", "to": ...}``, ``{"type": "sms", "to": "+1..."}``, ``{"type": "webhook", "url": ...,
    "secret": ...}`` or what a third party's notifier takes."""

    def rule(self, kind: str) -> Rule:
        """The rule of one kind of alert."""
        found: Rule = getattr(self, kind)
        return found

    def frequency_seconds(self, kind: str) -> int:
        """The throttle of one kind."""
        return 60 * (self.rule(kind).alert_frequency_in_minutes or self.alert_frequency_in_minutes)


RULES: Mapping[str, type[Rule]] = {
    "net_load": NetLoadRule,
    "power_factor": PowerFactorRule,
    "voltage": VoltageRule,
    "silent_logger": SilentLoggerRule,
    "stuck_meter": StuckMeterRule,
    "implausible": ImplausibleRule,
}
"""Kind of alert -> the class of its rule."""


def parse_alerts(value: Any, field: str = "alerts") -> AlertSettings:
    """Checked settings from JSON. Raises InvalidField, which names the first wrong value."""
    known = {*RULES, "channels", "alert_frequency_in_minutes"}
    values = _object(value, field, known)
    found: dict[str, Any] = {}
    if "alert_frequency_in_minutes" in values:
        key = "alert_frequency_in_minutes"
        found[key] = FREQUENCY(f"{field}.{key}", values[key])
    for kind, cls in RULES.items():
        if kind in values:
            found[kind] = _parse_rule(cls, values[kind], f"{field}.{kind}")
    found["channels"] = _parse_channels(values.get("channels", []), f"{field}.channels")
    return AlertSettings(**found)


def alerts_of(customer: Customer) -> AlertSettings | None:
    """The customer's settings, or None where there are none. Raises InvalidField."""
    value = customer.extensions.get("alerts")
    return None if value is None else parse_alerts(value)


def alerts_to_json(settings: AlertSettings, *, secrets: bool) -> dict[str, Any]:
    """JSON for the store (``secrets=True``) or for anybody else (``has_secret`` in their place)."""
    found: dict[str, Any] = {"alert_frequency_in_minutes": settings.alert_frequency_in_minutes}
    for kind in RULES:
        found[kind] = attrs.asdict(settings.rule(kind))
    found["channels"] = [dict(c) if secrets else public_channel(c) for c in settings.channels]
    return found


def edit_alerts(stored: Any, sent: Any) -> dict[str, Any]:
    """What to store after an editor sent ``sent``: checked, and with secrets kept that the editor could not see.

    A channel with ``has_secret`` true and no secret of its own takes that of the stored channel with the same address.
    """
    old = {} if stored is None else {channel_id(c): c for c in parse_alerts(stored).channels}
    values = dict(sent) if isinstance(sent, Mapping) else sent
    if isinstance(values, dict) and isinstance(values.get("channels"), list):
        values["channels"] = [with_secrets(channel, old.values()) for channel in values["channels"]]
    return alerts_to_json(parse_alerts(values), secrets=True)


def public_channel(channel: Mapping[str, Any]) -> dict[str, Any]:
    """A channel without its secrets."""
    shown = {key: value for key, value in channel.items() if key not in SECRET_KEYS}
    if any(channel.get(key) for key in SECRET_KEYS):
        shown["has_secret"] = True
    return shown


def with_secrets(channel: Any, stored: Iterable[Mapping[str, Any]]) -> Any:
    """A channel that an editor sent (``has_secret``) with the secrets of the stored one of the same address."""
    if not isinstance(channel, Mapping) or not channel.get("has_secret") or any(channel.get(k) for k in SECRET_KEYS):
        return channel
    known = next((item for item in stored if channel_id(item) == channel_id(channel)), {})
    return {**channel, **{key: known[key] for key in SECRET_KEYS if key in known}}


def channel_id(channel: Mapping[str, Any]) -> str:
    """Names a channel by its address, whatever its secrets."""
    shown = {k: v for k, v in channel.items() if k not in SECRET_KEYS and k != "has_secret"}
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()[:16]


def parse_channel(value: Any, field: str = "channel") -> dict[str, Any]:
    """One checked channel. Raises InvalidField."""
    if not isinstance(value, Mapping):
        raise InvalidField(field, 'an object such as {"type": "email", "to": ...} is needed')
    channel = {key: item for key, item in value.items() if key != "has_secret"}
    kind = channel.get("type")
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", kind):
        raise InvalidField(f"{field}.type", "email, sms, webhook or the name of another notifier is needed")
    if kind in _CHANNELS:
        required, optional = _CHANNELS[kind]
        _object(channel, field, {"type", *required, *optional})
        for key, check in {**required, **optional}.items():
            if key in channel or key in required:
                check(f"{field}.{key}", channel.get(key))
    for key, item in channel.items():
        if not isinstance(key, str) or not isinstance(item, str | int | float | bool):
            raise InvalidField(f"{field}.{key}", "text, a number, true or false is needed")
    if len(json.dumps(channel)) > MAX_CHANNEL_BYTES:
        raise InvalidField(field, f"a channel may have at most {MAX_CHANNEL_BYTES} bytes")
    return channel


def _object(value: Any, field: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidField(field, "an object is needed")
    for key in value:
        if key not in known:
            raise InvalidField(f"{field}.{key}", f"no such setting; there are {', '.join(sorted(known))}")
    return value


def _parse_rule(cls: type[T], value: Any, field: str) -> T:
    checks = {f.name: f.metadata["check"] for f in attrs.fields(cls)}  # type: ignore[arg-type]
    values = _object(value, field, set(checks))
    return cls(**{key: checks[key](f"{field}.{key}", item) for key, item in values.items()})


def _parse_channels(value: Any, field: str) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or len(value) > MAX_CHANNELS:
        raise InvalidField(field, f"a list of at most {MAX_CHANNELS} channels is needed")
    channels = tuple(parse_channel(item, f"{field}.{n}") for n, item in enumerate(value))
    seen: set[str] = set()
    for n, channel in enumerate(channels):
        if channel_id(channel) in seen:
            raise InvalidField(f"{field}.{n}", "this channel is there already")
        seen.add(channel_id(channel))
    return channels


def _email(field: str, value: Any) -> None:
    # One plain address in ASCII: nothing that could start another header or recipient.
    if not isinstance(value, str) or len(value) > 254 or not re.fullmatch(r"[!-;=?A-~]+@[A-Za-z0-9.-]+", value):
        raise InvalidField(field, "an e-mail address such as name@example.org is needed")
    if any(mark in value for mark in ',;"()[]\\') or value.count("@") != 1:
        raise InvalidField(field, "one plain e-mail address is needed")


def _telephone(field: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"\+[1-9][0-9]{6,14}", value):
        raise InvalidField(field, "a telephone number with country code such as +15551234567 is needed")


def _web_address(field: str, value: Any) -> None:
    fault = InvalidField(field, "a URL such as https://example.org/hook is needed, without user and password")
    if not isinstance(value, str) or len(value) > 2048 or not re.fullmatch(r"[!-~]+", value):
        raise fault
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise fault from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == 0:
        raise fault


def _secret(field: str, value: Any) -> None:
    if not isinstance(value, str) or not 8 <= len(value) <= 256:
        raise InvalidField(field, "a secret of 8 to 256 characters is needed")


_CHANNELS: Mapping[str, tuple[Mapping[str, Check], Mapping[str, Check]]] = {
    "email": ({"to": _email}, {}),
    "sms": ({"to": _telephone}, {}),
    "webhook": ({"url": _web_address}, {"secret": _secret}),
}
