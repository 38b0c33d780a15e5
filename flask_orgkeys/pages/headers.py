"""The response headers of the pages: the rules for a browser to load, keep and tell others."""

from __future__ import annotations

import logging
import re

from flask import current_app, request
from werkzeug.wrappers import Response

from ..headers import UncachedHeaders
from ..state import state_of

logger: logging.Logger = logging.getLogger(__name__)

PAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: Flask-WTF refuses a form on https that comes without one.
    "Referrer-Policy": "same-origin",
}

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\s(?:src=|nonce=|type=.?application))[^>]*>")


def add_page_headers(response: Response) -> Response:
    policy = state_of().settings.content_security_policy
    if policy is not None:
        response.headers.setdefault("Content-Security-Policy", policy)
    for name, value in PAGE_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure or request.host.rpartition(":")[0] in LOOPBACK or request.host in LOOPBACK:
        # On plain http to another name, browsers complain of it.
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if request.endpoint == f"{request.blueprint}.asset":
        return response
    response.headers["Cache-Control"] = "no-store"
    if request.method == "GET" and request.headers.get("HX-Boosted") == "true":
        # Loaded by htmx into a page of the host's, ours has neither style sheet nor script.
        response.headers["HX-Redirect"] = request.full_path.rstrip("?")
    if current_app.debug:
        _warn_of_layout(response)
    # Or else the page with a new key may be kept, and shown again by the back button.
    UncachedHeaders.keep(response)
    return response


def _warn_of_layout(response: Response) -> None:
    """Name in the log the parts that the host's layout lacks, and the scripts that the policy
    blocks.
    """
    if response.mimetype != "text/html" or response.status_code not in (200, 422):
        return
    page = response.get_data(as_text=True)
    layout = state_of().settings.base_template
    for mark, block in (("orgkeys.css", "head"), ("data-orgkeys=", "content")):
        if mark not in page:
            logger.warning(
                "the layout %r lacks the block %r: the page is incomplete", layout, block
            )
    policy = state_of().settings.content_security_policy
    if policy is not None and "'unsafe-inline'" not in policy and _INLINE_SCRIPT.search(page):
        logger.warning(
            "the layout %r has an inline script, which ORGKEYS_CONTENT_SECURITY_POLICY blocks",
            layout,
        )
