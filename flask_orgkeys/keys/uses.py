"""The uses of keys, as they were recorded: one row for each key, endpoint and outcome."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import KeyNotFound
from .models import KeyUse

if TYPE_CHECKING:
    from .store import Store

ACCEPTED = "accepted"

ENDED_OUTCOMES = ("revoked_key", "expired_key")
"""The outcomes of a key that has ended."""

ROTATED_OUTCOME = "rotated_key"

REFUSED_OUTCOMES = (
    *ENDED_OUTCOMES,
    ROTATED_OUTCOME,
    "insufficient_scope",
    "organization_not_found",
)
"""The refusals of a right secret: only those are recorded, so that a stranger cannot write."""

MAX_USES_PER_KEY = 200
"""How many rows a key has at most."""


def list_uses(store: Store, organization_id: Any, key_id: str) -> Sequence[KeyUse]:
    """Return the uses of a key, newest first.

    :raises KeyNotFound: if the organisation has no such key.
    """
    if store.get(organization_id, key_id) is None:
        raise KeyNotFound(key_id)
    return uses_by_key(store, [key_id])[key_id]


def uses_by_key(store: Store, key_ids: Collection[str]) -> Mapping[str, Sequence[KeyUse]]:
    """Return the uses of each of several keys, newest first, by one query.

    :param key_ids: ids of keys that the caller has found in the organisation.
    """
    found: dict[str, list[KeyUse]] = {key_id: [] for key_id in key_ids}
    if not found:
        return found
    use = store.models.KeyUse
    statement = (
        sa.select(use)
        .where(use.key_id.in_(found))
        .order_by(use.last_at.desc(), use.endpoint, use.outcome)
        # Rows are written past the session, which may have read them before.
        .execution_options(populate_existing=True)
    )
    for row in store.session.scalars(statement):
        found[row.key_id].append(row)
    return found
