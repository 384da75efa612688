"""An intake as the daemon wires it, on real stores of customers and documents, at a time that a test sets."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import reactor

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.acquisuite.times import device_time
from cenergyd.customers.meter_history import dated_change
from cenergyd.customers.model import Customer, PendingMark
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.ingest.activity import LoggerActivity
from cenergyd.ingest.archive_format import ArchivedUpload
from cenergyd.ingest.config_exchange import ConfigExchange
from cenergyd.ingest.config_versions import ConfigVersionStore
from cenergyd.ingest.group_commit import GroupCommit
from cenergyd.ingest.held_logs import HeldLogs
from cenergyd.ingest.held_meters import HeldMeters
from cenergyd.ingest.held_reader import HeldLogService
from cenergyd.ingest.log_reader import LogReader
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.ingest.receiver import Receiver, UploadReply, UploadRequest
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, series_name
from cenergyd.runtime.metrics import Metrics

SERIAL = "001EC6001433"
NOW = 1_700_000_000


class SetClock:
    """The reactor's timers, and a time of day that a test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, callable: Any, *args: Any, **kwargs: Any) -> Any:
        timers: Any = reactor
        return timers.callLater(delay, callable, *args, **kwargs)


class AcceptAnyPassword:
    """Takes any password: who may upload is tested elsewhere."""

    def __init__(self, customers: CustomerStore) -> None:
        self._customers = customers

    def cached(self, serial: str, password: str) -> None:
        return None

    async def check(self, serial: str, password: str, address: str) -> Customer | None:
        return await self._customers.by_serial(serial)


class Intake:
    """Everything between a request's bytes and the stores."""

    def __init__(
        self,
        customers: CustomerStore,
        documents: DocumentStore,
        *,
        table: LayoutTable | None = None,
        logger_bytes: int = 10_000_000,
        all_bytes: int = 100_000_000,
        keep_days: int = 90,
    ) -> None:
        self.clock = SetClock(NOW)
        self.customers, self.documents = customers, documents
        self.readings = MemoryReadingStore()
        self.marks: list[PendingMark] = []
        clock: Any = self.clock
        self.layouts = MeterLayouts(table or LayoutTable(), documents, clock)
        self.reader = LogReader(self.layouts, clock, 86400)
        self.meters = HeldMeters(documents, clock, logger_bytes=logger_bytes, all_bytes=all_bytes)
        self.logs = HeldLogs(documents, self.meters, clock, keep_days)
        self.held = HeldLogService(self.logs, self.layouts, self.reader, customers, clock)
        self.layouts.when_learned(lambda serial, meter: self.held.read_again(series_name(serial, meter)))
        self.activity = LoggerActivity(documents, clock)
        self.configs = ConfigVersionStore(documents, self.layouts, clock, remote=False)
        commit: GroupCommit[PendingMark] = GroupCommit(self.readings, reactor, self._mark)
        self.archived: list[ArchivedUpload] = []
        self.without_readings: list[str] = []
        credentials: Any = AcceptAnyPassword(customers)
        self.receiver = Receiver(
            credential_checker=credentials,
            group_commit=commit,
            reader=self.reader,
            held=self.held,
            activity=self.activity,
            metrics=Metrics(),
            clock=self.clock,
            config_exchange=ConfigExchange(documents, self.configs),
            archive=self.archived.append,
            nothing_stored=self.without_readings.append,
        )
        self.held.store = self.receiver.store

    async def _mark(self, marks: Sequence[PendingMark]) -> None:
        self.marks += marks

    async def add_customer(self, serial: str = SERIAL, **fields: Any) -> Customer:
        """Its customer."""
        return await self.customers.add(
            Customer(id="", name="Site", logger_serial_number=serial, logger_password="x", **fields)
        )

    async def choose(self, layouts: Mapping[str, Mapping[str, int]], since: int, serial: str = SERIAL) -> None:
        """Choose columns from a time on, as the Meters page does."""
        customer = await self.customers.by_serial(serial)
        assert customer is not None
        update = dated_change(customer, since, {"layouts": layouts}, int(self.clock.seconds()))
        await self.customers.update(customer.id, update)
        await self.held.read_logger_again(serial)

    async def log(self, content: bytes, meter: str = "1", *, filename: str | None = None, **fields: str) -> UploadReply:
        """Upload a log."""
        form = encode.log_fields(SERIAL, "x", meter, content, **{"device_class": "", **fields})  # type: ignore[arg-type]
        return await self._form(form, filename or encode.log_filename(meter), content)

    async def rows(self, rows: Mapping[int, Sequence[Any]], meter: str = "1", **fields: str) -> UploadReply:
        """Upload rows: time -> values from column 4 on."""
        lines = [f"'{device_time(time)}',0,0,0,{','.join(map(str, values))}\n" for time, values in rows.items()]
        return await self.log(encode.gz("".join(lines).encode()), meter, **fields)

    async def config(self, content: bytes, meter: str = "1", device_class: str = "") -> UploadReply:
        """Upload a config file."""
        form = {
            "MODE": "CONFIGFILEUPLOAD", "SERIALNUMBER": SERIAL, "PASSWORD": "x", "MODBUSDEVICE": meter,
            "MODBUSDEVICECLASS": device_class, "MD5CHECKSUM": encode.md5(content), "FILETIME": device_time(NOW),
        }  # fmt: skip
        return await self._form(form, f"modbus/mb-{int(meter):03d}.ini", content, "CONFIGFILE")

    async def manifest(self) -> list[str]:
        """The lines of the manifest."""
        reply = await self._form({"MODE": "CONFIGFILEMANIFEST", "SERIALNUMBER": SERIAL, "PASSWORD": "x"})
        return reply.body.decode().splitlines()

    async def xml(self, body: bytes, serial: str = SERIAL) -> UploadReply:
        """Upload a message of a logger."""
        pair = base64.b64encode(f"{serial}:x".encode())
        return await self.receiver.receive(UploadRequest(body, b"text/xml", b"Basic " + pair))

    async def _form(
        self, form: Mapping[str, str], filename: str | None = None, content: bytes = b"", name: str = "LOGFILE"
    ) -> UploadReply:
        kind, body = encode.multipart_form(form, filename, content, name)
        return await self.receiver.receive(UploadRequest(body, kind.encode()))

    async def stored(self, meter: str = "1", serial: str = SERIAL) -> list[Reading]:
        """All readings of a meter."""
        series = series_name(serial, meter)
        return (await self.readings.read([series], 0, 1 << 40))[series]


def accepted(reply: UploadReply) -> bool:
    """Whether the device may delete its file."""
    return reply.status == 200 and b"SUCCESS" in reply.body
