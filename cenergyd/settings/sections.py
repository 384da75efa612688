"""Every section and setting of ``cenergyd.ini``: default, bounds, unit and reason.

A value that nobody can choose well is no setting but a constant with its reason, in the module that uses it.
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
        "", words, "Addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.", essential=True
    )  # fmt: skip
    max_connections: int = setting("4000", integer(10, 100000), "Open connections; more are closed on arrival.")
    max_memory_mb: int = setting(
        "512",
        integer(256, 1 << 20),
        "Memory for the process; requests that find none get 503.",
        "MB",
    )
    request_timeout_seconds: int = setting(
        "120", integer(5, 3600), "A connection on which nothing arrives for so long is closed.", "s"
    )
    shutdown_grace_seconds: int = setting(
        "20", integer(0, 300), "How long a stop waits for uploads that are being written.", "s"
    )


@attrs.frozen(kw_only=True)
class StateSettings:
    """Where the embedded databases are."""

    folder: Path | None = setting(  # noqa: RUF009
        "", absolute_path,
        "For relative paths. Empty: systemd's state folder, /var/lib/cenergyd for settings in /etc, else the current one.",
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
        "MongoDB collection of customers, shared with the existing front end; our own state is in cenergyd_customer.",
    )  # fmt: skip
    hash_passwords: bool = setting(
        "no", switch, "Whether loggers' passwords that the front end stored are replaced by their hashes there."
    )
    new_document: dict[str, str] = setting(  # noqa: RUF009
        "", pairs, "Fields that the front end wants in the document of a customer added here, such as _cls=Customer."
    )
    timeout_seconds: float = setting(
        "10", number(0.5, 120), "A store that does not answer for so long counts as down.", "s"
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
        "InfluxDB retention policy of readings; with keep_days what is computed is in NAME_longer. Empty: the database's default.",
    )
    keep_days: dict[str, int] = setting(  # noqa: RUF009
        "", days_of("raw", "1m", "longer", least=60, most=36500),
        "Days that readings and rollups are kept, as raw=800 1m=800 longer=3650; not named: for ever.",
    )  # fmt: skip
    timeout_seconds: float = setting(
        "10", number(0.5, 120), "A store that does not answer for so long counts as down.", "s"
    )

    def __attrs_post_init__(self) -> None:
        raw, longer = self.keep_days.get("raw"), self.keep_days.get("longer")
        if longer is not None and (raw is None or longer < raw):
            raise ValueError("keep_days: longer must not be less than raw, from which it is computed")
        if self.keep_days and not self.url.startswith("sqlite:") and not self.retention_policy:
            raise ValueError("keep_days: InfluxDB needs the name of the policies to make, retention_policy")


@attrs.frozen(kw_only=True)
class UploadSettings:
    """What a logger may send."""

    path: str = setting("/consume", text, "Path that loggers POST to: the 'Target URL' of the AcquiSuite.")
    max_future_seconds: int = setting(
        "86400", integer(0, 31536000), "Rows later than now by more are skipped: the logger's clock jumped.", "s"
    )
    unknown_meters: str = setting(
        "hold", text, "Logs whose columns nothing tells are held; or the name of a layout to read them by."
    )
    held_days: int = setting("90", integer(1, 3650), "Held logs are given up after so long.", "days")
    held_mb: int = setting(
        "64", integer(1, 100000), "Room for one logger's held logs, all loggers' 64 times that; then 406.", "MB"
    )
    remote_configuration: bool = setting(
        "no", switch, "Whether loggers may fetch config files that an operator queued for them."
    )


@attrs.frozen(kw_only=True)
class ArchiveSettings:
    """Keeping accepted logs as they came, to read them again by another layout (``cenergyd reread``)."""

    days: int = setting(
        "0", integer(0, 3650), "Accepted logs are kept as they came for so long; 0: they are not.", "days"
    )
    folder: Path = setting(  # noqa: RUF009
        "archive", needed_path, "Where; counted from the state folder. Several daemons may share one."
    )
    max_gb: int = setting("20", integer(1, 100000), "Room for all of it; beyond it the oldest days are deleted.", "GB")


@attrs.frozen(kw_only=True)
class CredentialsSettings:
    """Checking loggers' passwords."""

    max_failures: int = setting(
        "10", integer(1, 10000), "Wrong passwords per serial and network in the window; then one a second."
    )  # fmt: skip
    max_failures_per_address: int = setting(
        "100", integer(1, 100000), "Wrong passwords per address within the window (a site may have many loggers)."
    )
    failure_window_seconds: int = setting("300", integer(1, 86400), "Window in which wrong passwords count.", "s")


@attrs.frozen(kw_only=True)
class DerivationSettings:
    """Computing the missing meter."""

    tolerance_seconds: int = setting(
        "30", integer(0, 1800), "Readings of two meters belong together if not further apart than this.", "s"
    )
    formula: str = setting(
        "physical", choice("physical", "literal"),
        "physical: P and Q add up, PF follows, V is the mean. literal: plain sums and differences.",
    )  # fmt: skip
    interval_seconds: float = setting("5", number(0.1, 3600), "Time between two looks for pending customers.", "s")
    plugin_timeout_seconds: float = setting("30", number(0.1, 3600), "A plugin that takes longer has failed.", "s")


