"""The activity of a logger and its meters that is not written yet, and their document after it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.documents.loggers import CUSTOMER
from cenergyd.documents.meters import MAX_METERS, METERS
from cenergyd.ingest.upload_interval import after_outage, with_upload

CURRENT = "current"
"""Key in the body of a logger's document: whether its uploads bring current readings (:attr:`ActivityRecord.is_current`)."""
OUTAGE = "outage"
"""Key in the body of a logger's document: its last outage (:func:`.upload_interval.after_outage`)."""
FRESH_SECONDS = 300
"""Readings are current if the newest one, when it is uploaded, is not older than this plus the meter's interval, s."""
AHEAD_SECONDS = 60
"""Nor further in the future than this, s."""
LONGEST_INTERVAL = 3600
"""A longer interval counts as this, s."""


@attrs.define(slots=True)
class ActivityRecord:
    """The activity of a logger since it was last written."""

    report: JsonObject = attrs.field(factory=dict)
    """Loop name and address of its last upload, and the customer that it belongs to."""
    first_upload: int | None = None
    last_upload: int | None = None
    """UTC seconds."""
    meters: dict[str, JsonObject] = attrs.field(factory=dict)
    """By series."""

    @property
    def customer(self) -> str:
        """The customer that the logger belongs to; '' if unknown."""
        return str(self.report.get(CUSTOMER) or "")

    @property
    def is_current(self) -> bool:
        """Whether every meter's newest reading is about as old as its upload, so that the upload's time can be inferred from it."""
        for meter in self.meters.values():
            if meter["last_time"] is None:
                return False
            age = int(meter["last_upload"]) - int(meter["last_time"])
            if not -AHEAD_SECONDS <= age <= FRESH_SECONDS + min(meter["interval"] or 0, LONGEST_INTERVAL):
                return False
        return True

    def parts(self, serial: str) -> list[str]:
        """The names of the logger and of the meters in the record."""
        return [*self.meters, *([serial] if self.last_upload is not None else [])]

    def followed_by(self, later: ActivityRecord | None) -> ActivityRecord:
        """Merged with later activity."""
        if later is None:
            return self
        return ActivityRecord(
            {**self.report, **later.report},
            self.first_upload if self.first_upload is not None else later.first_upload,
            later.last_upload if later.last_upload is not None else self.last_upload,
            self.meters | {key: merged_meter(self.meters.get(key, {}), new) for key, new in later.meters.items()},
        )


def merged_meter(old: ReadOnlyJson, new: ReadOnlyJson) -> JsonObject:
    """A meter's document after another log: a late file does not move its last reading or error back."""
    body = dict(new)
    if new["last_time"] is None or new["last_time"] < (old.get("last_time") or 0):
        body |= {"last_time": old.get("last_time"), "last": old.get("last")}
    body["interval"] = new["interval"] or old.get("interval")
    errors = [each for each in (old.get("error"), new["error"]) if isinstance(each, Mapping)]
    body["error"] = max(errors, key=lambda error: int(error["time"]), default=None)
    body["other_rows"] = new["other_rows"] or old.get("other_rows")
    return body


def merged_logger(old: ReadOnlyJson, old_meters: Mapping[str, ReadOnlyJson], record: ActivityRecord) -> JsonObject:
    """A logger's document after further uploads, with the longest pauses between uploads of its last days, which give its usual upload interval."""
    body = {**old, **record.report}
    if record.first_upload is not None:
        gaps, before = old.get("gaps") or (), old.get("last_upload")
        body["gaps"] = with_upload(gaps, before, record.first_upload)
        body["last_upload"] = max(record.last_upload or 0, before or 0)
        if outage := after_outage(old.get(OUTAGE), gaps, before, (record.first_upload, body["last_upload"])):
            body[OUTAGE] = list(outage)
    if body.get(CUSTOMER) and record.meters:
        body[CURRENT] = record.is_current
    meters = {**old_meters, **{key: merged_meter(old_meters.get(key, {}), new) for key, new in record.meters.items()}}
    latest = sorted(meters, key=lambda key: meters[key].get("last_upload") or 0, reverse=True)[:MAX_METERS]
    return {**body, METERS: {key: meters[key] for key in sorted(latest)}}
