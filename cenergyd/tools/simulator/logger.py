"""A simulated logger: records rows, stores log files, uploads them, and deletes only acknowledged ones."""

from __future__ import annotations

import base64
import random
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Final, Literal

import attrs

from cenergyd.acquisuite.encode import (
    VERIS_CLASS,
    VERIS_TYPE,
    error_row,
    gz,
    log_fields,
    log_filename,
    log_row,
    multipart_form,
    xml_device,
    xml_message,
)
from cenergyd.acquisuite.layouts import H8036, SHARK, VERIS, Layout
from cenergyd.customers.model import Role
from cenergyd.readings.model import VALUES, Reading, series_name
from cenergyd.tools.errors import NoResponse
from cenergyd.tools.simulator.configs import Post, exchange, meter_config
from cenergyd.tools.simulator.day import RegisterTotals, SiteMoment, site_moment, totals_after
from cenergyd.tools.simulator.faults import NO_FAULTS, Faults
from cenergyd.tools.simulator.http import UploadResponse, Version
from cenergyd.tools.simulator.site import SimulatedSite

Encoding = Literal["gz", "plain", "xml"]
MAX_UPLOAD_TRIES: Final = 3
"""Attempts per file in a session, like a device's MAXUPLOADTRIES; then the file waits for the next session."""
ABANDON: Final = frozenset((401, 402, 403, 404, 407))
"""Statuses after which a device abandons the whole session."""
_NOT_ANSWERING: Final = 139


@attrs.frozen(slots=True)
class Meter:
    """A meter model: its device class, its layout, and the number of columns in its rows."""

    device_class: str
    device_type: str
    layout: Layout
    columns: int


METERS: Final = {
    "veris": Meter(VERIS_CLASS, VERIS_TYPE, VERIS, 76),
    "shark": Meter("35", "Shark 200", SHARK, 120),
    "h8036": Meter("2", "Veris H8036", H8036, 30),
    "unlisted": Meter(
        "12", "ION 7330", Layout.of("ion7330", P=23, L1_PF=35, L1_V=10, Q=27, E_import=39, E_export=40), 68
    ),
}
"""The last one is in no table: its logs are held until its config file arrives."""


@attrs.define(slots=True, kw_only=True)
class SimulatedLog:
    """A log in the logger's flash, and the readings that the server should store from it."""

    series: str
    meter: str
    filename: str
    text: bytes = attrs.field(repr=False)
    readings: tuple[Reading, ...] = attrs.field(repr=False)
    """Rows with an error number have no reading."""


@attrs.define
class Counts:
    """Totals over any number of loggers."""

    uploads: int = 0
    """Requests with a log."""
    acknowledged_logs: int = 0
    acknowledged_readings: int = 0
    resent: int = 0
    """Logs sent again although they were acknowledged."""
    lost_replies: int = 0
    """Connections deliberately closed before the response."""
    no_reply: int = 0
    """No connection, or no usable response."""
    refused: dict[int, int] = attrs.field(factory=dict)
    """Status -> responses that were not SUCCESS."""
    abandoned_sessions: int = 0
    skipped_sessions: int = 0
    """Sessions that did not happen because of an outage."""
    last_refusal: str = ""


class Disposition(Enum):
    """The logger's action on a file after a response."""

    DELETE = "delete"
    KEEP = "keep"
    ABANDON = "abandon"


def disposition_of(reply: UploadResponse) -> Disposition:
    """The action after a response: only SUCCESS with 200 lets the logger delete the file; some statuses end the session."""
    if reply.success:
        return Disposition.DELETE
    return Disposition.ABANDON if reply.status in ABANDON else Disposition.KEEP


