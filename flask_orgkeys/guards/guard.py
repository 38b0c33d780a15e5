"""Guards for views: ``require_key``, ``require_scope``, and the wall between organisations."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, overload

from flask import Request, Response, after_this_request, current_app, request
from flask.views import View

from .. import errors, signals
from ..authentication.outcome import Accepted, Rejected
from ..keys.database import UNANSWERED
from ..state import AppState, state_of
from .access_rule import reason_to_refuse
from .current import current_request, outcome_of
from .expiry_header import announce_end, withdraw_end
from .wall import organization_in_url

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", bound=type[View])

logger: logging.Logger = logging.getLogger(__name__)

_GUARD = "__orgkeys_guard__"
_GUARDED = "__orgkeys_guarded__"


@dataclass(frozen=True, slots=True)
class Guard:
    """What a view demands.

    :param scopes: all of which a key must hold; none: any valid key will do.
    """

    scopes: tuple[str, ...]

    @overload
    def __call__(self, view: V) -> V: ...
    @overload
    def __call__(self, view: Callable[P, R]) -> Callable[P, R]: ...
    def __call__(self, view: Any) -> Any:
        """Guard a view function, an ``async def`` one, or a class-based view."""
        if isinstance(view, type):
            return self._guard_class(view)

        is_async = iscoroutinefunction(view)

        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            state, carrier = state_of(), current_request()
            outcome = outcome_of(state, carrier)
            reason = self._reason_to_refuse(state, carrier, outcome)
            if reason is not None:
                return self._refuse(state, reason, outcome.key_id, guarded)
            announce_end(state, carrier, outcome)
            if is_async:
                return current_app.ensure_sync(view)(*args, **kwargs)
            return view(*args, **kwargs)

        inner = guard_on(view)
        setattr(guarded, _GUARD, Guard((*self.scopes, *(inner.scopes if inner else ()))))
        setattr(guarded, _GUARDED, guarded)
        return guarded

    def _guard_class(self, view: type[Any]) -> type[Any]:
        if not issubclass(view, View):
            raise TypeError(
                f"{view.__qualname__} is no flask.views.View. Guard a view function, a View or "
                "a method of one."
            )
        # Flask applies ``decorators`` in order, so the last one runs first.
        view.decorators = [*view.decorators, self]
        return view

    def _reason_to_refuse(
        self, state: AppState, carrier: Request, outcome: Accepted | Rejected
    ) -> type[errors.RequestRefused] | None:
        if isinstance(outcome, Rejected):
            return outcome.reason
        key = outcome.stored
        try:
            organization_id = organization_in_url(state, carrier)
        except UNANSWERED as error:
            logger.error("the organisation of a request cannot be loaded: %s", error)
            return errors.Unavailable
        return reason_to_refuse(
            key.scopes, self.scopes, owner=key.organization_id, organization_id=organization_id
        )

    def _refuse(
        self,
        state: AppState,
        reason: type[errors.RequestRefused],
        key_id: str | None,
        guarded: Any,
    ) -> Response:
        """Answer a refused request, or raise what says why, where the host is to see that.

        Nothing of the host's mostly is, and then an answer made before is as good, for a tenth of
        what it costs to raise: refusals come in floods.
        """
        withdraw_end(current_request())
        app, realm = state.authenticator.app, state.settings.realm
        is_left_to_host = _is_left_to_host(state, reason, guarded)
        if not is_left_to_host and not signals.request_refused.receivers:
            return errors.answer(reason, realm, self.scopes)
        refusal = reason(realm, self.scopes)
        signals.request_refused.send(
            app, _async_wrapper=app.ensure_sync, error=refusal, key_id=key_id
        )
        if not is_left_to_host:
            return refusal.get_response()
        after_this_request(refusal.keep_protocol_headers)
        raise refusal


def require_scope(*scopes: str) -> Guard:
    """Guard a view: the request's key must hold all of ``scopes``, by exact match.

    Put it below the route, so that the route gets the guarded view::

        @app.post("/api/o/<org_slug>/deployments")
        @require_scope("project:deploy")
        def deploy(org_slug): ...

    Where the URL has the organisation, the key must belong to it, too.

    :param scopes: at least one scope the app declares in ``ORGKEYS_SCOPES``.
    :raises TypeError: without a scope, or with one that is no text.

    .. versionadded:: 0.1.0
    """
    if not scopes or not all(isinstance(scope, str) for scope in scopes):
        raise TypeError(
            'require_scope needs at least one scope: write @require_scope("project:deploy"), or '
            "@require_key where any valid key will do."
        )
    return Guard(tuple(dict.fromkeys(scopes)))


@overload
def require_key(view: V) -> V: ...
@overload
def require_key(view: Callable[P, R]) -> Callable[P, R]: ...
def require_key(view: Any) -> Any:
    """Guard a view: the request must carry a valid key, with whatever scopes.

    Where the URL has the organisation, the key must belong to it, too.

    .. versionadded:: 0.1.0
    """
    return Guard(())(view)


def _is_left_to_host(state: AppState, reason: type[errors.RequestRefused], guarded: Any) -> bool:
    """Tell whether something of the host's is to see a refusal raised: an error handler, or what
    stands around the guarded view. It is the same for every request to an endpoint.
    """
    endpoint = current_request().endpoint
    known = state.left_to_host.get((endpoint, guarded, reason))
    if known is None:
        app, refusal = state.authenticator.app, reason()
        known = state.left_to_host[endpoint, guarded, reason] = (
            app.view_functions.get(endpoint or "") is not guarded
            or app.trap_http_exception(refusal)
            or app._find_error_handler(refusal, request.blueprints) is not None
        )
    return known


def guard_on(function: Any) -> Guard | None:
    """Return the guard that a function carries, its own or of a function below it."""
    guard = getattr(function, _GUARD, None)
    return guard if isinstance(guard, Guard) else None


def is_guarded(function: Any) -> bool:
    """Tell whether a function is a guarded view itself, not a decorator's around one."""
    return getattr(function, _GUARDED, None) is function
