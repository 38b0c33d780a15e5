"""Rotation: a new secret for a key, while the one before works on for an overlap."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import signals, tokens
from ..errors import KeyEnded, KeyNotFound, RotationConflict
from .database import is_conflict
from .document import timestamp
from .models import ACTIVE, KEY_ROTATED, PREVIOUS_ENDED, ApiKey
from .store import IssuedKey
from .times import as_utc, is_past, to_utc

if TYPE_CHECKING:
    from .events import Actor
    from .store import Store

_NEVER = "never"
_TICK = timedelta(microseconds=1)
_LOCK_WAIT_TIMEOUT = 1205  # MariaDB


@dataclass(frozen=True, slots=True)
class Terms:
    """The checked terms of a rotation.

    :param overlap: the longest time for which the secret before works on.
    :param expires_at: the key's new expiry, aware and in UTC.
    """

    overlap: timedelta
    expires_at: datetime | None

    @classmethod
    def checked(cls, store: Store, overlap: timedelta, expires_at: datetime | None) -> Terms:
        """Return terms that are allowed.

        :raises ValueError: if the overlap is negative or too long, or the expiry has no time zone
            or is past.
        """
        if expires_at is not None:
            expires_at = to_utc(expires_at, "expires_at")
            if is_past(expires_at, datetime.now(UTC)):
                raise ValueError("expires_at must be in the future")
        longest = store.settings.longest_overlap
        if not isinstance(overlap, timedelta) or not timedelta(0) <= overlap <= longest:
            raise ValueError(
                f"overlap must be a timedelta from 0 to {longest}, the longest of "
                "ORGKEYS_ROTATION_OVERLAP_HOURS"
            )
        return cls(overlap, expires_at)


def rotate(
    store: Store,
    organization_id: Any,
    key_id: str,
    *,
    overlap: timedelta,
    expires_at: datetime | None,
    actor: Actor,
    after: str | None = None,
) -> IssuedKey:
    """Give a key a new secret and add the audit record, and flush both.

    :param after: the last rotation that the caller knows of, by :func:`marker_of`.
    :raises ValueError: if an argument is not as described.
    :raises KeyNotFound: if the organisation has no such key.
    :raises KeyEnded: if the key was revoked or has expired.
    :raises RotationConflict: if another rotation came in between.
    """
    terms = Terms.checked(store, overlap, expires_at)
    key = _locked(store, organization_id, key_id, after)
    return _replace_secret(store, key, terms, actor, keeps_previous=_is_unconfirmed(key))


def end_previous(
    store: Store,
    organization_id: Any,
    key_id: str,
    *,
    actor: Actor,
    after: str | None = None,
    digest: str | None = None,
) -> bool:
    """End the secret before the last rotation, add the audit record, and flush both.

    :param after: as for :func:`rotate`.
    :param digest: end the secret before only if it has this one.
    :return: ``True`` if this ended it, ``False`` if none was alive or the key is revoked.
    :raises KeyNotFound: if the organisation has no such key.
    """
    key = store.get(organization_id, key_id)
    if key is None:
        raise KeyNotFound(key_id)
    now = datetime.now(UTC)
    was = key.previous_until
    columns = store.models.key_table.c
    conditions = [columns.revoked_at.is_(None), columns.previous_until > now]
    if digest is not None:
        conditions.append(columns.previous_digest == digest)
    if after is not None:
        conditions.append(columns.rotated_at == _rotation_of(after))
    result: Any = store.session.execute(
        sa.update(store.models.ApiKey)
        .where(*store.is_(organization_id, key_id), *conditions)
        .values(previous_until=now)
        .execution_options(synchronize_session=False)
    )
    if result.rowcount == 0:
        # Read under a lock: MariaDB's snapshot may be from before another change.
        store.session.refresh(key, with_for_update={"read": True})
        return False
    store.session.refresh(key)
    details = {"was": {"previous_until": timestamp(was)}}
    store.record(organization_id, key_id, PREVIOUS_ENDED, now, actor, details)
    store.session.flush()
    store.send(signals.previous_secret_ended, key)
    return True


def marker_of(rotated_at: datetime | None) -> str:
    """Return the text that names a key's last rotation."""
    return timestamp(rotated_at) or _NEVER


def has_living_previous(key: ApiKey, now: datetime) -> bool:
    """Tell whether the secret before the last rotation works."""
    return (
        key.status(now) == ACTIVE
        and key.previous_digest is not None
        and not is_past(key.previous_until, now)
    )


def ends_oldest(key: ApiKey, now: datetime) -> bool:
    """Tell whether a rotation would end a living secret: the one before, as the current one takes
    its place.
    """
    return has_living_previous(key, now) and not _is_unconfirmed(key)


def _rotation_of(marker: str) -> datetime | None:
    try:
        return None if marker == _NEVER else datetime.fromisoformat(marker)
    except ValueError:
        return None


def _is_unconfirmed(key: ApiKey) -> bool:
    return key.previous_digest is not None and key.confirmed_at is None


