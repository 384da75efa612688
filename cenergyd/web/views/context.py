"""The stores, settings and parts of the daemon that the subjects of API and pages share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import NotFound
from cenergyd.hookspecs import AlertRuleType, ChannelType
from cenergyd.ingest.config_versions import ConfigVersionStore
from cenergyd.ingest.logger_proof import proves_nothing
from cenergyd.jobs.energy.read import LONGEST_GAP
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.site_state.fleet import FleetReader
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.plugin_info import PluginInfo
from cenergyd.runtime.store_info import StoreInfo
from cenergyd.settings.sections import DerivationSettings, WebSettings
from cenergyd.web.access.auth import Authenticator
from cenergyd.web.access.tokens import Tokens
from cenergyd.web.api.reading_feed import ReadingFeed
from cenergyd.web.server.long_requests import LongRequests

HashPassword = Callable[[str], Awaitable[str]]
"""Clear-text password -> what is stored."""

ProvesLogger = Callable[[str, str, str], Awaitable[bool]]
"""Whether a customer (id) proves by a password that a logger (serial number), which belongs to nobody, is theirs."""

OnChange = Callable[[Customer | None, Customer | None], Awaitable[None]]
"""Called after a customer was added (old is None), changed or removed (new is None).

:mod:`cenergyd.web.views.customer_service` adds and changes customers, and calls it.
"""


async def ignore_change(old: Customer | None, new: Customer | None) -> None:
    """An :data:`OnChange` that does nothing."""


PAGE_SIZE = 100
"""Most entries of a list in one response or on one page."""
MAX_JSON_BYTES = 64 << 10
"""A larger API request or form is refused with 413; the longest tariff has some 10 KB."""


@attrs.frozen(kw_only=True, eq=False)
class Context:
    """Stores, settings and services that the subjects of API and pages use."""

    customers: CustomerStore
    readings: ReadingStore
    documents: DocumentStore
    cached_readings: ReadingStore | None = None
    """The same readings, from the cache where possible (:mod:`cenergyd.readings.recent`); None: there is no cache."""
    is_current: Callable[[Customer], bool] = lambda _: False
    """Whether the cache agrees with the store as of when a customer was read."""
    tokens: Tokens
    authenticator: Authenticator
    clock: Timers
    """The reactor: UTC seconds and timers (IReactorTime)."""
    settings: WebSettings
    hash_password: HashPassword
    proves_logger: ProvesLogger = proves_nothing
    on_change: OnChange = ignore_change
    feed: ReadingFeed = attrs.field(factory=ReadingFeed)
    derivation: DerivationSettings = attrs.field(factory=DerivationSettings)
    max_gap_seconds: int = LONGEST_GAP
    """``[rollups] max_gap_seconds``."""
    keep_days: Mapping[str, int] = attrs.field(factory=dict)
    """``[readings] keep_days``."""
    archive: ConfigVersionStore | None = None
    """Loggers' config files."""
    outbox: Outbox | None = None
    """Messages to customers."""
    channel_types: Mapping[str, ChannelType] = attrs.field(factory=dict)
    """Kinds of channels that plugins declare."""
    alert_rules: Mapping[str, AlertRuleType] = attrs.field(factory=dict)
    """Kinds of alerts that plugins declare."""
    channels_set_up: frozenset[str] = frozenset({"email", "sms", "webhook"})
    """Kinds of the daemon's own channels that can send with its settings; the others are not offered."""
    operators_alerted: bool = False
    """Whether ``[alerts] operators`` names somebody."""
    plugins: Sequence[PluginInfo] = ()
    """Plugins that are installed or required."""
    store_infos: Callable[[], Sequence[StoreInfo]] = tuple
    """Information about the stores."""
    fleet: FleetReader = attrs.Factory(lambda self: FleetReader(self.documents, self.clock), takes_self=True)
    """The list of all sites."""
    long_requests: LongRequests = attrs.field(factory=LongRequests)
    """Places for requests that take long, of API and pages together."""
    page_size: int = PAGE_SIZE
    max_json_bytes: int = MAX_JSON_BYTES

    def newest_readings(self, customer: Customer) -> ReadingStore:
        """The store from which to read the newest readings of a customer who has just been read: the cache if it agrees with the store."""
        return self.cached_readings if self.cached_readings and self.is_current(customer) else self.readings

    def required_outbox(self) -> Outbox:
        """The outbox; raises NotFound if this daemon sends no messages."""
        if self.outbox is None:
            raise NotFound("this daemon sends no messages")
        return self.outbox

    async def customer(self, customer_id: str) -> Customer:
        """A customer by id; raises NotFound."""
        customer = await self.customers.get(customer_id)
        if customer is None:
            raise NotFound("there is no such customer")
        return customer
