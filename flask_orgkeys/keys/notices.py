"""Notices: the keys and secrets that end soon, and the ended keys that are still called.

A mark says that a notice was told. It belongs to a key, a kind and an end, so that the new expiry
of a rotation is told anew. Marks have no foreign key: MariaDB would lock the key's row with it, and
a revocation would wait for the receivers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from .database import is_conflict
from .times import as_utc

if TYPE_CHECKING:
    from .store import Store

EXPIRING = "expiring"
EXPIRED_STILL_CALLED = "expired_still_called"
PREVIOUS_ENDING = "previous_secret_ending"

STILL_CALLED = timedelta(days=7)
"""The age of a refused use up to which an ended key counts as still called."""

ROWS_AT_ONCE = 500

_OUTCOMES = {EXPIRING: "accepted", EXPIRED_STILL_CALLED: "expired_key"}
"""The outcome of the uses that a notice is about."""


class Mark(NamedTuple):
    """A notice that was told.

    :param ends_at: the end that it was about.
    :param days: its threshold; ``None`` for a key that is still called.
    """

    ends_at: datetime | None
    days: int | None

    def silences(self, notice: Notice) -> bool:
        """Tell whether a notice of the same key and kind is not to follow it."""
        if notice.days is None:
            return True
        is_as_near = self.days is not None and self.days <= notice.days
        return self.ends_at == notice.ends_at and is_as_near


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key that may be due for a notice. Times are aware.

    :param expired_called_at: the last refused use of the expired key, if one was recorded lately.
    :param marks: by kind, the notices that were told.
    """

    key_id: str
    name: str
    created_at: datetime
    created_by: str | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rotated_at: datetime | None = None
    previous_until: datetime | None = None
    previous_used_at: datetime | None = None
    last_used_at: datetime | None = None
    expired_called_at: datetime | None = None
    marks: Mapping[str, Mark] = field(default_factory=dict)

    def has_ended(self, now: datetime) -> bool:
        """Tell whether the key is expired, at its expiry already."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice about a key.

    :param kind: ``"expiring"``, ``"expired_still_called"`` or ``"previous_secret_ending"``.
    :param key_id: the public id.
    :param name: the name of the key.
    :param ends_at: the end that it is about, aware and in UTC.
    :param days: the threshold that was reached, in days; ``None`` for ``"expired_still_called"``.
    :param created_by: the creator of the key, as the host names its users.
    :param last_used_at: the last use, aware and in UTC; ``None`` if none is recorded. Of an expired
        key it is the last refused one; with ``"previous_secret_ending"``, that of the old secret.
    :param last_used_from: the network address of that use, if it is recorded; never with
        ``"previous_secret_ending"``.

    .. versionadded:: 0.1.0
    """

    kind: str
    key_id: str
    name: str
    ends_at: datetime
    days: int | None
    created_by: str | None = None
    last_used_at: datetime | None = None
    last_used_from: str | None = None


def due(key: Candidate, now: datetime, thresholds: Sequence[int]) -> list[Notice]:
    """Return the notices that are due for a key: of each kind the nearest threshold, once.

    :param now: an aware time.
    :param thresholds: in days.
    """
    if key.revoked_at is not None:
        return []
    return [notice for notice in _reached(key, now, thresholds) if not _is_told(key, notice)]


def _reached(key: Candidate, now: datetime, thresholds: Sequence[int]) -> Iterator[Notice]:
    if key.has_ended(now):
        if key.expired_called_at is not None and key.expires_at is not None:
            yield _notice(key, EXPIRED_STILL_CALLED, key.expires_at, None, key.expired_called_at)
        return
    began = key.created_at if key.rotated_at is None else max(key.created_at, key.rotated_at)
    ends = [(EXPIRING, key.expires_at, key.last_used_at)]
    if key.rotated_at is not None:
        ends.append((PREVIOUS_ENDING, key.previous_until, key.previous_used_at))
    for kind, ends_at, last_used_at in ends:
        days = _nearest(began, ends_at, now, thresholds)
        if ends_at is not None and days is not None:
            yield _notice(key, kind, ends_at, days, last_used_at)


def _nearest(
    began: datetime, ends_at: datetime | None, now: datetime, thresholds: Sequence[int]
) -> int | None:
    """Return the shortest threshold that is reached and shorter than the whole life, if any."""
    if ends_at is None or ends_at <= now:
        return None
    lives_longer = (days for days in thresholds if timedelta(days) < ends_at - began)
    return min((days for days in lives_longer if ends_at - now <= timedelta(days)), default=None)


def _is_told(key: Candidate, notice: Notice) -> bool:
    mark = key.marks.get(notice.kind)
    return mark is not None and mark.silences(notice)


def _notice(
    key: Candidate,
    kind: str,
    ends_at: datetime,
    days: int | None,
    last_used_at: datetime | None,
) -> Notice:
    return Notice(
        kind=kind,
        key_id=key.key_id,
        name=key.name,
        ends_at=ends_at,
        days=days,
        created_by=key.created_by,
        last_used_at=last_used_at,
    )