class SimulatedLogger:
    """One site's logger.

    :param interval: seconds between rows.
    :param start: earliest time of the first row, UTC seconds.
    :param pause: waits some seconds between two attempts.
    :param acknowledged: called once with every log that the server acknowledged.
    :param introduce: send STATUS before the logs of the first session and exchange config files after them, as devices do.
    """

    def __init__(
        self,
        site: SimulatedSite,
        *,
        password: str,
        interval: int,
        start: int,
        post: Post,
        pause: Callable[[float], Awaitable[object]],
        acknowledged: Callable[[SimulatedLog], None],
        counts: Counts,
        meter: Meter = METERS["veris"],
        faults: Faults = NO_FAULTS,
        introduce: bool = False,
    ) -> None:
        self.site = site
        self.flash: list[SimulatedLog] = []
        """Logs waiting for upload, oldest first."""
        self._password = password
        self._interval = interval
        self._post = post
        self._pause = pause
        self._acknowledged = acknowledged
        self._counts = counts
        self._meter = meter
        self._faults = faults
        self._chance = random.Random(f"logger {site.seed}")
        self._skew = self._chance.randint(-faults.max_clock_skew, faults.max_clock_skew)
        self.encoding: Encoding = self._chance.choice(faults.encodings)
        self.version: Version = "1.0" if self._chance.random() < faults.http10_sites else "1.1"
        self._introduce = introduce
        self._started = start
        self._recorded_until = start
        self._sequence = 0
        self._energy = dict.fromkeys(site.roles, RegisterTotals(0.0, 0.0))
        self._last_power: dict[Role, float] = {}

    def record(self, until: int) -> None:
        """Write the rows up to a time (exclusive, UTC seconds) to one new log file per meter."""
        first = -(-self._recorded_until // self._interval) * self._interval
        times = range(first, until, self._interval)
        if not times:
            return
        # Rows have the time of the logger's clock, while the sun follows true time.
        taken = [site_moment(self.site, time) for time in times]
        for role in self.site.roles:
            self._write_log(role, taken)
        self._recorded_until = times[-1] + 1

    async def session(self) -> None:
        """Upload stored logs; in an outage, do nothing."""
        if self._chance.random() < self._faults.outages:
            self._counts.skipped_sessions += 1
            return
        await self.upload_all()

    async def upload_all(self) -> bool:
        """One upload session. Logs that are not acknowledged stay stored for the next session.

        Returns False if the server's response ended the session (401, 402, 403, 404, 407).
        """
        if self._introduce:
            await self._send_status()
        for log in list(self.flash):
            disposition = await self._upload(log)
            if disposition is Disposition.ABANDON:
                self._counts.abandoned_sessions += 1
                return False
        if self._introduce:
            await self._exchange_configs()
        return True

    async def _send_status(self) -> None:
        """Send STATUS; its response is ignored."""
        try:
            await self._post(*self._status(), version=self.version)
        except NoResponse as error:
            self._counts.no_reply += 1
            self._counts.last_refusal = str(error)

    async def _exchange_configs(self) -> None:
        """Exchange config files, after the logs as devices do. Without a response it is retried in the next session."""
        site, meter = self.site, self._meter
        files = [
            meter_config(site.meters[role], meter.layout, meter.columns, meter.device_class, self._started)
            for role in site.roles
        ]
        try:
            await exchange(self._post, site.serial, self._password, files, site.name)
            self._introduce = False
        except NoResponse as error:
            self._counts.no_reply += 1
            self._counts.last_refusal = str(error)

    def _status(self) -> tuple[list[tuple[str, str]], bytes]:
        status = {
            "MODE": "STATUS", "SERIALNUMBER": self.site.serial, "PASSWORD": self._password,
            "LOOPNAME": self.site.name, "UPTIME": str(self._recorded_until - self._started), "PERCENTBLOCKSINUSE": "12",
            "PERCENTINODESINUSE": "3", "UPLOADATTEMPT": "Uploading", "ACQUISUITEVERSION": "v02.12.0101",
            "USRVERSION": "v01.40.1222", "ROOTVERSION": "v01.40.1222", "KERNELVERSION": "2.4.18",
            "FIRMWAREVERSION": "v1.70m", "BOOTCOUNT": "7", "BATTERYGOOD": "YES",
        }  # fmt: skip
        content_type, body = multipart_form(status)
        return [("Content-Type", content_type)], body

    async def _upload(self, log: SimulatedLog) -> Disposition:
        for attempt in range(MAX_UPLOAD_TRIES):
            if attempt:
                await self._pause(0.2 * 2**attempt)
            disposition = await self._try(log)
            if disposition is Disposition.DELETE:
                self.flash.remove(log)
                self._counts.acknowledged_logs += 1
                self._counts.acknowledged_readings += len(log.readings)
                self._acknowledged(log)
            if disposition is not Disposition.KEEP:
                return disposition
        return Disposition.KEEP

    async def _try(self, log: SimulatedLog) -> Disposition:
        reply = await self._send(log, lose_reply=self._chance.random() < self._faults.lost_replies)
        if reply is None:
            return Disposition.KEEP
        disposition = disposition_of(reply)
        if disposition is not Disposition.DELETE:
            self._counts.refused[reply.status] = self._counts.refused.get(reply.status, 0) + 1
            self._counts.last_refusal = reply.reason
        elif self._chance.random() < self._faults.resends:
            # A power failure between response and deletion: the same file is sent again, whatever the response is then.
            self._counts.resent += 1
            await self._send(log, lose_reply=False)
        return disposition

    async def _send(self, log: SimulatedLog, lose_reply: bool) -> UploadResponse | None:
        headers, body = self._request(log)
        self._counts.uploads += 1
        try:
            return await self._post(headers, body, version=self.version, lose_reply=lose_reply)
        except NoResponse as error:
            if lose_reply:
                self._counts.lost_replies += 1
            else:
                self._counts.no_reply += 1
                self._counts.last_refusal = str(error)
            return None

    def _request(self, log: SimulatedLog) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of the upload of a log."""
        site, meter = self.site, self._meter
        if self.encoding == "xml":
            device = xml_device(log.meter, log.readings, meter.layout, device_class=meter.device_class)
            pair = base64.b64encode(f"{site.serial}:{self._password}".encode()).decode()
            headers = [("Content-Type", "text/xml"), ("Authorization", f"Basic {pair}")]
            return headers, xml_message(site.serial, [device], name=site.name)
        content = gz(log.text) if self.encoding == "gz" else log.text
        fields = log_fields(
            site.serial,
            self._password,
            log.meter,
            content,
            device_class=meter.device_class,
            device_type=meter.device_type,
            loop_name=site.name,
        )
        content_type, body = multipart_form(fields, log.filename, content)
        return [("Content-Type", content_type)], body

    def _write_log(self, role: Role, taken: Sequence[SiteMoment]) -> None:
        rows: list[str] = []
        readings: list[Reading] = []
        for at in taken:
            time = at.time + self._skew
            self._count_energy(role, at)
            # The simulated XML message has no error rows, so the record of a meter that does not answer is left out, which is also a gap.
            if self._chance.random() < self._faults.error_rows:
                rows.append(error_row(time, _NOT_ANSWERING))
                continue
            readings.append(self._reading(role, at, time))
            rows.append(log_row(time, self._columns(readings[-1]), self._meter.columns))
        meter = self.site.meters[role]
        self._sequence += 1
        if rows and (readings or self.encoding != "xml"):
            name = log_filename(meter, self._sequence, taken[0].time, compressed=self.encoding == "gz")
            text = "".join(row + "\r\n" for row in rows).encode("ascii")
            series = series_name(self.site.serial, meter)
            self.flash.append(
                SimulatedLog(series=series, meter=meter, filename=name, text=text, readings=tuple(readings))
            )

    def _reading(self, role: Role, at: SiteMoment, time: int) -> Reading:
        power = at.of(role)
        factor = power.power_factor
        energy = self._energy[role]
        values: dict[str, float | None] = {
            "P": power.P,
            "L1_PF": None if factor is None else round(factor, 4),
            "L1_V": at.volts,
            "Q": power.Q,
            "E_net": round(energy.imported - energy.exported, 3),
            "E_import": round(energy.imported, 3),
            "E_export": round(energy.exported, 3),
        }
        known = self._meter.layout.columns
        return Reading.of_values(time, [values[value] if value in known else None for value in VALUES])

    def _count_energy(self, role: Role, at: SiteMoment) -> None:
        now = at.of(role).P
        before = self._last_power.get(role, now)
        self._energy[role] = totals_after(self._energy[role], before, now, self._interval)
        self._last_power[role] = now

    def _columns(self, reading: Reading) -> dict[int, float | None]:
        """Every value that this meter model logs, by column."""
        layout = self._meter.layout
        values: dict[int, float | None] = {column: getattr(reading, value) for value, column in layout.columns.items()}
        return values | self._veris_extras(reading) if layout is VERIS else values

    @staticmethod
    def _veris_extras(reading: Reading) -> dict[int, float | None]:
        volts = reading.L1_V or 0.0
        apparent = (reading.P or 0.0) / reading.L1_PF if reading.L1_PF else 0.0
        return {
            16: round(abs(apparent), 3),
            18: round(volts * 3**0.5, 2),
            19: volts,
            20: round(abs(apparent) * 1000 / (3 * volts), 2) if volts else 0.0,
            21: 60.0,
            71: volts,
            72: volts,
        }
