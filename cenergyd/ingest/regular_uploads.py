"""Decides which uploads of a logger are regular, and keeps them until they are stored with the state of its site.

An upload is regular if nothing but its times and values is new: the usual upload interval, names, address and meters are those of the
logger's document, no meter reports an error, and the readings are current. Everything else is written into the logger's document.

If a daemon dies before the state of the site is stored, the time of the last upload is inferred from the newest readings, which are nearly as
late (:attr:`cenergyd.ingest.activity_record.ActivityRecord.is_current`).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.documents.loggers import CUSTOMER, MeterUpload, Uploads
from cenergyd.documents.meters import METERS
from cenergyd.ingest.activity_record import CURRENT, ActivityRecord
from cenergyd.ingest.upload_interval import SAME_SESSION, is_longer

LONGEST_HELD = 300.0
"""Seconds after which an upload is written into the logger's document, because its site was not evaluated."""
_MAX_LOGGERS = 50_000
"""Loggers that are remembered, some 600 bytes each."""
_DAY = 86400
_CHANGING_KEYS = ("last_upload", "last_time", "last")
"""Keys that every upload of a meter changes."""


def without_times(body: ReadOnlyJson) -> dict[str, object]:
    """A logger's document without the times and values that every upload changes."""
    meters = body.get(METERS) or {}
    return {
        **{key: value for key, value in body.items() if key != "last_upload"},
        "gaps": [tuple(gap) for gap in body.get("gaps") or ()],
        METERS: {series: _meter_without_times(meter) for series, meter in meters.items()},
    }


def _meter_without_times(meter: ReadOnlyJson) -> dict[str, object]:
    return {key: value for key, value in meter.items() if key not in _CHANGING_KEYS}


@attrs.define(slots=True)
class _KnownUploads:
    """The parts of a logger's document with which further uploads are compared."""

    report: int
    """A hash of names, address and customer."""
    day: int
    longest: int
    """The longest time between two uploads on the last day with uploads, s."""
    last_upload: int
    pause: int | None
    """The time between the last two uploads, s."""
    meters: dict[str, tuple[int, int | None, int]]
    """Series -> hash of its names, interval, time of its last reading."""


@attrs.define(slots=True)
class _Held:
    record: ActivityRecord
    since: float
    is_different: bool = False
    """Whether another daemon has changed the logger's document, so that the uploads may differ from it: then they are written into it."""
    uploads: Uploads | None = None
    """Those of the record, once they have been asked for."""