def organizations(store: Store, now: datetime, thresholds: Sequence[int]) -> list[Any]:
    """Return the ids of the organisations with a key that may be due, in their order."""
    organization_id = store.models.key_table.c.organization_id
    statement = (
        sa.select(organization_id)
        .where(_may_be_due(store, now, thresholds))
        .distinct()
        .order_by(organization_id)
    )
    return list(store.session.scalars(statement, bind_arguments=_bind(store)))


def due_in(
    store: Store, organization_id: Any, now: datetime, thresholds: Sequence[int]
) -> list[Notice]:
    """Return the notices that are due for an organisation's keys, by the id of the key."""
    notices = [
        notice
        for key in _candidates(store, organization_id, now, thresholds)
        for notice in due(key, now, thresholds)
    ]
    return _with_addresses(store, notices)


def claim(store: Store, notices: Sequence[Notice], now: datetime) -> list[Notice]:
    """Mark notices as told, in the transaction of the session, and return those that this marked:
    another run at the same time may have been first, and is waited for.
    """
    claimed: list[Notice] = []
    # Outside of a transaction, SQLite would commit with the first savepoint.
    store.locks.hold_sqlite()
    for start in range(0, len(notices), ROWS_AT_ONCE):
        claimed += _claim_portion(store, notices[start : start + ROWS_AT_ONCE], now)
    return claimed


def claim_due(
    store: Store,
    organization_id: Any,
    now: datetime,
    thresholds: Sequence[int],
    retries: int = 2,
) -> list[Notice]:
    """Find the notices that are due for an organisation, and mark them. The caller commits.

    Done again if another run was in its way: no receiver has been asked by then.
    """
    try:
        return claim(store, due_in(store, organization_id, now, thresholds), now)
    except sa.exc.DBAPIError as error:
        store.session.rollback()
        if not retries or not is_conflict(error):
            raise
    return claim_due(store, organization_id, now, thresholds, retries - 1)


def forget_deleted(store: Store) -> None:
    """Delete the marks of keys that are no more, in the session's transaction."""
    mark, key = store.models.Notice, store.models.ApiKey
    orphaned = sa.delete(mark).where(~sa.exists().where(key.id == mark.key_id))
    store.session.execute(orphaned.execution_options(synchronize_session=False))


def _claim_portion(store: Store, notices: Sequence[Notice], now: datetime) -> Sequence[Notice]:
    try:
        with store.session.begin_nested():
            _claim_together(store, notices, now)
    except sa.exc.IntegrityError:
        # Another run has marked some of them.
        return [notice for notice in notices if _claim(store, notice, now)]
    return notices


def _claim_together(store: Store, notices: Sequence[Notice], now: datetime) -> None:
    """Mark all of the notices, in two statements.

    :raises sqlalchemy.exc.IntegrityError: if one was told meanwhile.
    """
    mark = store.models.notice_table
    marks = _marks(store, [notice.key_id for notice in notices])
    outdated = [
        (notice.key_id, notice.kind, told.ends_at, told.days)
        for notice in notices
        if (told := marks.get(notice.key_id, {}).get(notice.kind)) and not told.silences(notice)
    ]
    if outdated:
        # By their values, so that the newer mark of another run stays, and the insertion fails.
        values = sa.tuple_(mark.c.key_id, mark.c.kind, mark.c.ends_at, mark.c.days)
        store.session.execute(
            sa.delete(mark).where(values.in_(outdated)), bind_arguments=_bind(store)
        )
    rows = [_row(notice, now) for notice in notices]
    store.session.execute(sa.insert(mark), rows, bind_arguments=_bind(store))


def _claim(store: Store, notice: Notice, now: datetime) -> bool:
    mark = store.models.Notice
    is_farther = sa.or_(mark.ends_at != notice.ends_at, mark.days > notice.days)
    result: Any = store.session.execute(
        sa.update(mark)
        .where(mark.key_id == notice.key_id, mark.kind == notice.kind, is_farther)
        .values(_row(notice, now))
        .execution_options(synchronize_session=False)
    )
    if result.rowcount:
        return True
    try:
        with store.session.begin_nested():
            store.session.execute(sa.insert(mark).values(_row(notice, now)))
    except sa.exc.IntegrityError:
        return False
    return True


def _row(notice: Notice, now: datetime) -> dict[str, Any]:
    return {
        "key_id": notice.key_id,
        "kind": notice.kind,
        "ends_at": notice.ends_at,
        "days": notice.days,
        "told_at": now,
    }


