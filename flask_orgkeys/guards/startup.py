"""The checks that need every view to be registered, made when the first request starts."""

from __future__ import annotations

import logging
import weakref
from typing import Any

from flask import Flask, request_started

from ..keys.organization_ids import check_type
from ..state import state_of
from .csrf import let_keys_past_csrf
from .endpoints import check_declared_scopes, guarded_rules, wall_of

logger: logging.Logger = logging.getLogger(__name__)


def check_before_first_request(app: Flask) -> None:
    """Have the app checked by its first request, before any hook of the host's can answer it.

    A request that finds a fault fails, and so does the next one.
    """

    def check(app: Flask, **_: Any) -> None:
        _check_set_up(app)
        # For every sender: disconnected from one alone, it stays in the signal, which then looks
        # for receivers at each request.
        request_started.disconnect(check)

    request_started.connect(check, app, weak=False)
    # An app that serves no request takes it along.
    weakref.finalize(app, request_started.disconnect, check).atexit = False


def _check_set_up(app: Flask) -> None:
    check_declared_scopes(app)
    check_type(state_of(app).keys.models.key_table.c.organization_id.type)
    let_keys_past_csrf(app)
    _log_missing_functions(app)


def _log_missing_functions(app: Flask) -> None:
    state = state_of(app)
    has_pages = state.blueprint in app.blueprints.values()
    has_walls = any(wall_of(app, rule, guard) for rule, _, guard in guarded_rules(app))
    if state.host.organization_loader is None and (has_pages or has_walls):
        logger.warning(
            "there is no organization loader: the API keys pages, and guarded URLs that have the "
            "organisation, answer 404. Register one with @orgkeys.organization_loader."
        )
    if state.host.permission_checker is None and has_pages:
        logger.warning(
            "there is no permission checker: the API keys pages answer 403. Register one with "
            "@orgkeys.permission_checker."
        )
