"""Rotation: a new secret for a key, while the one before works on for an overlap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import signals, tokens
from ..errors import KeyEnded, KeyNotFound, RotationConflict, RotationNotAllowed
from .database import is_conflict
from .document import timestamp
from .ending import revoke
from .models import ACTIVE, KEY_ROTATED, PREVIOUS_ENDED, ApiKey
from .store import IssuedKey
from .times import is_past, to_utc

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


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a key's rotation as authentication read it.

    :param is_previous: whether the request was sent with the secret before.
    :param unconfirmed_since: the last rotation, if its new secret was not used yet.
    """

    is_previous: bool
    unconfirmed_since: datetime | None

    def is_before_rotation_of(self, key: ApiKey) -> bool:
        """Tell whether the key was rotated since, and its new secret not used."""
        is_other = self.unconfirmed_since != key.rotated_at
        return key.confirmed_at is None and (not self.is_previous or is_other)


def rotate(
    store: Store,
    organization_id: Any,
    key_id: str,
    *,
    overlap: timedelta,
    expires_at: datetime | None,
    actor: Actor,
    after: str | None = None,
    token: tokens.Token | None = None,
) -> IssuedKey:
    """Give a key a new secret and add the audit record, and flush both.

    :param after: the last rotation that the caller knows of, by :func:`marker_of`.
    :param token: the new secret; by default a random one.
    :raises ValueError: if an argument is not as described.
    :raises KeyNotFound: if the organisation has no such key.
    :raises KeyEnded: if the key was revoked or has expired.
    :raises RotationConflict: if another rotation came in between.
    """
    terms = Terms.checked(store, overlap, expires_at)
    key = _read_living(store, organization_id, key_id, after)
    return _replace_secret(store, key, terms, actor, token, keeps_previous=_is_unconfirmed)


def rotate_by_holder(
    store: Store,
    organization_id: Any,
    token: tokens.Token,
    *,
    overlap: timedelta,
    actor: Actor,
    seen: Seen,
) -> IssuedKey:
    """Give a key a new secret at the request of its holder, and flush. The new expiry keeps the
    length that the key had.

    The request is itself the first use of the secret that it was sent with, so the current one
    moves up. With the secret before, a holder recovers from a lost answer, until the first use of
    the new one.

    :param token: the key as the request carries it.
    :param seen: the state of the rotation when the request was authenticated.
    :raises RotationNotAllowed: if the key may not rotate itself, or not by this secret.
    :raises KeyNotFound: as :func:`rotate` does.
    :raises KeyEnded: as :func:`rotate` does.
    :raises RotationConflict: as :func:`rotate` does.
    """
    key = _read_living(store, organization_id, token.id, after=None)

    def is_recovery(key: ApiKey) -> bool:
        digest = _digest_of(store, key, token)
        is_current = digest is not None and digest is key.digest
        if not is_current and seen.is_before_rotation_of(key):
            raise RotationConflict(key.id)
        is_alive = digest is not None and has_living_previous(key, datetime.now(UTC))
        may_recover = is_alive and _is_unconfirmed(key)
        if not key.may_rotate_itself or not (is_current or may_recover):
            raise RotationNotAllowed
        return not is_current

    terms = Terms(overlap, _as_long_as_before(key, datetime.now(UTC)))
    return _replace_secret(store, key, terms, actor, None, keeps_previous=is_recovery)


def end_by_holder(store: Store, token: tokens.Token, *, actor: Actor) -> bool:
    """Revoke the key of a current secret, or end a secret before alone, and flush.

    :return: whether the secret is one of the key's. If not, nothing happens.
    """
    key = store.session.get(store.models.ApiKey, token.id, populate_existing=True)
    if key is None or _digest_of(store, key, token) is None:
        return False
    # Again under the lock: a rotation may have moved the secret up, and the key goes on then.
    store.locks.hold_sqlite()
    store.session.refresh(key, with_for_update=True)
    digest = _digest_of(store, key, token)
    if digest is not None and digest is key.digest:
        revoke(store, key.organization_id, key.id, actor=actor)
    elif digest is not None:
        end_previous(store, key.organization_id, key.id, actor=actor, digest=digest)
    return digest is not None


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


def _digest_of(store: Store, key: ApiKey, token: tokens.Token) -> str | None:
    peppers = store.settings.peppers
    return tokens.matching(token.secret, key.digest, key.previous_digest, peppers)


def _as_long_as_before(key: ApiKey, now: datetime) -> datetime | None:
    """Return the expiry that gives a key as long as it had from its last rotation or creation."""
    if key.expires_at is None:
        return None
    try:
        return now + (key.expires_at - (key.rotated_at or key.created_at))
    except OverflowError:
        return key.expires_at


def _rotation_of(marker: str) -> datetime | None:
    """Return the time of the rotation that a marker names, or ``None`` if it names none."""
    try:
        rotated_at = datetime.fromisoformat(marker)
    except ValueError:
        return None
    return rotated_at if rotated_at.tzinfo is not None else None


def _is_unconfirmed(key: ApiKey) -> bool:
    return key.previous_digest is not None and key.confirmed_at is None


