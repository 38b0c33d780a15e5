"""The key of the current request: found once a request, and kept on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

from flask import (
    Flask,
    Request,
    Response,
    after_this_request,
    has_request_context,
    request,
    request_tearing_down,
)
from flask import globals as globals_of_flask
from werkzeug.local import LocalProxy

from .. import signals
from ..authentication.outcome import Accepted, AuthenticatedKey, Rejected
from ..state import AppState, state_of
from .marks import leads_to_guard
from .wall import loaded_organizations

_OUTCOMES = "_orgkeys_outcomes"


class Vetoed(NamedTuple):
    """A receiver of ``key_authenticated`` has raised an error."""

    error: BaseException


def current_request() -> Request:
    """Return the request itself: each access through Flask's proxy is dearer than one to it."""
    return request._get_current_object()  # type: ignore[attr-defined, no-any-return]


def request_hook(state: AppState) -> Callable[[], None]:
    """Return the function that runs before each request: it authenticates one that carries a key of
    ours, and never answers.
    """

    def authenticate_request() -> None:
        carrier = current_request()
        header = carrier.environ.get("HTTP_AUTHORIZATION")
        if header is not None and state.authenticator.is_ours(header):
            del header
            outcome_of(state, carrier)

    return authenticate_request


def outcome_of(state: AppState, carrier: Request) -> Accepted | Rejected:
    """Return the outcome for a request, found on first use.

    It is kept on the request, not on ``g``: that lives as long as the app context, which a test
    or a command may have pushed around several requests. And by app: a request may look into the
    context of another app, whose keys are not its own.

    A receiver of ``key_authenticated`` that raises vetoes the key for the whole request, whoever
    asked first and has caught its error.
    """
    outcomes: dict[Flask, Accepted | Rejected | Vetoed] | None
    outcomes = getattr(carrier, _OUTCOMES, None)
    if outcomes is None:
        outcomes = {}
        setattr(carrier, _OUTCOMES, outcomes)
    app = state.authenticator.app
    outcome = outcomes.get(app)
    if outcome is None:
        outcome = state.authenticator.authenticate(
            carrier.environ.get("HTTP_AUTHORIZATION"), partial(_waits_for_guard, state, carrier)
        )
        outcomes[app] = outcome
        if isinstance(outcome, Accepted) and (
            outcome.has_use or signals.key_authenticated.receivers
        ):
            try:
                _note_accepted(state, carrier, outcome)
            except BaseException as error:
                outcomes[app] = Vetoed(error)
                raise
    elif isinstance(outcome, Vetoed):
        raise outcome.error
    return outcome


def _note_accepted(state: AppState, carrier: Request, outcome: Accepted) -> None:
    app = state.authenticator.app
    if outcome.has_use:
        if _waits_for_guard(state, carrier):
            # The guard has it written, along with its own note; or somebody answers before.
            after_this_request(partial(_write_left_over, state))
        else:
            write_uses(state)
    if signals.key_authenticated.receivers:
        signals.key_authenticated.send(app, _async_wrapper=app.ensure_sync, key=outcome.key)


def _waits_for_guard(state: AppState, carrier: Request) -> bool:
    view = state.authenticator.app.view_functions.get(carrier.endpoint or "")
    return state.recorder.is_on and leads_to_guard(view, carrier.method)


def write_uses(state: AppState) -> None:
    """Have the uses written as soon as that delays nobody."""
    state.authenticator.lookup.write_now()
    if has_request_context() and _is_in_older_app_context():
        request_tearing_down.connect(_write_waiting_uses, state.authenticator.app)


def _write_left_over(state: AppState, response: Response) -> Response:
    write_uses(state)
    return response


def _current_key() -> AuthenticatedKey | None:
    if not has_request_context():
        return None
    outcome = outcome_of(state_of(), current_request())
    return outcome.key if isinstance(outcome, Accepted) else None


def _current_organization() -> Any:
    if not has_request_context():
        return None
    state, carrier = state_of(), current_request()
    loaded = loaded_organizations(carrier)
    outcome = outcome_of(state, carrier) if loaded else None
    if not isinstance(outcome, Accepted):
        return None
    owner = outcome.stored.organization_id
    own = (
        each.organization
        for each in loaded
        if each.host is state.host
        if each.organization is not None and each.organization_id == owner
    )
    return next(own, None)


class Current(LocalProxy[Any]):
    """A proxy for a value of the current request, ``None`` if it has none.

    :param missing: the text of the error if an attribute is read then.
    """

    __slots__ = ("_missing",)

    def __init__(self, find: Callable[[], Any], missing: str) -> None:
        super().__init__(find)
        object.__setattr__(self, "_missing", missing)

    def __getattr__(self, name: str) -> Any:
        value = self._get_current_object()
        if value is None and not hasattr(None, name):
            raise AttributeError(self._missing, name=name)
        return getattr(value, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the value: a proxy has none in another process."""
        return self._get_current_object().__reduce_ex__(protocol)


current_key: AuthenticatedKey = cast(
    AuthenticatedKey,
    Current(
        _current_key,
        "this request carries no valid API key: guard the view with @require_key or "
        "@require_scope, or ask 'if current_key:' first.",
    ),
)
"""The :class:`AuthenticatedKey` of the current request; falsy if it carries no valid key."""

current_organization: Any = Current(
    _current_organization,
    "no guard of this request has loaded an organisation: guard the view with @require_key or "
    "@require_scope on a URL that has the organisation, or ask 'if current_organization:' first.",
)
"""The organisation of the current request: the object that the organization loader returned to its
guard, so that the view need not load it again. Falsy if no guard has let the key pass the wall.

.. versionadded:: 0.1.0
"""


def limiter_key() -> str:
    """Return the id of the request's key; without a valid one, the address of the client.

    A ``key_func`` for Flask-Limiter, which may be initialised before this extension. Made-up and
    wrong keys count for their address, so guessing opens no fresh allowance::

        limiter = Limiter(orgkeys.limiter_key, default_limits=["1000 per hour"])

    Behind a proxy the address is the proxy's, unless the app runs Werkzeug's ``ProxyFix``.

    .. versionadded:: 0.1.0
    """
    return current_key.id if current_key else request.remote_addr or "127.0.0.1"


def _write_waiting_uses(app: Flask, **_: object) -> None:
    """Write uses that wait for the host's session, if the app context, and the session with it,
    outlives the request.
    """
    if _is_in_older_app_context():
        state_of(app).authenticator.lookup.write_uses()


def _is_in_older_app_context() -> bool:
    # Flask up to 3.1 runs a request in an app context that is there already, and tells it here
    # alone. Later ones, of which vars() has no request_ctx, push one for each request.
    proxy: Any = vars(globals_of_flask).get("request_ctx")
    pushed: list[tuple[Any, Any]] = getattr(proxy, "_cv_tokens", [])
    return bool(pushed) and pushed[0][1] is None
