"""A guard's decision about a key, without a request: nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..config.scopes import granted
from ..errors import InvalidKey, RequestRefused
from ..keys.models import ApiKey
from ..state import AppState
from ..tokens import Token
from .access_rule import ANY, reason_to_refuse


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for a key.

    :param refusal: the exception of a guard, or ``None`` if it would let the key pass.
    :param key: the stored key, if the secret is right.
    :param is_previous: whether the secret is the one before the last rotation.
    """

    refusal: type[RequestRefused] | None
    key: ApiKey | None = None
    is_previous: bool = False


def dry_run(
    state: AppState, token: Token | None, *, scopes: Iterable[str] = (), organization_id: Any = ANY
) -> Verdict:
    """Decide about a key as a guard does.

    :param token: the presented key; ``None`` if it was malformed.
    :param scopes: those that the guard would require.
    :param organization_id: that of the URL.
    """
    if token is None:
        return Verdict(InvalidKey)
    key = state.host.session.get(state.keys.models.ApiKey, token.id, populate_existing=True)
    digest = state.authenticator.digest_of(token, key)
    if key is None or digest is None:
        return Verdict(InvalidKey)
    refusal = state.authenticator.reason_to_reject(key, digest, datetime.now(UTC))
    if refusal is None:
        refusal = reason_to_refuse(
            granted(frozenset(key.scopes), state.settings.scopes),
            scopes,
            owner=key.organization_id,
            organization_id=organization_id,
        )
    return Verdict(refusal, key, is_previous=digest != key.digest)
