"""Borrowing a connection from a host's pool, for the length of one statement."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import QueuePool, StaticPool

if TYPE_CHECKING:
    from sqlalchemy.pool import Pool, PoolProxiedConnection


# Python's sqlite3 crashes where two threads use one connection at once.
_LOCK_OF_SHARED = RLock()


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

    __slots__ = ("_entry", "_is_shared", "_proxy", "connection", "kept")

    def __init__(self, pool: Pool) -> None:
        self._proxy: PoolProxiedConnection | None = None
        self._entry: Any
        self.connection: Any
        self.kept: dict[str, Any] | None = None
        self._is_shared = isinstance(pool, StaticPool)
        if self._is_shared:
            _LOCK_OF_SHARED.acquire()
        try:
            self._borrow(pool)
        except BaseException:
            self._unlock()
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
            self._entry._checkin_failed(error, _fairy_was_created=False)
            raise

    def give_back(self, error: BaseException | None = None) -> None:
        """Give it back.

        :param error: what went wrong with it, if anything: without a proxy that would reset it, it
            is closed then, and opened anew for the next one.
        """
        try:
            if self._proxy is not None:
                self._proxy.close()
                return
            if error is not None:
                self._entry.invalidate(error)
            self._entry.checkin(_fairy_was_created=False)
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._is_shared:
            _LOCK_OF_SHARED.release()

    def invalidate(self, error: BaseException) -> None:
        """Give it back to be closed, for the database has ended it."""
        if self._proxy is not None:
            self._proxy.invalidate(error)
        self.give_back(error)


def _needs_proxy(pool: Pool) -> bool:
    dispatch = pool.dispatch
    return bool(
        type(pool) is not QueuePool or pool._pre_ping or dispatch.checkout or dispatch.reset
    )