def _read_living(store: Store, organization_id: Any, key_id: str, after: str | None) -> ApiKey:
    """Return a living key as it is now, without a lock.

    Two rotations at once must both read the same: the second would otherwise take the first for an
    earlier one, and replace its new secret, which was never used. Then nobody would have the secret
    that the first caller was given.
    """
    begun = datetime.now(UTC)
    store.check_organization(organization_id)
    store.session.flush()
    with _conflicts_named(key_id):
        key, has_waited = _read(store, organization_id, key_id)
    if key is None:
        raise KeyNotFound(key_id)
    if key.status(datetime.now(UTC)) != ACTIVE:
        raise KeyEnded(key_id)
    if after not in (None, marker_of(key.rotated_at)):
        raise RotationConflict(key_id)
    if key.rotated_at is not None and (has_waited or begun < key.rotated_at <= datetime.now(UTC)):
        # Rotated since this began: it waited for a connection, or for SQLite's one writer. A later
        # time is no sign of it. It is the clock of another machine, or one that was set back.
        raise RotationConflict(key_id)
    return key


@contextmanager
def _conflicts_named(key_id: str) -> Iterator[None]:
    """Have the conflicts that a database tells raised as those of a rotation."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if is_conflict(error):
            raise RotationConflict(key_id) from error
        raise


def _read(store: Store, organization_id: Any, key_id: str) -> tuple[ApiKey | None, bool]:
    """Return a key, read without a lock, and whether that may have waited for another change."""
    if not isinstance(key_id, str) or not re.fullmatch(tokens.ID_PATTERN, key_id):
        return None, False
    conditions = store.is_(organization_id, key_id)
    waits = _reads_wait(store) and _is_locked(store, conditions)
    statement = sa.select(store.models.ApiKey).where(*conditions)
    return store.session.scalar(statement.execution_options(populate_existing=True)), waits


def _reads_wait(store: Store) -> bool:
    """Tell whether plain reads wait for the locks of others: on MariaDB, if serialisable."""
    connection = store.locks.connection()
    is_mariadb = connection.dialect.name in ("mysql", "mariadb")
    return is_mariadb and connection.get_isolation_level() == "SERIALIZABLE"


def _is_locked(store: Store, conditions: Iterable[sa.ColumnElement[bool]]) -> bool:
    statement = sa.select(store.models.ApiKey.id).where(*conditions)
    try:
        store.session.execute(statement.with_for_update(nowait=True))
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "args", ())[:1] == (_LOCK_WAIT_TIMEOUT,):
            return True
        raise
    return False


def _replace_secret(
    store: Store,
    key: ApiKey,
    terms: Terms,
    actor: Actor,
    token: tokens.Token | None,
    *,
    keeps_previous: Callable[[ApiKey], bool],
) -> IssuedKey:
    """Write a new secret over the state of the key that was read.

    :param keeps_previous: decides, for a state of the key, whether the secret before stays.
    """
    now = datetime.now(UTC)
    token = token or tokens.generate(store.settings.prefix, key.id)
    was = timestamp(key.expires_at)
    is_kept = keeps_previous(key)
    values = _new_values(store, key, terms, token, now, keeps_previous=is_kept)
    if not _write(store, key, values):
        # Used for the first time, or hashed anew. It is locked by now, so the next one is written.
        return _replace_secret(store, key, terms, actor, token, keeps_previous=keeps_previous)
    store.session.refresh(key)
    details = {
        "expires_at": timestamp(key.expires_at),
        "previous_until": timestamp(key.previous_until),
        "kept_previous": is_kept,
        "was": {"expires_at": was},
    }
    store.record(key.organization_id, key.id, KEY_ROTATED, now, actor, details)
    store.session.flush()
    store.send(signals.key_rotated, key)
    return IssuedKey(key, str(token))


def _new_values(
    store: Store,
    key: ApiKey,
    terms: Terms,
    token: tokens.Token,
    now: datetime,
    *,
    keeps_previous: bool,
) -> dict[str, Any]:
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
    return values


def _write(store: Store, key: ApiKey, values: dict[str, Any]) -> bool:
    """Write values over the state of a key that was read, if it still is in that state.

    :return: ``False`` if it is used or hashed anew since; it is read again then, under a lock.
    :raises KeyEnded: if it was revoked since.
    :raises RotationConflict: if it was rotated since.
    """
    columns = store.models.ApiKey
    rotated_at = key.rotated_at
    is_unconfirmed: sa.ColumnElement[bool] = columns.confirmed_at.is_(None)
    update = (
        sa.update(columns)
        .where(
            columns.id == key.id,
            columns.digest == key.digest,
            is_unconfirmed if key.confirmed_at is None else ~is_unconfirmed,
            columns.revoked_at.is_(None),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    with _conflicts_named(key.id):
        result: Any = store.session.execute(update)
        if result.rowcount:
            return True
        store.session.refresh(key, with_for_update=True)
    if key.revoked_at is not None:
        raise KeyEnded(key.id)
    if key.rotated_at != rotated_at:
        raise RotationConflict(key.id)
    return False


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