def _may_be_due(store: Store, now: datetime, thresholds: Sequence[int]) -> sa.ColumnElement[bool]:
    key = store.models.key_table.c
    horizon = now + timedelta(days=max(thresholds, default=0))
    ends_soon = sa.or_(
        key.expires_at.between(now, horizon), key.previous_until.between(now, horizon)
    )
    return sa.and_(
        key.revoked_at.is_(None),
        sa.or_(ends_soon, key.expires_at.is_not(None) & _is_still_called(store, now)),
    )


def _is_still_called(store: Store, now: datetime) -> sa.ColumnElement[bool]:
    key, use = store.models.key_table.c, store.models.use_table.c
    return sa.exists().where(
        use.key_id == key.id,
        use.outcome == "expired_key",
        use.last_at >= now - STILL_CALLED,
        key.expires_at <= now,
    )


def _candidates(
    store: Store, organization_id: Any, now: datetime, thresholds: Sequence[int]
) -> Iterator[Candidate]:
    """Give the keys that may be due in portions, as rows without the host's session."""
    last_id = ""
    while True:
        rows = _portion(store, organization_id, now, thresholds, last_id)
        ids = [row.id for row in rows]
        marks = _marks(store, ids)
        called = _expired_calls(store, ids, now)
        for row in rows:
            yield _candidate(row, marks.get(row.id, {}), called.get(row.id))
        if len(rows) < ROWS_AT_ONCE:
            return
        last_id = ids[-1]


def _portion(
    store: Store, organization_id: Any, now: datetime, thresholds: Sequence[int], last_id: str
) -> Sequence[Any]:
    key = store.models.key_table.c
    names = (
        *("id", "name", "created_by", "created_at", "expires_at", "revoked_at", "rotated_at"),
        *("previous_until", "previous_used_at", "last_used_at"),
    )
    statement = (
        sa.select(*(key[name] for name in names))
        .where(
            key.organization_id == organization_id,
            key.id > last_id,
            _may_be_due(store, now, thresholds),
        )
        .order_by(key.id)
        .limit(ROWS_AT_ONCE)
    )
    return store.session.execute(statement, bind_arguments=_bind(store)).all()


def _candidate(row: Any, marks: Mapping[str, Mark], called_at: datetime | None) -> Candidate:
    return Candidate(
        key_id=row.id,
        name=row.name,
        created_by=row.created_by,
        created_at=as_utc(row.created_at),
        expires_at=_aware(row.expires_at),
        revoked_at=_aware(row.revoked_at),
        rotated_at=_aware(row.rotated_at),
        previous_until=_aware(row.previous_until),
        previous_used_at=_aware(row.previous_used_at),
        last_used_at=_aware(row.last_used_at),
        expired_called_at=_aware(called_at),
        marks=marks,
    )


def _marks(store: Store, key_ids: Sequence[str]) -> dict[str, dict[str, Mark]]:
    mark = store.models.notice_table.c
    statement = sa.select(mark.key_id, mark.kind, mark.ends_at, mark.days)
    found: dict[str, dict[str, Mark]] = {}
    for row in store.session.execute(
        statement.where(mark.key_id.in_(key_ids)), bind_arguments=_bind(store)
    ):
        found.setdefault(row.key_id, {})[row.kind] = Mark(_aware(row.ends_at), row.days)
    return found


def _expired_calls(store: Store, key_ids: Sequence[str], now: datetime) -> dict[str, datetime]:
    use = store.models.use_table.c
    statement = (
        sa.select(use.key_id, sa.func.max(use.last_at))
        .where(
            use.key_id.in_(key_ids),
            use.outcome == "expired_key",
            use.last_at >= now - STILL_CALLED,
        )
        .group_by(use.key_id)
    )
    rows = store.session.execute(statement, bind_arguments=_bind(store)).all()
    return dict(tuple(row) for row in rows)


def _with_addresses(store: Store, notices: Sequence[Notice]) -> list[Notice]:
    addressed: list[Notice] = []
    for start in range(0, len(notices), ROWS_AT_ONCE):
        portion = notices[start : start + ROWS_AT_ONCE]
        addresses = _addresses(store, [notice.key_id for notice in portion])
        for notice in portion:
            use = notice.key_id, _OUTCOMES.get(notice.kind)
            addressed.append(replace(notice, last_used_from=addresses.get(use)))
    return addressed


def _addresses(store: Store, key_ids: Sequence[str]) -> dict[tuple[str, str | None], str | None]:
    """Return the address of the last use, by key and outcome."""
    use = store.models.use_table.c
    statement = (
        sa.select(use.key_id, use.outcome, use.address)
        .where(use.key_id.in_(key_ids), use.outcome.in_(_OUTCOMES.values()))
        .order_by(use.last_at)
    )
    rows = store.session.execute(statement, bind_arguments=_bind(store))
    return {(row.key_id, row.outcome): row.address for row in rows}


def _aware(moment: datetime | None) -> datetime | None:
    return None if moment is None else as_utc(moment)


def _bind(store: Store) -> dict[str, Any]:
    # Tables without a mapper may live in another bind.
    return {"mapper": store.models.ApiKey}
