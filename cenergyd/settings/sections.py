"""Every section and setting of ``cenergyd.ini``: default, bounds, unit and reason.

A value that nobody can choose well is not a setting but a constant, with its reason, in the module that uses it.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from cenergyd.settings.loader import (
    absolute_path,
    choice,
    chosen,
    days_of,
    integer,
    needed_path,
    number,
    optional_path,
    pairs,
    setting,
    switch,
    text,
    url,
    words,
)
from cenergyd.settings.plugin_section import PluginSection


@attrs.frozen(kw_only=True)
class ServerSettings:
    """Endpoints and connection limits."""

    listen: tuple[str, ...] = setting(
        "tcp:8080:interface=127.0.0.1", words,
        "Twisted endpoints. TLS: ssl:443:privateKey=key.pem:certKey=cert.pem; systemd: systemd:domain=INET:index=0.",
        essential=True,
    )  # fmt: skip
    trusted_proxies: tuple[str, ...] = setting(
        "", words, "Addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.", essential=True
    )  # fmt: skip
    max_connections: int = setting(
        "4000",
        integer(10, 100000),
        "Maximum open connections. Beyond it the oldest silent one is closed, or else the new one.",
    )
    max_memory_mb: int = setting(
        "512",
        integer(256, 1 << 20),
        "Memory of the process; requests that would need more get 503.",
        "MB",
    )
    request_timeout_seconds: int = setting(
        "120", integer(5, 3600), "A connection that receives nothing for this time is closed.", "s"
    )
    shutdown_grace_seconds: int = setting("20", integer(0, 300), "How long a stop waits for uploads in progress.", "s")


@attrs.frozen(kw_only=True)
class StateSettings:
    """Where the embedded databases are."""

    folder: Path | None = setting(  # noqa: RUF009
        "", absolute_path,
        "Base of relative paths. Empty: systemd's state folder, /var/lib/cenergyd for settings in /etc, else the current one.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class CustomersSettings:
    """The store of customers and small documents."""

    url: str = setting(
        "sqlite:///var/customers.sqlite", url("sqlite", "mongodb", "mongodb+srv"),
        "sqlite:///path (embedded; four slashes for an absolute path) or mongodb://user:password@host/database?tls=true.",
        secret=True, essential=True,
    )  # fmt: skip
    collection: str = setting(
        "customer", text,
        "MongoDB collection of customers, perhaps shared with a front end; cenergyd's own state is in cenergyd_customer.",
    )  # fmt: skip
    hash_passwords: bool = setting(
        "no", switch, "Whether clear-text passwords stored by the front end are replaced by their hashes."
    )
    new_document: dict[str, str] = setting(  # noqa: RUF009
        "", pairs, "Fields that the front end needs in the documents of customers added here, such as _cls=Customer."
    )
    timeout_seconds: float = setting(
        "10", number(0.5, 120), "A store that does not answer within this time counts as down.", "s"
    )


@attrs.frozen(kw_only=True)
class ReadingsSettings:
    """The store of readings."""

    url: str = setting(
        "sqlite:///var/readings.sqlite", url("sqlite", "influxdb", "https+influxdb"),
        "sqlite:///path (embedded) or influxdb://user:password@host:8086/database; https+influxdb:// with TLS.",
        secret=True, essential=True,
    )  # fmt: skip
    retention_policy: str = setting(
        "",
        text,
        "InfluxDB retention policy of readings; with keep_days, computed data is in NAME_longer. Empty: the database's default.",
    )
    keep_days: dict[str, int] = setting(  # noqa: RUF009
        "", days_of("raw", "1m", "longer", least=60, most=36500),
        "Days for which readings and rollups are kept, such as raw=800 1m=800 longer=3650; kinds not named are kept for ever.",
    )  # fmt: skip
    timeout_seconds: float = setting(
        "10", number(0.5, 120), "A store that does not answer within this time counts as down.", "s"
    )

    def __attrs_post_init__(self) -> None:
        raw, longer = self.keep_days.get("raw"), self.keep_days.get("longer")
        if longer is not None and (raw is None or longer < raw):
            raise ValueError("keep_days: longer must not be less than raw, from which it is computed")
        if self.keep_days and not self.url.startswith("sqlite:") and not self.retention_policy:
            raise ValueError("keep_days: InfluxDB also needs retention_policy, the name of the policies")


@attrs.frozen(kw_only=True)
class UploadSettings:
    """What a logger may send."""

    path: str = setting("/consume", text, "Path that loggers POST to, as in the AcquiSuite's 'Target URL'.")
    max_future_seconds: int = setting(
        "86400", integer(0, 31536000), "Rows further in the future are skipped: the logger's clock is wrong.", "s"
    )
    unknown_meters: str = setting(
        "hold", text, "Logs of meters whose columns are not known: hold, or the name of a layout to read them by."
    )
    held_days: int = setting("90", integer(1, 3650), "Held logs are deleted after this time.", "days")
    held_mb: int = setting(
        "64", integer(1, 100000), "Room for one logger's held logs, and 64 times that for all; beyond it 406.", "MB"
    )
    remote_configuration: bool = setting(
        "no", switch, "Whether loggers may fetch config files that an operator queued for them."
    )


@attrs.frozen(kw_only=True)
class ArchiveSettings:
    """Keeping accepted uploads as received, to read them again by another layout ('cenergyd reread')."""

    days: int = setting("0", integer(0, 3650), "How long accepted uploads are archived; 0: they are not.", "days")
    folder: Path = setting(  # noqa: RUF009
        "archive", needed_path, "The archive's folder, relative to the state folder. Several daemons may share it."
    )
    max_gb: int = setting("20", integer(1, 100000), "Size of the archive; beyond it the oldest days are deleted.", "GB")


@attrs.frozen(kw_only=True)
class CredentialsSettings:
    """Checking loggers' passwords."""

    max_failures: int = setting(
        "10", integer(1, 10000), "Wrong passwords per serial number and network within five minutes; then one attempt a second."
    )  # fmt: skip
    max_failures_per_address: int = setting(
        "100",
        integer(1, 100000),
        "Wrong passwords per network (or serial number) in five minutes; then ten (five) attempts a second.",
    )


