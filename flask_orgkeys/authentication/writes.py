"""Uses of keys that are yet to be written: bounded, throttled, and written without a wait."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import sqlalchemy as sa

from .drivers import BrokenConnection
from .loan import give_back_broken
from .statement import Statement
from .use_rows import Pair, UseRow, UseStatements

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import ConnectionPoolEntry

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


Mark = Literal["confirmed", "previous_used"]
"""The note of a rotated key that a use leaves beside the last use."""

CONFIRMED: Final = "confirmed"
"""The first use of the new secret."""

PREVIOUS_USED: Final = "previous_used"
"""The last use of the secret before."""


@dataclass(frozen=True, slots=True)
class Use:
    """The traces that an accepted request leaves to be written.

    :param digest: that of the secret that was used. A write that is late marks no other secret.
    :param unused_since: write only over a last use up to this time; ``None`` if the written one is
        fresh, or none is kept.
    :param new_digest: put in the place of an outdated digest.
    """

    key_id: str
    digest: str
    used_at: datetime
    unused_since: datetime | None
    mark: Mark | None = None
    new_digest: str | None = None


class PendingUses:
    """The uses that are yet to be written to one engine's database.

    :param driver: of its connections.
    """

    def __init__(self, models: Models, engine: Engine, driver: Driver) -> None:
        self.driver: Driver = driver
        self._dialect = engine.dialect
        self.retry_at: float = 0.0
        self._unwritten: OrderedDict[tuple[str, str], Use] = OrderedDict()
        self._unwritten_rows: OrderedDict[Pair, UseRow] = OrderedDict()
        self._statements = _Statements(models, engine)
        self._use_statements = UseStatements(models, engine)

    def record(self, use: Use) -> None:
        """Keep a use until :meth:`write` writes it."""
        # At the end, so as to be written first and dropped last.
        slot = use.key_id, use.digest
        self._unwritten.pop(slot, None)
        self._unwritten[slot] = use
        if len(self._unwritten) > MAX_UNWRITTEN_USES:
            self._unwritten.popitem(last=False)
        self.retry_at = 0.0

    def record_row(self, row: UseRow) -> None:
        """Keep the uses of a row until :meth:`write` writes them."""
        earlier = self._unwritten_rows.pop(row.pair, None)
        self._unwritten_rows[row.pair] = row if earlier is None else row.after(earlier)
        if len(self._unwritten_rows) > MAX_UNWRITTEN_USES:
            self._unwritten_rows.popitem(last=False)
        self.retry_at = 0.0

    def forget(self) -> None:
        """Forget all that is yet to be written: in a fork, because the parent writes it."""
        self._unwritten.clear()
        self._unwritten_rows.clear()

    @property
    def is_write_due(self) -> bool:
        """Whether there are uses to be written, and none of them failed a moment ago."""
        return bool(self._unwritten or self._unwritten_rows) and monotonic() >= self.retry_at

    def write_at_checkin(self, connection: Any, entry: ConnectionPoolEntry) -> None:
        """Write uses on a connection that is given back.

        Listens to the engine's pool. A pool whose listener raises forgets the connection's place,
        and after as many requests that were cut short as it has places, it has none for anybody.
        So the connection is given back here before the exception is raised on.
        """
        # Mostly there are none.
        if not (self._unwritten or self._unwritten_rows) or connection is None:
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
            uses = _take(self._unwritten, at_most)
            rows = _take(self._unwritten_rows, at_most)
            if not uses and not rows:
                return
            calls = [call for use in uses for call in self._statements.calls(use)]
            calls += [call for row in rows for call in self._use_statements.calls(row)]
            try:
                self.driver.write(connection, calls)
            except BaseException as error:
                self._keep(uses, rows, error)
                if not isinstance(error, self.driver.error):
                    raise
                logger.debug("uses of keys are not written yet: %s", error)
                return

    def _keep(self, uses: list[Use], rows: list[UseRow], error: BaseException) -> None:
        for use in uses:
            self._unwritten.setdefault((use.key_id, use.digest), use)
        self._keep_rows(rows, error)
        self.retry_at = monotonic() + RETRY_SECONDS

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


class _Statements:
    """The statements that write uses, compiled for an engine."""

    def __init__(self, models: Models, engine: Engine) -> None:
        self._engine = engine
        self._table = models.key_table
        key = self._columns = models.key_table.c
        self._used_at = sa.bindparam("used_at", type_=key.last_used_at.type)
        self._unused_since = sa.bindparam("unused_since", type_=key.last_used_at.type)
        self._digest = sa.bindparam("digest", type_=key.digest.type)
        is_unconfirmed = sa.and_(key.digest == self._digest, key.confirmed_at.is_(None))
        is_previous = key.previous_digest == self._digest
        self._touch = self._update(self._is_stale(key.last_used_at), last_used_at=self._used_at)
        self._touch_and: dict[Mark, Statement] = {
            CONFIRMED: self._marking(is_unconfirmed, is_unconfirmed, "confirmed_at"),
            PREVIOUS_USED: self._marking(
                sa.and_(is_previous, self._is_stale(key.previous_used_at)),
                sa.and_(is_previous, self._is_before(key.previous_used_at)),
                "previous_used_at",
            ),
        }
        self._confirm = self._update(is_unconfirmed, confirmed_at=self._used_at)
        new_digest = sa.bindparam("new_digest", type_=key.digest.type)
        self._replace_digests = [
            self._update(key.digest == self._digest, digest=new_digest),
            self._update(is_previous, previous_digest=new_digest),
        ]

    def calls(self, use: Use) -> list[Call]:
        """Return the calls that write a use."""
        values = {"key_id": use.key_id, "digest": use.digest, "used_at": use.used_at}
        calls = []
        if use.unused_since is not None:
            statement = self._touch if use.mark is None else self._touch_and[use.mark]
            calls.append(statement.call({**values, "unused_since": use.unused_since}))
        elif use.mark == CONFIRMED:
            calls.append(self._confirm.call(values))
        if use.new_digest is not None:
            values["new_digest"] = use.new_digest
            calls += [replace.call(values) for replace in self._replace_digests]
        return calls

    def _marking(
        self, is_due: sa.ColumnElement[bool], is_to_be_set: sa.ColumnElement[bool], name: str
    ) -> Statement:
        """Return the touch that takes a mark along, each column by its own condition: the secret
        may have moved up, or been replaced, since it was used.
        """
        last_used_at = self._columns.last_used_at
        return self._update(
            sa.or_(self._is_stale(last_used_at), is_due),
            last_used_at=sa.case(
                (self._is_before(last_used_at), self._used_at), else_=last_used_at
            ),
            **{name: sa.case((is_to_be_set, self._used_at), else_=self._columns[name])},
        )

    def _is_stale(self, used_at: sa.Column[Any]) -> sa.ColumnElement[bool]:
        return sa.or_(used_at.is_(None), used_at <= self._unused_since)

    def _is_before(self, used_at: sa.Column[Any]) -> sa.ColumnElement[bool]:
        return sa.or_(used_at.is_(None), used_at < self._used_at)

    def _update(self, condition: sa.ColumnElement[bool], **values: Any) -> Statement:
        key_id = sa.bindparam("key_id", type_=self._columns.id.type)
        update = sa.update(self._table).where(self._columns.id == key_id, condition)
        return Statement(update.values(**values), self._engine)


def _take(unwritten: dict[Any, Kept], at_most: int) -> list[Kept]:
    taken: list[Kept] = []
    with suppress(KeyError):
        while len(taken) < at_most:
            taken.append(unwritten.popitem()[1])
    return taken
