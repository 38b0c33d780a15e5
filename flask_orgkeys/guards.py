"""Guards for views: ``require_key``, ``require_scope``, and the wall between organisations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, overload

import sqlalchemy as sa
from flask import Flask, Request, Response, after_this_request, current_app, request
from flask.views import MethodView, View
from werkzeug.routing import Rule

from . import errors, signals
from .auth import Accepted, Rejected, carries_bearer
from .current import current_request, outcome_of
from .errors import ConfigurationError
from .keytable import StoredKey
from .scopes import undeclared
from .state import AppState, state_of

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", bound=type[View])

logger: logging.Logger = logging.getLogger("flask_orgkeys")

UNANSWERED = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.InternalError,
    sa.exc.PendingRollbackError,
    sa.exc.ProgrammingError,
    sa.exc.TimeoutError,
)
"""What SQLAlchemy raises where a database cannot be asked: refused, gone, read-only, without the
table, within a transaction that has failed already, or with no connection left in the pool.
"""

_GUARD = "__orgkeys_guard__"
_GUARDED = "__orgkeys_guarded__"
_PASSES_GUARDED = "__orgkeys_passes_guarded__"


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
            if is_async:
                return current_app.ensure_sync(view)(*args, **kwargs)
            return view(*args, **kwargs)

        inner = _guard_on(view)
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
            is_own = _is_in_own_organization(state, carrier, key)
        except UNANSWERED as error:
            logger.error("the organisation of a request cannot be loaded: %s", error)
            return errors.Unavailable
        if not is_own:
            return errors.OrganizationNotFound
        return None if key.scopes.issuperset(self.scopes) else errors.InsufficientScope

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


def guard_of(view: Any, method: str) -> Guard | None:
    """Return the guard on a registered view function for one HTTP method, if there is one."""
    guards = [guard for layer in _layers(view, method) if (guard := _guard_on(layer))]
    if not guards:
        return None
    return Guard(tuple(dict.fromkeys(scope for guard in guards for scope in guard.scopes)))


def guarded_rules(app: Flask) -> Iterator[tuple[Rule, str, Guard]]:
    """Return the guarded URL rules of an app with each method they take, in the app's order.

    HEAD and OPTIONS, which Flask adds by itself, are left out.
    """
    for rule, method, guard in _all_guarded_rules(app):
        if method not in ("HEAD", "OPTIONS"):
            yield rule, method, guard


def check_declared_scopes(app: Flask) -> None:
    """Check that every guard of an app demands declared scopes only.

    :raises ConfigurationError: naming the view and the scope.
    """
    declared = state_of(app).settings.scopes
    for rule, _, guard in _all_guarded_rules(app):
        unknown = undeclared(guard.scopes, declared)
        if unknown:
            raise ConfigurationError(
                f"the view {rule.endpoint!r} requires the scope {unknown[0]!r}, which "
                f"ORGKEYS_SCOPES does not declare. It declares {', '.join(map(repr, declared))}."
            )


def required_scopes(app: Flask) -> set[str]:
    """Return the scopes that an app's guards require."""
    return {scope for _, _, guard in _all_guarded_rules(app) for scope in guard.scopes}


def unused_scopes(app: Flask) -> list[str]:
    """Return the declared scopes that no guard of an app requires, in their order."""
    required = required_scopes(app)
    return [scope for scope in state_of(app).settings.scopes if scope not in required]


def exempt_guarded_views_from_csrf(app: Flask) -> None:
    """Let Flask-WTF's ``CSRFProtect`` pass requests to guarded views.

    Its own ``exempt`` goes by the view's module and name, which an unguarded view may share.
    """
    csrf = app.extensions.get("csrf")
    if csrf is None or hasattr(csrf.protect, _PASSES_GUARDED):
        return
    protect = csrf.protect

    @wraps(protect)
    def protect_unless_guarded(apply_exemptions: bool = False) -> None:
        if not (apply_exemptions and _is_beyond_forgery()):
            protect(apply_exemptions=apply_exemptions)

    setattr(protect_unless_guarded, _PASSES_GUARDED, True)
    csrf.protect = protect_unless_guarded


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


def _is_beyond_forgery() -> bool:
    """Tell whether no other site can make a browser send the current request to any effect.

    No cookie opens a guard. A decorator of the host's above it, though, may bear its mark by
    ``functools.wraps`` and still let a cookie in: there it takes an ``Authorization`` header, which
    no form of another site can send.
    """
    layers = _layers(current_app.view_functions.get(request.endpoint or ""), request.method)
    guarded = [layer for layer in layers if _guard_on(layer)]
    if any(getattr(layer, _GUARDED) is layer for layer in guarded):
        return True
    return bool(guarded) and carries_bearer(request.headers.get("Authorization"))


def _all_guarded_rules(app: Flask) -> Iterator[tuple[Rule, str, Guard]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        for method in sorted(rule.methods or ()):
            guard = guard_of(view, method)
            if guard is not None:
                yield rule, method, guard


def _guard_on(function: Any) -> Guard | None:
    guard = getattr(function, _GUARD, None)
    return guard if isinstance(guard, Guard) else None


def _layers(view: Any, method: str) -> Iterator[Any]:
    """Give what a request to a registered view function runs through, as far as is known."""
    yield view
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return
    yield view_class.dispatch_request
    if issubclass(view_class, MethodView):
        handler = getattr(view_class, method.lower(), None)
        if handler is None and method == "HEAD":
            handler = getattr(view_class, "get", None)
        yield handler


def _is_in_own_organization(state: AppState, carrier: Request, key: StoredKey) -> bool:
    name = state.settings.org_arg
    rule = carrier.url_rule
    if rule is None or name not in rule.arguments:
        return True
    arguments = carrier.view_args or {}
    if name not in arguments:
        # A host's url_value_preprocessor may have taken it out.
        arguments = matched_arguments()
    organization = state.host.load_organization(arguments[name])
    return organization is not None and organization.id == key.organization_id


def matched_arguments() -> dict[str, Any]:
    """Return the variables of the request's URL, also those that a host's
    ``url_value_preprocessor`` has taken out of ``request.view_args``.
    """
    adapter = current_app.create_url_adapter(request._get_current_object())  # type: ignore[attr-defined]
    return {} if adapter is None else dict(adapter.match()[1])