@attrs.frozen(kw_only=True)
class DerivationSettings:
    """Computing the missing meter."""

    tolerance_seconds: int = setting(
        "30", integer(0, 1800), "Readings of two meters belong together if they are no further apart than this.", "s"
    )
    formula: str = setting(
        "physical", choice("physical", "literal"),
        "physical: P and Q add up, PF follows, V is the mean. literal: sums and differences of all three.",
    )  # fmt: skip
    interval_seconds: float = setting(
        "5", number(0.1, 3600), "Interval of checks for customers with new readings.", "s"
    )
    plugin_timeout_seconds: float = setting("30", number(0.1, 3600), "A plugin that takes longer has failed.", "s")


@attrs.frozen(kw_only=True)
class JobsSettings:
    """Running the jobs (rollups, alerts, and those of other plugins)."""

    interval_seconds: float = setting(
        "60", number(0.1, 3600),
        "Interval of queue checks; up to 60, the jobs of a daemon's own derivations run within 10 s.",
        "s",
    )  # fmt: skip
    timeout_seconds: float = setting(
        "60", number(0.1, 3600), "A job that takes longer for one range of times has failed.", "s"
    )


@attrs.frozen(kw_only=True)
class RollupsSettings:
    """Rollups, net load and energy of every customer."""

    resolutions: tuple[str, ...] = setting(
        "1m 5m 15m 30m 1h 24h", chosen("1m", "5m", "15m", "30m", "1h", "24h"),
        "Resolutions at which each meter is rolled up; 1h is always stored, because 24h is computed from it.",
    )  # fmt: skip
    max_gap_seconds: int = setting(
        "5400",
        integer(1, 5400),
        "A longer pause between readings is a gap in the energy, which only the meter's registers can bridge.",
        "s",
    )


