"""Twisted's web server that answers an upload with SUCCESS and stores nothing: the minimal cost of an upload.

    python bare_twisted.py DESCRIPTOR_OF_A_LISTENING_SOCKET [--read]

With ``--read`` it also parses the form and the log as the daemon does, but checks no credentials and stores nothing.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from cenergyd.acquisuite.form import parse_form
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.acquisuite.log_file import parse_log
from cenergyd.acquisuite.upload import read_log_header, read_mode


class Nothing(Resource):
    """Reads the body and answers."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """Answer an upload."""
        request.content.read()  # type: ignore[union-attr]
        return b"\nSUCCESS\n"


class Reading(Resource):
    """Parses the upload and answers."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """Parse an upload and answer."""
        form = parse_form(request.content.read(), request.getHeader(b"content-type"))  # type: ignore[union-attr]
        read_mode(form)
        parse_log(read_log_header(form).content, VERIS, now=int(time.time()), max_inflated_bytes=1 << 24)
        return b"\nSUCCESS\n"


if __name__ == "__main__":
    site: Any = Site(Reading() if "--read" in sys.argv else Nothing(), parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
    site.log = lambda request: None
    os.set_blocking(int(sys.argv[1]), False)
    reactor.adoptStreamPort(int(sys.argv[1]), socket.AF_INET, site)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
