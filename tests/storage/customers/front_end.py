"""The existing front end's classes, as strict as mongoengine makes them: an unknown field in a document is an exception."""

from __future__ import annotations

from mongoengine import (
    DateTimeField,
    Document,
    EmailField,
    EmbeddedDocument,
    EmbeddedDocumentField,
    FloatField,
    IntField,
    ListField,
    StringField,
)

from cenergyd.customers.front_end import FrontEndChange
from cenergyd.storage.mongodb.customers import MongoCustomerStore


class PeakPeriodSchedule(EmbeddedDocument):
    day_of_week = IntField()  # Monday is 0
    start = StringField()
    end = StringField()


class PeakPeriod(EmbeddedDocument):
    name = StringField()
    schedule = ListField(EmbeddedDocumentField(PeakPeriodSchedule))
    energy_charge = FloatField()
    demand_charge = FloatField()
    peak_demand_charge = FloatField()


class Season(EmbeddedDocument):
    name = StringField()
    start = DateTimeField()
    end = DateTimeField()
    peak_periods = ListField(EmbeddedDocumentField(PeakPeriod))


class BillingPeriod(EmbeddedDocument):
    name = StringField()
    start = DateTimeField()
    end = DateTimeField()
    number_of_days = IntField()


class ReadCycle(EmbeddedDocument):
    name = StringField()
    rate_tariff = StringField()
    billing_periods = ListField(EmbeddedDocumentField(BillingPeriod))


class FrontEndCustomer(Document):
    """A customer who signs in there."""

    name = StringField(required=True)
    email = EmailField()
    password = StringField()
    facility_name = StringField()
    timezone = StringField(default="PST8PDT")
    facility = StringField()
    load = StringField()
    solar = StringField()
    logger_serial_number = StringField(unique=True, sparse=True)
    logger_password = StringField()
    read_cycle = EmbeddedDocumentField(ReadCycle)
    seasons = ListField(EmbeddedDocumentField(Season))
    holidays = ListField(DateTimeField())
    one_minute_netload_avg_threshold = FloatField()
    power_factor_threshold = FloatField()
    voltage_threshold = FloatField()
    alerts_emails = ListField(EmailField())
    alerts_phones = ListField(StringField())
    alert_frequency_in_minutes = IntField(default=15)
    last_alerted = IntField()
    meta = {"collection": "customer", "allow_inheritance": True}


async def whole_pass(store: MongoCustomerStore) -> list[FrontEndChange]:
    """All changes that a pass over the shared collection finds."""
    found: list[FrontEndChange] = []
    while True:
        changes, complete = await store.front_end.next_changes()
        found += changes
        if complete:
            return found
