"""The client's one way to send requests, against servers that answer badly or close their connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException

import pytest
from influxdb.exceptions import InfluxDBClientError

from cenergyd.storage.influxdb.address import InfluxAddress
from cenergyd.storage.influxdb.client import InfluxClient, InfluxResponse

LONG_SECONDS = 60.0
NOTHING = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n"


@contextmanager
def server(*connections: Sequence[bytes], stay: bool = True) -> Iterator[tuple[InfluxClient, threading.Semaphore]]:
    """A client of a server that answers each request of each connection with these bytes.

    The semaphore is released each time that the server has closed a connection.

    :param stay: keep a connection open after its last answer until the client closes it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = threading.Semaphore(0)

        def serve() -> None:
            for answers in connections:
                link, _ = listening.accept()
                with link:
                    for answer in answers:
                        received = b""
                        while not received.endswith(b"\r\n\r\nbody"):
                            received += link.recv(100)
                        link.sendall(answer)
                    with suppress(ConnectionResetError):
                        while stay and link.recv(100):
                            pass
                closed.release()

        thread = threading.Thread(target=serve)
        thread.start()
        address = InfluxAddress(host="127.0.0.1", port=listening.getsockname()[1], database="db")
        client = InfluxClient(address, LONG_SECONDS)
        try:
            yield client, closed
        finally:
            client.close()
            thread.join(LONG_SECONDS)


def write(client: InfluxClient) -> InfluxResponse:
    return client.request("write", "POST", data=b"body", expected_response_code=204)


def test_requests_share_a_connection() -> None:
    with server([NOTHING, NOTHING]) as (client, _):
        assert write(client).content == b""
        assert write(client).content == b""


def test_a_connection_that_the_server_closed_meanwhile_is_made_again() -> None:
    with server([NOTHING], [NOTHING], stay=False) as (client, closed):
        write(client)
        assert closed.acquire(timeout=LONG_SECONDS)
        write(client)


def test_an_answer_that_announces_the_end_of_its_connection() -> None:
    last = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    with server([last], [NOTHING]) as (client, _):
        write(client)
        write(client)


def test_a_response_that_ends_with_its_connection() -> None:
    reason = b"Client sent an HTTP request to an HTTPS server.\n"
    with server([b"HTTP/1.0 400 Bad Request\r\n\r\n" + reason], [NOTHING], stay=False) as (client, _):
        with pytest.raises(InfluxDBClientError, match="to an HTTPS server"):
            write(client)
        write(client)


def test_an_answer_in_pieces() -> None:
    with server([b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000, NOTHING]) as (client, _):
        answer = client.request("write", "POST", data=b"body", expected_response_code=200)
        assert answer.content == b"x" * 300_000
        assert write(client).content == b""


@pytest.mark.parametrize("more", [NOTHING, b"\r\n\r\n", b"x"])
def test_what_follows_an_answer_is_not_taken_for_the_next_one(more: bytes) -> None:
    refused = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"
    with server([NOTHING + more, refused]) as (client, _):
        write(client)
        with pytest.raises(InfluxDBClientError, match="no"):
            write(client)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 twohundred\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 204 No Content\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_response_and_what_is_cut_off_is_no_success(answer: bytes) -> None:
    with server([answer], stay=False) as (client, _), pytest.raises((HTTPException, InfluxDBClientError)):
        write(client)


def test_no_response_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = InfluxAddress(host="127.0.0.1", port=listening.getsockname()[1], database="db")
        client = InfluxClient(address, 0.01)
        with pytest.raises(TimeoutError):
            write(client)
        client.close()
