"""Borrowing a connection from a host's pool, for the length of one statement.

The one place with names of SQLAlchemy's pools that are not public. ``pool.connect()`` would do the
same by public names: it takes 11 microseconds more on SQLite and about 25 more on PostgreSQL, where
the look-up takes 15 and 150, and on MariaDB a round trip for a rollback that is not needed.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool, StaticPool

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection


# Python's sqlite3 crashes where two threads use one connection at once.
_lock_of_shared = RLock()


def _replace_lock() -> None:
    # In a fork nobody is there to release it, if another thread of the parent's held it.
    global _lock_of_shared
    _lock_of_shared = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_lock)


class Loan:
    """A connection of a pool, until it is given back.

    SQLAlchemy puts a proxy around a connection that it checks out, which looks after it where it is
    forgotten, and resets it when it comes back. Here it is neither forgotten nor left in a
    transaction, and the proxy would cost more than the statement it is borrowed for. So from the
    pool that servers and files have by default the connection is taken as the proxy takes it,
    unless a listener of the host's, or a ping, is to see it first.

    ``kept`` is what stays with the connection while it is this thread's alone, as one of a shared
    pool is not.

    :param pool: where it comes from and goes back to.
    :raises sqlalchemy.exc.TimeoutError: where the pool has none to give.
    """

    __slots__ = (
        "_entry",
        "_is_shared",
        "_lock",
        "_may_be_database",
        "_proxy",
        "connection",
        "kept",
    )

    def __init__(self, pool: Pool) -> None:
        self._proxy: PoolProxiedConnection | None = None
        self._entry: Any
        self.connection: Any
        self.kept: dict[str, Any] | None = None
        self._is_shared = isinstance(pool, StaticPool)
        self._may_be_database = self._is_shared or isinstance(pool, SingletonThreadPool)
        self._lock = _lock_of_shared
        if self._is_shared:
            self._lock.acquire()
        try:
            self._borrow(pool)
        except BaseException:
            if self._is_shared:
                self._lock.release()
            raise

    def _borrow(self, pool: Pool) -> None:
        if _needs_proxy(pool):
            self._proxy = pool.connect()
            self.connection = self._proxy.dbapi_connection
            return
        self._entry = pool._do_get()
        try:
            self.connection = self._entry.get_connection()
            self.kept = self._entry.info
        except BaseException as error:
            give_back_broken(self._entry, error)
            raise

    def give_back(self, error: BaseException | None = None) -> None:
        """Give it back.

        :param error: what went wrong with it, if anything: it is closed then, for it may be in the
            middle of an answer, and opened anew for the next one. One that may be a database in
            memory is reset.
        """
        try:
            if self._proxy is not None:
                if error is not None and not self._may_be_database:
                    self._proxy.invalidate(error)
                self._proxy.close()
            elif error is not None:
                give_back_broken(self._entry, error)
            else:
                self._entry.checkin(_fairy_was_created=False)
        finally:
            if self._is_shared:
                self._lock.release()

    def invalidate(self, error: BaseException) -> None:
        """Give it back to be closed, for the database has ended it."""
        self._may_be_database = False
        self.give_back(error)


def give_back_broken(entry: ConnectionPoolEntry, error: BaseException | None) -> None:
    """Give a connection's place back to its pool, whatever becomes of the connection.

    :param error: why it is closed first, or ``None`` to keep it.
    """
    private: Any = entry
    try:
        if error is not None:
            entry.invalidate(error)
    finally:
        private.checkin(_fairy_was_created=False)


def has_room(pool: Pool) -> bool:
    """Tell whether a pool gives a connection without making anybody wait for one."""
    if isinstance(pool, QueuePool):
        overflow = pool._max_overflow
        # Not to the last: others may be about to take one, too.
        return overflow < 0 or 4 * pool.checkedout() <= 3 * (pool.size() + overflow)
    return isinstance(pool, NullPool)


def _needs_proxy(pool: Pool) -> bool:
    dispatch = pool.dispatch
    return bool(
        type(pool) is not QueuePool or pool._pre_ping or dispatch.checkout or dispatch.reset
    )
