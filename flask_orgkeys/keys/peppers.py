"""Plain digests, wrapped by a pepper without the keys' secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import tokens

if TYPE_CHECKING:
    from .store import Store

_COLUMNS = ("digest", "previous_digest")


def count_plain(store: Store) -> int:
    """Return how many keys, of all organisations, have a digest without a pepper."""
    count = sa.select(sa.func.count()).select_from(store.models.key_table)
    return store.session.scalar(count.where(_has_plain(store))) or 0


def wrap_plain(store: Store, pepper: bytes, *, after: str, limit: int) -> tuple[int, str | None]:
    """Put a digest with a pepper in the place of each plain one.

    What only looks like a plain digest is left: it is of no secret.

    :param after: the id after which to begin; ``""`` for the first keys.
    :param limit: how many keys at most.
    :return: the number of keys with a new digest, and the id of the last one that was looked at;
        ``None`` if there was none.
    """
    key = store.models.key_table.c
    rows = store.session.execute(
        sa.select(key.id, key.digest, key.previous_digest)
        .where(_has_plain(store), key.id > after)
        .order_by(key.id)
        .limit(limit)
    ).all()
    wrapped = 0
    for row in rows:
        changes = [_wrap(store, row.id, name, getattr(row, name), pepper) for name in _COLUMNS]
        wrapped += any(changes)
    return wrapped, rows[-1].id if rows else None


def _wrap(store: Store, key_id: str, name: str, digest: str | None, pepper: bytes) -> bool:
    if digest is None or not tokens.is_plain(digest):
        return False
    column = store.models.key_table.c[name]
    # Only over what was read: a use may have replaced it, or a rotation.
    result: Any = store.session.execute(
        sa.update(store.models.key_table)
        .where(store.models.key_table.c.id == key_id, column == digest)
        .values({name: tokens.wrap(digest, pepper)})
    )
    return bool(result.rowcount)


def _has_plain(store: Store) -> sa.ColumnElement[bool]:
    columns: Any = store.models.key_table.c
    return sa.or_(*(columns[name].like("sha256$%") for name in _COLUMNS))
