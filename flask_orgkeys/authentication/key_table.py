"""The table of keys as the hot path sees it: one indexed SELECT for a key."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from ..keys.models import Models
from ..keys.times import as_utc
from .drivers import Driver, driver_of
from .statement import Statement

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.interfaces import Dialect

    from .drivers import Call, Kept

logger: logging.Logger = logging.getLogger(__name__)


class StoredKey(NamedTuple):
    """The columns of a key that authentication reads. ``expires_at`` is aware, in UTC. The other
    times are as the database gives them: ``as_utc`` makes those that are looked at aware.
    """

    organization_id: Any
    name: str
    scopes: frozenset[str]
    digest: str
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    previous_digest: str | None
    previous_until: datetime | None
    previous_used_at: datetime | None
    unconfirmed_since: datetime | None
    """The last rotation, until the new secret is used."""

    def __repr__(self) -> str:
        # Without the digests: error trackers show the values of a frame.
        return f"StoredKey(organization_id={self.organization_id!r}, name={self.name!r})"

    def is_ahead_of(self, other: StoredKey) -> bool:
        """Tell whether a revocation, a rotation or the end of the secret before came after
        ``other``, which may be of a transaction that sees the past, or has changes of its own.
        """
        if self.revoked_at is not None:
            return True
        if self.digest == other.digest:
            return _is_later(other.previous_until, self.previous_until)
        if self.digest == other.previous_digest:
            return False
        if other.unconfirmed_since is not None and self.previous_digest == other.previous_digest:
            return _is_later(self.unconfirmed_since, other.unconfirmed_since)
        return True


_EXPIRES_AT = StoredKey._fields.index("expires_at")


def _is_later(moment: datetime | None, than: datetime | None) -> bool:
    return moment is not None and than is not None and moment > than


class KeyTable:
    """The table of keys in one engine's database.

    :param engine: one that has been connected.
    """

    def __init__(self, models: Models, engine: Engine) -> None:
        self.driver: Driver = driver_of(engine.dialect)
        self._compile(models, engine)

    def _compile(self, models: Models, engine: Engine) -> None:
        key = models.key_table.c
        dialect = engine.dialect
        expressions: dict[str, sa.ColumnElement[Any]] = {
            **{column.name: _as_stored(column) for column in key},
            "expires_at": key.expires_at,
            "unconfirmed_since": _as_stored(sa.case((key.confirmed_at.is_(None), key.rotated_at))),
        }
        columns = [_readable(expressions[name], dialect) for name in StoredKey._fields]
        key_id = sa.bindparam("key_id", type_=key.id.type)
        self._processors = [
            (index, process) for index, (_, process) in enumerate(columns) if process is not None
        ]
        selected = [column for column, _ in columns]
        select = Statement(sa.select(*selected).where(key.id == key_id), engine)
        self._sql, parameters = select.call({"key_id": ""})
        within = sa.select(*selected, sa.literal_column(self.driver.sees_past))
        self._sql_within, _ = Statement(within.where(key.id == key_id), engine).call({"key_id": ""})
        self._is_positional = isinstance(parameters, tuple)

    def read_apart(
        self, connection: Any, key_id: str, kept: Kept | None = None
    ) -> StoredKey | None:
        """Read a key on a driver's connection with no transaction open, and open none."""
        call = self._call(self._sql, key_id)
        return self._stored_key(self.driver.read_apart(connection, call, kept))

    def read_within(self, connection: Any, key_id: str) -> tuple[StoredKey | None, bool]:
        """Read a key within the transaction on a driver's connection.

        :return: the key, and whether the transaction may see the past.
        """
        row = self.driver.read_within(connection, self._call(self._sql_within, key_id))
        if row is None:
            return None, False
        *values, sees_past = row
        return self._stored_key(values), bool(sees_past)

    def _call(self, sql: str, key_id: str) -> Call:
        return sql, (key_id,) if self._is_positional else {"key_id": key_id}

    def _stored_key(self, row: Sequence[Any] | None) -> StoredKey | None:
        if row is None:
            return None
        values = list(row)
        for index, process in self._processors:
            if values[index] is not None:
                values[index] = process(values[index])
        if values[_EXPIRES_AT] is not None:
            values[_EXPIRES_AT] = as_utc(values[_EXPIRES_AT])
        return StoredKey._make(values)


def _as_stored(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a column without the expression of its type, which costs time: an expiry alone is from
    outside.
    """
    if isinstance(column.type, sa.DateTime):
        return sa.type_coerce(column, sa.DateTime(timezone=True))
    return column


def _readable(
    column: sa.ColumnElement[Any], dialect: Dialect
) -> tuple[sa.ColumnElement[Any], Callable[[Any], Any] | None]:
    """Return the expression to select for a column, and the function that turns the driver's value
    into ours, if that is not NULL.
    """
    process: Any = column.type.dialect_impl(dialect).result_processor(dialect, None)
    if not isinstance(column.type, sa.JSON):
        return column, process
    # Few are the sets of scopes, and reading one is dearer than looking it up by its text, which
    # some drivers would read by themselves.
    selected = column if process else sa.cast(column, sa.Text)
    read = process or json.loads
    return selected, lru_cache(lambda text: frozenset(read(text)))
