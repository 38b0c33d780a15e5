"""The response headers of the pages: what a browser may load, keep and tell others."""

from __future__ import annotations

from flask import request
from werkzeug.wrappers import Response

from ..headers import UncachedHeaders

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: Flask-WTF refuses a form on https that comes without one.
    "Referrer-Policy": "same-origin",
}


def add_page_headers(response: Response) -> Response:
    for name, value in PAGE_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != f"{request.blueprint}.asset":
        response.headers["Cache-Control"] = "no-store"
        # Or else the page with a new key may be kept, and shown again by the back button.
        UncachedHeaders.keep(response)
    return response
