"""For Flask-Limiter: whom a request counts for."""

from __future__ import annotations

from flask import request

from .auth import current_key


def limiter_key() -> str:
    """Return the id of the request's key; without a valid one, the address of the client.

    A ``key_func`` for Flask-Limiter, which may be initialised before this extension. Made-up and
    wrong keys count for their address, so guessing opens no fresh allowance::

        limiter = Limiter(orgkeys.limiter_key, default_limits=["1000 per hour"])

    Behind a proxy the address is the proxy's, unless Werkzeug's ``ProxyFix`` is told of it.

    .. versionadded:: 0.1.0
    """
    return current_key.id if current_key else request.remote_addr or "127.0.0.1"
