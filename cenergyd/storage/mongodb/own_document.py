"""cenergyd's own documents of customers: one for each shared document, with the same ``_id``. Pure functions.

An own document holds everything that derivation, jobs and pages need, so that they read nothing else:

- the settings, with a copy of the agreed fields as cenergyd knows them, and ``extensions``;
- ``version``, which counts changes of settings and is compared by every change;
- ``seen``: the settings of the shared document at the last comparison (of the password only a digest);
- ``existing``: the front end's own alerts and tariff, JSON text;
- ``unwritten``: changes of agreed fields that are not yet in the shared document;
- ``migrated``: values in older formats that were replaced in the shared document, by field, JSON text;
- ``derivation``, ``derivation_version``: the result of the last derivation, JSON text, and how many were stored;
- ``gone``: UTC seconds at which the shared document was found missing;
- the ranges of the queues (see :mod:`cenergyd.storage.mongodb.pending_queue`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cenergyd.customers.model import Customer, RecentClaims, TimeRange, new_ended_claim
from cenergyd.documents.json_text import decoded
from cenergyd.storage.mongodb.ids import id_text
from cenergyd.storage.mongodb.shared_document import (
    AGREED_FIELDS,
    PASSWORD,
    SERIAL,
    SETTINGS,
    existing_of,
    json_of,
    mapping_of,
    settings_of,
    text_of,
)

EXTENSIONS, VERSION, SEEN, EXISTING, UNWRITTEN, MIGRATED, GONE = (
    "extensions", "version", "seen", "existing", "unwritten", "migrated", "gone",
)  # fmt: skip
PENDING_START, PENDING_END = "pending_start", "pending_end"
RESULT, RESULT_VERSION = "derivation", "derivation_version"
PENDING_CLAIM, PENDING_DONE, PENDING_ENDED = "pending_claim", "pending_done", "pending_ended"
JOBS_START, JOBS_CLAIM, JOBS_DONE = "jobs_start", "jobs_claim", "jobs_done"
CLAIM_FIELDS = (PENDING_CLAIM, PENDING_DONE, PENDING_ENDED, JOBS_START, JOBS_CLAIM, JOBS_DONE)
CUSTOMER_FIELDS = [*SETTINGS, EXTENSIONS, EXISTING, PENDING_START, PENDING_END, RESULT, RESULT_VERSION, *CLAIM_FIELDS]
"""The fields that :func:`customer_of` needs."""


def customer_of(own: Mapping[str, Any]) -> Customer:
    """The customer in an own document."""
    extensions = mapping_of(own.get(EXTENSIONS))
    existing = own.get(EXISTING)
    return Customer(
        id=id_text(own["_id"]),
        **{field: text_of(own.get(field)) if field != PASSWORD else own.get(field) or "" for field in SETTINGS},
        extensions={str(key): json_of(value) for key, value in extensions.items() if value is not None},
        existing=decoded(existing) if isinstance(existing, str) else {},
        pending_start=time_of(own.get(PENDING_START)),
        pending_end=time_of(own.get(PENDING_END)),
        derivation=own.get(RESULT, ""),
        derivation_version=int(own.get(RESULT_VERSION, 0)),
        claims=RecentClaims(
            own.get(PENDING_DONE),
            own.get(JOBS_DONE),
            own.get(PENDING_CLAIM),
            is_marked=own.get(PENDING_START) is not None,
            jobs_idle=own.get(JOBS_START) is None and own.get(JOBS_CLAIM) is None,
            ended=tuple([new_ended_claim((str(claim), int(start))) for claim, start in ended_claims(own)]),
        ),
    )


def ended_claims(own: Mapping[str, Any]) -> list[list[Any]]:
    """The claims that ended last, each with its earliest time; none if one is missing, because an older version of cenergyd ended it."""
    ended, last = own.get(PENDING_ENDED) or [], own.get(PENDING_DONE)
    return ended if ended and last in (None, ended[-1][0]) else []


def own_of_shared(document: Mapping[str, object]) -> dict[str, object]:
    """The own document for a shared one that has none yet."""
    settings = settings_of(document)
    own: dict[str, object] = {"_id": document["_id"], **settings, EXTENSIONS: {}, VERSION: 1}
    own[SEEN] = seen_of(document["_id"], settings)
    if existing := existing_of(document):
        own[EXISTING] = json.dumps(existing)
    return own


def own_of_customer(customer: Customer, key: object, pending: TimeRange | None) -> dict[str, object]:
    """The own document of a customer that cenergyd adds; its agreed fields are not yet in a shared document."""
    settings = {field: getattr(customer, field) for field in SETTINGS}
    own: dict[str, object] = {"_id": key, **settings, EXTENSIONS: dict(customer.extensions), VERSION: 1}
    own[UNWRITTEN] = {"insert": True, **{field: settings[field] for field in AGREED_FIELDS}}
    if pending is not None:
        own |= {PENDING_START: pending.start, PENDING_END: pending.end}
    return own


def settings_update(checked: Mapping[str, Any]) -> dict[str, dict[str, object]]:
    """MongoDB's update of an own document for checked changes (see :mod:`cenergyd.customers.changes`)."""
    sets: dict[str, object] = {}
    unsets: dict[str, object] = {}
    for field, value in checked.items():
        if field != EXTENSIONS:
            sets[field] = value
            continue
        for key, extension in value.items():
            if extension is None:
                unsets[f"{EXTENSIONS}.{key}"] = ""
            else:
                sets[f"{EXTENSIONS}.{key}"] = extension
    return {"$set": sets, "$unset": unsets, "$inc": {VERSION: 1}}


