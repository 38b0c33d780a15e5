"""Queries of the audit record: the events of an organisation, newest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..tokens import ID_PATTERN
from .cleaning import LONGEST_SEARCH
from .models import ACTIONS, KeyEvent
from .organization_ids import EVERY_ORGANIZATION, LARGEST_INTEGER, equals
from .redaction import public_id
from .texts import fold, is_storable
from .times import to_utc

if TYPE_CHECKING:
    from .store import Store

ROWS_AT_ONCE = 500

_KEY_ID = re.compile(ID_PATTERN)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of an organisation to list.

    :param key_id: of one key. ``None``: of any.
    :param action: one of :data:`~flask_orgkeys.keys.models.ACTIONS`. ``None``: any.
    :param since: an aware time, from which on. ``None``: from the beginning.
    :param text: the start of a key's id, or a part of the name of a key or of an actor. ``""``:
        any.
    :raises ValueError: for another action, or a time without a zone.
    """

    key_id: str | None = None
    action: str | None = None
    since: datetime | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.action is not None and self.action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, not {self.action!r}")
        if self.since is not None:
            to_utc(self.since, "since")


def list_events(
    store: Store,
    organization_id: Any,
    filter_: EventFilter,
    *,
    limit: int | None = None,
    offset: int = 0,
) -> Sequence[KeyEvent]:
    """Return events of the organisation, newest first.

    :raises ValueError: for a negative limit or offset, or an id that the column cannot hold.
    """
    if offset < 0 or (limit is not None and limit < 0):
        raise ValueError("limit and offset must not be negative")
    statement = (
        _select(store, organization_id, filter_)
        .limit(None if limit is None else min(limit, LARGEST_INTEGER))
        .offset(min(offset, LARGEST_INTEGER))
    )
    return store.session.scalars(statement).all()


def each_event(store: Store, organization_id: Any, filter_: EventFilter) -> Iterator[KeyEvent]:
    """Give the events that :func:`list_events` returns, a few of them in memory at a time.

    :param organization_id: also
        :data:`~flask_orgkeys.keys.organization_ids.EVERY_ORGANIZATION`.
    """
    statement = _select(store, organization_id, filter_)
    yield from store.session.scalars(statement.execution_options(yield_per=ROWS_AT_ONCE))


def iterate_events(store: Store, organization_id: Any, filter_: EventFilter) -> Iterator[KeyEvent]:
    """Give the events of the organisation, newest first, a portion at a time."""
    event = store.models.KeyEvent
    statement = (
        sa.select(event)
        .where(*_conditions(store, organization_id, filter_))
        .order_by(event.occurred_at.desc(), event.id.desc())
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    yield from store.session.scalars(statement)


def count_events(store: Store, organization_id: Any, filter_: EventFilter) -> int:
    """Return the number of events that :func:`list_events` would return without a limit.

    :raises ValueError: for an id that the column cannot hold.
    """
    conditions = _conditions(store, organization_id, filter_)
    count = sa.select(sa.func.count()).select_from(store.models.KeyEvent).where(*conditions)
    return store.session.scalar(count) or 0


def keys_of(store: Store, organization_id: Any, events: Iterable[KeyEvent]) -> dict[str, str]:
    """Map the ids of the events' keys to their names. Those of pruned keys are left out."""
    key = store.models.ApiKey
    ids = {event.key_id for event in events}
    conditions = _is_of(store, key, organization_id)
    statement = sa.select(key.id, key.name).where(*conditions, key.id.in_(ids))
    return {row.id: row.name for row in store.session.execute(statement)}


def _select(store: Store, organization_id: Any, filter_: EventFilter) -> sa.Select[Any]:
    event = store.models.KeyEvent
    return (
        sa.select(event)
        .where(*_conditions(store, organization_id, filter_))
        .order_by(event.occurred_at.desc(), event.id.desc())
    )


def _conditions(
    store: Store, organization_id: Any, filter_: EventFilter
) -> list[sa.ColumnElement[bool]]:
    event = store.models.KeyEvent
    conditions = _is_of(store, event, organization_id)
    if filter_.key_id is not None:
        # Any other text is no id. MariaDB ignores spaces at the end of one.
        is_id = isinstance(filter_.key_id, str) and _KEY_ID.fullmatch(filter_.key_id)
        conditions.append(event.key_id == filter_.key_id if is_id else sa.false())
    if filter_.action is not None:
        conditions.append(event.action == filter_.action)
    if filter_.since is not None:
        conditions.append(event.occurred_at >= filter_.since.astimezone(UTC))
    if filter_.text:
        conditions.append(_matches(store, organization_id, filter_.text))
    return conditions


def _matches(store: Store, organization_id: Any, text: str) -> sa.ColumnElement[bool]:
    if len(text) > LONGEST_SEARCH or not is_storable(text) or not store.takes(text):
        return sa.false()
    event, key = store.models.KeyEvent, store.models.ApiKey
    start = public_id(text.strip(), store.settings.prefix)
    named = sa.select(key.id).where(
        *_is_of(store, key, organization_id),
        key.folded_name.contains(fold(text), autoescape=True),
    )
    return sa.or_(
        # Not LIKE, which ignores case on SQLite.
        sa.func.substr(event.key_id, 1, len(start)) == start if start else sa.false(),
        event.key_id.in_(named),
        event.actor.contains(text.strip(), autoescape=True),
        # Case does not matter as far as every database knows it.
        sa.func.lower(event.actor).contains(text.strip().lower(), autoescape=True),
    )


def _is_of(store: Store, mapped: type[Any], organization_id: Any) -> list[sa.ColumnElement[bool]]:
    if organization_id is EVERY_ORGANIZATION:
        return []
    store.check_organization(organization_id)
    return [equals(mapped.organization_id, organization_id)]
