"""Locks: the rows that a change of keys waits for, so that it decides on their newest state.

A count or a permission that was read before such a wait may be out of date after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from .organization_ids import equals

if TYPE_CHECKING:
    from sqlalchemy.orm import scoped_session

    from ..config.settings import Settings
    from .models import Models

LONGEST_WAIT_SECONDS = 5
"""The longest wait for other creations of the organisation."""

_MYSQL = ("mysql", "mariadb")
_SNAPSHOTS = ("REPEATABLE READ", "SERIALIZABLE")


class _Overtaken(Exception):
    """Another transaction was faster: to be tried again, like PostgreSQL's own conflicts."""

    sqlstate = "40001"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row to lock.

    :param is_shared: whether others may have the same lock, to refer to the row.
    """

    select: sa.Select[Any]
    is_shared: bool = False

    def locked(self, *, waits: bool = True) -> sa.Select[Any]:
        """Return the statement that locks it.

        :param waits: if not, it finds nothing when another transaction has locked the row.
        """
        shared = self.is_shared
        return self.select.with_for_update(read=shared, key_share=shared, skip_locked=not waits)


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks of one app's keys, held until the end of the session's transaction.

    :param may_commit: whether the transaction is for nothing but these locks and the change after
        them.
    """

    session: scoped_session[Any]
    models: Models
    settings: Settings
    may_commit: bool = False

    def hold_creations(self, organization_id: Any) -> None:
        """Wait until no other transaction creates keys of the organisation, and make later ones
        wait.

        With ``ORGKEYS_MAX_KEYS`` each creation writes the organisation's row of ``orgkeys_limit``.
        A lock on the counted keys would not do: PostgreSQL's snapshots do not show the keys that
        were committed during the wait, and at READ COMMITTED MariaDB locks no key that is yet to
        come. Two writes of one row exclude one another at every level of isolation: the second has
        a fresh view or fails with a conflict.
        """
        self.hold_sqlite()
        renews = self._renews_snapshot()
        held = self._lock(self._row_of_organization(organization_id, renews))
        if renews:
            self._renew_snapshot(held)
        if self.settings.max_keys is None:
            return
        counted = self.models.limit_table.c.organization_id
        row = _Row(sa.select(counted).where(counted == organization_id))
        waits = renews and not self._is_free(row)
        with self._bounded_wait():
            self._execute(self._count_one_more(organization_id))
        if waits:
            self._renew_snapshot([*held, row])

    def hold_key(self, organization_id: Any, key_id: str) -> None:
        """Wait until no other transaction changes a key, and make later ones wait."""
        self.hold_sqlite()
        key = self.models.ApiKey
        is_it = (equals(key.organization_id, organization_id), key.id == key_id)
        row = _Row(sa.select(key.id).where(*is_it))
        renews = self._renews_snapshot()
        held = self._lock([*self._row_of_organization(organization_id, renews), row])
        if renews:
            self._renew_snapshot(held)

    def _row_of_organization(self, organization_id: Any, renews: bool) -> list[_Row]:
        """Return the organisation's row, if a change of its keys needs a lock on it.

        MariaDB and PostgreSQL lock it themselves when a row refers to it. That is too late for a
        snapshot, which would be from before the wait.

        :param renews: whether a snapshot is to be renewed once the rows are locked.
        """
        if self.dialect_name() not in _MYSQL and not renews:
            return []
        references = self.models.key_table.c.organization_id.foreign_keys
        columns = [reference.column for reference in references]
        return [
            _Row(sa.select(column).where(column == organization_id), is_shared=True)
            for column in columns
        ]

    def _lock(self, rows: Sequence[_Row]) -> list[_Row]:
        """Lock rows, and return those that there are."""
        return [row for row in rows if self._execute(row.locked()).first() is not None]

    def _is_free(self, row: _Row) -> bool:
        """Lock a row without a wait, and tell whether that was possible."""
        return self._execute(row.locked(waits=False)).first() is not None

    def _renew_snapshot(self, held: Sequence[_Row]) -> None:
        """Have a snapshot that is not older than the locks.

        PostgreSQL's snapshot is from before the wait, and if the row did not change in the end, no
        conflict tells. So all is locked again in another transaction, which does not wait.
        """
        self.session.commit()
        if not all(map(self._is_free, held)):
            raise sa.exc.OperationalError(None, None, _Overtaken("locked by another again"))

    def _renews_snapshot(self) -> bool:
        """Tell whether a snapshot may be older than the locks, and the transaction may end here."""
        if not self.may_commit or self.dialect_name() != "postgresql":
            return False
        return self.connection().get_isolation_level() in _SNAPSHOTS

    def hold_sqlite(self) -> None:
        """Take SQLite's one lock for writing; on other databases, none."""
        if self.dialect_name() == "sqlite":
            # An update of no row takes it, too.
            table = self.models.key_table
            self._execute(sa.update(table).where(sa.false()).values(name=""))

    def dialect_name(self) -> str:
        """Return SQLAlchemy's name of the kind of database."""
        return self.connection().dialect.name

    def connection(self) -> sa.Connection:
        """Return the session's connection to the database of the keys."""
        return self.session.connection(bind_arguments={"mapper": self.models.ApiKey})

    def _count_one_more(self, organization_id: Any) -> sa.Insert:
        table = self.models.limit_table
        row = {"organization_id": organization_id, "creations": 1}
        more = {"creations": table.c.creations + 1}
        dialect = self.dialect_name()
        if dialect in _MYSQL:
            return mysql.insert(table).values(row).on_duplicate_key_update(more)
        insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        return (
            insert(table)
            .values(row)
            .on_conflict_do_update(index_elements=[table.c.organization_id], set_=more)
        )

    @contextmanager
    def _bounded_wait(self) -> Iterator[None]:
        """Limit the wait for a lock, if the host has not set a shorter limit itself."""
        dialect = self.dialect_name()
        if dialect == "postgresql":
            with self._bounded_wait_of_postgresql():
                yield
        elif dialect in _MYSQL:
            with self._bounded_wait_of_mariadb():
                yield
        else:
            yield

    @contextmanager
    def _bounded_wait_of_postgresql(self) -> Iterator[None]:
        unlimited = sa.func.current_setting("lock_timeout") == "0"
        limited = sa.func.set_config("lock_timeout", f"{LONGEST_WAIT_SECONDS}s", True)
        is_ours = self._execute(sa.select(limited).where(unlimited)).first() is not None
        yield
        # A failure ends the transaction, and the setting with it.
        if is_ours:
            self._execute(sa.select(sa.func.set_config("lock_timeout", "0", True)))

    @contextmanager
    def _bounded_wait_of_mariadb(self) -> Iterator[None]:
        connection = self.connection()
        seconds = self._execute(sa.text("SELECT @@innodb_lock_wait_timeout")).scalar_one()
        limit = sa.text("SET innodb_lock_wait_timeout = :seconds")
        self._execute(limit, seconds=min(seconds, LONGEST_WAIT_SECONDS))
        try:
            yield
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                self._execute(limit, seconds=seconds)
            raise
        except BaseException as error:
            # Cut short in the wait: in the middle of it, no connection takes another statement.
            connection.invalidate(error)
            raise
        self._execute(limit, seconds=seconds)

    def _execute(self, statement: Any, **values: Any) -> sa.Result[Any]:
        bind = {"mapper": self.models.ApiKey}
        return self.session.execute(statement, values or None, bind_arguments=bind)