class RegularUploads:
    """Regular uploads of this daemon that are not stored yet."""

    def __init__(self, max_loggers: int = _MAX_LOGGERS) -> None:
        self._max = max_loggers
        self._known: dict[str, _KnownUploads] = {}
        self._held: dict[str, _Held] = {}
        self._of_customer: dict[str, str] = {}
        """Customer id -> serial number of the logger whose uploads are held."""

    def knows(self, serial: str) -> bool:
        """Whether uploads of the logger can be compared with its document."""
        return serial in self._known

    def remember(self, serial: str, body: ReadOnlyJson) -> None:
        """Record a logger's document, as it is stored or will be after the held uploads."""
        self._known.pop(serial, None)
        gaps = body.get("gaps") or ()
        if not body.get(CURRENT) or not body.get(CUSTOMER) or not gaps or not isinstance(body.get(METERS), Mapping):
            return
        while len(self._known) >= self._max:
            del self._known[next(iter(self._known))]
        day, longest = gaps[-1]
        meters = {
            series: (_names_hash(meter), meter.get("interval"), int(meter.get("last_time") or 0))
            for series, meter in body[METERS].items()
        }
        last = int(body.get("last_upload") or 0)
        self._known[serial] = _KnownUploads(_report_hash(body), int(day), int(longest), last, None, meters)

    def is_regular(self, serial: str, record: ActivityRecord) -> bool:
        """Whether nothing but times and values is new."""
        known = self._known.get(serial)
        if known is None or not record.is_current or (record.report and _report_hash(record.report) != known.report):
            return False
        return self._is_usual_interval(known, record.first_upload) and all(
            _is_regular_of_meter(known.meters.get(series), meter) for series, meter in record.meters.items()
        )

    def is_late(self, serial: str, record: ActivityRecord) -> bool:
        """Whether the time since the logger's last upload to this daemon is long, because others may have received uploads meanwhile."""
        known, uploaded = self._known.get(serial), record.first_upload
        if known is None or uploaded is None:
            return False
        return uploaded // _DAY != known.day or is_longer(uploaded - known.last_upload, known.longest)

    @staticmethod
    def _is_usual_interval(known: _KnownUploads, uploaded: int | None) -> bool:
        if uploaded is None or uploaded - known.last_upload <= SAME_SESSION:
            return True
        pause = uploaded - known.last_upload
        # An upload that comes early may have been started by a person, who waits for it to be shown.
        is_known = uploaded // _DAY == known.day and not is_longer(pause, known.longest)
        return is_known and 2 * pause >= (known.pause or 0)

    def hold(self, serial: str, record: ActivityRecord, now: float) -> None:
        """Hold a regular upload until it is stored."""
        known = self._known.get(serial)
        if known is not None:
            if record.first_upload is not None and record.first_upload - known.last_upload > SAME_SESSION:
                known.pause = record.first_upload - known.last_upload
            known.last_upload = max(known.last_upload, record.last_upload or 0)
            for series, meter in record.meters.items():
                names, interval, _ = known.meters[series]
                known.meters[series] = names, interval, int(meter["last_time"])
        held = self._held.get(serial)
        if held is None:
            self._held[serial] = _Held(record, now)
        else:
            held.record = held.record.followed_by(record)
            held.uploads = None
        if customer := self._held[serial].record.customer:
            self._of_customer[customer] = serial

    def take(self, serial: str) -> ActivityRecord | None:
        """Remove and return a logger's held uploads, to be written into its document."""
        held = self._held.pop(serial, None)
        if held is None:
            return None
        if self._of_customer.get(held.record.customer) == serial:
            del self._of_customer[held.record.customer]
        return held.record

    def overdue(self, now: float, *, everything: bool = False) -> list[str]:
        """The loggers whose uploads have been held for too long."""
        return [
            serial
            for serial, held in self._held.items()
            if everything or held.is_different or not 0 <= now - held.since < LONGEST_HELD
        ]

    def compare(self, serial: str, body: ReadOnlyJson) -> None:
        """Compare a logger's held uploads with its document as it is stored now; call this before :meth:`unsaved`.

        If another daemon has written the document meanwhile, the held uploads may differ from it: then they are written into it soon.
        """
        known, held = self._known.get(serial), self._held.get(serial)
        if known is None or held is None:
            return
        stored = body.get(METERS) or {}
        meters = {series: (_names_hash(meter), meter.get("interval")) for series, meter in stored.items()}
        if _report_hash(body) == known.report and all(
            meters.get(series) == (names, interval) for series, (names, interval, _) in known.meters.items()
        ):
            return
        del self._known[serial]
        held.is_different = True

    def unsaved(self, customer_id: str) -> Uploads | None:
        """The uploads of a customer's logger to store with its site's state."""
        if not self.has_unsaved(customer_id):
            return None
        serial = self._of_customer[customer_id]
        held = self._held[serial]
        if held.uploads is None:
            held.uploads = _uploads(serial, held.record)
        return held.uploads

    def has_unsaved(self, customer_id: str) -> bool:
        """Whether there are any."""
        serial = self._of_customer.get(customer_id)
        return serial is not None and not self._held[serial].is_different

    def saved(self, customer_id: str, uploads: Uploads) -> None:
        """Record that these are stored; later ones stay held."""
        left = self.unsaved(customer_id)
        if left is not None and uploads.joined(left) == uploads:
            self.take(left.serial)


def _uploads(serial: str, record: ActivityRecord) -> Uploads:
    meters = {
        series: MeterUpload(
            int(meter["last_upload"]), int(meter["last_time"]), *(meter["last"][name] for name in _VALUES)
        )
        for series, meter in record.meters.items()
    }
    return Uploads(serial, max([record.last_upload or 0, *(each.uploaded for each in meters.values())]), meters)


_VALUES = ("P", "L1_PF", "L1_V", "Q")


def _report_hash(body: ReadOnlyJson) -> int:
    return hash((body.get("loop_name"), body.get("address"), body.get(CUSTOMER)))


def _names_hash(meter: ReadOnlyJson) -> int:
    names = {key: value for key, value in _meter_without_times(meter).items() if isinstance(value, str)}
    return hash(tuple(sorted(names.items())))


def _is_regular_of_meter(known: tuple[int, int | None, int] | None, meter: ReadOnlyJson) -> bool:
    if known is None or meter["error"] is not None or meter["other_rows"] is not None:
        return False
    names, interval, last_time = known
    return (
        _names_hash(meter) == names and meter["interval"] in (None, interval) and int(meter["last_time"]) >= last_time
    )
