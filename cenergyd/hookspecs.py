"""The whole plugin contract. A plugin is any module or object with functions of these names.

Register one by the entry point group ``cenergyd`` (see the README); built-in plugins are registered the same way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar

import pluggy
from msgspec import Meta

from cenergyd.customers.model import Customer, Role
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.structs import Resource
from cenergyd.runtime.threads import InThread
from cenergyd.settings.sections import Settings

hookspec = pluggy.HookspecMarker("cenergyd")
HOOK_VERSION = 1
"""Incremented with every change of the contract; docs/plugins.md says what changed, and how long the old form works."""
hookimpl = pluggy.HookimplMarker("cenergyd")

P = ParamSpec("P")
T = TypeVar("T")
Formula = Literal["physical", "literal"]


class AlignedReading(NamedTuple):
    """Readings of the present meters that belong together; the role to compute is None."""

    time: int
    """Time of the computed reading, UTC seconds."""
    utility: Reading | None
    load: Reading | None
    solar: Reading | None


Derived = Sequence[Reading]


@hookspec
def cenergyd_options() -> type[Resource]:
    """Declare the options that the ini may set in ``[plugin:NAME]``, NAME being the plugin's.

    Return a subclass of :class:`~cenergyd.runtime.structs.Resource`: each field an option with its type and bounds, a default, and its
    reason, ``ct_ratio: Annotated[float, Meta(gt=0, description="...")] = 1.0``. ``Meta(extra={"secret": True})`` keeps a value out of
    logs. Every other hook gets an object of it as ``options`` (None without this hook). Called once, when the plugin is loaded.
    """
    raise NotImplementedError


class Channel(Resource, frozen=True, kw_only=True):
    """One entry of a customer's channels; subclasses describe the address, and ``secret`` where there is one."""

    type: str


ChannelFields = type[Channel]


class ChannelType(NamedTuple):
    """A kind of channel that a plugin sends to."""

    type: str
    """``{"type": ...}`` of its channels: small letters, digits, ``_`` and ``-``."""
    label: str
    """What the page calls it."""
    fields: ChannelFields
    """Checks a channel when it is entered."""
    address: str
    """The field that the page asks for as the address; it also asks for ``secret`` where the fields have one."""
    hint: str = ""
    """An example of an address, for people."""
    idempotent: bool = False
    """Whether sending a message again does no harm; otherwise a message that may have been accepted is not repeated."""


@hookspec
def cenergyd_channels(options: object) -> Sequence[ChannelType]:
    """Declare the kinds of channels that the plugin's ``cenergyd_notify`` sends to.

    They are offered on the alerts page, checked when they are entered, and no other plugin is asked to send to them. Called once, when
    the plugin is loaded.
    """
    raise NotImplementedError


Frequency = Annotated[
    int, Meta(ge=1, le=43200, description="Minutes between two messages about the same thing, at least.")
]


class AlertRule(Resource, frozen=True, kw_only=True):
    """The fields that all alert rules have; subclasses add others, each with a default."""

    enabled: bool = False
    alert_frequency_in_minutes: Frequency | None = None
    """Minutes between two messages about this, at least; None: the customer's general value."""


RuleFields = type[AlertRule]


class AlertRuleType(NamedTuple):
    """A kind of alert that a plugin raises."""

    kind: str
    """Its name in settings, messages and the API: small letters, digits and ``_``."""
    label: str
    """What the page and messages call it, such as ``Freezer too warm``."""
    text: str
    """When it is raised, a sentence for the page."""
    fields: RuleFields
    """Checks a customer's settings of it. Fields are int, float, str, or ``Role`` where named ``role``; ``Meta(title=..., description=...)``
    is how the page describes one, ``Meta(extra={"unit": "kW"})`` its unit."""


Verdict = Literal["breach", "clear", "hold"]
"""Beyond the threshold; back within it by the hysteresis; in between, where nothing changes."""


class WindowVerdict(NamedTuple):
    """The verdict for one window."""

    time: int
    """UTC seconds: the start of the window."""
    verdict: Verdict
    value: float | None = None
    """The value that was evaluated, in its own unit."""
    badness: float = 0.0
    """Larger is worse; the worst window's value is reported."""


