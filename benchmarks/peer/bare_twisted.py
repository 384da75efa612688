"""Twisted's web server that reads an upload and says SUCCESS without looking at it: what is left for all the rest.

    python bare_twisted.py DESCRIPTOR_OF_A_LISTENING_SOCKET
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site


class Nothing(Resource):
    """Does nothing with what it gets."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """Read and answer."""
        request.content.read()  # type: ignore[union-attr]
        return b"\nSUCCESS\n"


if __name__ == "__main__":
    site: Any = Site(Nothing(), parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
    site.log = lambda request: None
    os.set_blocking(int(sys.argv[1]), False)
    reactor.adoptStreamPort(int(sys.argv[1]), socket.AF_INET, site)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
