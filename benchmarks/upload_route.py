"""CPU time saved by the shortcut past Klein's router: uploads through the whole HTTP code to a receiver that answers at once.

    .venv/bin/python benchmarks/upload_route.py [--uploads 3000] [--turns 5]

Both ways alternate. Prints the CPU time of an upload by each way, and their ratio.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from cenergyd.ingest.receiver import UploadReply, UploadRequest
from cenergyd.runtime.clock import Reactor
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.root import Root
from cenergyd.web.server.site import BoundedSite
from cenergyd.web.server.upload import UploadApp, UploadShortcut

BODY = b"x" * 2000
REQUEST = (
    b"POST /consume HTTP/1.1\r\nHost: meters.example.org\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
) + BODY


class Receiver:
    async def receive(self, request: UploadRequest) -> UploadReply:
        return UploadReply(200, b"\nSUCCESS\n")


def seconds(uploads: int, shortcut: bool) -> float:
    """CPU time of one upload."""
    app = UploadApp(Receiver(), Clients(), "/consume")  # type: ignore[arg-type]
    root: Any = Root({}, {"/consume": app.app.resource()})
    site = BoundedSite(
        root, cast(Reactor, Clock()), max_body_bytes=1 << 20, max_connections=10, idle_seconds=60, request_seconds=60,
        direct={"/consume": UploadShortcut(app)} if shortcut else None,  # type: ignore[dict-item]
    )  # fmt: skip
    channel: Any = site.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    began = time.process_time()
    for _ in range(uploads):
        channel.dataReceived(REQUEST)
        assert transport.value().startswith(b"HTTP/1.1 200")
        transport.clear()
    return (time.process_time() - began) / uploads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=3000)
    parser.add_argument("--turns", type=int, default=5)
    chosen = parser.parse_args()
    seconds(200, shortcut=True)
    seconds(200, shortcut=False)
    turns = [(seconds(chosen.uploads, True), seconds(chosen.uploads, False)) for _ in range(chosen.turns)]
    short, routed = (median(each) for each in zip(*turns, strict=True))
    print(f"shortcut {short * 1e6:.0f} us, routed {routed * 1e6:.0f} us an upload: ratio {routed / short:.2f}")


if __name__ == "__main__":
    main()
