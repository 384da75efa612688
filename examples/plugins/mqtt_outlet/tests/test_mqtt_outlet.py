"""Against Debian's mosquitto."""

import json
import shutil
import subprocess
import time

import mqtt_outlet
import pytest
from paho.mqtt import subscribe

from cenergyd.testing import NOON, PluginTest, free_port, make_customer, make_readings

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
CUSTOMER = make_customer("load")
SERIAL = CUSTOMER.logger_serial_number


@pytest.fixture
def broker(tmp_path):
    """A broker's port."""
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    server = subprocess.Popen([MOSQUITTO, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_ready(port)
    yield port
    server.terminate()
    server.wait(10)


def wait_until_ready(port):
    end = time.monotonic() + 10
    while True:
        try:
            mqtt_outlet.send([{"topic": "ready", "payload": ""}], mqtt_outlet.Options(host="127.0.0.1", port=port))
            return
        except OSError:
            assert time.monotonic() < end, "mosquitto does not start"
            time.sleep(0.05)


def outlet(port):
    plugin = PluginTest(mqtt_outlet, "mqtt_outlet", options={"host": "127.0.0.1", "port": str(port)})
    plugin.write(f"{SERIAL}_1", make_readings([1.5, 2.5]))
    plugin.write(f"{SERIAL}_missing_meter", make_readings([4.0, 5.0]))
    return plugin


def retained(port, *topics):
    messages = subscribe.simple(list(topics), hostname="127.0.0.1", port=port, msg_count=len(topics))
    found = messages if isinstance(messages, list) else [messages]
    return {message.topic: json.loads(message.payload) for message in found}


def test_the_latest_readings_are_published_and_discovered(broker):
    outlet(broker).job(CUSTOMER, NOON, NOON + 3600)
    power = retained(broker, f"cenergyd/{SERIAL}/utility", f"cenergyd/{SERIAL}/load")
    assert {topic: body["P"] for topic, body in power.items()} == {
        f"cenergyd/{SERIAL}/utility": 2.5,
        f"cenergyd/{SERIAL}/load": 5.0,
    }
    (config,) = retained(broker, f"homeassistant/sensor/{SERIAL}_load/config").values()
    assert config["state_topic"] == f"cenergyd/{SERIAL}/load"
    assert (config["device_class"], config["unit_of_measurement"]) == ("power", "kW")
    assert config["device"]["name"] == "Mill"


def test_late_data_takes_nothing_back(broker):
    plugin = outlet(broker)
    plugin.job(CUSTOMER, NOON, NOON + 3600)
    plugin.write(f"{SERIAL}_1", make_readings([9.0], start=NOON - 86400))
    plugin.job(CUSTOMER, NOON - 86400, NOON - 86340)
    assert retained(broker, f"cenergyd/{SERIAL}/utility")[f"cenergyd/{SERIAL}/utility"]["P"] == 2.5


def test_a_meter_is_announced_once(broker, monkeypatch):
    sent = []
    monkeypatch.setattr(mqtt_outlet, "send", lambda messages, options: sent.append([m["topic"] for m in messages]))
    plugin = outlet(broker)
    plugin.job(CUSTOMER, NOON, NOON + 3600)
    plugin.job(CUSTOMER, NOON, NOON + 3600)
    assert [len(topics) for topics in sent] == [4, 2]


def test_a_broker_that_is_away_makes_the_job_fail_so_that_it_is_repeated():
    with pytest.raises(OSError):
        outlet(free_port()).job(CUSTOMER, NOON, NOON + 3600)


def test_without_a_broker_nothing_happens():
    PluginTest(mqtt_outlet, "mqtt_outlet").job(CUSTOMER, NOON, NOON + 3600)
