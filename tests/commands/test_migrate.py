"""``cenergyd migrate`` on documents of an existing front end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from tests.commands.test_commands import cenergyd
from tests.databases import make_databases
from tests.jobs.test_front_end_settings import EXISTING
from tests.servers import RunningMongo


def dated(value: Any) -> Any:
    """With times as the front end stores them."""
    if isinstance(value, dict):
        return {key: dated(each) for key, each in value.items()}
    if isinstance(value, list):
        return [dated(each) for each in value]
    return datetime.fromisoformat(value) if isinstance(value, str) and value[4:5] == "-" and "T" in value else value


def test_settings_are_taken_over_and_facility_becomes_the_load(
    tmp_path: Path, mongo: RunningMongo, unique_name: str
) -> None:
    with MongoClient[Any](mongo.url) as client:
        shared, own = client[unique_name].customer, client[unique_name].cenergyd_customer
        shared.insert_one(
            {
                "_id": "mill",
                "name": "mill",
                "facility": [{"id": "1", "api_key": "KEY"}],
                "solar": "2",
                **dated(EXISTING),
            }
        )
        shared.insert_one({"_id": "other", "name": "other", "facility": "1", "solar": "2", "voltage_threshold": 900})
        settings = {"customers.url": f"{mongo.url}/{unique_name}", "readings.url": f"sqlite:///{tmp_path}/r.sqlite"}
        url = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        make_databases(tmp_path, {"readings.url": settings["readings.url"]})
        before = list(shared.find())
        dry = cenergyd(tmp_path, *url, "migrate", "--dry-run", "--facility-is", "load")
        assert dry.returncode == 0, dry.stderr
        assert list(shared.find()) == before
        assert "mill: tariff: taken over" in dry.stdout
        assert "mill: meter 1 measures the load" in dry.stdout
        assert "other: warning: voltage_threshold" in dry.stdout
        done = cenergyd(tmp_path, *url, "migrate", "--facility-is", "load", "--customer", "mill")
        assert done.returncode == 0, done.stderr
        mill = shared.find_one({"_id": "mill"})
        assert mill is not None
        assert (mill["facility"], mill["load"], mill["solar"]) == ("", "1", "2")
        assert {key: mill[key] for key in EXISTING} == dated(EXISTING)
        assert shared.find_one({"_id": "other"}) == before[1]
        kept = own.find_one({"_id": "mill"})
        assert kept is not None
        assert "KEY" in kept["migrated"]["facility"]
        assert kept["extensions"]["alerts"]["net_load"]["threshold_kw"] == 120.5
        assert [season["name"] for season in kept["extensions"]["tariff"]["seasons"]] == ["Winter", "Summer"]
        again = cenergyd(tmp_path, *url, "migrate", "--facility-is", "load", "--customer", "mill")
        assert "taken over" not in again.stdout and "measures" not in again.stdout
