"""The end of a key: revocation, and the pruning of rows that ended long ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import signals
from ..errors import KeyNotFound
from .events import Actor
from .models import IDEMPOTENCY_KEY, KEY_PRUNED, KEY_REVOKED, ApiKey
from .selection import CURRENT, Selection
from .times import to_utc

if TYPE_CHECKING:
    from .store import Store

ROWS_AT_ONCE = 500


def revoke(store: Store, organization_id: Any, key_id: str, *, actor: Actor) -> bool:
    """Revoke a key and add the audit record, and flush both.

    :return: ``True`` if this revoked it, ``False`` if it was revoked already.
    :raises KeyNotFound: if the organisation has no such key.
    """
    key = store.get(organization_id, key_id)
    if key is None:
        raise KeyNotFound(key_id)
    now = datetime.now(UTC)
    # The database decides, so that of two at once the first stays.
    result: Any = store.session.execute(
        sa.update(store.models.ApiKey)
        .where(*store.is_(organization_id, key_id), store.models.ApiKey.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=store.recorded(actor))
        .execution_options(synchronize_session=False)
    )
    if result.rowcount == 0:
        # Read under a lock: MariaDB's snapshot may be from before the other revocation.
        store.session.refresh(key, with_for_update={"read": True})
        return False
    store.session.refresh(key)
    store.record(organization_id, key_id, KEY_REVOKED, now, actor)
    store.session.flush()
    store.send(signals.key_revoked, key)
    return True


def revoke_all(
    store: Store, organization_id: Any, selection: Selection, *, actor: Actor
) -> list[ApiKey]:
    """Revoke all selected keys that are not yet, and add their audit records, and flush both.

    :param selection: its status and order do not count.
    :return: the keys that this revoked; the others keep their first time and actor.
    """
    now = datetime.now(UTC)
    current = replace(selection, status=CURRENT)
    store.locks.hold_sqlite()
    # By their ids: a search under locks would lock all that MariaDB looks at.
    ids = store.session.scalars(
        sa.select(store.models.ApiKey.id)
        .where(*store.selects(organization_id, current, now))
        .order_by(store.models.ApiKey.id)
    ).all()
    revoked = []
    for start in range(0, len(ids), ROWS_AT_ONCE):
        for key in _locked(store, ids[start : start + ROWS_AT_ONCE]):
            if key.revoked_at is None:
                key.revoked_at = now
                key.revoked_by = store.recorded(actor)
                store.record(key.organization_id, key.id, KEY_REVOKED, now, actor)
                revoked.append(key)
        store.session.flush()
    for key in revoked:
        store.send(signals.key_revoked, key)
    return revoked


def count_ended(store: Store, ended_before: datetime) -> int:
    """Return the number of keys, of all organisations, that were revoked or expired before a time.

    :raises ValueError: if it has no time zone, or is yet to come.
    """
    ended = _is_ended(store.models.ApiKey, ended_before)
    count = sa.select(sa.func.count()).select_from(store.models.ApiKey).where(ended)
    return store.session.scalar(count) or 0


def prune(store: Store, ended_before: datetime, *, limit: int, actor: Actor) -> int:
    """Delete keys that were revoked or expired before a time, of all organisations, and add
    their audit records, and flush both.

    :param limit: the largest number of keys.
    :return: the number of keys.
    :raises ValueError: if the time has no zone or is yet to come, or the limit is under 1.
    """
    if limit < 1:
        raise ValueError("limit must be 1 or more")
    key_class = store.models.ApiKey
    now = datetime.now(UTC)
    ended = _is_ended(key_class, ended_before)
    store.locks.hold_sqlite()
    ids = store.session.scalars(
        sa.select(key_class.id).where(ended).order_by(key_class.id).limit(limit)
    ).all()
    keys = _locked(store, ids)
    for key in keys:
        # Its form stays known: sent again, it makes no second key.
        form = key.idempotency_key
        details = None if form is None else {IDEMPOTENCY_KEY: form}
        store.record(key.organization_id, key.id, KEY_PRUNED, now, actor, details)
    store.session.flush()
    pruned = [key.id for key in keys]
    # Not left to the foreign keys, which SQLite may not enforce.
    for dependent in (store.models.KeyUse, store.models.Notice):
        store.session.execute(sa.delete(dependent).where(dependent.key_id.in_(pruned)))
    store.session.execute(sa.delete(key_class).where(key_class.id.in_(pruned)))
    return len(keys)


def _locked(store: Store, ids: Sequence[str]) -> Sequence[ApiKey]:
    """Return the keys that still exist, in their newest state and locked for this transaction."""
    key = store.models.ApiKey
    statement = sa.select(key).where(key.id.in_(ids)).order_by(key.id).with_for_update()
    return store.session.scalars(statement.execution_options(populate_existing=True)).all()


def _is_ended(key: type[ApiKey], before: datetime) -> sa.ColumnElement[bool]:
    before = to_utc(before, "ended_before")
    if before > datetime.now(UTC):
        raise ValueError("ended_before is yet to come: keys that are alive would be deleted")
    return sa.or_(key.revoked_at < before, key.expires_at < before)
