"""Handles an upload from request bytes to reply bytes: credentials, mode, readings, durable write, SUCCESS.

It knows nothing of sockets; :mod:`cenergyd.web.server.upload` is the HTTP around it. The reply contract is the device's: 200 SUCCESS lets
it delete the file, 406 and 503 FAILURE make it keep the file, 401 ends its upload session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
from twisted.logger import Logger

from cenergyd.acquisuite import replies
from cenergyd.acquisuite.form import (
    CredentialsError,
    Form,
    basic_credentials,
    credentials,
    parse_head,
)
from cenergyd.acquisuite.upload import (
    LogHeader,
    Mode,
    device_text,
    read_mode,
    read_status,
    trace_lines,
)
from cenergyd.acquisuite.xml import XmlDevice, XmlMessage, parse_xml_steps
from cenergyd.customers.model import Customer, PendingMark
from cenergyd.customers.ownership import own_rows
from cenergyd.errors import (
    FutureRows,
    Overloaded,
    StoredTypeConflict,
    UploadError,
)
from cenergyd.ingest.activity import LoggerActivity
from cenergyd.ingest.archive_format import ArchivedUpload, UploadFormat, without_passwords
from cenergyd.ingest.config_exchange import ConfigExchange
from cenergyd.ingest.credentials import CredentialChecker
from cenergyd.ingest.group_commit import GroupCommit
from cenergyd.ingest.held_logs import HeldLog
from cenergyd.ingest.held_reader import HeldLogService
from cenergyd.ingest.log_reader import (
    MAX_INFLATED_BYTES,
    SHORT_STEPS,
    LogReader,
    ReadLog,
    is_all_future,
)
from cenergyd.ingest.upload_errors import UNAUTHORIZED, reply_to
from cenergyd.readings.model import SeriesReadings, series_name
from cenergyd.runtime.byte_budget import SMALL, KnownNetworks, Lease
from cenergyd.runtime.clock import Timers, sleep
from cenergyd.runtime.metrics import Metrics

_TEXT: Final = "text/plain; charset=utf-8"
_XML: Final = "text/xml; charset=utf-8"
MAX_FORM_FIELDS = 64
"""Variables in a form; a device sends about thirty."""
MAX_FIELD_BYTES = 4096
"""Size of one form variable; the longest one seen is a URL."""
MAX_CONCURRENT = 1000
"""Concurrent uploads; further ones get 503 and are sent again."""

log = Logger()


class UploadRequest(msgspec.Struct, frozen=True):
    """One POST of a device."""

    body: bytes
    content_type: bytes = b""
    authorization: bytes | None = None
    address: str = ""
    """The client's IP address, for throttling and for the list of rejected loggers."""
    request_id: str = ""
    """The id of the request in the log."""
    lease: Lease | None = None
    """The bytes that it holds of the memory for requests; None: not counted."""

    def __repr__(self) -> str:
        """Without the body and the password."""
        return f"UploadRequest({self.request_id!r})"

    def hold(self, parsed_bytes: int) -> None:
        """Account for the body twice, as received and as parsed, and for the results. Raises Overloaded."""
        if self.lease is not None:
            self.lease.hold(2 * len(self.body) + parsed_bytes)


class UploadReply(msgspec.Struct, frozen=True):
    """The reply to the device."""

    status: int
    body: bytes
    content_type: str = _TEXT
    outcome: str = "success"
    """For the metrics: success, refused, unauthorized, busy, unavailable or error."""


_SUCCESS: Final = UploadReply(200, replies.success())


