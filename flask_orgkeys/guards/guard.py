"""Guards for views: ``require_key``, ``require_scope``, and the wall between organisations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction, ismethod, unwrap
from typing import Any, ParamSpec, TypeVar, overload
from weakref import WeakSet

from flask import Request, Response, after_this_request, current_app, has_request_context
from flask.views import View

from .. import errors, signals
from ..authentication.outcome import Accepted, Rejected
from ..host import LoaderFailed, reason_of_failure
from ..keys.database import UNANSWERED
from ..state import AppState, state_of
from .access_rule import reason_to_refuse
from .current import current_request, outcome_of
from .expiry_header import announce_end, withdraw_end
from .marks import GUARD
from .recording import note_accepted, note_refused
from .refusals import prepared_answer
from .wall import organization_of_request

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", bound=type[View])

logger: logging.Logger = logging.getLogger(__name__)

guarded_functions: WeakSet[Any] = WeakSet()
"""Every guarded function that was made outside of a request, for ``flask orgkeys check``."""

POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


@dataclass(frozen=True, slots=True)
class Guard:
    """The demands of a view.

    :param scopes: all of which a key must hold; none: any valid key will do.
    :param organization: the variable that holds the organisation; ``None``: that of
        ``ORGKEYS_ORG_ARG``, if the request has it.
    """

    scopes: tuple[str, ...]
    organization: str | None = None

    @overload
    def __call__(self, view: V) -> V: ...
    @overload
    def __call__(self, view: Callable[P, R]) -> Callable[P, R]: ...
    def __call__(self, view: Any) -> Any:
        """Guard a view function, an ``async def`` one, or a class-based view."""
        if isinstance(view, type):
            return self._guard_class(view)

        is_async = iscoroutinefunction(view)
        names = _positional_names(view)

        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            state, carrier = state_of(), current_request()
            if carrier.method == "OPTIONS" and _is_preflight(carrier):
                return current_app.make_default_options_response()
            outcome = outcome_of(state, carrier)
            reason: type[errors.RequestRefused] | None
            if isinstance(outcome, Rejected):
                reason = outcome.reason
            else:
                arguments = {**dict(zip(names, args, strict=False)), **kwargs} if args else kwargs
                reason = self._reason_to_refuse(state, carrier, outcome, arguments)
            if reason is not None:
                if outcome.at is not None:
                    note_refused(state, carrier, outcome, reason, self.scopes)
                return self._refuse(state, carrier, reason, outcome.key_id, guarded, args)
            if isinstance(outcome, Accepted):
                announce_end(state, carrier, outcome)
                note_accepted(state, carrier, outcome, self.scopes, guarded)
            if is_async:
                return current_app.ensure_sync(view)(*args, **kwargs)
            return view(*args, **kwargs)

        inner = guard_on(view)
        if not has_request_context():
            guarded_functions.add(guarded)
        setattr(guarded, GUARD, self if inner is None else both(self, inner))
        return guarded

    @property
    def __orgkeys_guard__(self) -> Guard:
        """Itself: in a class's ``method_decorators`` it is the mark of the guard that it makes."""
        return self

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
        self,
        state: AppState,
        carrier: Request,
        outcome: Accepted,
        arguments: Mapping[str, Any],
    ) -> type[errors.RequestRefused] | None:
        try:
            organization_id = organization_of_request(state, carrier, self.organization, arguments)
        except (LoaderFailed, *UNANSWERED) as error:
            why = reason_of_failure(error, state.settings.prefix)
            logger.error("the organisation of a request cannot be loaded: %s", why)
            return errors.Unavailable
        return reason_to_refuse(
            outcome.scopes,
            self.scopes,
            owner=outcome.stored.organization_id,
            organization_id=organization_id,
        )

    def _refuse(
        self,
        state: AppState,
        carrier: Request,
        reason: type[errors.RequestRefused],
        key_id: str | None,
        guarded: Any,
        arguments: tuple[Any, ...],
    ) -> Response | None:
        """Answer a refused request, or raise the refusal, if something of the host's is to see it:
        an error handler, or a decorator or class framework around the guarded view.

        Mostly nothing is, and then an answer made before is as good, for a tenth of the cost of
        raising: refusals come in floods.
        """
        app, endpoint = state.authenticator.app, carrier.endpoint or ""
        withdraw_end(carrier)
        is_outermost = app.view_functions.get(endpoint) is guarded
        prepared = None
        if is_outermost:
            prepared = prepared_answer(state, carrier, endpoint, reason, self.scopes)
        if prepared is not None and not signals.request_refused.receivers:
            return prepared.response()
        refusal = reason(state.settings.realm, self.scopes)
        signals.request_refused.send(
            app, _async_wrapper=app.ensure_sync, error=refusal, key_id=key_id
        )
        if prepared is not None:
            return refusal.get_response()
        if not is_outermost and _close_websocket(carrier, arguments, refusal):
            return None
        keeps_body = state.settings.problem_details == "always"
        after_this_request(refusal.answer_instead if keeps_body else refusal.keep_protocol_headers)
        raise refusal