@attrs.frozen(kw_only=True)
class AlertsSettings:
    """Alerts; the rules are each customer's own setting."""

    max_age_seconds: int = setting(
        "3600", integer(1800, 172800),
        "Older readings raise no alert. Must be more than the loggers' upload interval.", "s",
    )  # fmt: skip
    operators: tuple[str, ...] = setting(
        "", words,
        "Who gets alerts of faults at any site: email:ADDRESS, sms:+NUMBER, webhook:URL. The overview shows them, too.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class OutboxSettings:
    """The queue of messages to customers."""

    idempotent_channels: tuple[str, ...] = setting(
        "sms webhook", words,
        "Channel types that recognise duplicates: a message is sent again if it is not known whether it arrived.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class EmailSettings:
    """Messages by e-mail."""

    host: str = setting("", text, "SMTP server; empty: no e-mail.", essential=True)
    port: int = setting(
        "587", integer(1, 65535), "587 for starttls, 465 for tls, 25 for a local relay.", essential=True
    )
    security: str = setting(
        "starttls", choice("starttls", "optional", "tls", "none"),
        "starttls: required. optional: if offered. tls: from the start. none: unencrypted.",
        essential=True,
    )  # fmt: skip
    username: str = setting("", text, "User name at the server; empty: no authentication.", essential=True)
    password: str = setting("", text, "Its password, such as @credential:smtp.", secret=True, essential=True)
    sender: str = setting("", text, "From address, such as alerts@example.org.", essential=True)
    ca_file: Path | None = setting("", optional_path, "PEM file of authorities to trust instead of the system's.")  # noqa: RUF009


@attrs.frozen(kw_only=True)
class SmsSettings:
    """Messages by SMS, through Twilio."""

    account_sid: str = setting("", text, "Twilio account SID (AC...); empty: no SMS.", essential=True)
    auth_token: str = setting("", text, "Twilio auth token, such as @credential:twilio.", secret=True, essential=True)
    sender: str = setting("", text, "Number to send from (+1...) or a messaging service SID (MG...).", essential=True)
    base_url: str = setting("https://api.twilio.com", url("http", "https"), "URL of Twilio's API.")


@attrs.frozen(kw_only=True)
class WebhookSettings:
    """Messages as HTTP POST to a customer's URL."""

    allow_private_addresses: bool = setting(
        "no", switch,
        "Whether customers may enter loopback and private addresses, and so reach whatever this machine can reach.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class PluginsSettings:
    """Which plugins run."""

    disabled: tuple[str, ...] = setting("", words, "Names of plugins (see 'cenergyd plugins') that are not loaded.")
    required: tuple[str, ...] = setting("", words, "Names of plugins without which the daemon does not start.")


@attrs.frozen(kw_only=True)
class LayoutSettings:
    """A further point layout, as [layout:NAME]; columns count from 0 with time = 0, so POINTnn is column 4 + nn."""

    device_classes: tuple[str, ...] = setting("", words, "MODBUSDEVICECLASS values that have this layout.")
    P: str = setting("", text, "Column of real power, kW; empty: none.")
    L1_PF: str = setting("", text, "Column of power factor; empty: none.")
    L1_V: str = setting("", text, "Column of voltage phase A to neutral, V; empty: none.")
    Q: str = setting("", text, "Column of reactive power, kvar; empty: none.")
    E_net: str = setting("", text, "Column of the net energy register, kWh; empty: none.")
    E_import: str = setting("", text, "Column of the import energy register, kWh; empty: none.")
    E_export: str = setting("", text, "Column of the export energy register, kWh; empty: none.")


@attrs.frozen(kw_only=True)
class WebSettings:
    """The API, signing in and the pages."""

    session_idle_seconds: int = setting(
        "43200", integer(300, 2592000), "A session ends when it is not used for this time.", "s"
    )
    session_max_seconds: int = setting(
        "604800", integer(300, 31536000), "A session ends after this time even if it is used.", "s"
    )
    hsts_seconds: int = setting(
        "31536000",
        integer(0, 63072000),
        "How long browsers must use TLS: Strict-Transport-Security, sent over TLS only; 0: not sent.",
        "s",
    )


@attrs.frozen(kw_only=True)
class LoggingSettings:
    """The daemon's own log."""

    format: str = setting("text", choice("text", "json"), "One line per event, for people or for machines.")
    level: str = setting("info", choice("debug", "info", "warn", "error"), "Events below this level are left out.")


@attrs.frozen(kw_only=True)
class Settings:
    """All sections; those that an installation is likely to set come first."""

    server: ServerSettings
    state: StateSettings
    customers: CustomersSettings
    readings: ReadingsSettings
    email: EmailSettings
    sms: SmsSettings
    webhook: WebhookSettings
    upload: UploadSettings
    archive: ArchiveSettings
    credentials: CredentialsSettings
    derivation: DerivationSettings
    jobs: JobsSettings
    rollups: RollupsSettings
    alerts: AlertsSettings
    outbox: OutboxSettings
    plugins: PluginsSettings
    plugin: dict[str, PluginSection]
    layout: dict[str, LayoutSettings]
    web: WebSettings
    logging: LoggingSettings