class Receiver:
    """Answers uploads; never replies SUCCESS before the readings are durable and marked for derivation.

    :param nothing_stored: called with the id of a customer whose log had no reading to store: its meter may give errors, or be unknown.
    """

    def __init__(
        self,
        *,
        credential_checker: CredentialChecker,
        group_commit: GroupCommit[PendingMark],
        reader: LogReader,
        held: HeldLogService,
        activity: LoggerActivity,
        metrics: Metrics,
        clock: Timers,
        config_exchange: ConfigExchange,
        archive: Callable[[ArchivedUpload], None] | None = None,
        nothing_stored: Callable[[str], None] = lambda customer_id: None,
    ) -> None:
        self._credentials = credential_checker
        self._commit = group_commit
        self._reader = reader
        self._held = held
        self._activity = activity
        self._metrics = metrics
        self._clock = clock
        self._configs = config_exchange
        self._archive = archive
        self._nothing_stored = nothing_stored
        self._modes: Mapping[Mode, Callable[[Customer, Form, UploadRequest], Awaitable[UploadReply]]] = {
            Mode.LOGFILEUPLOAD: self._log_upload,
            Mode.STATUS: self._status,
            Mode.TEST: self._test,
        }
        self.type_conflict_at: float | None = None
        """When the store last refused readings for a field of another type, UTC seconds."""
        self.known_networks = KnownNetworks()
        self.in_progress = 0
        """Uploads being answered now."""

    async def receive(self, request: UploadRequest) -> UploadReply:
        """Answer one POST. Every failure becomes a reply, including unexpected ones."""
        started = self._clock.seconds()
        xml = request.content_type.split(b";", 1)[0].strip().lower() in (b"text/xml", b"application/xml")
        self.in_progress += 1
        seen = ["unknown"]
        try:
            if self.in_progress > MAX_CONCURRENT:
                raise Overloaded(f"{MAX_CONCURRENT} uploads are in progress; try again")
            reply = await (self._xml if xml else self._form)(request, seen)
        except Exception as error:
            reply = self._failure(error, request, xml)
        finally:
            self.in_progress -= 1
            if request.lease is not None:
                request.lease.release()
        self._metrics.upload(seen[-1], reply.outcome, self._clock.seconds() - started)
        return reply

    async def _form(self, request: UploadRequest, seen: list[str]) -> UploadReply:
        """Answer a form.

        :param seen: receives the mode as soon as it is known, so that a refused upload is counted under it.
        """
        basic = basic_credentials(request.authorization)
        if len(request.body) > SMALL and request.content_type[:10].lower() == b"multipart/":
            # Authenticate the sender of a large body before parsing it.
            head = parse_head(
                request.body, request.content_type, max_fields=MAX_FORM_FIELDS, max_field_bytes=MAX_FIELD_BYTES
            )
            if "MODE" in head.fields:
                seen.append(read_mode(head))
            await self._known(credentials(head, basic), request)
        request.hold(0)
        form = await self._reader.read_form(request.body, request.content_type, MAX_FORM_FIELDS, MAX_FIELD_BYTES)
        # The mode first: refusing a wrong one discloses nothing, while a 401 would end the device's whole session.
        mode = read_mode(form)
        seen.append(mode)
        customer = await self._authorized(form, request, form.fields.get("LOOPNAME", ""))
        return await self._modes.get(mode, self._config_file)(customer, form, request)

    async def _authorized(self, form: Form, request: UploadRequest, loop_name: str) -> Customer:
        customer = await self._known(credentials(form, basic_credentials(request.authorization)), request)
        self._activity.uploaded(customer.logger_serial_number, request.address, device_text(loop_name), customer.id)
        return customer

    async def _known(self, pair: tuple[str, str], request: UploadRequest) -> Customer:
        serial, password = pair
        customer = self._credentials.cached(serial, password)
        if customer is None:
            customer = await self._credentials.check(serial, password, request.address)
        if customer is None:
            hashed = self._credentials.unowned_password(serial, password)
            self._activity.rejected(serial, request.address, "unknown serial number or wrong password", hashed)
            raise CredentialsError(UNAUTHORIZED)
        if request.lease is not None:
            self.known_networks.add(request.lease.network)
        return customer

    async def _log_upload(self, customer: Customer, form: Form, request: UploadRequest) -> UploadReply:
        header = await self._reader.read_header(form)
        read = await self._reader.read_file(customer, header, hold=request.hold)
        await self._keep(customer, [(header, read)], header.content, int(self._clock.seconds()))
        self._archived(customer, "log", header.content, form.fields, header.filename)
        if not header.trace:
            return _SUCCESS
        return UploadReply(200, replies.success(trace_lines(read.resolution, read.parsed, read.unread)))

    async def _keep(
        self, customer: Customer, logs: Sequence[tuple[LogHeader | XmlDevice, ReadLog]], content: bytes, received: int
    ) -> None:
        """Store everything durably: readings, marked for derivation, and the rest as received."""
        serial = customer.logger_serial_number
        batches = [SeriesReadings(series_name(serial, log.meter), read.parsed.readings) for log, read in logs]
        for (log, read), batch in zip(logs, batches, strict=True):
            if read.unread:
                await self._held.hold(_held_log(serial, log, received), content, read)
            elif read.resolution.layout is not None:
                self._held.understood(batch.series)
        await self._store(customer, batches)
        for (log, read), (series, readings) in zip(logs, batches, strict=True):
            device = {"name": log.name, "device_type": log.device_type, "device_class": log.device_class}
            skipped = read.parsed.skipped
            others = skipped.get("other_points", 0)
            self._activity.meter(serial, series, device, readings, read.parsed.last_error, other_rows=others)
            self._metrics.readings(len(readings), skipped)
            if not self._activity.is_known_meter(series):
                await self._activity.store_new_meter(serial, series)

    async def store(self, customer: Customer, logs: Sequence[tuple[str, ReadLog]]) -> None:
        """Store the readings of meters; durable and marked for derivation when this returns."""
        serial = customer.logger_serial_number
        await self._store(
            customer, [SeriesReadings(series_name(serial, meter), read.parsed.readings) for meter, read in logs]
        )

    async def _store(self, customer: Customer, batches: Sequence[SeriesReadings]) -> None:
        batches = self._owned(customer, batches)
        if not batches:
            self._nothing_stored(customer.id)
            return
        start = min(batch.readings[0].time for batch in batches)
        end = max(batch.readings[-1].time for batch in batches) + 1
        await self._commit.commit(batches, PendingMark(customer.id, start, end))

    def _owned(self, customer: Customer, batches: Sequence[SeriesReadings]) -> list[SeriesReadings]:
        """Drops readings of times at which the logger was another customer's: nobody may change those. Also drops empty batches."""
        serial = customer.logger_serial_number
        kept: list[SeriesReadings] = []
        left_out = 0
        for batch in batches:
            own = own_rows(customer, serial, batch.readings)
            left_out += len(batch.readings) - len(own)
            if own:
                kept.append(batch if own is batch.readings else SeriesReadings(batch.series, own))
        if left_out:
            log.warn(
                "{readings} readings of logger {serial} are of times at which it was not customer {customer_id}'s: left out",
                readings=left_out, serial=serial, customer_id=customer.id,
            )  # fmt: skip
        return kept

    async def _status(self, customer: Customer, form: Form, request: UploadRequest) -> UploadReply:
        self._activity.status(customer.logger_serial_number, read_status(form.fields).as_document())
        return _SUCCESS

    async def _test(self, customer: Customer, form: Form, request: UploadRequest) -> UploadReply:
        return _SUCCESS

    async def _config_file(self, customer: Customer, form: Form, request: UploadRequest) -> UploadReply:
        body = await self._configs.answer(read_mode(form), customer.logger_serial_number, form)
        return UploadReply(200, replies.success() if body is None else body)

    async def _xml(self, request: UploadRequest, seen: list[str]) -> UploadReply:
        message, known = await self._read_xml(request, seen)
        # What follows the head may contradict it.
        customer = known[1] if known is not None and known[0] == message.as_form() else None
        if customer is None:
            customer = await self._authorized(message.as_form(), request, message.name)
        if message.mode is Mode.STATUS:
            self._activity.status(customer.logger_serial_number, message.status().as_document())
        elif message.mode is Mode.LOGFILEUPLOAD:
            await self._xml_log(customer, message, request.body)
        notes = [f"{message.left_out} device(s) without a Modbus address left out"] if message.left_out else []
        return UploadReply(200, replies.xml_success(notes), _XML)

    async def _read_xml(
        self, request: UploadRequest, seen: list[str]
    ) -> tuple[XmlMessage, tuple[Form, Customer] | None]:
        """The message and its sender, who is identified before the first device, because the rest may be long."""
        known: tuple[Form, Customer] | None = None
        steps = parse_xml_steps(request.body, max_bytes=MAX_INFLATED_BYTES)
        count = 0
        while True:
            try:
                progress = next(steps)
            except StopIteration as stop:
                seen.append(stop.value.mode)
                return stop.value, known
            request.hold(progress.held_bytes)
            if known is None and progress.head is not None:
                seen.append(progress.head.mode)
                form = progress.head.as_form()
                known = form, await self._authorized(form, request, progress.head.name)
            count += 1
            await (sleep(self._clock, 0) if count <= SHORT_STEPS else self._reader.turns.next())

    async def _xml_log(self, customer: Customer, message: XmlMessage, body: bytes) -> None:
        now = int(self._clock.seconds())
        logs = [(device, await self._reader.read_device(customer, device)) for device in message.devices]
        parsed = [read.parsed for _, read in logs]
        if any(log.rows for log in parsed) and not any(log.readable_rows for log in parsed):
            raise UploadError("the message has no readable record")
        future = [read for _, read in logs if is_all_future(read)]
        if future and not any(read.parsed.readings or read.unread for _, read in logs):
            raise FutureRows(sum(read.parsed.skipped["future"] for read in future))
        await self._keep(customer, logs, body, now)
        self._archived(customer, "xml", body)

    def _archived(
        self,
        customer: Customer,
        form: UploadFormat,
        content: bytes,
        fields: Mapping[str, str] | None = None,
        filename: str = "",
    ) -> None:
        """Archive an accepted upload, if the archive is on."""
        if self._archive is not None:
            self._archive(
                ArchivedUpload(
                    serial=customer.logger_serial_number,
                    customer_id=customer.id,
                    received=int(self._clock.seconds()),
                    format=form,
                    content=content,
                    fields=without_passwords(fields or {}),
                    filename=filename,
                )
            )

    def _failure(self, error: Exception, request: UploadRequest, xml: bool) -> UploadReply:
        if isinstance(error, StoredTypeConflict):
            self.type_conflict_at = self._clock.seconds()
        status, outcome, reason = reply_to(error)
        if outcome == "error":
            log.failure("upload {request_id} failed", request_id=request.request_id)
        else:
            log.warn(
                "upload from {address} {outcome}: {reason}",
                address=request.address, outcome=outcome, reason=str(error), request_id=request.request_id,
            )  # fmt: skip
        if xml:
            return UploadReply(status, replies.xml_failure(reason), _XML, outcome)
        return UploadReply(status, replies.failure(reason), outcome=outcome)


def _held_log(serial: str, log: LogHeader | XmlDevice, received: int) -> HeldLog:
    """The form in which a log, or the records of a message's device, are held."""
    return HeldLog(
        serial=serial,
        meter=log.meter,
        received=received,
        format="xml" if isinstance(log, XmlDevice) else "log",
        device_name=log.name,
        device_type=log.device_type,
        device_class=log.device_class,
        filename="" if isinstance(log, XmlDevice) else log.filename,
    )
