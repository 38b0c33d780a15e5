"""The meeting of the hot path and the host: which connection a key is read on, and who writes its
use.

Neither takes part in the host's transaction. If the host's session has a connection, the key is
read through it, so that a request never needs a second one; otherwise a pooled one is borrowed and
given back before the view starts. A use is written on a connection that is on its way back to its
pool, ours or the host's: that one has no transaction any more, and nobody waits for it.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask_sqlalchemy.session import Session as StockSession
from sqlalchemy import event, orm
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from ..errors import ConfigurationError
from ..keys.database import reason_of
from .drivers import BrokenConnection
from .key_table import KeyTable, StoredKey
from .loan import Loan, has_room
from .uncommitted import is_written, note_writes
from .use_rows import UseRow
from .writes import PendingUses, Use

if TYPE_CHECKING:
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy

    from ..keys.models import Models
    from .drivers import Driver

logger: logging.Logger = logging.getLogger(__name__)

_OPEN_CONNECTIONS = "flask_orgkeys.open_connections"
_SCHEMAS = "schema_translate_map"


class DatabaseUnavailable(Exception):
    """The database could not be asked. The text says why, in one line."""


class Reader:
    """One connection for one look-up, and for the use it leads to: the host's or a borrowed one."""

    __slots__ = ("_engine", "_host_connection", "_loan", "_lookup", "_pool", "_table")

    def __init__(self, lookup: Lookup, engine: Engine, host_connection: Connection | None) -> None:
        self._lookup = lookup
        self._engine = engine
        self._host_connection = host_connection
        self._loan: Loan | None = None
        self._table: KeyTable | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        """Give a borrowed connection back."""
        if self._loan is not None:
            self._loan.give_back(error)

    def find(self, key_id: str) -> StoredKey | None:
        """Read a key by its id.

        A borrowed connection that turns out to be stale is replaced once.

        :raises DatabaseUnavailable: if the database does not answer.
        """
        try:
            return self._find(key_id)
        except self._failures as error:
            reason = _reason_of(error)
            if not self._is_stale(reason):
                raise self._unavailable(reason) from error
        try:
            return self._find(key_id)
        except self._failures as error:
            raise self._unavailable(_reason_of(error)) from error

    def write(self, uses: PendingUses) -> None:
        """Have uses written, if that neither disturbs the host's transaction nor waits: on the
        host's connection if that is idle, or on a borrowed one when it is given back.
        """
        if self._host_connection is not None:
            connection = self._host_connection.connection.dbapi_connection
            if uses.driver.is_idle(connection):
                try:
                    uses.write(connection)
                except BaseException as error:
                    self._invalidate_host_connection(uses.driver, error)
                    if not isinstance(error, BrokenConnection):
                        raise
        elif not isinstance(self._engine.pool, QueuePool) or has_room(self._engine.pool):
            try:
                self._loan = self._lend()
            except (sa.exc.SQLAlchemyError, uses.driver.error, DatabaseUnavailable) as error:
                logger.debug("uses of keys are not written yet: %s", error)

    def _find(self, key_id: str) -> StoredKey | None:
        if self._host_connection is not None:
            return self._find_on_host_connection(self._host_connection, key_id)
        self._pool = self._engine.pool
        self._loan = loan = self._lend()
        self._table = table = self._lookup.table(self._engine)
        return table.read_apart(loan.connection, key_id, loan.kept)

    def _lend(self) -> Loan:
        try:
            return Loan(self._engine.pool)
        except OSError as error:
            raise self._unavailable(error) from error

    def _find_on_host_connection(self, host: Connection, key_id: str) -> StoredKey | None:
        connection = host.connection.dbapi_connection
        self._table = table = self._lookup.table(self._engine)
        if not self._lookup.is_of_same_schema(host, self._engine):
            raise DatabaseUnavailable(
                f"the session's connection has a {_SCHEMAS} of its own: set it in "
                "SQLALCHEMY_ENGINE_OPTIONS, or in session_options"
            )
        if table.driver.has_failed(connection):
            if not has_room(self._engine.pool):
                raise DatabaseUnavailable("the host's transaction has failed; roll it back")
            self._host_connection = None
            return self._find(key_id)
        stored, sees_past = self._read_on_host_connection(table, connection, key_id)
        if stored is None or stored.revoked_at is not None or not sees_past:
            return stored
        if is_written(host, key_id) or not has_room(self._engine.pool):
            return stored
        latest = self._find_beside(table, key_id)
        # If it is absent beside the transaction, it was deleted since.
        return stored if latest and not latest.is_ahead_of(stored) else latest

    def _read_on_host_connection(
        self, table: KeyTable, connection: Any, key_id: str
    ) -> tuple[StoredKey | None, bool]:
        try:
            if table.driver.is_idle(connection):
                return table.read_apart(connection, key_id), False
            return table.read_within(connection, key_id)
        except self._errors:
            raise
        except BaseException as error:
            self._invalidate_host_connection(table.driver, error)
            if isinstance(error, BrokenConnection):
                raise self._unavailable(error) from error
            raise

    def _invalidate_host_connection(self, driver: Driver, error: BaseException) -> None:
        host = self._host_connection
        if host is not None and driver.can_replace(host.connection.dbapi_connection):
            host.invalidate(error)

    def _find_beside(self, table: KeyTable, key_id: str) -> StoredKey | None:
        """Read a key past the host's transaction, which may see the past: the key may have been
        revoked or rotated since, or deleted with its organisation.
        """
        loan = self._lend()
        try:
            latest = table.read_apart(loan.connection, key_id)
        except BaseException as error:
            loan.give_back(error)
            raise
        loan.give_back()
        return latest

    @property
    def _errors(self) -> tuple[type[BaseException], ...]:
        # Not all of OSError: a deadline of the host's may raise a TimeoutError.
        return (sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error, ConnectionError)

    @property
    def _failures(self) -> tuple[type[BaseException], ...]:
        return (BrokenConnection, *self._errors)

    def _is_stale(self, error: BaseException) -> bool:
        """Tell whether a borrowed connection was dead already; if so, take it out of the pool, and
        all that were opened with it.
        """
        dialect, host, loan = self._engine.dialect, self._host_connection, self._loan
        if not isinstance(error, dialect.loaded_dbapi.Error):
            return False
        connection: Any = host.connection if host is not None else loan and loan.connection
        if connection is None or not dialect.is_disconnect(error, connection, None):
            return False
        if host is not None:
            # Only the host can begin its transaction anew; this has its session notice.
            host.invalidate(error)
        elif loan is not None:
            loan.invalidate(error)
            self._loan = None
            if self._engine.pool is self._pool:
                self._engine.dispose()
        return host is None

    def _unavailable(self, error: BaseException) -> DatabaseUnavailable:
        cause = getattr(error, "orig", None) or error
        reason = reason_of(error)
        if self._table is not None and self._table.driver.is_table_missing(cause):
            reason += "; a table or column of flask-orgkeys is missing: run 'flask db upgrade'"
        return DatabaseUnavailable(reason)