@attrs.frozen(kw_only=True)
class JobsSettings:
    """Running the jobs (rollups, alerts, and those of other plugins)."""

    interval_seconds: float = setting(
        "60", number(0.1, 3600), "Time between two looks for new or derived readings.", "s"
    )
    timeout_seconds: float = setting("60", number(0.1, 3600), "A job that takes longer for one piece has failed.", "s")


@attrs.frozen(kw_only=True)
class RollupsSettings:
    """Rollups, net load and energy of every customer."""

    resolutions: tuple[str, ...] = setting(
        "1m 5m 15m 30m 1h 24h", chosen("1m", "5m", "15m", "30m", "1h", "24h"),
        "Resolutions at which each meter is rolled up; 1h is always kept, as 24h is added up from it.",
    )  # fmt: skip
    max_gap_seconds: int = setting(
        "5400",
        integer(1, 5400),
        "A longer pause is a gap in the energy; only registers bridge it.",
        "s",
    )


@attrs.frozen(kw_only=True)
class AlertsSettings:
    """Evaluating readings and loggers for alerts; what to evaluate is each customer's own setting."""

    max_age_seconds: int = setting(
        "3600", integer(1800, 172800),
        "Older readings raise no alert. More than upload interval plus delays.", "s",
    )  # fmt: skip
    operators: tuple[str, ...] = setting(
        "", words,
        "Who is told of faults at any site: email:ADDRESS, sms:+NUMBER, webhook:URL. Empty: nobody; the overview shows them.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class OutboxSettings:
    """The queue of messages to customers."""

    max_attempts: int = setting("12", integer(1, 100), "Attempts at a message; then it is 'failed'.")
    idempotent_channels: tuple[str, ...] = setting(
        "sms webhook", words,
        "Channel types whose notifiers prevent duplicates: a message that may have been taken is sent again.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class EmailSettings:
    """Messages by e-mail."""

    host: str = setting("", text, "SMTP server; empty: no e-mail.", essential=True)
    port: int = setting("587", integer(1, 65535), "587 for starttls, 465 for tls, 25 within a site.", essential=True)
    security: str = setting(
        "starttls", choice("starttls", "optional", "tls", "none"),
        "starttls: required. optional: if offered. tls: from the first byte. none: plain.",
        essential=True,
    )  # fmt: skip
    username: str = setting("", text, "Account at the server; empty: no sign-in.", essential=True)
    password: str = setting("", text, "Its password, such as @credential:smtp.", secret=True, essential=True)
    sender: str = setting("", text, "From address, such as alerts@example.org.", essential=True)
    ca_file: Path | None = setting("", optional_path, "PEM file of authorities to trust instead of the system's.")  # noqa: RUF009


@attrs.frozen(kw_only=True)
class SmsSettings:
    """Messages by SMS, through Twilio."""

    account_sid: str = setting("", text, "Twilio account SID (AC...); empty: no SMS.", essential=True)
    auth_token: str = setting("", text, "Twilio auth token, such as @credential:twilio.", secret=True, essential=True)
    sender: str = setting("", text, "Number to send from (+1...) or a messaging service SID (MG...).", essential=True)
    base_url: str = setting("https://api.twilio.com", url("http", "https"), "Where Twilio's API is.")


@attrs.frozen(kw_only=True)
class WebhookSettings:
    """Messages as HTTP POST to a customer's URL."""

    allow_private_addresses: bool = setting(
        "no", switch,
        "Whether customers may name loopback and private addresses: then a customer can reach what this machine can reach.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class PluginsSettings:
    """Which plugins run."""

    disabled: tuple[str, ...] = setting("", words, "Names of plugins (see 'cenergyd plugins') that are not loaded.")
    required: tuple[str, ...] = setting(
        "", words, "Names of plugins without which the daemon does not start: what they compute, nothing else would."
    )


@attrs.frozen(kw_only=True)
class LayoutSettings:
    """One more point layout, as [layout:NAME]; columns count from 0 with time = 0, so POINTnn is column 4 + nn."""

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
        "43200", integer(300, 2592000), "A session that nobody uses for so long ends.", "s"
    )
    session_max_seconds: int = setting(
        "604800", integer(300, 31536000), "A session ends after so long, however busy it is.", "s"
    )
    max_failures_per_address: int = setting(
        "20", integer(1, 100000), "Wrong tokens per network within five minutes; then one a second is answered."
    )
    target_points: int = setting("1000", integer(10, 100000), "Points per curve that resolution=auto aims at.")
    max_points: int = setting(
        "10000", integer(10, 1000000), "Most points per curve in one answer; finer resolutions are refused."
    )
    event_streams: int = setting("500", integer(1, 100000), "Live views open at once; more are refused with 503.")
    hsts_seconds: int = setting(
        "31536000", integer(0, 63072000), "How long browsers shall insist on TLS, sent over TLS only; 0: not sent.", "s"
    )


@attrs.frozen(kw_only=True)
class LoggingSettings:
    """The daemon's own log."""

    format: str = setting("text", choice("text", "json"), "One line per event, for people or for machines.")
    level: str = setting("info", choice("debug", "info", "warn", "error"), "Events below this level are left out.")


@attrs.frozen(kw_only=True)
class Settings:
    """All sections: those first in which something must be chosen."""

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
