"""Answers from the recorded uses: may this key be revoked, and what breaks?

Values without words for people: pages and commands have those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from .models import ACTIVE, ApiKey, KeyUse
from .uses import (
    ACCEPTED,
    ENDED_OUTCOMES,
    MAX_USES_PER_KEY,
    ROTATED_OUTCOME,
    uses_by_key,
)

if TYPE_CHECKING:
    from .store import Store

RECENT = timedelta(days=7)
IN_USE_DAYS = 7
QUIET_DAYS = 90
UNUSED_SINCE = timedelta(days=90)
UNUSED_MIN_AGE = timedelta(days=30)

IN_USE = "in_use"
QUIET = "quiet"
UNUSED = "unused"
NEVER_USED = "never_used"
ENDED = "ended"
NOT_RECORDED = "not_recorded"


@dataclass(frozen=True, slots=True)
class Refusals:
    """The recent refused uses of a key.

    :param uses: how many, at least.
    :param last: the latest of them: its time, outcome, endpoint, address and scopes.
    """

    uses: int
    last: KeyUse

    @property
    def last_at(self) -> datetime:
        """The time of the latest."""
        return self.last.last_at

    @property
    def outcome(self) -> str:
        """The outcome of the latest."""
        return self.last.outcome


@dataclass(frozen=True, slots=True)
class UseVerdict:
    """The effect of a revocation.

    :param kind: :data:`IN_USE`, :data:`QUIET`, :data:`UNUSED`, :data:`NEVER_USED`, :data:`ENDED`
        or :data:`NOT_RECORDED`.
    :param last_used_at: the last accepted use, if one is known.
    :param days: the whole days since then.
    :param last: the row of the last accepted use, for the client; ``None`` if there is none.
    :param recent: the accepted uses of the last 7 days, newest first: these fail at once.
    """

    kind: str
    last_used_at: datetime | None = None
    days: int | None = None
    last: KeyUse | None = None
    recent: tuple[KeyUse, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeNeed:
    """The last time that an accepted use needed a scope.

    :param scope: one that the key holds.
    :param last_at: the last time; ``None`` if none is recorded.
    :param is_never: whether the record is complete, so that none means never.
    """

    scope: str
    last_at: datetime | None
    is_never: bool


@dataclass(frozen=True, slots=True)
class Attempts:
    """Uses of something that has ended: a revoked key, or the secret before.

    :param uses: how many, at least; 0 if nobody has tried.
    :param last: the latest of them, or ``None``.
    """

    uses: int = 0
    last: KeyUse | None = None


@dataclass(frozen=True, slots=True)
class Insight:
    """All that the uses of one key tell.

    :param uses: all of them, newest first.
    :param verdict: what a revocation would break.
    :param scopes: each scope of the key with its last need, in the key's order.
    :param recorded_since: the time from which the record is complete; ``None``: unknown.
    :param since_revocation: uses of the key after it was revoked.
    :param of_old_secret: recent refused uses of a secret that a rotation has replaced.
    """

    uses: Sequence[KeyUse]
    verdict: UseVerdict
    scopes: tuple[ScopeNeed, ...]
    recorded_since: datetime | None
    since_revocation: Attempts
    of_old_secret: Attempts

    @property
    def accepted(self) -> list[KeyUse]:
        """The accepted uses, newest first: what the key calls."""
        return [use for use in self.uses if use.outcome == ACCEPTED]

    @property
    def refused(self) -> list[KeyUse]:
        """The refused uses, newest first."""
        return [use for use in self.uses if use.outcome != ACCEPTED]


def insight(store: Store, key: ApiKey, now: datetime) -> Insight:
    """Return all that the uses of a key tell, by one query.

    :param key: one that the caller has found in the organisation.
    :param now: an aware time.
    """
    return insights(store, [key], now)[key.id]


def insights(store: Store, keys: Iterable[ApiKey], now: datetime) -> Mapping[str, Insight]:
    """Return the insight into each of several keys, by one query.

    :param keys: keys that the caller has found in the organisation.
    """
    by_id = {key.id: key for key in keys}
    is_recording = store.settings.last_used_step is not None
    return {
        key_id: _insight(by_id[key_id], uses, now, is_recording=is_recording)
        for key_id, uses in uses_by_key(store, by_id).items()
    }


def recent_refusals(store: Store, keys: Iterable[ApiKey], now: datetime) -> Mapping[str, Refusals]:
    """Return the refused uses of the last 7 days by key, for a page of keys, by one query. Keys
    without any are left out.

    Of an ended key only those count that came after its end ("still called"), of a living one the
    others ("refused").

    :param keys: keys that the caller has found in the organisation.
    """
    by_id = {key.id: key for key in keys}
    if not by_id:
        return {}
    use = store.models.KeyUse
    statement = (
        sa.select(use)
        .where(use.key_id.in_(by_id), use.outcome != ACCEPTED, use.last_at > now - RECENT)
        .order_by(use.last_at.desc())
        .execution_options(populate_existing=True)
    )
    found: dict[str, list[KeyUse]] = {}
    for row in store.session.scalars(statement):
        if (row.outcome in ENDED_OUTCOMES) == (by_id[row.key_id].status(now) != ACTIVE):
            found.setdefault(row.key_id, []).append(row)
    since = now - RECENT
    return {key_id: Refusals(_at_least(rows, since), rows[0]) for key_id, rows in found.items()}


def _insight(key: ApiKey, uses: Sequence[KeyUse], now: datetime, *, is_recording: bool) -> Insight:
    recorded_since = _recorded_since(key, uses)
    return Insight(
        uses=uses,
        verdict=_verdict(key, uses, now, is_recording=is_recording),
        scopes=_scope_needs(key, uses, is_recording=is_recording),
        recorded_since=recorded_since,
        since_revocation=_attempts(uses, "revoked_key", key.revoked_at),
        of_old_secret=_attempts(uses, ROTATED_OUTCOME, now - RECENT),
    )


def _recorded_since(key: ApiKey, uses: Sequence[KeyUse]) -> datetime | None:
    if key.uses_recorded_since is not None:
        return key.uses_recorded_since
    return min((use.first_at for use in uses), default=None)


def _verdict(
    key: ApiKey, uses: Sequence[KeyUse], now: datetime, *, is_recording: bool
) -> UseVerdict:
    accepted = [use for use in uses if use.outcome == ACCEPTED]
    last = accepted[0] if accepted else None
    times = [key.last_used_at, last.last_at if last else None]
    last_used_at = max((time for time in times if time is not None), default=None)
    days = None if last_used_at is None else max((now - last_used_at).days, 0)
    kind = _kind(key, days, now, is_recording=is_recording)
    recent = [use for use in accepted if (now - use.last_at).days <= IN_USE_DAYS]
    is_in_use = kind == IN_USE
    return UseVerdict(kind, last_used_at, days, last, tuple(recent) if is_in_use else ())


def _kind(key: ApiKey, days: int | None, now: datetime, *, is_recording: bool) -> str:
    if key.status(now) != ACTIVE:
        return ENDED
    if not is_recording:
        return NOT_RECORDED
    if days is None:
        # A key from before the recording may have been used.
        return NOT_RECORDED if key.uses_recorded_since is None else NEVER_USED
    if days <= IN_USE_DAYS:
        return IN_USE
    return QUIET if days <= QUIET_DAYS else UNUSED


def _scope_needs(
    key: ApiKey, uses: Sequence[KeyUse], *, is_recording: bool
) -> tuple[ScopeNeed, ...]:
    last: dict[str, datetime] = {}
    for use in reversed(uses):
        if use.outcome == ACCEPTED:
            last.update(dict.fromkeys(use.scopes, use.last_at))
    # A full record has lost rows, maybe the one that says otherwise.
    is_complete = (
        is_recording and _recorded_since(key, uses) is not None and len(uses) < MAX_USES_PER_KEY
    )
    return tuple(
        ScopeNeed(scope, last.get(scope), is_complete and scope not in last) for scope in key.scopes
    )


def _attempts(uses: Sequence[KeyUse], outcome: str, since: datetime | None) -> Attempts:
    if since is None:
        return Attempts()
    found = [use for use in uses if use.outcome == outcome and use.last_at >= since]
    return Attempts(_at_least(found, since), found[0]) if found else Attempts()


def _at_least(uses: Sequence[KeyUse], since: datetime) -> int:
    # A row that began before counts earlier uses, too: one of them is known to be later.
    return sum(use.uses if use.first_at >= since else 1 for use in uses)
