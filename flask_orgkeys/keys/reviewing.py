"""The keys that deserve a look, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .insight import (
    NEVER_USED,
    RECENT,
    UNUSED,
    UNUSED_MIN_AGE,
    UNUSED_SINCE,
    Insight,
    insights,
    recent_refusals,
)
from .models import ACTIVE, ApiKey
from .selection import ALL, Selection

if TYPE_CHECKING:
    from .store import Store

KEYS_AT_ONCE = 200

UNUSED_KEY = "unused"
NO_EXPIRATION = "no_expiration"
SCOPES_NEVER_NEEDED = "scopes_never_needed"
ENDED_STILL_CALLED = "ended_still_called"
OLD_SECRET_STILL_CALLED = "old_secret_still_called"  # noqa: S105 - the name of a finding


@dataclass(frozen=True, slots=True)
class Review:
    """A key that deserves a look.

    :param findings: why, in this order: :data:`UNUSED_KEY`, :data:`NO_EXPIRATION`,
        :data:`SCOPES_NEVER_NEEDED`, :data:`ENDED_STILL_CALLED`, :data:`OLD_SECRET_STILL_CALLED`.
    :param never_needed: the scopes that it never needed.
    """

    key: ApiKey
    findings: tuple[str, ...]
    never_needed: tuple[str, ...] = ()


def review(store: Store, organization_id: Any, now: datetime) -> Iterator[Review]:
    """Give the keys that deserve a look, newest first, of an organisation or of every one.

    If last uses are not recorded, no finding is about uses.
    """
    selection = Selection(status=ALL)
    offset = 0
    while keys := store.select(
        organization_id, selection, now=now, limit=KEYS_AT_ONCE, offset=offset
    ):
        yield from _reviewed(store, keys, now)
        offset += len(keys)


def _reviewed(store: Store, keys: Sequence[ApiKey], now: datetime) -> Iterator[Review]:
    is_recorded = store.settings.last_used_step is not None
    found = insights(store, keys, now)
    refused = recent_refusals(store, keys, now)
    for key in keys:
        never_needed = _never_needed(found[key.id])
        is_active = key.status(now) == ACTIVE
        holds = {
            UNUSED_KEY: is_active and is_recorded and _is_unused(key, found[key.id], now),
            NO_EXPIRATION: is_active and key.expires_at is None,
            SCOPES_NEVER_NEEDED: is_active and is_recorded and bool(never_needed),
            ENDED_STILL_CALLED: not is_active and is_recorded and key.id in refused,
            OLD_SECRET_STILL_CALLED: is_active
            and is_recorded
            and _is_old_secret_called(key, found[key.id], now),
        }
        findings = tuple(finding for finding, is_true in holds.items() if is_true)
        if findings:
            scopes = never_needed if SCOPES_NEVER_NEEDED in findings else ()
            yield Review(key, findings, scopes)


def _is_unused(key: ApiKey, found: Insight, now: datetime) -> bool:
    if now - key.created_at < UNUSED_MIN_AGE:
        return False
    if found.verdict.kind == NEVER_USED:
        return True
    last_used_at = found.verdict.last_used_at
    return found.verdict.kind == UNUSED or (
        last_used_at is not None and now - last_used_at > UNUSED_SINCE
    )


def _never_needed(found: Insight) -> tuple[str, ...]:
    # Of a key that nobody has used yet, that says nothing about its scopes.
    if not found.accepted:
        return ()
    return tuple(need.scope for need in found.scopes if need.is_never)


def _is_old_secret_called(key: ApiKey, found: Insight, now: datetime) -> bool:
    used_at = key.previous_used_at
    return found.of_old_secret.uses > 0 or (used_at is not None and now - used_at <= RECENT)
