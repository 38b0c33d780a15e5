"""The database: its errors, its texts, and changes retried after a conflict."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import orm

if TYPE_CHECKING:
    from sqlalchemy.orm import scoped_session

T = TypeVar("T")

UNANSWERED = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.InternalError,
    sa.exc.PendingRollbackError,
    sa.exc.ProgrammingError,
    sa.exc.TimeoutError,
)
"""SQLAlchemy's errors for a database that cannot be asked: refused, gone, read-only, without the
table, in a transaction that has failed already, or with no connection left in the pool.
"""

_CHARSET = "flask_orgkeys.charset"

_CONFLICT_STATES = ("40001", "40P01")  # PostgreSQL: serialization failure, deadlock
_CONFLICT_NUMBERS = (1020, 1213)  # MariaDB: changed since the snapshot, deadlock


def committed(session: scoped_session[Any], change: Callable[[], T], retries: int = 2) -> T:
    """Make a change and commit it; retry it after a conflict with another transaction."""
    try:
        result = change()
        session.commit()
    except BaseException as error:
        _roll_back(session)
        if not retries or not is_conflict(error):
            raise
    else:
        return result
    return committed(session, change, retries - 1)


def _roll_back(session: scoped_session[Any]) -> None:
    """Roll back, also on a connection that was cut short in the middle of a statement, and takes
    no other: it is closed, so that the error that has cut it short is the one that is raised.
    """
    try:
        session.rollback()
    except sa.exc.SQLAlchemyError:
        current_session(session).invalidate()


def current_session(session: Any) -> orm.Session:
    """Return the session behind a scoped one. A host's tests may have put a plain session in the
    place of that.
    """
    return session if isinstance(session, orm.Session) else session()


def committed_if(
    session: scoped_session[Any],
    change: Callable[[], T],
    *,
    lock: Callable[[], object],
    ask: Callable[[], object],
) -> T:
    """Make a change and commit it, if it is permitted once every lock that it waits for is held.

    A change may wait long for another transaction, which may take the permission away meanwhile.
    So it begins with its locks, in a transaction of its own: a snapshot from before the wait would
    show the permission as it was. The permission is asked for before the change, and after it, for
    the change may have waited as well. Each retry asks again.

    The host's pending changes are committed first.

    :param lock: takes the locks that the change waits for.
    :param ask: raises if the change is not permitted.
    """

    def locked_change() -> T:
        session.commit()
        session.expire_all()
        lock()
        ask()
        result = change()
        session.flush()
        session.expire_all()
        ask()
        return result

    return committed(session, locked_change)


def is_conflict(error: BaseException) -> bool:
    """Tell whether a transaction failed because of another one at the same time: a deadlock, a
    serialization failure, the same form sent twice. A retry settles it.
    """
    if isinstance(error, sa.exc.IntegrityError):
        return True
    original = getattr(error, "orig", None)
    if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return True
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    number = next(iter(getattr(original, "args", ())), None)
    return state in _CONFLICT_STATES or number in _CONFLICT_NUMBERS


def takes_text(connection: sa.Connection, text: str) -> bool:
    """Tell whether a connection can send a text, so that every database gives the same answer.

    MariaDB's older character set ``utf8``, which a host may ask for in its URL, has no character
    beyond U+FFFF: an emoji fails there.
    """
    if text.isascii() or connection.dialect.name not in ("mysql", "mariadb"):
        return True
    return _has_characters(_charset(connection), text)


def with_sendable_characters(connection: sa.Connection, text: str) -> str:
    """Return a text with a ``?`` for each character that a connection cannot send."""
    if takes_text(connection, text):
        return text
    charset = _charset(connection)
    return "".join(each if _has_characters(charset, each) else "?" for each in text)


def _charset(connection: sa.Connection) -> str:
    """Ask for the character set of a connection, once in its life."""
    known = connection.info.get(_CHARSET)
    if known is None:
        known = str(connection.scalar(sa.text("SELECT @@character_set_client")))
        connection.info[_CHARSET] = known
    return str(known)


def _has_characters(charset: str, text: str) -> bool:
    if charset in ("utf8", "utf8mb3"):
        return max(text) <= "\uffff"
    try:
        text.encode("utf-8" if charset == "utf8mb4" else charset)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def reason_of(error: BaseException) -> str:
    """Return the text of a database error in one line, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    # psycopg2 puts the values into the statement, and PostgreSQL's error quotes a line of it.
    # After a failed flush, a session quotes that statement, with the host's values.
    text = str(cause).partition("\nLINE ")[0].partition(" Original exception was:")[0]
    return " ".join(f"{type(cause).__name__}: {text}".split())
