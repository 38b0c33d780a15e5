"""Self-service of a key's holder: which key it is, and a new secret for it.

For a host to mount::

    from flask_orgkeys import holder

    app.register_blueprint(holder.blueprint, url_prefix="/api/key")

Then ``GET /api/key`` tells about the presented key, and ``POST /api/key/rotate`` replaces its
secret, if an administrator allowed that when creating it. Both are guarded: they take a key in the
``Authorization`` header alone, so there is nothing for another site to forge.

.. versionadded:: 0.1.0
"""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any, cast

from flask import Blueprint, Response, jsonify, request

from . import errors, tokens
from .authentication.header import read_credential
from .authentication.outcome import Accepted
from .config.settings import Settings
from .guards.current import current_request, outcome_of
from .guards.expiry_header import withdraw_end
from .guards.guard import require_key
from .keys import rotation
from .keys.database import UNANSWERED, committed, is_conflict
from .keys.document import document, timestamp
from .keys.events import HOLDER, Actor
from .keys.store import IssuedKey
from .keys.times import as_utc
from .state import AppState, state_of

DEFAULT_OVERLAP = timedelta(days=1)

SHOWN = (
    "id",
    "name",
    "organization_id",
    "scopes",
    "created_at",
    "expires_at",
    "previous_until",
    "may_rotate_itself",
)

logger: logging.Logger = logging.getLogger(__name__)

blueprint: Blueprint = Blueprint("orgkeys_holder", __name__)
"""The routes ``GET /`` and ``POST /rotate``."""


@blueprint.get("/", strict_slashes=False)
@require_key
def show() -> Response:
    """Tell about the presented key."""
    state, outcome = state_of(), _accepted()
    try:
        key = state.keys.get(outcome.stored.organization_id, outcome.key_id)
    except UNANSWERED as error:
        return _unavailable(state, error)
    if key is None:
        return _refusal(state, errors.InvalidKey)
    members = document(key, state.settings)
    return _answer({name: members[name] for name in SHOWN})


@blueprint.post("/rotate")
@require_key
def rotate() -> Response:
    """Give the presented key a new secret.

    :return: 200 with the new key, its expiry, and the end of the secret before; 422 for a wrong
        ``overlap_seconds``; 403 if the key may not do this; 409 if it was rotated meanwhile; 503
        with Retry-After if the database cannot be asked.
    """
    state = state_of()
    try:
        overlap = _overlap(state.settings)
    except ValueError:
        return _refusal(state, errors.InvalidOverlap)
    try:
        issued = committed(state.host.session, lambda: _rotated(state, overlap))
        key = issued.key
        return _answer(
            {
                "key": issued.token,
                "expires_at": timestamp(key.expires_at),
                "previous_until": timestamp(key.previous_until),
            }
        )
    except errors.RotationNotAllowed:
        return _refusal(state, errors.RotationNotAllowed)
    except errors.RotationConflict:
        return _refusal(state, errors.SimultaneousRotation)
    except (errors.KeyEnded, errors.KeyNotFound):
        return _refusal(state, errors.InvalidKey)
    except UNANSWERED as error:
        if is_conflict(error):
            return _refusal(state, errors.SimultaneousRotation)
        return _unavailable(state, error)


def _rotated(state: AppState, overlap: timedelta) -> IssuedKey:
    outcome = _accepted()
    unconfirmed_since = outcome.stored.unconfirmed_since
    return rotation.rotate_by_holder(
        state.keys,
        outcome.stored.organization_id,
        _presented_token(state),
        overlap=overlap,
        actor=Actor.of(HOLDER, request.remote_addr),
        seen=rotation.Seen(
            is_previous=outcome.is_previous,
            unconfirmed_since=None if unconfirmed_since is None else as_utc(unconfirmed_since),
        ),
    )


def _accepted() -> Accepted:
    return cast(Accepted, outcome_of(state_of(), current_request()))


def _presented_token(state: AppState) -> tokens.Token:
    # A function of its own, so that the raw text is in no frame that can fail later on: error
    # trackers send the local variables of each.
    header = request.environ.get("HTTP_AUTHORIZATION")
    return cast(tokens.Token, read_credential(header, state.settings.prefix))


def _overlap(settings: Settings) -> timedelta:
    """Return the overlap that the request asks for.

    :raises ValueError: if it is not allowed, or the body is no JSON object.
    """
    longest = settings.longest_overlap
    body = request.get_data()
    try:
        members: Any = json.loads(body) if body.strip() else {}
    except RecursionError as error:
        raise ValueError("the body is nested too deeply") from error
    if not isinstance(members, dict):
        raise ValueError("the body is no JSON object")
    seconds = members.get("overlap_seconds", min(DEFAULT_OVERLAP, longest).total_seconds())
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    # The range first, for no whole number is near infinity.
    if not is_number or not 0 <= seconds <= longest.total_seconds() or seconds != int(seconds):
        raise ValueError("overlap_seconds is not allowed")
    return timedelta(seconds=seconds)


def _unavailable(state: AppState, error: BaseException) -> Response:
    state.host.session.rollback()
    logger.error("a request of a key's holder cannot be answered: %s", error)
    return _refusal(state, errors.Unavailable)


def _refusal(state: AppState, reason: type[errors.RequestRefused]) -> Response:
    withdraw_end(current_request())
    return reason(state.settings.realm).get_response()


def _answer(members: dict[str, Any]) -> Response:
    response = jsonify(members)
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Authorization")
    return response
