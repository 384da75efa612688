"""Every section and setting of ``cenergyd.ini``: default, bounds, unit and reason."""

from __future__ import annotations

from pathlib import Path

import attrs

from cenergyd.settings.loader import (
    choice,
    chosen,
    integer,
    number,
    optional_path,
    options,
    setting,
    switch,
    text,
    url,
    words,
)


@attrs.frozen(kw_only=True)
class ServerSettings:
    """Where the daemon listens and what it bears."""

    listen: tuple[str, ...] = setting(
        "tcp:8080:interface=127.0.0.1", words,
        "Twisted endpoint strings, one or more. TLS: ssl:443:privateKey=key.pem:certKey=cert.pem; systemd: systemd:domain=INET:index=0.",
    )  # fmt: skip
    trusted_proxies: tuple[str, ...] = setting(
        "", words, "Addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    max_body_bytes: int = setting(
        "33554432", integer(65536, 1 << 30), "A larger request is refused with 413. A full 8 MB logger flash fits.", "bytes"
    )  # fmt: skip
    max_request_seconds: int = setting(
        "900", integer(5, 86400), "A request must have arrived completely within so long, however slowly it comes.", "s"
    )
    request_timeout_seconds: int = setting(
        "120", integer(5, 3600), "A client that sends nothing for so long is dropped (slow senders, idle connections).", "s"
    )  # fmt: skip
    max_connections: int = setting(
        "4000", integer(10, 100000), "Connections held at once; further ones are closed at once.", "connections"
    )
    shutdown_grace_seconds: int = setting(
        "20", integer(0, 300), "How long a stop waits for uploads that are being written.", "s"
    )


@attrs.frozen(kw_only=True)
class CustomersSettings:
    """The store of customers and small documents."""

    url: str = setting(
        "sqlite:///var/customers.sqlite", url("sqlite", "mongodb", "mongodb+srv"),
        "sqlite:///path (embedded; four slashes for an absolute path) or mongodb://user:password@host/database?tls=true.",
        secret=True,
    )  # fmt: skip
    collection: str = setting("customer", text, "MongoDB collection of customers, shared with the front end.")
    timeout_seconds: float = setting(
        "10", number(0.5, 120), "A store that does not answer for so long counts as down.", "s"
    )


@attrs.frozen(kw_only=True)
class ReadingsSettings:
    """The store of readings."""

    url: str = setting(
        "sqlite:///var/readings.sqlite", url("sqlite", "influxdb", "https+influxdb"),
        "sqlite:///path (embedded) or influxdb://user:password@host:8086/database; https+influxdb:// with TLS.",
        secret=True,
    )  # fmt: skip
    retention_policy: str = setting("", text, "InfluxDB retention policy to write to; empty: the database's default.")
    threads: int = setting("4", integer(1, 64), "Threads for the synchronous InfluxDB client.", "threads")
    timeout_seconds: float = setting(
        "10", number(0.5, 120), "A store that does not answer for so long counts as down.", "s"
    )
    max_queued_uploads: int = setting(
        "2000",
        integer(1, 1000000),
        "Uploads waiting to be written; beyond that, 503 FAILURE (backpressure).",
        "uploads",
    )
    max_queued_readings: int = setting(
        "500000", integer(1000, 100000000),
        "Readings waiting to be written, 250 bytes each in memory; beyond that, 503 FAILURE.", "readings",
    )  # fmt: skip
    max_write_readings: int = setting("10000", integer(100, 1000000), "Readings in one write to the store.", "readings")
    writes_in_flight: int = setting(
        "2", integer(1, 32), "Writes to the store at the same time; one of them is kept free of backlogs.", "writes"
    )


@attrs.frozen(kw_only=True)
class UploadSettings:
    """What a logger may send."""

    path: str = setting("/consume", text, "Path that loggers POST to: the 'Target URL' of the AcquiSuite.")
    max_inflated_bytes: int = setting(
        "134217728", integer(65536, 1 << 31), "Inflated size of a log; a larger one is refused (gzip bombs).", "bytes"
    )
    max_form_fields: int = setting("64", integer(16, 1000), "Variables in a form.", "variables")
    max_field_bytes: int = setting("4096", integer(64, 65536), "Size of one form variable.", "bytes")
    max_future_seconds: int = setting(
        "86400", integer(0, 31536000), "Rows later than now by more are skipped: the logger's clock jumped.", "s"
    )
    remote_configuration: bool = setting(
        "no", switch, "Whether loggers may fetch config files that an operator queued for them."
    )
    max_config_bytes: int = setting("262144", integer(1024, 1 << 24), "Size of a logger's config file.", "bytes")
    max_config_versions: int = setting("20", integer(1, 1000), "Versions kept of a config file.", "versions")
    activity_seconds: float = setting(
        "5", number(0.1, 300), "How often last uploads, meters seen and rejected loggers are written down.", "s"
    )
    activity_repeat_seconds: float = setting(
        "60", number(0, 3600), "A logger or meter that uploads often is written down at most once in so long.", "s"
    )
    max_rejected: int = setting("1000", integer(1, 100000), "Rejected serial numbers remembered.", "serials")
    max_concurrent: int = setting(
        "1000", integer(1, 10000), "Uploads parsed or written at once; beyond that, 503.", "uploads"
    )


