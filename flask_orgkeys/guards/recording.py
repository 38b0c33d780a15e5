"""The uses of keys as guards note them: once a request, as accepted by the last guard, or as
refused by the guard that refused it. If only the request shows which guard is the last one, its use
is noted with the response.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from inspect import unwrap
from typing import TYPE_CHECKING, Any

from flask import after_this_request

from ..authentication.outcome import Accepted, Rejected
from ..keys.uses import ACCEPTED, REFUSED_OUTCOMES
from ..state import AppState
from .current import write_uses
from .marks import GUARD, guards_in_closure, guards_in_globals, layers_of

if TYPE_CHECKING:
    from flask import Request, Response

    from ..errors import RequestRefused

_OUTCOMES = frozenset(REFUSED_OUTCOMES)
_UNKNOWN: Any = object()


def note_accepted(
    state: AppState, carrier: Request, outcome: Accepted, scopes: tuple[str, ...], guarded: Any
) -> None:
    """Note that a guard lets a request pass. It counts if that guard is the last one.

    :param scopes: those that the guard demands.
    :param guarded: the guarded view.
    """
    rule = carrier.url_rule
    recorder = state.recorder
    if rule is None or not recorder.is_on:
        return
    endpoint: str = rule.endpoint
    place = (endpoint, carrier.method, guarded)
    is_last = state.last_guards.get(place, _UNKNOWN)
    if is_last is _UNKNOWN:
        is_last = _is_last(state, endpoint, carrier.method, guarded)
    if outcome.demanded:
        scopes = tuple(dict.fromkeys((*outcome.demanded, *scopes)))
    if outcome.noted_at is not None:
        _learn(state, outcome)
    if not is_last:
        outcome.demanded = scopes
        if is_last is None:
            after_this_request(partial(_note_with_response, state, carrier, outcome, endpoint))
    elif not outcome.is_noted:
        outcome.is_noted = True
        outcome.noted_at = place
        _note(state, carrier, outcome, endpoint, ACCEPTED, scopes)


def note_refused(
    state: AppState,
    carrier: Request,
    outcome: Accepted | Rejected,
    reason: type[RequestRefused],
    scopes: tuple[str, ...],
) -> None:
    """Note that a guard refuses a request, if the secret was right: a stranger cannot write.

    :param scopes: those that the guard demands.
    """
    code = reason.problem_code
    rule = carrier.url_rule
    if code not in _OUTCOMES or rule is None or not state.recorder.is_on:
        return
    if isinstance(outcome, Accepted):
        outcome.is_noted = True
        _learn(state, outcome)
    _note(state, carrier, outcome, rule.endpoint, code, scopes)


def _note(
    state: AppState,
    carrier: Request,
    outcome: Accepted | Rejected,
    endpoint: str,
    code: str,
    scopes: tuple[str, ...],
) -> None:
    key_id, at = outcome.key_id, outcome.at
    if key_id is None or at is None:
        return
    pair = (key_id, endpoint, code)
    is_due = state.recorder.note(pair, scopes, at, carrier.remote_addr, carrier.environ)
    if is_due or outcome.has_use:
        write_uses(state)


def _note_with_response(
    state: AppState, carrier: Request, outcome: Accepted, endpoint: str, response: Response
) -> Response:
    """Note a request that no guard has noted."""
    if not outcome.is_noted:
        outcome.is_noted = True
        _note(state, carrier, outcome, endpoint, ACCEPTED, outcome.demanded)
    return response


def _learn(state: AppState, outcome: Accepted) -> None:
    """Have later requests noted with the response: the guard that has noted this one was not the
    last, for its view calls a guarded function in a way that its code does not show.
    """
    if outcome.noted_at in state.last_guards:
        state.last_guards[outcome.noted_at] = None


def _is_last(state: AppState, endpoint: str, method: str, guarded: Any) -> bool | None:
    """Tell whether no guard comes after one, as far as the registered view function shows;
    ``None`` if a function below it names guarded ones, which it may call.
    """
    if hasattr(getattr(guarded, "__wrapped__", None), GUARD):
        return False
    view = state.authenticator.app.view_functions.get(endpoint)
    layers = [list(_chain(layer)) for layer in layers_of(view, method) if hasattr(layer, GUARD)]
    below = [function for layer in (*layers, _chain(guarded)) for function in layer]
    unmarked = [function for function in below if not hasattr(function, GUARD)]
    shows_all = not any(any(_named_guards(function)) for function in unmarked)
    if any(guarded in layer for layer in layers):
        is_last = guarded in layers[-1] if shows_all else None
        state.last_guards[endpoint, method, guarded] = is_last
        return is_last
    # One that is no part of the view, such as a before_request function, comes before it. One that
    # a class framework has put around a method may be the last. Neither is remembered, for it may
    # be made within a request.
    return (not layers or _is_around_method(guarded, view, method)) if shows_all else None


def _is_around_method(guarded: Any, view: Any, method: str) -> bool:
    """Tell whether a guard was put around the method of a class as that was called."""
    innermost = getattr(unwrap(guarded), "__func__", None)
    return innermost is not None and any(
        unwrap(layer) is innermost for layer in layers_of(view, method) if callable(layer)
    )


def _named_guards(function: Any) -> Iterator[Any]:
    yield from guards_in_closure(function)
    yield from guards_in_globals(function)


def _chain(function: Any) -> Iterator[Any]:
    """Give a function and those that it wraps."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)
