"""The differences between the databases, on the connections of their drivers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect

Argument = TypeVar("Argument")
Result = TypeVar("Result")

LOCK_WAIT_MILLISECONDS = 20
"""The longest that writing waits for a lock."""

Call = tuple[str, Any]
"""A statement and its parameters, as a cursor takes them."""

Kept = dict[str, Any]
"""SQLAlchemy's ``info`` of a connection: it lasts as long as that."""

_CURSOR = "flask_orgkeys.cursor"


class BrokenConnection(Exception):
    """A connection could not be put back as it was: it must be closed."""


class Driver:
    """Any database, by PEP 249 alone: how long it waits for a lock is its own affair.

    After an :attr:`error` a connection is as it was. After any other exception, such as a timeout
    of the host's in the middle of a statement, its state is unknown: whoever owns it must have its
    pool close it, and raise the exception on. A driver does not repair it then, for a rollback
    would wait for the very statement that was cut short.

    :param error: the base class of the driver's errors.
    """

    sees_past: str = "1"
    """SQL for the question whether a transaction may see the past, and not what others have
    committed since. True for an unknown database.
    """

    missing_table_codes: frozenset[Any] = frozenset()
    """Codes of the errors for a missing table and a missing column."""

    def __init__(self, error: type[Exception]) -> None:
        self.error: type[Exception] = error

    def can_replace(self, connection: Any) -> bool:  # noqa: ARG002
        """Tell whether nothing is lost if a pool closes a connection and opens another one."""
        return True

    def is_idle(self, connection: Any) -> bool | None:  # noqa: ARG002
        """Tell whether no transaction is open on a connection; ``None`` if it cannot tell."""
        return None

    def has_failed(self, connection: Any) -> bool:  # noqa: ARG002
        """Tell whether a connection refuses statements until its transaction is rolled back."""
        return False

    def read_apart(self, connection: Any, call: Call, kept: Kept | None = None) -> Any:  # noqa: ARG002
        """Fetch a row on an idle connection, and leave it idle.

        :param kept: what stays with a connection that is one thread's at a time.
        """
        row = _fetch_one(connection, call)
        connection.rollback()
        return row

    def read_within(self, connection: Any, call: Call) -> Any:
        """Fetch a row within the transaction on a connection, and never harm it."""
        return _fetch_one(connection, call)

    def write(self, connection: Any, calls: Iterable[Call]) -> None:
        """Run statements in a transaction of their own on an idle connection, and leave it idle. If
        one has to wait for a lock longer than :data:`LOCK_WAIT_MILLISECONDS`, raise.
        """
        try:
            cursor = connection.cursor()
            for call in calls:
                cursor.execute(*call)
            connection.commit()
            cursor.close()
        except self.error as error:
            self._restore(connection.rollback, error)
            raise

    def _restore(self, restore: Callable[[], object], error: Exception) -> None:
        try:
            restore()
        except self.error:
            raise BrokenConnection(str(error)) from error

    def is_table_missing(self, error: BaseException) -> bool:
        """Tell whether an error says that a table or one of its columns is missing."""
        attributes = (getattr(error, name, None) for name in ("sqlstate", "pgcode"))
        return not self.missing_table_codes.isdisjoint({*attributes, *error.args[:1]})


class SQLite(Driver):
    """The standard library's ``sqlite3``."""

    # With a rollback journal, nobody commits while another transaction reads.
    sees_past = "(SELECT journal_mode = 'wal' FROM pragma_journal_mode)"

    def can_replace(self, connection: Any) -> bool:
        # A database in memory is gone with its connection.
        return any(file for _, _, file in connection.execute("PRAGMA database_list"))

    def is_idle(self, connection: Any) -> bool | None:
        if getattr(connection, "autocommit", None) is False:
            # From Python 3.12 on: one that is always in a transaction.
            return None
        return not connection.in_transaction

    def read_apart(self, connection: Any, call: Call, kept: Kept | None = None) -> Any:  # noqa: ARG002
        cursor = connection.execute(*call)
        row = cursor.fetchone()
        cursor.close()
        if getattr(connection, "autocommit", None) is False:
            # Any other is idle still, or in the transaction of a thread that shares it.
            connection.rollback()
        return row

    def write(self, connection: Any, calls: Iterable[Call]) -> None:
        before = connection.execute("PRAGMA busy_timeout").fetchone()[0]
        connection.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_MILLISECONDS}").close()
        try:
            super().write(connection, calls)
        except BaseException:
            # Nothing is under way on it, and a database in memory has no other connection.
            connection.rollback()
            raise
        finally:
            connection.execute(f"PRAGMA busy_timeout = {before}").close()

    def is_table_missing(self, error: BaseException) -> bool:
        return str(error).startswith(("no such table", "no such column"))


