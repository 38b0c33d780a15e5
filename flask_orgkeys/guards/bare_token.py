"""A guard's decision about a token at hand, for code that has no view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import has_request_context

from .. import signals, tokens
from ..authentication.outcome import Accepted, Rejected
from ..errors import InvalidKey, MissingKey
from ..keys.uses import ACCEPTED, REFUSED_OUTCOMES
from .access_rule import reason_to_refuse
from .current import current_request, write_uses

if TYPE_CHECKING:
    from ..authentication.outcome import AuthenticatedKey
    from ..errors import RequestRefused
    from ..state import AppState


def authenticate(
    state: AppState,
    token: str | None,
    *,
    scopes: tuple[str, ...],
    organization_id: Any,
    endpoint: str | None,
) -> AuthenticatedKey:
    """Decide about a token as a guard does, and note the use.

    :param organization_id: of the organisation that the key must belong to, or ``ANY``.
    :param endpoint: the name under which the use counts; ``None``: it is a last use alone.
    :raises RequestRefused: if a guard would refuse it.
    """
    outcome = _outcome(state, token)
    # No traceback is to hold it.
    del token
    reason = _reason(outcome, scopes, organization_id)
    _note(state, outcome, reason, scopes, endpoint)
    app = state.authenticator.app
    if reason is not None or isinstance(outcome, Rejected):
        refusal = (reason or InvalidKey)(state.settings.realm, scopes)
        signals.request_refused.send(
            app, _async_wrapper=app.ensure_sync, error=refusal, key_id=outcome.key_id
        )
        raise refusal
    key: AuthenticatedKey = outcome.key
    signals.key_authenticated.send(app, _async_wrapper=app.ensure_sync, key=key)
    return key


def _outcome(state: AppState, token: str | None) -> Accepted | Rejected:
    if not token:
        return Rejected(MissingKey)
    parsed = tokens.parse(token, state.settings.prefix) if isinstance(token, str) else None
    if parsed is None:
        return Rejected(InvalidKey)
    return state.authenticator.authenticate_token(parsed)


def _reason(
    outcome: Accepted | Rejected, scopes: tuple[str, ...], organization_id: Any
) -> type[RequestRefused] | None:
    if isinstance(outcome, Rejected):
        return outcome.reason
    owner = outcome.stored.organization_id
    return reason_to_refuse(outcome.scopes, scopes, owner=owner, organization_id=organization_id)


def _note(
    state: AppState,
    outcome: Accepted | Rejected,
    reason: type[RequestRefused] | None,
    scopes: tuple[str, ...],
    endpoint: str | None,
) -> None:
    code = ACCEPTED if reason is None else reason.problem_code
    key_id, at, recorder = outcome.key_id, outcome.at, state.recorder
    is_proven = reason is None or code in REFUSED_OUTCOMES
    if not is_proven:
        return
    if recorder.is_on and endpoint is not None and key_id is not None and at is not None:
        recorder.note((key_id, endpoint, code), scopes, at, *_client())
    write_uses(state)


def _client() -> tuple[str | None, dict[str, Any]]:
    if not has_request_context():
        return None, {}
    carrier = current_request()
    return carrier.remote_addr, carrier.environ
