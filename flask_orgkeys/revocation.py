"""Revocation by possession: whoever holds a key can end it, in the manner of RFC 7009.

For a host to mount, where finders of a leaked key and the hosts' own scanners reach it::

    from flask_orgkeys import revocation

    app.register_blueprint(revocation.blueprint, url_prefix="/api/keys")

Then ``POST /api/keys/revoke`` with the form field ``token`` revokes that key, and no other. With
the secret before the last rotation it ends that secret alone, and the key goes on with its new one.
The answer is 200 whatever became of it, so that nobody learns here which keys there are. No cookie,
header or query string counts. Flask-WTF's ``CSRFProtect`` passes a request without a cookie and
without credentials other than Bearer, which no other site can forge. The route is open to everyone:
limit it by address, for example with
``limiter.limit("10/minute")(revocation.blueprint)``.

.. versionadded:: 0.1.0
"""

from __future__ import annotations

import logging

from flask import Blueprint, Response, jsonify, request

from . import tokens
from .errors import RETRY_AFTER_SECONDS
from .guards.endpoints import by_possession
from .keys import rotation
from .keys.database import UNANSWERED
from .keys.events import HOLDER, Actor
from .state import AppState, state_of

logger: logging.Logger = logging.getLogger(__name__)

blueprint: Blueprint = Blueprint("orgkeys_revocation", __name__)
"""The one route, ``POST /revoke``."""


@blueprint.post("/revoke")
@by_possession
def revoke() -> Response:
    """Revoke the key in the form field ``token``; the caller's proof is that they have it.

    :return: 200 for every key, known or not; 400 without one field ``token``; 503 with Retry-After
        if the database cannot be asked: then the key lives on.
    """
    if len(request.form.getlist("token")) != 1:
        return _answer(400, error="invalid_request")
    state = state_of()
    token = _presented_token(state)
    if token is None:
        return _answer(200)
    session = state.host.session
    try:
        _end_if_genuine(state, token)
    except UNANSWERED as error:
        session.rollback()
        logger.error("a key cannot be revoked by its holder: %s", error)
        unavailable = _answer(503, error="temporarily_unavailable")
        unavailable.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return unavailable
    except BaseException:
        session.rollback()
        raise
    return _answer(200)


def _presented_token(state: AppState) -> tokens.Token | None:
    # A function of its own, so that the raw text is in no frame that can fail later on: error
    # trackers send the local variables of each. The line break of a file is no part of a key.
    return tokens.parse(request.form["token"].strip(), state.settings.prefix)


def _end_if_genuine(state: AppState, token: tokens.Token) -> None:
    actor = Actor.of(HOLDER, request.remote_addr)
    if rotation.end_by_holder(state.keys, token, actor=actor):
        state.host.session.commit()


def _answer(status: int, **members: str) -> Response:
    response = jsonify(members)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response