class PostgreSQL(Driver):
    """psycopg2."""

    sees_past = "current_setting('transaction_isolation') IN ('repeatable read', 'serializable')"

    missing_table_codes: frozenset[Any] = frozenset({"42P01", "42703"})

    _IDLE, _FAILED = 0, 3
    # At this level whatever the host's is, so as to be no part of what its serialisable
    # transactions conflict with; and not waiting for a disk, or a standby, to have the commit.
    _BEGIN = (
        "BEGIN ISOLATION LEVEL READ COMMITTED;"
        f" SET LOCAL lock_timeout = {LOCK_WAIT_MILLISECONDS};"
        " SET LOCAL synchronous_commit = off"
    )

    def is_idle(self, connection: Any) -> bool:
        return bool(connection.info.transaction_status == self._IDLE)

    def has_failed(self, connection: Any) -> bool:
        return bool(connection.info.transaction_status == self._FAILED)

    def read_apart(self, connection: Any, call: Call, kept: Kept | None = None) -> Any:
        # One round trip: without it, a BEGIN before and a ROLLBACK after.
        if kept is None:
            return self._in_autocommit(connection, _fetch_one, call)
        # To make one costs a fifth of what the look-up does.
        cursor = kept.get(_CURSOR) or kept.setdefault(_CURSOR, connection.cursor())
        return self._in_autocommit(connection, lambda _, call: _fetch_by(cursor, call), call)

    def read_within(self, connection: Any, call: Call) -> Any:
        # An error, such as that of a missing table, would leave the host's transaction failed.
        cursor = connection.cursor()
        cursor.execute("SAVEPOINT flask_orgkeys")
        try:
            cursor.execute(*call)
            row = cursor.fetchone()
        except self.error:
            if not connection.closed:
                cursor.execute("ROLLBACK TO SAVEPOINT flask_orgkeys")
            raise
        cursor.execute("RELEASE SAVEPOINT flask_orgkeys")
        cursor.close()
        return row

    def write(self, connection: Any, calls: Iterable[Call]) -> None:
        self._in_autocommit(connection, self._write, calls)

    def _write(self, connection: Any, calls: Iterable[Call]) -> None:
        cursor = connection.cursor()
        try:
            self._begin(cursor)
            for call in calls:
                cursor.execute(*call)
            cursor.execute("COMMIT")
        except self.error as error:
            self._restore(lambda: cursor.execute("ROLLBACK"), error)
            raise
        cursor.close()

    def _begin(self, cursor: Any) -> None:
        cursor.execute(self._BEGIN)

    def _in_autocommit(
        self, connection: Any, function: Callable[[Any, Argument], Result], argument: Argument
    ) -> Result:
        """Call a function with a connection that opens no transaction of its own.

        Switching that costs no round trip.
        """
        if connection.autocommit:
            return function(connection, argument)
        connection.autocommit = True
        try:
            result = function(connection, argument)
        except self.error as error:
            self._restore(lambda: setattr(connection, "autocommit", False), error)
            raise
        connection.autocommit = False
        return result


class Psycopg(PostgreSQL):
    """psycopg 3."""

    def _begin(self, cursor: Any) -> None:
        # Several statements at once cannot be prepared, which a host may want of every one.
        cursor.execute(self._BEGIN, prepare=False)


class MariaDB(Driver):
    """MariaDB, by PyMySQL or mysqlclient."""

    missing_table_codes: frozenset[Any] = frozenset({1146, 1054})

    _NO_WAIT = "SET STATEMENT innodb_lock_wait_timeout = 0, lock_wait_timeout = 0 FOR "

    def read_apart(self, connection: Any, call: Call, kept: Kept | None = None) -> Any:  # noqa: ARG002
        # Within a transaction it would wait for locks where that is serialisable, and leave an
        # old snapshot to the next reader where the pool does not reset its connections.
        before = connection.get_autocommit()
        connection.autocommit(True)
        try:
            row = _fetch_one(connection, call)
        except self.error as error:
            self._restore(lambda: connection.autocommit(before), error)
            raise
        connection.autocommit(before)
        return row

    def write(self, connection: Any, calls: Iterable[Call]) -> None:
        super().write(connection, ((self._NO_WAIT + sql, values) for sql, values in calls))


def driver_of(dialect: Dialect) -> Driver:
    """Return the driver of a dialect that has been connected."""
    return _driver_class(dialect)(dialect.loaded_dbapi.Error)


def _driver_class(dialect: Dialect) -> type[Driver]:
    if dialect.name == "sqlite":
        return SQLite
    if dialect.driver in _POSTGRESQL_DRIVERS:
        return _POSTGRESQL_DRIVERS[dialect.driver]
    if dialect.driver in ("pymysql", "mysqldb") and getattr(dialect, "is_mariadb", False):
        return MariaDB
    return Driver


_POSTGRESQL_DRIVERS: dict[str, type[Driver]] = {"psycopg": Psycopg, "psycopg2": PostgreSQL}


def _fetch_one(connection: Any, call: Call) -> Any:
    cursor = connection.cursor()
    row = _fetch_by(cursor, call)
    cursor.close()
    return row


def _fetch_by(cursor: Any, call: Call) -> Any:
    cursor.execute(*call)
    return cursor.fetchone()