def _reason_of(error: BaseException) -> BaseException:
    """Return the driver's error that left a connection broken, or any other error as it is."""
    if isinstance(error, BrokenConnection) and error.__cause__ is not None:
        return error.__cause__
    return error


class Lookup:
    """Finds the keys of one app, and has their uses written.

    :raises ConfigurationError: if the app has no database for the bind key.
    """

    def __init__(self, db: SQLAlchemy, models: Models, bind_key: str | None, app: Flask) -> None:
        self._db = db
        self._models = models
        self._bind_key = bind_key
        with app.app_context():
            self._engines: Mapping[str | None, Engine] = db.engines
        self._tables: weakref.WeakKeyDictionary[Engine, KeyTable] = weakref.WeakKeyDictionary()
        self._uses: weakref.WeakKeyDictionary[Engine, PendingUses] = weakref.WeakKeyDictionary()
        engine = self._engines.get(bind_key)
        if engine is None:
            raise ConfigurationError(
                f"OrgKeys(bind_key={bind_key!r}): SQLALCHEMY_BINDS has no such key. Add it, or "
                "leave bind_key out for the database of SQLALCHEMY_DATABASE_URI."
            )
        self._engine = engine
        self._table: KeyTable | None = None
        self._schemas = _schemas_of_sessions(db)
        self._translated: tuple[Engine, Engine] | None = None
        _engines.add(engine)
        note_writes(models.ApiKey)
        # For every session: a host's tests may put another in the place of ``db.session``.
        if not event.contains(orm.Session, "after_begin", _note_open_connection):
            event.listen(orm.Session, "after_begin", _note_open_connection)

    def reader(self) -> Reader:
        """Return a reader for one look-up."""
        return Reader(self, *self._engine_and_host_connection())

    def table(self, engine: Engine) -> KeyTable:
        """Return the table of keys in the database of an engine that has been connected."""
        if engine is self._engine and self._table is not None:
            return self._table
        table = self._tables.get(engine)
        if table is None:
            table = self._tables.setdefault(engine, KeyTable(self._models, engine))
        if engine is self._engine:
            self._table = table
        return table

    def is_of_same_schema(self, connection: Connection, engine: Engine) -> bool:
        """Tell whether a connection has our tables in the schema in which an engine has them."""
        schemas = connection.get_execution_options().get(_SCHEMAS)
        others = engine.get_execution_options().get(_SCHEMAS)
        if schemas == others:
            return True
        schema = self._models.key_table.schema
        return (schemas or {}).get(schema, schema) == (others or {}).get(schema, schema)

    def pending_uses(self, engine: Engine) -> PendingUses:
        """Return the uses to be written to the database of an engine that has been connected."""
        uses = self._uses.get(engine)
        if uses is None:
            driver = self.table(engine).driver
            new = PendingUses(self._models, engine, driver)
            uses = self._uses.setdefault(engine, new)
            if uses is new:
                event.listen(engine, "checkin", uses.write_at_checkin)
                weakref.finalize(engine, _write_at_exit, weakref.ref(engine), uses)
        return uses

    def record(self, use: Use) -> None:
        """Keep a use of a key that was found, to be written by :meth:`write_now`."""
        engine, _ = self._engine_and_host_connection()
        self.pending_uses(engine).record(use)

    def record_row(self, row: UseRow) -> None:
        """Keep the uses of a row, to be written by :meth:`write_now`."""
        engine, _ = self._engine_and_host_connection()
        self.pending_uses(engine).record_row(row)

    def write_now(self) -> None:
        """Have the uses written as soon as that can neither disturb the host's transaction nor
        delay the request: mostly at once.
        """
        engine, host_connection = self._engine_and_host_connection()
        uses = self._uses.get(engine)
        if uses is not None and uses.is_write_due:
            with Reader(self, engine, host_connection) as reader:
                reader.write(uses)

    def forget_uses(self) -> None:
        """Forget the uses that are yet to be written: in a fork, because the parent writes them."""
        for uses in list(self._uses.values()):
            uses.forget()

    def write_uses(self) -> None:
        """Write the uses that wait for the host to end its transaction, if that can be done
        without it.
        """
        engine, _ = self._engine_and_host_connection()
        uses = self._uses.get(engine)
        # SQLite's would wait for the host's.
        if uses is not None and uses.is_write_due and engine.dialect.name != "sqlite":
            _write_on_pooled_connection(engine)

    def _engine_and_host_connection(self) -> tuple[Engine, Connection | None]:
        """Return the engine, and the connection the host's session has on it, if any."""
        scoped: Any = self._db.session
        session_class = getattr(getattr(scoped, "session_factory", None), "class_", None)
        if getattr(session_class, "get_bind", None) is StockSession.get_bind:
            session = scoped() if scoped.registry.has() else None
            bind: Any = self._engines[self._bind_key]
        else:
            session = scoped if isinstance(scoped, orm.Session) else scoped()
            # As for a change: one that reads from a replica changes where keys are revoked.
            change = self._models.key_table.update()
            bind = session.get_bind(mapper=sa.inspect(self._models.ApiKey), clause=change)
        connection = bind if isinstance(bind, Connection) else None
        engine = bind if connection is None else connection.engine
        if self._schemas:
            engine = self._as_in_sessions(engine)
        if connection is None and session is not None:
            connection = _open_connection(session, engine)
        return engine, connection

    def _as_in_sessions(self, engine: Engine) -> Engine:
        """Return an engine with the schemas that every session of the host's gives it."""
        if self._translated is None or self._translated[0] is not engine:
            options = {_SCHEMAS: self._schemas}
            self._translated = engine, engine.execution_options(**options)
        return self._translated[1]


