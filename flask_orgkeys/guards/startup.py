"""What shows only once every view is registered, checked when the first request starts."""

from __future__ import annotations

from typing import Any

from flask import Flask, request_started

from .csrf import let_keys_past_csrf
from .endpoints import check_declared_scopes


def check_before_first_request(app: Flask) -> None:
    """Have the app checked by its first request, before any hook of the host's can answer it.

    A request that finds a fault fails, and so does the next one.
    """
    request_started.connect(_check_set_up, app)


def _check_set_up(app: Flask, **_: Any) -> None:
    check_declared_scopes(app)
    let_keys_past_csrf(app)
    request_started.disconnect(_check_set_up, app)
