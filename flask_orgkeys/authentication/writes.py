"""Uses of keys that are yet to be written: bounded, throttled, and written without a wait."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from .statement import Statement
from .use_rows import Pair, UseRow, UseStatements

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect

    from ..keys.models import Models
    from .drivers import Call, Driver

MAX_UNWRITTEN_USES = 1000
"""How many keys' uses, and rows of recorded ones, are kept if the database does not take them."""

MAX_USES_AT_ONCE = 50
"""How many older ones of them are written along with a new one."""

RETRY_SECONDS = 1.0
"""How long the connections of others are spared after a use could not be written."""

Kept = TypeVar("Kept")

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
        self._dialect = dialect
        self.retry_at: float = 0.0
        self._unwritten: dict[str, Use] = {}
        self._unwritten_rows: dict[Pair, UseRow] = {}
        self._use_statements = UseStatements(models, dialect)
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
        _drop_oldest(self._unwritten)
        self.retry_at = 0.0

    def record_row(self, row: UseRow) -> None:
        """Keep the uses of a row until :meth:`write` writes them."""
        earlier = self._unwritten_rows.pop(row.pair, None)
        self._unwritten_rows[row.pair] = row if earlier is None else row.after(earlier)
        _drop_oldest(self._unwritten_rows)
        self.retry_at = 0.0

    def forget(self) -> None:
        """Forget all that is yet to be written: in a fork, where the parent writes it."""
        self._unwritten.clear()
        self._unwritten_rows.clear()

    @property
    def is_write_due(self) -> bool:
        """Whether there are uses to be written, and none of them failed a moment ago."""
        return bool(self._unwritten or self._unwritten_rows) and monotonic() >= self.retry_at

    def write(self, connection: Any, _record: Any = None) -> None:
        """Write uses on a driver's connection; rather than wait or fail, leave them for later.

        Listens to the engine's pool, which calls it with every connection that is given back.
        Takes no lock, so that a fork cannot leave it locked: each use is taken out by one thread.
        """
        if not self.is_write_due:
            return
        if connection is None or self.driver.is_idle(connection) is False:
            return
        # The latest on its own, so that an older one, of a row still locked, does not hold it up.
        for at_most in (1, MAX_USES_AT_ONCE):
            uses = _take(self._unwritten, at_most)
            rows = _take(self._unwritten_rows, at_most)
            if not uses and not rows:
                return
            calls = [call for use in uses for call in self._calls(use)]
            calls += [call for row in rows for call in self._use_statements.calls(row)]
            try:
                self.driver.write(connection, calls)
            except Exception as error:
                logger.debug("uses of keys are not written yet: %s", error)
                for use in uses:
                    self._unwritten.setdefault(use.key_id, use)
                self._keep_rows(rows, error)
                self.retry_at = monotonic() + RETRY_SECONDS
                return
            except BaseException as error:
                self._keep_rows(rows, error)
                raise

    def _keep_rows(self, rows: list[UseRow], error: BaseException) -> None:
        """Keep rows that could not be written. Only if the database says so it has not counted
        them: a connection that broke may have committed, and a use must not count twice.
        """
        refusals, is_disconnect = self._dialect.loaded_dbapi.Error, self._dialect.is_disconnect
        is_refused = isinstance(error, refusals) and not is_disconnect(error, None, None)
        for row in rows:
            kept = row if is_refused else replace(row, is_counted=True)
            # One that came meanwhile is later.
            later = self._unwritten_rows.pop(row.pair, None)
            self._unwritten_rows[row.pair] = kept if later is None else later.after(kept)

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


def _take(unwritten: dict[Any, Kept], at_most: int) -> list[Kept]:
    taken: list[Kept] = []
    with suppress(KeyError):
        while len(taken) < at_most:
            taken.append(unwritten.popitem()[1])
    return taken


def _drop_oldest(unwritten: dict[Any, Any]) -> None:
    if len(unwritten) > MAX_UNWRITTEN_USES:
        with suppress(KeyError, RuntimeError, StopIteration):  # if another thread is at it
            del unwritten[next(iter(unwritten))]
