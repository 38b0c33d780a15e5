"""Which keys a list has, and in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .. import tokens
from ..config.scopes import is_scope_token
from .cleaning import LONGEST_SEARCH, clean_actor
from .models import ACTIVE, EXPIRED, REVOKED, ApiKey
from .redaction import public_id, without_secret
from .texts import fold, is_storable
from .times import to_utc

CURRENT = "current"
ALL = "all"
STATUSES = (CURRENT, ACTIVE, EXPIRED, REVOKED, ALL)

SORTS = ("name", "-name", "last_used", "-last_used", "expires", "-expires", "created", "-created")
NEWEST_FIRST = "-created"

NEVER_USED = "never"
UNUSED = "unused"
USES = (NEVER_USED, UNUSED)

EXPIRES_SOON = "soon"
EXPIRES_NEVER = "never"
EXPIRIES = (EXPIRES_SOON, EXPIRES_NEVER)

UNUSED_FOR = timedelta(days=90)
"""A key is unused after this time without a use, ..."""
UNUSED_AGE = timedelta(days=30)
"""... if it is older than this."""

_KEY_ID_START = re.compile(rf"[0-9A-Za-z]{{1,{tokens.ID_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys of an organisation to list, and in which order.

    :param status: one of :data:`STATUSES`. ``"current"`` is all but the revoked.
    :param search: part of a name, in whatever case, or the start of an id or key. ``""``: any.
    :param sort: one of :data:`SORTS`; a leading ``-`` turns the order round.
    :param scope: one that they hold, declared or not. ``None``: any.
    :param created_by: who created them, as the host names its users. ``None``: anyone.
    :param unused_since: an aware time, after which they were neither used nor created.
    :param expires_before: an aware time, before which they expire.
    :param use: one of :data:`USES`. ``None``: any.
    :param expires: one of :data:`EXPIRIES`. ``None``: any.
    :param used_since: an aware time, after which they were used.
    :raises ValueError: for another status or sort, a text that is no scope, or a time without a
        zone.
    """

    status: str = CURRENT
    search: str = ""
    sort: str = NEWEST_FIRST
    scope: str | None = None
    created_by: str | None = None
    unused_since: datetime | None = None
    expires_before: datetime | None = None
    use: str | None = None
    expires: str | None = None
    used_since: datetime | None = None

    def __post_init__(self) -> None:
        _check_choice("status", self.status, STATUSES)
        _check_choice("sort", self.sort, SORTS)
        _check_choice("use", self.use, (None, *USES))
        _check_choice("expires", self.expires, (None, *EXPIRIES))
        if self.scope is not None and not is_scope_token(self.scope):
            raise ValueError(f"{self.scope!r} is no scope name")
        clean_actor(self.created_by, "created_by")
        for name in ("unused_since", "expires_before", "used_since"):
            if getattr(self, name) is not None:
                to_utc(getattr(self, name), name)

    def conditions(
        self, key: type[ApiKey], *, now: datetime, prefix: str, soon: timedelta
    ) -> list[sa.ColumnElement[bool]]:
        """Return the conditions that the selected keys meet.

        :param key: the mapped class.
        :param now: an aware time, to tell the expired from the active.
        :param prefix: the prefix of keys, which a search may begin with.
        :param soon: the time before its expiry in which a key expires soon.
        """
        conditions = _of_status(key, self.status, now)
        conditions += _of_use(key, self.use, now)
        conditions += _of_expiry(key, self.expires, now, soon)
        if self.search:
            conditions.append(_matches(key, self.search, prefix))
        if self.scope is not None:
            conditions.append(_Holds(key.scopes, sa.literal(self.scope, sa.String())))
        if self.created_by is not None:
            conditions += _is_exactly(key.created_by, self.created_by)
        if self.unused_since is not None:
            last_sign = sa.func.coalesce(key.last_used_at, key.created_at)
            conditions.append(last_sign < self.unused_since.astimezone(UTC))
        if self.expires_before is not None:
            conditions.append(key.expires_at < self.expires_before.astimezone(UTC))
        if self.used_since is not None:
            conditions.append(key.last_used_at >= self.used_since.astimezone(UTC))
        return conditions

    def order(self, key: type[ApiKey]) -> tuple[sa.ColumnElement[Any], ...]:
        """Return the columns that the selected keys are sorted by.

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


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        offered = ", ".join(map(str, choices))
        raise ValueError(f"{name} is one of {offered}, not {value!r}")


def _of_status(key: type[ApiKey], status: str, now: datetime) -> list[sa.ColumnElement[bool]]:
    unexpired = sa.or_(key.expires_at.is_(None), key.expires_at > now)
    by_status: dict[str, list[sa.ColumnElement[bool]]] = {
        CURRENT: [key.revoked_at.is_(None)],
        ACTIVE: [key.revoked_at.is_(None), unexpired],
        EXPIRED: [key.revoked_at.is_(None), key.expires_at <= now],
        REVOKED: [key.revoked_at.is_not(None)],
        ALL: [],
    }
    return by_status[status]


def _of_use(key: type[ApiKey], use: str | None, now: datetime) -> list[sa.ColumnElement[bool]]:
    if use is None:
        return []
    never = key.last_used_at.is_(None)
    if use == NEVER_USED:
        return [never]
    return [key.created_at < now - UNUSED_AGE, sa.or_(never, key.last_used_at < now - UNUSED_FOR)]


def _of_expiry(
    key: type[ApiKey], expires: str | None, now: datetime, soon: timedelta
) -> list[sa.ColumnElement[bool]]:
    if expires is None:
        return []
    if expires == EXPIRES_NEVER:
        return [key.expires_at.is_(None)]
    return [key.revoked_at.is_(None), key.expires_at > now, key.expires_at <= now + soon]


def _is_exactly(column: Any, text: str) -> list[sa.ColumnElement[bool]]:
    # To MariaDB, "ada " is equal to "ada": it fills up the shorter one with spaces.
    return [column == text, column + "." == f"{text}."]


def _matches(key: type[ApiKey], search: str, prefix: str) -> sa.ColumnElement[bool]:
    if len(search) > LONGEST_SEARCH or not is_storable(search):
        return sa.false()
    if search in (prefix, f"{prefix}_"):
        # The start of every key.
        return sa.true()
    search = without_secret(search, prefix)
    match: sa.ColumnElement[bool] = key.folded_name.contains(fold(search), autoescape=True)
    start = public_id(search, prefix)
    if _KEY_ID_START.fullmatch(start):
        # Not LIKE, which ignores case on SQLite.
        match = sa.or_(match, sa.func.substr(key.id, 1, len(start)) == start)
    return match


class _Holds(FunctionElement[bool]):
    """The condition that a list in a JSON column holds a text: exactly, whatever is in it."""

    name = "orgkeys_holds"
    type = sa.Boolean()
    inherit_cache = True


@compiles(_Holds, "sqlite")
def _holds_on_sqlite(element: _Holds, compiler: Any, **options: Any) -> str:
    scopes, scope = element.clauses
    held = sa.func.json_each(scopes).table_valued("value")
    condition = sa.select(sa.literal(1)).select_from(held).where(held.c.value == scope).exists()
    return str(compiler.process(condition, **options))


@compiles(_Holds, "postgresql")
def _holds_on_postgresql(element: _Holds, compiler: Any, **options: Any) -> str:
    scopes, scope = element.clauses
    condition = sa.cast(scopes, postgresql.JSONB).has_key(scope)
    return str(compiler.process(condition, **options))


@compiles(_Holds, "mysql")
@compiles(_Holds, "mariadb")
def _holds_on_mariadb(element: _Holds, compiler: Any, **options: Any) -> str:
    scopes, scope = element.clauses
    condition = sa.func.json_contains(scopes, sa.func.json_quote(scope))
    return str(compiler.process(condition, **options))
