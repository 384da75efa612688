"""InfluxDB's responses in every form in which a server, or a proxy before it, may send them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.storage.influxdb.address import InfluxAddress
from cenergyd.storage.influxdb.http_connection import (
    HttpConnection,
    NotConnected,
    RawResponse,
    UnreadableResponse,
)

REQUEST = b"POST /write HTTP/1.1\r\nContent-Length: 4\r\n\r\n"
LONG_SECONDS = 60.0


@contextmanager
def server(*connections: Sequence[Sequence[bytes]], stay: bool = True) -> Iterator[HttpConnection]:
    """A connection to a server that answers each request of each connection by parts.

    :param stay: keep a connection open after its last answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def serve() -> None:
            for answers in connections:
                link, _ = listening.accept()
                with link:
                    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for parts in answers:
                        received = b""
                        while not received.endswith(b"\r\n\r\nbody"):
                            received += link.recv(100)
                        for part in parts:
                            link.sendall(part)
                    if stay:
                        done.wait(LONG_SECONDS)

        thread = threading.Thread(target=serve)
        thread.start()
        address = InfluxAddress(host="127.0.0.1", port=listening.getsockname()[1], database="db")
        connection = HttpConnection(address, LONG_SECONDS)
        try:
            yield connection
        finally:
            done.set()
            connection.close()
            thread.join(LONG_SECONDS)


NOTHING = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (NOTHING, RawResponse(204, "", b"")),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-length:  5\r\n\r\nhello",
            RawResponse(200, "a/b", b"hello"),
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhel\r\n\r\n3\r\nlo!\r\n0\r\nT: 1\r\n\r\n",
            RawResponse(400, "", b"hel\r\nlo!"),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", RawResponse(200, "", b"")),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_response_in_parts_of_any_size(answer: bytes, expected: RawResponse, size: int) -> None:
    parts = [answer[at : at + size] for at in range(0, len(answer), size)]
    with server([parts, [NOTHING]]) as connection:
        assert connection.exchange(REQUEST, b"body") == expected
        assert connection.exchange(REQUEST, b"body").status == 204  # by the same connection


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    ],
)
def test_a_response_that_ends_with_its_connection(answer: bytes) -> None:
    with server([[answer]], [[NOTHING]], stay=False) as connection:
        response = connection.exchange(REQUEST, b"body")
        assert response == RawResponse(400, "", b"Client sent an HTTP request to an HTTPS server.\n")
        assert connection.exchange(REQUEST, b"body").status == 204  # by a new connection


def test_a_connection_that_the_server_closed_meanwhile_is_made_again() -> None:
    with server([[NOTHING]], [[NOTHING]], stay=False) as connection:
        assert connection.exchange(REQUEST, b"body").status == 204
        link = connection._socket
        assert link is not None
        link.recv(1, socket.MSG_PEEK)  # returns when the server has closed it
        assert connection.exchange(REQUEST, b"body").status == 204


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 twohundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_response(answer: bytes) -> None:
    with server([[answer]]) as connection, pytest.raises(UnreadableResponse):
        connection.exchange(REQUEST, b"body")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"])
def test_a_response_that_is_cut_off(answer: bytes) -> None:
    with server([[answer]], stay=False) as connection, pytest.raises(OSError, match=r"closed|reset"):
        connection.exchange(REQUEST, b"body")


def test_no_response_in_time() -> None:
    with server([[b"HTTP/1.1 200 OK\r\n"]]) as connection:
        connection._timeout = 0.01
        with pytest.raises(TimeoutError):
            connection.exchange(REQUEST, b"body")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = InfluxAddress(host="127.0.0.1", port=gone.getsockname()[1], database="db")
    with pytest.raises(NotConnected, match="refused"):
        HttpConnection(address, LONG_SECONDS).exchange(REQUEST, b"body")


class Said:
    """A socket that says these bytes and ends."""

    def __init__(self, answer: bytes) -> None:
        self.left = answer

    def recv(self, size: int) -> bytes:
        found, self.left = self.left[:size], self.left[size:]
        return found


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
)
def test_any_bytes(answer: bytes, before: bytes) -> None:
    connection = HttpConnection(InfluxAddress(host="x", database="db"), LONG_SECONDS)
    with suppress(OSError, UnreadableResponse):
        connection._response(Said(before + answer))  # type: ignore[arg-type]
