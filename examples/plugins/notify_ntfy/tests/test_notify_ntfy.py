import threading
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler, HTTPServer

import notify_ntfy
import pytest

from cenergyd.errors import DeliveryRefused, DeliveryUnknown, InvalidField
from cenergyd.hookspecs import Notification
from cenergyd.testing import PluginTest, free_port

MESSAGE = Notification("n1", "c1", "net_load", "Köln: net load is high", "It is 60 kW.\n", {})
CHANNEL = {"type": "ntfy", "topic": "my-site"}


@pytest.fixture
def ntfy():
    """A server that takes messages as ntfy does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.got.append((self.path, dict(self.headers), body.decode()))
            if server.answer is None:  # the answer is lost
                self.connection.close()
                return
            self.send_response(server.answer)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answer = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def sender(port, **options):
    return PluginTest(notify_ntfy, "notify_ntfy", options={"url": f"http://127.0.0.1:{port}", **options})


def test_a_message_arrives(ntfy):
    assert sender(ntfy.server_port, token="tk_secret", priority="5").notify(MESSAGE, CHANNEL) is True
    ((path, headers, body),) = ntfy.got
    assert (path, body) == ("/my-site", MESSAGE.text)
    assert str(make_header(decode_header(headers["Title"]))) == MESSAGE.subject
    assert (headers["Authorization"], headers["Priority"]) == ("Bearer tk_secret", "5")


@pytest.mark.parametrize(
    ("answer", "error"),
    [(503, notify_ntfy.NtfyFailed), (429, notify_ntfy.NtfyFailed), (403, DeliveryRefused), (None, DeliveryUnknown)],
)
def test_what_ntfy_answers_decides_what_follows(ntfy, answer, error):
    ntfy.answer = answer
    with pytest.raises(error):
        sender(ntfy.server_port).notify(MESSAGE, CHANNEL)


def test_a_server_that_is_not_there_has_not_taken_it():
    with pytest.raises(notify_ntfy.NtfyFailed, match="no connection"):
        sender(free_port()).notify(MESSAGE, CHANNEL)


def test_a_channel_is_checked_when_it_is_entered():
    plugin = sender(1)
    assert plugin.check_channel(CHANNEL) == CHANNEL
    with pytest.raises(InvalidField, match="a topic of letters"):
        plugin.check_channel({"type": "ntfy", "topic": "my site"})


def test_other_channels_are_not_ours():
    assert sender(1).notify(MESSAGE, {"type": "email", "to": "a@example.org"}) is None
