"""Uses of keys that are yet to be written: bounded, throttled, and written without a wait."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .drivers import BrokenConnection
from .loan import give_back_broken
from .statement import Statement

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

    from ..keys.models import Models
    from .drivers import Call, Driver

MAX_UNWRITTEN_USES = 1000
"""How many keys' uses are kept where the database does not take them."""

MAX_USES_AT_ONCE = 50
"""How many older ones of them are written along with a new one."""

RETRY_SECONDS = 1.0
"""How long the connections of others are spared after a use could not be written."""

logger: logging.Logger = logging.getLogger(__name__)


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


class PendingUses:
    """The uses that are yet to be written to one engine's database.

    :param driver: of its connections.
    """

    def __init__(self, models: Models, dialect: Dialect, driver: Driver) -> None:
        self.driver: Driver = driver
        self.retry_at: float = 0.0
        self._unwritten: dict[str, Use] = {}
        key = models.key_table.c
        key_id = sa.bindparam("key_id", type_=key.id.type)
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

    def record(self, use: Use) -> None:
        """Keep a use until :meth:`write` writes it."""
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

    def write_at_checkin(self, connection: Any, entry: ConnectionPoolEntry) -> None:
        """Write uses on a connection that is given back.

        Listens to the engine's pool. A pool whose listener raises forgets the connection's place,
        and after as many requests that were cut short as it has places, it has none for anybody.
        So the connection is given back here before the exception is raised on.
        """
        if not self._unwritten or connection is None or not self.is_write_due:
            return
        try:
            self.write(connection)
        except BrokenConnection as error:
            entry.invalidate(error)
        except BaseException as error:
            give_back_broken(entry, error if self.driver.can_replace(connection) else None)
            raise

    def write(self, connection: Any) -> None:
        """Write uses on a driver's connection; rather than wait or fail, leave them for later.

        Takes no lock, so that a fork cannot leave it locked: each use is taken out by one thread.

        :raises BaseException: any but an error of the driver's. The connection is to be closed.
        """
        if not self.is_write_due or self.driver.is_idle(connection) is False:
            return
        # The latest on its own, so that an older one, of a row still locked, does not hold it up.
        for at_most in (1, MAX_USES_AT_ONCE):
            uses = self._take(at_most)
            if not uses:
                return
            try:
                self.driver.write(connection, [call for use in uses for call in self._calls(use)])
            except BaseException as error:
                self._postpone(uses)
                if not isinstance(error, self.driver.error):
                    raise
                logger.debug("uses of keys are not written yet: %s", error)
                return

    def _postpone(self, uses: list[Use]) -> None:
        for use in uses:
            self._unwritten.setdefault(use.key_id, use)
        self.retry_at = monotonic() + RETRY_SECONDS

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
