"""The server fixtures themselves: data survive a restart, a paused server does not answer."""

from __future__ import annotations

from pymongo import MongoClient


def test_mongo_keeps_data_over_restarts(own_mongo):
    server = own_mongo()
    with MongoClient(server.url) as client:
        client.a.b.insert_one({"_id": 1})
    server.stop()
    assert not server.answers()
    server.start()
    with MongoClient(server.url) as client:
        assert client.a.b.count_documents({}) == 1


def test_influx_can_be_paused_and_killed(own_influx):
    server = own_influx()
    server.pause()
    assert not server.answers()
    server.resume()
    server.wait_ready()
    server.kill()
    assert not server.answers()
    server.start()  # raises if it does not answer
