"""The private names of other packages that cenergyd uses: a release that removes one fails here, by name."""

from __future__ import annotations

from inspect import signature

import pytest
from influxdb import InfluxDBClient
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel
from txmongo.protocol import MongoProtocol

from cenergyd.storage.influxdb.address import parse_address
from cenergyd.storage.influxdb.client import InfluxClient, InfluxResponse


@pytest.fixture
def client() -> InfluxClient:
    return InfluxClient(parse_address("influxdb://127.0.0.1:1/readings"), 1)


def test_the_influxdb_client_reads_decoded_messagepack(client: InfluxClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else 1.0 and 1 would be the same, as they are in JSON.
    rows = {"results": [{"series": [{"name": "s", "columns": ["time", "P"], "values": [[60, 1.0]]}]}]}
    monkeypatch.setattr(client, "request", lambda *_, **__: InfluxResponse(b"no JSON", rows))
    assert list(client.query("SELECT P FROM s").get_points()) == [{"time": 60, "P": 1.0}]


def test_the_influxdb_client_asks_for_messagepack_by_its_headers(client: InfluxClient) -> None:
    assert client._headers["Accept"] == "application/x-msgpack"
    assert "request" in vars(InfluxDBClient)


def test_a_twisted_channel_can_pause_its_network_producer() -> None:
    channel, transport = HTTPChannel(), StringTransport()
    channel.makeConnection(transport)
    channel._networkProducer.pauseProducing()  # type: ignore[misc]
    assert transport.producerState == "paused"


def test_txmongo_sends_raw_messages() -> None:
    assert len(signature(MongoProtocol._send_raw_msg).parameters) == 2