@hookspec
def cenergyd_alert_rules(options: object) -> Sequence[AlertRuleType]:
    """Declare the kinds of alerts that the plugin's ``cenergyd_job`` raises by ``context.alert``.

    Customers switch them on and set them on the alerts page or by the API. Called once, when the plugin is loaded.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def cenergyd_derive(
    customer: Customer, role: Role, aligned: Sequence[AlignedReading], formula: Formula, options: object
) -> Derived | Awaitable[Derived] | None:
    """Compute the readings of the missing ``role`` from aligned ones of the other two.

    Return None to leave it to the next plugin (finally a built-in one). Otherwise a sequence of readings, or a Deferred or
    coroutine of one: P in kW, Q in kvar, L1_V in V; each ``time`` must be one of ``aligned``'s, at most once; omit a time to leave a gap. A
    plugin that raises, takes longer than ``[derivation] plugin_timeout_seconds`` or returns anything else
    skips this customer for now: the failure is logged and counted, and the same times are tried again later.
    Use ``@hookimpl(tryfirst=True)`` to come before the built-ins.
    """


class Notification(NamedTuple):
    """A message to a customer."""

    id: str
    """Unique; a notifier passes it to services that use it to avoid duplicates."""
    customer_id: str
    kind: str
    """What it is about: ``net_load``, ``power_factor``, ``test``, ..."""
    subject: str
    text: str
    """Plain text, times in the customer's zone."""
    data: Mapping[str, Any]
    """The same for machines: JSON values."""


class JobContext(Protocol):
    """What a job may use."""

    now: int
    """UTC seconds."""
    readings: ReadingStore
    """Reads everything; writes only series ``<serial>_<name>`` of the job's customer, never measured or computed readings."""
    documents: DocumentStore
    """Writes only kinds that begin with the plugin's name."""
    customers: CustomerStore
    """For looking up customers; read-only."""
    settings: Settings
    """The daemon's settings, for jobs with a section of their own."""

    def for_customer(self, customer: Customer) -> JobContext:
        """A context that may write that customer's series, for ``cenergyd_periodic``, whose own context may write none."""
        ...

    def alert_rule(self, kind: str) -> AlertRule | None:
        """The customer's settings of an alert that the plugin declares, as its ``fields``; None if it is off."""
        ...

    async def alert(self, kind: str, series: str, verdicts: Sequence[WindowVerdict], text: str) -> None:
        """Update an alert about one of the customer's series: raise it, send a reminder, or end it, as for the built-in ones.

        Windows that were evaluated before, and old ones, are ignored, so the same may be passed again. Does nothing if the rule is off.

        :param text: the problem, as a sentence for the message.
        """
        ...

    async def notify(self, notification: Notification) -> None:
        """Queue a message to every channel of the customer, durably; returns once it is queued."""
        ...

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a synchronous function in one of the plugin's own threads and return its result or raise its error."""
        ...

    async def pause(self) -> None:
        """Let the reactor run; await this after every 10 ms or so of computing."""
        ...


@hookspec
def cenergyd_job(
    customer: Customer, start: int, end: int, context: JobContext, options: object
) -> Awaitable[None] | None:
    """Process readings that are new or changed, ``start <= time < end`` (UTC seconds).

    Called after derivation, for measured and computed series alike (``customer.series_of(role)``). The range may be old (late
    data) and may come again after a crash, so a job recomputes and replaces everything that the range affects. A job that raises or
    takes longer than ``[jobs] timeout_seconds`` is logged, counted, and the range is tried again later.
    """


@hookspec
def cenergyd_periodic(context: JobContext, options: object) -> Awaitable[None] | None:
    """Called every minute, whether data have arrived or not, for silent loggers, retries and clean-up. A call that raises or takes longer than
    ``[jobs] timeout_seconds`` is logged and counted."""


class Attempt(NamedTuple):
    """One attempt to send one message."""

    number: int
    """From 1."""
    unsure: bool
    """True if an earlier attempt may have been accepted."""
    now: int
    """UTC seconds."""
    reactor: Reactor
    """Twisted's reactor, for asynchronous clients."""
    in_thread: InThread
    """``await attempt.in_thread(function, *arguments)`` runs a synchronous client in one of the plugin's own threads."""


@hookspec(firstresult=True)
def cenergyd_notify(
    notification: Notification, channel: Mapping[str, object], attempt: Attempt, options: object
) -> Awaitable[bool] | bool | None:
    """Send a notification over ``channel`` (one entry of the customer's channels: ``{"type": "email", "to": ...}``).

    Return None for a channel type that is not yours; True (or an awaitable of it) once the service has accepted the message. Raise to have
    it tried again later; :class:`~cenergyd.errors.DeliveryRefused` where trying again would not help, and
    :class:`~cenergyd.errors.DeliveryUnknown` if the service may have accepted it: then it is tried again only for the types in
    ``[outbox] idempotent_channels``. A call that takes longer than a minute counts as unknown too.
    """
