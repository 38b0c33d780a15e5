"""The table of keys as the hot path sees it: one indexed SELECT for a key, one bounded UPDATE for
its last use.

Both are compiled once for each engine and run on the driver's cursor: that is several times cheaper
than Core, and it sets off none of the host's engine events, such as one that begins every
transaction as IMMEDIATE.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from .drivers import Driver, driver_of
from .models import Models

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

    from .drivers import Call, Kept

MAX_UNWRITTEN_USES = 1000
"""How many keys' uses are kept where the database does not take them."""

MAX_USES_AT_ONCE = 50
"""How many older ones of them are written along with a new one."""

RETRY_SECONDS = 1.0
"""How long the connections of others are spared after a use could not be written."""

logger: logging.Logger = logging.getLogger("flask_orgkeys")


class StoredKey(NamedTuple):
    """What authentication reads of a key. Times are as the database gives them: ``as_utc`` makes
    those that are looked at aware.
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


@dataclass(frozen=True, slots=True)
class Use:
    """What one accepted request leaves to be written.

    :param used_at: the new last use, or ``None`` where the written one is fresh.
    :param unused_since: write only over a last use up to this time.
    :param digests: an outdated digest and the one to put in its place, or ``None``.
    """

    key_id: str
    used_at: datetime | None
    unused_since: datetime | None
    digests: tuple[str, str] | None


class Statement:
    """A statement compiled for one dialect."""

    def __init__(self, statement: sa.sql.Executable, dialect: Dialect) -> None:
        compiled: SQLCompiler = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self._sql = str(compiled)
        self._order = tuple(compiled.positiontup or ()) if compiled.positional else None
        self._bind_processors = {
            name: processor
            for name, bind in compiled.binds.items()
            if (processor := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }

    def call(self, parameters: Mapping[str, Any]) -> Call:
        """Return what a cursor executes."""
        values = {**parameters}
        for name, process in self._bind_processors.items():
            values[name] = process(values[name])
        if self._order is None:
            return self._sql, values
        return self._sql, tuple([values[name] for name in self._order])


class KeyTable:
    """The table of keys in one engine's database, and the uses that are yet to be written to it.

    :param engine: one that has been connected.
    """

    def __init__(self, models: Models, engine: Engine) -> None:
        self.driver: Driver = driver_of(engine.dialect)
        self._unwritten: dict[str, Use] = {}
        self.retry_at: float = 0.0
        self._compile(models, engine.dialect)

    def _compile(self, models: Models, dialect: Dialect) -> None:
        key = models.key_table.c
        columns = [_readable(key[name], dialect) for name in StoredKey._fields]
        key_id = sa.bindparam("key_id", type_=key.id.type)
        self._processors = [
            (index, process) for index, (_, process) in enumerate(columns) if process is not None
        ]
        selected = [column for column, _ in columns]
        select = Statement(sa.select(*selected).where(key.id == key_id), dialect)
        self._sql, parameters = select.call({"key_id": ""})
        self._is_positional = isinstance(parameters, tuple)
        unused_since = sa.bindparam("unused_since", type_=key.last_used_at.type)
        self._touch = Statement(
            sa.update(models.key_table)
            .where(
                key.id == key_id,
                sa.or_(key.last_used_at.is_(None), key.last_used_at <= unused_since),
            )
            .values(last_used_at=sa.bindparam("used_at", type_=key.last_used_at.type)),
            dialect,
        )
        self._replace_digest = Statement(
            sa.update(models.key_table)
            .where(
                key.id == key_id,
                key.digest == sa.bindparam("outdated", type_=key.digest.type),
            )
            .values(digest=sa.bindparam("current", type_=key.digest.type)),
            dialect,
        )

    def read_apart(
        self, connection: Any, key_id: str, kept: Kept | None = None
    ) -> StoredKey | None:
        """Read a key on a driver's connection with no transaction open, and open none."""
        return self._stored_key(self.driver.read_apart(connection, self._select(key_id), kept))

    def read_within(self, connection: Any, key_id: str) -> StoredKey | None:
        """Read a key within the transaction on a driver's connection."""
        return self._stored_key(self.driver.read_within(connection, self._select(key_id)))

    def _select(self, key_id: str) -> Call:
        return self._sql, (key_id,) if self._is_positional else {"key_id": key_id}

    def _stored_key(self, row: Sequence[Any] | None) -> StoredKey | None:
        if row is None:
            return None
        values = list(row)
        for index, process in self._processors:
            if values[index] is not None:
                values[index] = process(values[index])
        return StoredKey._make(values)

    def record(self, use: Use) -> None:
        """Keep a use until :meth:`write_uses` writes it."""
        # At the end, so as to be written first and dropped last.
        self._unwritten.pop(use.key_id, None)
        self._unwritten[use.key_id] = use
        if len(self._unwritten) > MAX_UNWRITTEN_USES:
            with suppress(KeyError, RuntimeError, StopIteration):  # where another thread is at it
                del self._unwritten[next(iter(self._unwritten))]
        self.retry_at = 0.0

    @property
    def is_write_due(self) -> bool:
        """Whether there are uses to be written, and none of them failed a moment ago."""
        return bool(self._unwritten) and monotonic() >= self.retry_at

    def write_uses(self, connection: Any, _record: Any = None) -> None:
        """Write uses on a driver's connection; rather than wait or fail, leave them for later.

        Listens to the engine's pool, which calls it with every connection that is given back.
        Takes no lock, so that a fork cannot leave it locked: each use is taken out by one thread.
        """
        if not self._unwritten or not self.is_write_due:
            return
        if connection is None or self.driver.is_idle(connection) is False:
            return
        # The latest on its own, so that an older one, of a row still locked, does not hold it up.
        for at_most in (1, MAX_USES_AT_ONCE):
            uses = self._take(at_most)
            if not uses:
                return
            try:
                self.driver.write(connection, [call for use in uses for call in self._calls(use)])
            except Exception as error:
                logger.debug("uses of keys are not written yet: %s", error)
                for use in uses:
                    self._unwritten.setdefault(use.key_id, use)
                self.retry_at = monotonic() + RETRY_SECONDS
                return

    def _take(self, at_most: int) -> list[Use]:
        uses: list[Use] = []
        with suppress(KeyError):
            while len(uses) < at_most:
                uses.append(self._unwritten.popitem()[1])
        return uses

    def _calls(self, use: Use) -> list[Call]:
        calls = []
        if use.used_at is not None:
            times = {"used_at": use.used_at, "unused_since": use.unused_since}
            calls.append(self._touch.call({"key_id": use.key_id, **times}))
        if use.digests is not None:
            outdated, current = use.digests
            digests = {"outdated": outdated, "current": current}
            calls.append(self._replace_digest.call({"key_id": use.key_id, **digests}))
        return calls


def _readable(
    column: sa.Column[Any], dialect: Dialect
) -> tuple[sa.ColumnElement[Any], Callable[[Any], Any] | None]:
    """Return what to select for a column, and what makes its value of the driver's, where that is
    not NULL.
    """
    process: Any = column.type.dialect_impl(dialect).result_processor(dialect, None)
    if not isinstance(column.type, sa.JSON):
        return column, process
    # Few are the sets of scopes, and reading one is dearer than looking it up by its text, which
    # some drivers would read by themselves.
    selected = column if process else sa.cast(column, sa.Text)
    read = process or json.loads
    return selected, lru_cache(lambda text: frozenset(read(text)))
