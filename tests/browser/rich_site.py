"""A site with everything that pages can show."""

from __future__ import annotations

import time

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.times import device_time
from tests.browser.actions import Site, minutes
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import PASSWORD, acknowledged
from tests.web.pages.test_customer_pages import TARIFF

LOOPNAME = "LOOPNAME=<img src=x onerror='window.pwned=9'>"


def send_config(site: Site, content: str) -> None:
    """The logger sends its own config file."""
    fields = {
        "MODE": "CONFIGFILEUPLOAD", "SERIALNUMBER": site.serial, "PASSWORD": PASSWORD, "MODBUSDEVICE": "0",
        "MD5CHECKSUM": encode.md5(content.encode()), "FILETIME": device_time(1_750_000_000),
    }  # fmt: skip
    form = encode.multipart_form(fields, "loggerconfig.ini", content.encode(), "CONFIGFILE")
    assert acknowledged(raw_post(site.daemon.port, "/consume", *form))


@pytest.fixture(scope="session")
def rich(daemon: RunningDaemon, operator_token: str) -> tuple[Site, str]:
    """A site with everything that the pages can show, and its customer's id."""
    site = Site(daemon, operator_token, "001EC6DD0001")
    customer = site.register(facility="1", solar="2", name="Hill farm", time_zone="America/New_York")
    site.upload("1", minutes(14.0, 200, skip=range(30, 45)), MODBUSDEVICENAME="Grid", MODBUSDEVICETYPE="Veris E51C2")
    site.upload("2", minutes(-1.0, 200), MODBUSDEVICENAME="Roof", LOOPNAME="AcquiSuite")
    site.report_status(UPTIME="77777", FIRMWAREVERSION="v02.16.0225", LOOPNAME="AcquiSuite")
    send_config(site, f"{LOOPNAME}\nADMINPASSWORD=swordfish\nTIMEZONE=UTC\n")
    send_config(site, f"{LOOPNAME}\nADMINPASSWORD=hunter2\nTIMEZONE=America/New_York\n")
    site.api("PUT", f"customers/{customer}/tariff", dict(TARIFF))
    channels = [
        {"type": "email", "to": "somebody.with.a.long.name@buildings.example.org"},
        {"type": "webhook", "url": "https://example.org/hooks/alerts?site=hill-farm", "secret": "very secret words"},
    ]
    rules = {"net_load": {"enabled": True, "threshold_kw": 12}, "implausible": {"enabled": True}}
    site.api("PUT", f"customers/{customer}/alerts", {**rules, "channels": channels})
    change = {
        "effective_from": int(time.time()) - 86400,
        "solar": "2",
        "reversed": ["solar"],
        "layouts": {"2": {"P": 14}},
    }
    site.api("POST", f"customers/{customer}/meters", change)
    site.upload("1", minutes(14.5, 2, ago=-1), MODBUSDEVICENAME="Grid")
    return site, customer