@attrs.frozen(kw_only=True)
class CredentialsSettings:
    """Checking loggers' passwords."""

    cache_seconds: int = setting(
        "30",
        integer(0, 3600),
        "A changed setting counts at the latest after so long, also one made by another daemon.",
        "s",
    )
    max_cached: int = setting("20000", integer(100, 1000000), "Loggers remembered.", "loggers")
    max_failures: int = setting(
        "10",
        integer(1, 10000),
        "Wrong guesses per serial and address within the window; then 401 without a check.",
        "guesses",
    )
    max_failures_per_address: int = setting(
        "100",
        integer(1, 100000),
        "Wrong guesses per address within the window (a site may have many loggers).",
        "guesses",
    )
    failure_window_seconds: int = setting("300", integer(1, 86400), "Window in which wrong guesses count.", "s")
    hash_threads: int = setting("2", integer(1, 32), "Threads for argon2.", "threads")
    hash_memory_kib: int = setting("19456", integer(8, 1048576), "argon2id memory (OWASP's first choice).", "KiB")
    hash_iterations: int = setting("2", integer(1, 20), "argon2id iterations.", "passes")


@attrs.frozen(kw_only=True)
class DerivationSettings:
    """Computing the missing meter."""

    interval_seconds: float = setting("5", number(0.1, 3600), "Time between two looks for pending customers.", "s")
    max_rest_seconds: float = setting(
        "30", number(0, 3600),
        "A look that took long is followed by nine times as long without one, but at most this: so uploads go first. 0: no rest.",
        "s",
    )  # fmt: skip
    tolerance_seconds: int = setting(
        "30", integer(0, 1800), "Readings of two meters belong together if not further apart than this.", "s"
    )
    formula: str = setting(
        "physical", choice("physical", "literal"),
        "physical: P and Q add up, PF from them, voltage the mean. literal: plain sums and differences of all three channels.",
    )  # fmt: skip
    batch_customers: int = setting("200", integer(1, 10000), "Customers read and written together.", "customers")
    chunk_readings: int = setting(
        "2000",
        integer(100, 100000),
        "Readings per meter held at once of a backlog (bounds memory and pauses).",
        "readings",
    )
    plugin_timeout_seconds: float = setting("30", number(0.1, 3600), "A plugin that takes longer has failed.", "s")
    claim_seconds: int = setting(
        "60", integer(5, 3600), "A daemon that is silent for so long loses its work to another one.", "s"
    )
    retry_seconds: int = setting(
        "60", integer(1, 86400), "A customer whose plugin failed is tried again after this.", "s"
    )
    concurrent_batches: int = setting(
        "2", integer(1, 16), "Batches worked on at once: while one waits for the stores, another computes.", "batches"
    )
    concurrent_backlogs: int = setting(
        "2", integer(1, 64), "Customers whose long backlogs are derived at once, beside everybody's new readings.", "customers"
    )  # fmt: skip
    max_waiting_plugins: int = setting(
        "200", integer(1, 100000), "Customers that may wait for a slow plugin at once; more are tried again later.", "customers"
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class JobsSettings:
    """Running the jobs (rollups, alerts, and those of other plugins)."""

    interval_seconds: float = setting(
        "60", number(0.1, 3600), "Time between two looks for new or derived readings.", "s"
    )
    max_rest_seconds: float = setting(
        "30", number(0, 3600),
        "A look that took long is followed by nine times as long without one, but at most this: so uploads go first. 0: no rest.",
        "s",
    )  # fmt: skip
    periodic_seconds: float = setting(
        "60", number(1, 86400), "Time between two calls of what plugins do whether readings came or not.", "s"
    )
    timeout_seconds: float = setting("60", number(0.1, 3600), "A job that takes longer for one piece has failed.", "s")
    batch_customers: int = setting("200", integer(1, 10000), "Customers taken from the queue at once.", "customers")
    concurrent_customers: int = setting(
        "8", integer(1, 1000), "Customers whose jobs run at once; the jobs of one customer run one after another.", "customers"
    )  # fmt: skip
    chunk_hours: int = setting(
        "24", integer(1, 8760), "A backlog is handed to jobs in pieces no longer than this.", "h"
    )
    claim_seconds: int = setting(
        "180", integer(5, 3600), "A daemon that is silent for so long loses its work to another one.", "s"
    )
    retry_seconds: int = setting(
        "60",
        integer(1, 86400),
        "A job that failed is tried again after this; each time twice as long, to an hour.",
        "s",
    )


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
        "Energy is never integrated over a longer gap, nor over one longer than 1.5 times the meter's usual interval.",
        "s",
    )
    chunk_hours: int = setting(
        "6", integer(1, 24), "Hours of readings of one customer held at once of a backlog (bounds memory).", "h"
    )


