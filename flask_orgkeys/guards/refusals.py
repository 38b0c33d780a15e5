"""Answers to refused requests, made once, and the host's error handlers that go before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Response

from ..headers import RefusalHeaders

if TYPE_CHECKING:
    from flask import Flask, Request

    from ..errors import RequestRefused
    from ..state import AppState

MOST_KEPT = 1024
"""Answers that an app keeps. A guard that is made within a view may demand any scopes."""


class Prepared(NamedTuple):
    """The parts of an answer."""

    status: str
    document: bytes
    headers: list[tuple[str, str]]

    def response(self) -> Response:
        return Response(
            [self.document], status=self.status, headers=RefusalHeaders.of(self.headers)
        )


def prepared_answer(
    state: AppState,
    carrier: Request,
    endpoint: str,
    reason: type[RequestRefused],
    scopes: tuple[str, ...],
) -> Prepared | None:
    """Return the answer to a request that is refused by the view itself; ``None`` if the refusal is
    to be raised, because an error handler of the host's answers in its place.

    It is the same for every request to an endpoint: Flask takes no error handler once it serves.
    """
    kept = state.refusals
    key = (endpoint, reason, scopes)
    answer: Prepared | None
    if key in kept:
        answer = kept[key]
        return answer
    if len(kept) >= MOST_KEPT:
        kept.clear()
    kept[key] = answer = _prepare(state, carrier.blueprints, reason, scopes)
    return answer


def _prepare(
    state: AppState, blueprints: list[str], reason: type[RequestRefused], scopes: tuple[str, ...]
) -> Prepared | None:
    app, refusal = state.authenticator.app, reason(state.settings.realm, scopes)
    if state.settings.problem_details == "host" and (
        app.trap_http_exception(refusal) or error_handler(app, refusal, blueprints) is not None
    ):
        return None
    response = refusal.get_response()
    return Prepared(response.status, response.get_data(), list(response.headers))


def error_handler(
    app: Flask, error: Exception, blueprints: Iterable[str]
) -> Callable[[Any], Any] | None:
    """Return the host's error handler for an error, or ``None``.

    :param blueprints: the names of the request's blueprints, the innermost first.
    """
    handler: Callable[[Any], Any] | None = app._find_error_handler(error, list(blueprints))
    return handler
