"""The notifiers are tested with the inside of a small daemon that the jobs' tests have."""

from __future__ import annotations

import pytest

from tests.jobs.conftest import jobs, notification, receiver
from tests.servers import PATIENT

__all__ = ["jobs", "notification", "receiver"]


@pytest.fixture(params=["embedded", "production"])
def daemon_urls(request: pytest.FixtureRequest, unique_name: str) -> dict[str, str]:
    """Of both pairs of stores."""
    if request.param == "embedded":
        return {}
    mongo, influx = request.getfixturevalue("mongo"), request.getfixturevalue("influx")
    return {**PATIENT, "customers.url": f"{mongo.url}/{unique_name}", "readings.url": f"{influx.url}/{unique_name}"}