def _schemas_of_sessions(db: SQLAlchemy) -> Mapping[str | None, str | None]:
    """Return the ``schema_translate_map`` in the options of a host's sessions, which those have
    since SQLAlchemy 2.1.
    """
    factory = getattr(db.session, "session_factory", None)
    options = getattr(factory, "kw", {}).get("execution_options") or {}
    schemas: Mapping[str | None, str | None] = options.get(_SCHEMAS) or {}
    return schemas


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _forget_connections_of_parent() -> None:
    # Two processes on one socket read each other's answers.
    for engine in list(_engines):
        if isinstance(engine.pool, QueuePool):
            engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections_of_parent)


def _note_open_connection(session: Any, _transaction: Any, connection: Connection) -> None:
    session.info.setdefault(_OPEN_CONNECTIONS, {})[connection.engine] = connection


def _open_connection(session: Any, engine: Engine) -> Connection | None:
    connection: Connection
    for connection in session.info.get(_OPEN_CONNECTIONS, {}).values():
        if connection.engine.pool is engine.pool:
            return None if connection.closed or connection.invalidated else connection
    return None


def _has_open_connection(engine: Engine) -> bool:
    return isinstance(engine.pool, QueuePool) and engine.pool.checkedin() > 0


def _write_on_pooled_connection(engine: Engine) -> None:
    if not has_room(engine.pool):
        return
    try:
        connection = engine.raw_connection()
    except (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error, OSError) as error:
        logger.debug("uses of keys are not written yet: %s", error)
    else:
        # Given back, it is written on.
        connection.close()


def _write_at_exit(engine_reference: weakref.ref[Engine], uses: PendingUses) -> None:
    engine = engine_reference()
    uses.retry_at = 0.0
    # Opening a connection could take long.
    if uses.is_write_due and isinstance(engine, Engine) and _has_open_connection(engine):
        _write_on_pooled_connection(engine)