def require_scope(*scopes: str, organization: str | None = None) -> Guard:
    """Guard a view: the request's key must hold all of ``scopes``, by exact match.

    Put it below the route, so that the route gets the guarded view::

        @app.post("/api/o/<org_slug>/deployments")
        @require_scope("project:deploy")
        def deploy(org_slug): ...

    If the URL has the organisation, or the view is called with it, the key must belong to it, too.

    :param scopes: at least one scope the app declares in ``ORGKEYS_SCOPES``.
    :param organization: the variable that holds the organisation, if it is not the one of
        ``ORGKEYS_ORG_ARG``. A request without it is an error, and does not reach the view.
    :raises TypeError: without a scope, or with one that is no text.

    .. versionadded:: 0.1.0
    """
    if not scopes or not all(isinstance(scope, str) for scope in scopes):
        raise TypeError(
            'require_scope needs at least one scope: write @require_scope("project:deploy"), or '
            "@require_key if any valid key will do."
        )
    return Guard(tuple(dict.fromkeys(scopes)), _checked_variable(organization))


@overload
def require_key(view: V, /) -> V: ...
@overload
def require_key(view: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def require_key(*, organization: str | None = None) -> Guard: ...
def require_key(view: Any = None, /, *, organization: str | None = None) -> Any:
    """Guard a view: the request must carry a valid key, with whatever scopes.

    If the URL has the organisation, or the view is called with it, the key must belong to it, too.
    Write ``@require_key``, or ``@require_key(organization="team_id")``.

    :param organization: as for :func:`require_scope`.
    :raises TypeError: for anything else than a view.

    .. versionadded:: 0.1.0
    """
    guard = Guard((), _checked_variable(organization))
    if view is None:
        return guard
    if not callable(view):
        raise TypeError(
            f"require_key guards a view, not {view!r}: write @require_key, or "
            '@require_scope("project:deploy") to demand a scope.'
        )
    return guard(view)


# In a class's ``method_decorators``, the mark of the guard that it makes.
setattr(require_key, GUARD, Guard(()))


def both(outer: Guard, inner: Guard) -> Guard:
    """Return the demands of two guards on one view together."""
    scopes = dict.fromkeys((*outer.scopes, *inner.scopes))
    return Guard(tuple(scopes), outer.organization or inner.organization)


def guard_on(function: Any) -> Guard | None:
    """Return the guard that a function carries, its own or of a function below it, or that it is,
    as an item of a class's ``decorators``.
    """
    guard = getattr(function, GUARD, None)
    return guard if isinstance(guard, Guard) else None


def _checked_variable(organization: str | None) -> str | None:
    if organization is None or (isinstance(organization, str) and organization.isidentifier()):
        return organization
    raise TypeError(
        f"organization is {organization!r}: write the name of the URL variable that holds the "
        'organisation, like organization="team_id".'
    )


def _positional_names(view: Any) -> tuple[str, ...]:
    """Return the names of a view's positional parameters, as its caller sees them."""
    code = getattr(unwrap(view), "__code__", None)
    if code is None:
        return ()
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names[1:] if ismethod(view) else names


def _is_preflight(carrier: Request) -> bool:
    """Tell whether an OPTIONS request asks for CORS, and so carries no credentials."""
    headers = carrier.headers
    return "Origin" in headers and "Access-Control-Request-Method" in headers


def _close_websocket(
    carrier: Request, arguments: tuple[Any, ...], refusal: errors.RequestRefused
) -> bool:
    """Close the connection of a WebSocket endpoint that was accepted above the guard, as Flask-Sock
    does: an HTTP answer would be sent into it. Tell whether there was one.
    """
    if carrier.url_rule is None or not carrier.url_rule.websocket or not arguments:
        return False
    socket = arguments[0]
    if not all(callable(getattr(socket, name, None)) for name in ("send", "receive", "close")):
        return False
    socket.close(POLICY_VIOLATION, refusal.problem_code)
    return True
