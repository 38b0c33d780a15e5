"""The uses of keys as guards note them: once a request, as accepted by the last guard, or as
refused by the guard that refused it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..authentication.outcome import Accepted, Rejected
from ..keys.uses import ACCEPTED, REFUSED_OUTCOMES
from ..state import AppState
from .current import write_uses
from .marks import GUARD, layers_of

if TYPE_CHECKING:
    from flask import Request

    from ..errors import RequestRefused

_OUTCOMES = frozenset(REFUSED_OUTCOMES)


def note_accepted(
    state: AppState, carrier: Request, outcome: Accepted, scopes: tuple[str, ...], guarded: Any
) -> None:
    """Note that a guard lets a request pass. It counts if that guard is the last one.

    :param scopes: those that the guard demands.
    :param guarded: the guarded view.
    """
    endpoint = carrier.endpoint
    if endpoint is None or not state.recorder.is_on:
        return
    known = state.last_guards.get(guarded)
    if known is None:
        known = state.last_guards.setdefault(guarded, {})
    place = (endpoint, carrier.method)
    is_last = known.get(place)
    if is_last is None:
        view = state.authenticator.app.view_functions.get(endpoint)
        is_last = known[place] = _is_last(guarded, view, carrier.method)
    if outcome.demanded:
        scopes = tuple(dict.fromkeys((*outcome.demanded, *scopes)))
    if not is_last:
        outcome.demanded = scopes
    elif not outcome.is_noted:
        outcome.is_noted = True
        _note(state, carrier, outcome, (outcome.key_id, endpoint, ACCEPTED), scopes)


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
    code, endpoint = reason.problem_code, carrier.endpoint
    if code in _OUTCOMES and outcome.key_id is not None and endpoint is not None:
        _note(state, carrier, outcome, (outcome.key_id, endpoint, code), scopes)


def _note(
    state: AppState,
    carrier: Request,
    outcome: Accepted | Rejected,
    pair: tuple[str, str, str],
    scopes: tuple[str, ...],
) -> None:
    agent = carrier.environ.get("HTTP_USER_AGENT")
    at = outcome.at
    is_due = (
        state.recorder.is_on
        and at is not None
        and state.recorder.note(pair, scopes, at, carrier.remote_addr, agent)
    )
    if is_due or (isinstance(outcome, Accepted) and outcome.has_use):
        write_uses(state)


def _is_last(guarded: Any, view: Any, method: str) -> bool:
    """Tell whether no guard comes after one, as far as the registered view function shows."""
    if hasattr(getattr(guarded, "__wrapped__", None), GUARD):
        return False
    with_guards = [
        list(_chain(layer)) for layer in layers_of(view, method) if hasattr(layer, GUARD)
    ]
    # One that is no part of the view, such as a before_request function, comes before it.
    return not with_guards or guarded in with_guards[-1]


def _chain(function: Any) -> Iterator[Any]:
    """Give a function and those that it wraps."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)
