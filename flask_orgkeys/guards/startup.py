"""What shows only once every view is registered, checked when the first request starts."""

from __future__ import annotations

from typing import Any

from flask import Flask, request_started

from ..keys.organization_ids import check_type
from ..state import state_of
from .csrf import let_keys_past_csrf
from .endpoints import check_declared_scopes


def check_before_first_request(app: Flask) -> None:
    """Have the app checked by its first request, before any hook of the host's can answer it.

    A request that finds a fault fails, and so does the next one.
    """
    request_started.connect(_check_set_up, app)


def _check_set_up(app: Flask, **_: Any) -> None:
    check_declared_scopes(app)
    check_type(state_of(app).keys.models.key_table.c.organization_id.type)
    let_keys_past_csrf(app)
    request_started.disconnect(_check_set_up, app)