def widening(pending: TimeRange | None) -> dict[str, dict[str, int]]:
    """The update operators that widen the pending range of derivation."""
    if pending is None:
        return {}
    return {"$min": {PENDING_START: pending.start}, "$max": {PENDING_END: pending.end}}


def seen_of(key: object, settings: Mapping[str, str]) -> dict[str, str]:
    """Settings of a shared document as ``seen`` keeps them."""
    return {field: _seen(key, field, settings[field]) for field in SETTINGS}


def changed_since_seen(own: Mapping[str, object], document: Mapping[str, object]) -> dict[str, str]:
    """Settings that the front end has changed since the last comparison, with their values in the shared document.

    A value that our own document already has is no change. If the document had been removed, all settings are compared.
    """
    now = settings_of(document)
    seen = mapping_of(own.get(SEEN)) if GONE not in own else {}
    return {
        field: value
        for field, value in now.items()
        if seen.get(field) != _seen(own["_id"], field, value) and (own.get(field) or "") != value
    }


def is_current(own: Mapping[str, object], document: Mapping[str, object]) -> bool:
    """Whether there is nothing to adopt from a shared document."""
    settings, existing = settings_of(document), existing_of(document)
    return (
        GONE not in own
        and UNWRITTEN not in own
        and mapping_of(own.get(SEEN)) == seen_of(own["_id"], settings)
        and own.get(EXISTING) == (json.dumps(existing) if existing else None)
    )


def comparison_update(own: Mapping[str, object], document: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The ``$set`` and ``$unset`` that record the state of a shared document as compared."""
    existing = existing_of(document)
    sets: dict[str, object] = {SEEN: seen_of(own["_id"], settings_of(document))}
    unsets: dict[str, object] = {GONE: ""}
    if existing:
        sets[EXISTING] = json.dumps(existing)
    else:
        unsets[EXISTING] = ""
    return {"$set": sets, "$unset": unsets}


def time_of(value: object) -> int | None:
    """A time field, UTC seconds, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) < float("inf") else None


def own_serial(own: Mapping[str, object]) -> str:
    """The serial number in an own document."""
    return text_of(own.get(SERIAL))


def _seen(key: object, field: str, value: str) -> str:
    if field != PASSWORD or not value:
        return value
    return hashlib.sha256(f"{id_text(key)}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
