"""Fair shares of the connections for processes that listen on one socket."""

from __future__ import annotations

from typing import Any


def accept_singly(port: Any) -> None:
    """Let a listening port of Twisted's take one connection a turn of the reactor.

    By itself it takes up to a hundred at once: of several processes on one socket the first to wake then gets all that a burst brings,
    and with connections that are kept open, as proxies do, all uploads for as long as they last, while the others idle. One a turn, the process
    that has more to do comes round more rarely and gets fewer.
    """
    accept = port.doRead

    def accept_one() -> Any:
        port.numberAccepts = 1  # Twisted raises it after each call
        return accept()

    port.doRead = accept_one