def _locked(store: Store, organization_id: Any, key_id: str, after: str | None) -> ApiKey:
    """Return the living key, for this transaction alone to rotate.

    It is read twice: as it is now, and again under the lock, after the end of whoever has that. A
    rotation in between would otherwise be taken for an earlier one, and its new secret, which was
    never used, be replaced: then nobody would have the secret that the other caller was given.
    """
    begun = datetime.now(UTC)
    store.session.flush()
    try:
        seen, has_waited = _last_rotation(store, organization_id, key_id)
        store.locks.hold_sqlite()
        key = store.session.scalar(
            sa.select(store.models.ApiKey)
            .where(*store.is_(organization_id, key_id))
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    except sa.exc.DBAPIError as error:
        if is_conflict(error):
            raise RotationConflict(key_id) from error
        raise
    if key is None:
        raise KeyNotFound(key_id)
    if key.status(datetime.now(UTC)) != ACTIVE:
        raise KeyEnded(key_id)
    marker = marker_of(key.rotated_at)
    if marker != seen or after not in (None, marker):
        raise RotationConflict(key_id)
    if key.rotated_at is not None and (has_waited or _is_later(store, key.rotated_at, begun)):
        raise RotationConflict(key_id)
    return key


def _last_rotation(store: Store, organization_id: Any, key_id: str) -> tuple[str, bool]:
    """Return the marker of a key's last rotation, read without a lock, and whether the read may
    have waited for another change of the key.
    """
    if not isinstance(key_id, str) or not re.fullmatch(tokens.ID_PATTERN, key_id):
        raise KeyNotFound(key_id)
    key = store.models.ApiKey
    statement = sa.select(key.rotated_at).where(*store.is_(organization_id, key_id))
    waits = _reads_wait(store) and _is_locked(store, statement)
    row = store.session.execute(statement).one_or_none()
    if row is None:
        raise KeyNotFound(key_id)
    return marker_of(None if row[0] is None else as_utc(row[0])), waits


def _reads_wait(store: Store) -> bool:
    """Tell whether plain reads wait for the locks of others: on MariaDB, if serialisable."""
    connection = store.session.connection(bind_arguments={"mapper": store.models.ApiKey})
    is_mariadb = connection.dialect.name in ("mysql", "mariadb")
    return is_mariadb and connection.get_isolation_level() == "SERIALIZABLE"


def _is_locked(store: Store, statement: sa.Select[Any]) -> bool:
    try:
        store.session.execute(statement.with_for_update(nowait=True))
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "args", ())[:1] == (_LOCK_WAIT_TIMEOUT,):
            return True
        raise
    return False


def _is_later(store: Store, rotated_at: datetime, begun: datetime) -> bool:
    """Tell whether a rotation came after the time at which this one began.

    SQLite alone needs this, if the host begins every transaction as IMMEDIATE: then the first read
    waits already. Its processes share one clock.
    """
    connection = store.session.connection(bind_arguments={"mapper": store.models.ApiKey})
    return connection.dialect.name == "sqlite" and rotated_at > begun


def _replace_secret(
    store: Store, key: ApiKey, terms: Terms, actor: Actor, *, keeps_previous: bool
) -> IssuedKey:
    now = datetime.now(UTC)
    token = tokens.generate(store.settings.prefix, key.id)
    was = {"expires_at": timestamp(key.expires_at)}
    values = {
        "digest": tokens.digest(token.secret, store.settings.peppers),
        "expires_at": terms.expires_at,
        "previous_until": _end_of_previous(key, terms, now, keeps_previous=keeps_previous),
        # Never twice the same, so that a form can name the rotation it was shown after.
        "rotated_at": now if key.rotated_at is None else max(now, key.rotated_at + _TICK),
    }
    if not keeps_previous:
        moved_up = {"confirmed_at": None, "previous_used_at": None}
        values.update(moved_up, previous_digest=key.digest)
    result: Any = store.session.execute(
        sa.update(store.models.ApiKey)
        .where(
            store.models.ApiKey.id == key.id,
            store.models.ApiKey.digest == key.digest,
            store.models.ApiKey.revoked_at.is_(None),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if result.rowcount == 0:
        raise RotationConflict(key.id)
    store.session.refresh(key)
    details = {
        "expires_at": timestamp(key.expires_at),
        "previous_until": timestamp(key.previous_until),
        "kept_previous": keeps_previous,
        "was": was,
    }
    store.record(key.organization_id, key.id, KEY_ROTATED, now, actor, details)
    store.session.flush()
    store.send(signals.key_rotated, key)
    return IssuedKey(key, str(token))


def _end_of_previous(
    key: ApiKey, terms: Terms, now: datetime, *, keeps_previous: bool
) -> datetime | None:
    """Return the time at which the secret before ends: the earliest of the overlap's end, the
    expiry that the key had, and its new one. One that stays keeps its end, or ends now.
    """
    ends = [key.expires_at, terms.expires_at, now + terms.overlap]
    if keeps_previous:
        ends = [key.previous_until, terms.expires_at, None if terms.overlap else now]
    return min(end for end in ends if end is not None)
