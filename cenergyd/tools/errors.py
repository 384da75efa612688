"""Errors of the device's side of HTTP."""

from __future__ import annotations

from cenergyd.errors import CenergydError


class NoResponse(CenergydError):
    """No usable response: no connection, cut off, too slow, or not HTTP. The server may have processed the request."""
