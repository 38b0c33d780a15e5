"""Which keys a list has, and in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from . import tokens
from .models import ACTIVE, EXPIRED, REVOKED, ApiKey
from .texts import LONGEST_SEARCH, fold, is_storable, public_id, without_secret

CURRENT = "current"
ALL = "all"
STATUSES = (CURRENT, ACTIVE, EXPIRED, REVOKED, ALL)

SORTS = ("name", "-name", "last_used", "-last_used", "expires", "-expires", "created", "-created")
NEWEST_FIRST = "-created"

_KEY_ID_START = re.compile(rf"[0-9A-Za-z]{{1,{tokens.ID_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys of an organisation to list, and in which order.

    :param status: one of :data:`STATUSES`. ``"current"`` is all but the revoked.
    :param search: part of a name, in whatever case, or the start of an id or key. ``""``: any.
    :param sort: one of :data:`SORTS`; a leading ``-`` turns the order round.
    :raises ValueError: for another status or sort.
    """

    status: str = CURRENT
    search: str = ""
    sort: str = NEWEST_FIRST

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is one of {', '.join(STATUSES)}, not {self.status!r}")
        if self.sort not in SORTS:
            raise ValueError(f"sort is one of {', '.join(SORTS)}, not {self.sort!r}")

    def conditions(
        self, key: type[ApiKey], *, now: datetime, prefix: str
    ) -> list[sa.ColumnElement[bool]]:
        """Return what holds of the selected keys.

        :param key: the mapped class.
        :param now: an aware time, to tell the expired from the active.
        :param prefix: the prefix of keys, which a search may begin with.
        """
        unexpired = sa.or_(key.expires_at.is_(None), key.expires_at > now)
        by_status: dict[str, list[sa.ColumnElement[bool]]] = {
            CURRENT: [key.revoked_at.is_(None)],
            ACTIVE: [key.revoked_at.is_(None), unexpired],
            EXPIRED: [key.revoked_at.is_(None), key.expires_at <= now],
            REVOKED: [key.revoked_at.is_not(None)],
            ALL: [],
        }
        conditions = by_status[self.status]
        if self.search:
            conditions.append(_matches(key, self.search, prefix))
        return conditions

    def order(self, key: type[ApiKey]) -> tuple[sa.ColumnElement[Any], ...]:
        """Return what the selected keys are sorted by.

        :param key: the mapped class.
        """
        # Databases differ in where they sort NULL. Never used is before all, never expiring after.
        ascending: dict[str, list[Any]] = {
            "name": [key.folded_name],
            "last_used": [key.last_used_at.is_not(None), key.last_used_at],
            "expires": [key.expires_at.is_(None), key.expires_at],
            "created": [key.created_at],
        }
        columns = [*ascending[self.sort.removeprefix("-")], key.id]
        if self.sort.startswith("-"):
            return tuple(column.desc() for column in columns)
        return tuple(column.asc() for column in columns)


def _matches(key: type[ApiKey], search: str, prefix: str) -> sa.ColumnElement[bool]:
    if len(search) > LONGEST_SEARCH or not is_storable(search):
        return sa.false()
    search = without_secret(search, prefix)
    match: sa.ColumnElement[bool] = key.folded_name.contains(fold(search), autoescape=True)
    start = public_id(search, prefix)
    if _KEY_ID_START.fullmatch(start):
        # Not LIKE, which ignores case on SQLite.
        match = sa.or_(match, sa.func.substr(key.id, 1, len(start)) == start)
    return match