@attrs.frozen(kw_only=True)
class AlertsSettings:
    """Judging readings and loggers for alerts; what to judge is each customer's own setting."""

    fresh_seconds: int = setting(
        "3600", integer(1800, 172800),
        "Readings older than this raise no alert. More than the loggers' upload interval plus their delays.", "s",
    )  # fmt: skip
    max_silent_loggers: int = setting(
        "5000", integer(10, 1000000), "Silent loggers looked at in one round, longest silent first.", "loggers"
    )
    recheck_seconds: int = setting(
        "600", integer(10, 86400), "A silent logger whose customer wants no message is looked at again after this.", "s"
    )
    keep_days: int = setting(
        "30", integer(1, 3650), "An alert about which nothing was heard for so long is forgotten.", "days"
    )


@attrs.frozen(kw_only=True)
class OutboxSettings:
    """The queue of messages to customers."""

    interval_seconds: float = setting("5", number(0.1, 3600), "Time between two looks for messages to send.", "s")
    send_timeout_seconds: float = setting("60", number(1, 600), "A notifier that takes longer has failed.", "s")
    concurrency: int = setting("10", integer(1, 1000), "Messages sent at once by one daemon.", "messages")
    max_attempts: int = setting("12", integer(1, 100), "Attempts at a message; then it is 'failed'.", "attempts")
    first_retry_seconds: int = setting(
        "60", integer(1, 86400), "Wait after the first failed attempt; each further wait is twice as long.", "s"
    )
    max_retry_seconds: int = setting("3600", integer(1, 86400), "The longest wait between two attempts.", "s")
    keep_seconds: int = setting(
        "172800", integer(3600, 31536000), "Sent and failed messages are kept for so long (to show, and against doubles).", "s"
    )  # fmt: skip
    max_per_customer: int = setting(
        "2000", integer(10, 1000000), "Messages kept per customer; further ones are dropped and logged.", "messages"
    )
    max_tests_per_hour: int = setting(
        "10", integer(1, 1000), "Test messages that one customer may have sent within an hour.", "messages"
    )
    repeatable: tuple[str, ...] = setting(
        "sms webhook", words,
        "Channel types that are tried again where a message may have been taken: their notifiers prevent doubles. "
        "Others then count as 'unsure' and are never sent twice. Add email if twice is better than never.",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class EmailSettings:
    """Messages by e-mail."""

    host: str = setting("", text, "SMTP server; empty: no e-mail.")
    port: int = setting("587", integer(1, 65535), "587 for starttls, 465 for tls, 25 within a site.")
    security: str = setting(
        "starttls", choice("starttls", "optional", "tls", "none"),
        "starttls: required. optional: where the server offers it. tls: from the first byte. none: plain text. Certificates are always verified.",
    )  # fmt: skip
    username: str = setting("", text, "Account at the server; empty: no sign-in.")
    password: str = setting("", text, "Its password, such as @credential:smtp.", secret=True)
    sender: str = setting("", text, "From address, such as alerts@example.org.")
    ca_file: Path | None = setting("", optional_path, "PEM file of authorities to trust instead of the system's.")  # noqa: RUF009
    timeout_seconds: float = setting("30", number(1, 300), "A server that is silent for so long has failed.", "s")


@attrs.frozen(kw_only=True)
class SmsSettings:
    """Messages by SMS, through Twilio."""

    account_sid: str = setting("", text, "Twilio account SID (AC...); empty: no SMS.")
    auth_token: str = setting("", text, "Twilio auth token, such as @credential:twilio.", secret=True)
    sender: str = setting("", text, "Number to send from (+1...) or a messaging service SID (MG...).")
    base_url: str = setting("https://api.twilio.com", url("http", "https"), "Where Twilio's API is.")
    timeout_seconds: float = setting("20", number(1, 300), "An answer that takes longer has failed.", "s")


@attrs.frozen(kw_only=True)
class WebhookSettings:
    """Messages as HTTP POST to a customer's URL."""

    allow_private_addresses: bool = setting(
        "no", switch,
        "Whether customers may name loopback and private addresses: then a customer can reach what this machine can reach.",
    )  # fmt: skip
    timeout_seconds: float = setting("15", number(1, 300), "An answer that takes longer has failed.", "s")


@attrs.frozen(kw_only=True)
class NotifierSettings:
    """Options of another notifier, as [notifier:TYPE], for channels of that type."""

    options: dict[str, str] = setting(  # noqa: RUF009
        "", options, "Lines of 'name = value' that the notifier is given; @file:/path for secret ones.", secret=True
    )


@attrs.frozen(kw_only=True)
class PluginsSettings:
    """Which plugins run."""

    disabled: tuple[str, ...] = setting("", words, "Names of plugins (see 'cenergyd plugins') that are not loaded.")


@attrs.frozen(kw_only=True)
class LayoutSettings:
    """One more point layout, as [layout:NAME]; columns count from 0 with time = 0, so POINTnn is column 4 + nn."""

    device_classes: tuple[str, ...] = setting("", words, "MODBUSDEVICECLASS values that have this layout.")
    P: str = setting("", text, "Column of real power, kW; empty: none.")
    L1_PF: str = setting("", text, "Column of power factor; empty: none.")
    L1_V: str = setting("", text, "Column of voltage phase A to neutral, V; empty: none.")
    Q: str = setting("", text, "Column of reactive power, kvar; empty: none.")


@attrs.frozen(kw_only=True)
class WebSettings:
    """The settings API, signing in and the power view."""

    session_idle_seconds: int = setting(
        "43200", integer(300, 2592000), "A session that nobody uses for so long ends.", "s"
    )
    session_max_seconds: int = setting(
        "604800", integer(300, 31536000), "A session ends after so long, however busy it is.", "s"
    )
    sessions_per_token: int = setting(
        "20", integer(1, 1000), "Sessions open at once with one token; the oldest gives way.", "sessions"
    )
    first_token_seconds: int = setting(
        "86400", integer(60, 2592000), "How long the one-time operator token of a first start can be used.", "s"
    )
    max_failures_per_address: int = setting(
        "20", integer(1, 100000), "Wrong tokens per address within the window; then 429 without a check.", "guesses"
    )
    failure_window_seconds: int = setting("300", integer(1, 86400), "Window in which wrong tokens count.", "s")
    max_json_bytes: int = setting("65536", integer(1024, 1 << 24), "A larger API request is refused with 413.", "bytes")
    page_size: int = setting("100", integer(1, 1000), "Most entries of a list in one answer.", "entries")
    points: int = setting("1000", integer(10, 100000), "Points per curve that resolution=auto aims at.", "points")
    max_points: int = setting(
        "10000", integer(10, 1000000), "Most points per curve in one answer; finer resolutions are refused.", "points"
    )
    event_streams: int = setting(
        "500", integer(1, 100000), "Live views open at once; more are refused with 503.", "streams"
    )
    event_streams_per_client: int = setting(
        "8", integer(1, 1000), "Live views open at once with one token or session; more are refused with 429.", "streams"
    )  # fmt: skip
    events_poll_seconds: float = setting(
        "3", number(0.1, 300), "How often a live view looks for readings that another daemon received.", "s"
    )
    hsts_seconds: int = setting(
        "31536000", integer(0, 63072000), "How long browsers shall insist on TLS, told over TLS only; 0: not told.", "s"
    )


@attrs.frozen(kw_only=True)
class LoggingSettings:
    """The daemon's own log."""

    format: str = setting("text", choice("text", "json"), "One line per event, for people or for machines.")
    level: str = setting("info", choice("debug", "info", "warn", "error"), "Events below this level are left out.")


@attrs.frozen(kw_only=True)
class Settings:
    """All sections."""

    server: ServerSettings
    customers: CustomersSettings
    readings: ReadingsSettings
    upload: UploadSettings
    credentials: CredentialsSettings
    derivation: DerivationSettings
    jobs: JobsSettings
    rollups: RollupsSettings
    alerts: AlertsSettings
    outbox: OutboxSettings
    email: EmailSettings
    sms: SmsSettings
    webhook: WebhookSettings
    notifier: dict[str, NotifierSettings]
    plugins: PluginsSettings
    layout: dict[str, LayoutSettings]
    web: WebSettings
    logging: LoggingSettings
