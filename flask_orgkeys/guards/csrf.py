"""Flask-WTF's ``CSRFProtect`` and the views that take keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask, current_app, has_request_context, request

from ..authentication.header import carries_bearer
from .endpoints import is_by_possession
from .guard import guard_on
from .marks import layers_of

_CHECK_DEFAULT = "WTF_CSRF_CHECK_DEFAULT"


class _UnlessBeyondForgery(int):
    """The value of ``WTF_CSRF_CHECK_DEFAULT``: false in a request that no other site can forge.

    ``CSRFProtect`` asks for it at each request. Its ``exempt`` goes by the module and name of a
    view, which an unguarded view may share, and cannot tell requests apart.
    """

    def __bool__(self) -> bool:
        return not (has_request_context() and _is_beyond_forgery())

    def __repr__(self) -> str:
        return "<True, but for requests with an API key>"


def let_keys_past_csrf(app: Flask) -> None:
    """Have Flask-WTF's ``CSRFProtect`` pass the requests to guarded views that nobody can forge.

    A check that the host has switched off stays off, and its exemptions stay.
    """
    if "csrf" in app.extensions and app.config.get(_CHECK_DEFAULT):
        app.config[_CHECK_DEFAULT] = _UnlessBeyondForgery(1)


def _is_beyond_forgery() -> bool:
    """Tell whether no other site can make a browser send the current request to any effect.

    The view takes keys, and the request carries Bearer credentials, which no other site can add; or
    nothing that a browser adds by itself, neither a cookie nor other credentials. So it is true of
    all that runs in the request, be it the view, a decorator around it or a hook.
    """
    view = current_app.view_functions.get(request.endpoint or "")
    layers = (*layers_of(view, request.method), *_hooks())
    if not any(guard_on(layer) or is_by_possession(layer) for layer in layers):
        return False
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        return carries_bearer(authorization)
    return "Cookie" not in request.headers


def _hooks() -> Iterator[Any]:
    """Give the functions that run before the current request's view, of which one may guard it."""
    for name in (None, *request.blueprints):
        yield from current_app.before_request_funcs.get(name, ())
