"""Security headers of responses."""

from __future__ import annotations

from twisted.web.server import Request

API_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of responses that are not pages."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of pages: only files of this server, no inline script or style."""

# same-origin and not no-referrer: with the latter browsers send "Origin: null" with our own forms.
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def set_security_headers(request: Request, *, secure: bool, policy: str = API_POLICY, hsts_seconds: int = 0) -> None:
    """Set them on a response that has not begun.

    :param secure: the client came over TLS (:attr:`cenergyd.web.server.clients.Client.secure`).
    :param hsts_seconds: ``max-age`` of Strict-Transport-Security; 0: it is not sent.
    """
    for name, value in _ALWAYS.items():
        request.setHeader(name.encode(), value.encode())
    request.setHeader(b"Content-Security-Policy", policy.encode())
    if secure and hsts_seconds:
        request.setHeader(b"Strict-Transport-Security", f"max-age={hsts_seconds}".encode())
