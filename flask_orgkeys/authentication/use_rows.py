"""The recorded uses of keys: the statements that add to ``orgkeys_use``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

from ..keys.uses import ACCEPTED, ENDED_OUTCOMES, MAX_USES_PER_KEY, ROTATED_OUTCOME
from .statement import Statement

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from ..keys.models import Models
    from .drivers import Call

Pair = tuple[str, str, str]
"""A key's id, an endpoint and an outcome: the primary key of a row."""


@dataclass(frozen=True, slots=True)
class UseRow:
    """Uses that are yet to be added to a row.

    :param scopes: those that were demanded.
    :param uses: the number of uses, at least 1.
    :param is_new: whether the row may not exist yet.
    :param is_counted: whether an earlier write may have counted them already.
    """

    key_id: str
    endpoint: str
    outcome: str
    scopes: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    address: str | None
    agent: str | None
    uses: int
    is_new: bool = False
    is_counted: bool = False

    @property
    def pair(self) -> Pair:
        """The primary key of the row."""
        return self.key_id, self.endpoint, self.outcome

    def after(self, earlier: UseRow) -> UseRow:
        """Return both in one.

        :param earlier: of the same row.
        """
        return replace(
            self,
            scopes=tuple(sorted({*earlier.scopes, *self.scopes})),
            first_at=min(earlier.first_at, self.first_at),
            last_at=max(earlier.last_at, self.last_at),
            uses=self.uses if earlier.is_counted else earlier.uses + self.uses,
            is_new=earlier.is_new or self.is_new,
        )


class UseStatements:
    """The statements that write rows, compiled for an engine: one upsert for each row.

    A row of a key that was deleted meanwhile is not written. No other database than SQLite,
    PostgreSQL, MariaDB and MySQL has the upserts, so that no uses are recorded there.
    """

    def __init__(self, models: Models, engine: Engine) -> None:
        self._table = models.use_table
        self._key_id = models.key_table.c.id
        upsert = _UPSERTS.get(engine.dialect.name)
        self._upsert = upsert and Statement(upsert(self._table, self._values()), engine)
        self._bound = Statement(self._delete_beyond(MAX_USES_PER_KEY), engine)

    def calls(self, row: UseRow) -> list[Call]:
        """Return the calls that write a row."""
        if self._upsert is None:
            return []
        values = {
            "key_id": row.key_id,
            "endpoint": row.endpoint,
            "outcome": row.outcome,
            "scopes": list(row.scopes),
            "first_at": row.first_at,
            "last_at": row.last_at,
            "address": row.address,
            "agent": row.agent,
            "uses": row.uses,
            "added": 0 if row.is_counted else row.uses,
        }
        calls = [self._upsert.call(values)]
        if row.is_new:
            calls.append(self._bound.call({"key_id": row.key_id}))
        return calls

    def _values(self) -> sa.Select[Any]:
        values = [
            sa.bindparam(column.name, type_=column.type).label(column.name)
            for column in self._table.columns
        ]
        key_id = sa.bindparam("key_id", type_=self._key_id.type)
        return sa.select(*values).where(self._key_id == key_id)

    def _delete_beyond(self, limit: int) -> sa.Delete:
        """Return the DELETE of a key's rows beyond a limit: the oldest that tell of its end go
        first, then the oldest refusals, and the oldest accepted uses last.
        """
        use = self._table.c
        is_of_key = use.key_id == sa.bindparam("key_id", type_=use.key_id.type)
        of_end = [_constant(outcome) for outcome in (*ENDED_OUTCOMES, ROTATED_OUTCOME)]
        rank = sa.case(
            (use.outcome == _constant(ACCEPTED), sa.literal_column("2")),
            (use.outcome.in_(of_end), sa.literal_column("0")),
            else_=sa.literal_column("1"),
        )
        beyond = (
            sa.select(use.endpoint, use.outcome)
            .where(is_of_key)
            .order_by(rank.desc(), use.last_at.desc())
            # SQLite and MariaDB have no offset without a limit.
            .limit(sa.literal_column("1000000"))
            .offset(sa.literal_column(str(limit)))
            .subquery()
        )
        found = sa.tuple_(use.endpoint, use.outcome).in_(sa.select(*beyond.c))
        return sa.delete(self._table).where(is_of_key, found)


def _constant(outcome: str) -> sa.ColumnElement[Any]:
    # A Statement takes the values of the columns alone.
    return sa.literal_column(f"'{outcome}'")


def _changes(
    table: sa.Table, added: Any, merged_scopes: sa.ColumnElement[Any]
) -> dict[str, sa.ColumnElement[Any]]:
    """Return the columns to set of a row that exists, in this order: MariaDB lets each see those
    before it as they are set already.

    :param added: the columns of the row that was to be inserted.
    """
    is_later = added.last_at >= table.c.last_at
    return {
        "scopes": merged_scopes,
        "address": sa.case((is_later, added.address), else_=table.c.address),
        "agent": sa.case((is_later, added.agent), else_=table.c.agent),
        "first_at": _least(table.c.first_at, added.first_at),
        "last_at": sa.case((is_later, added.last_at), else_=table.c.last_at),
        "uses": table.c.uses + sa.bindparam("added", type_=sa.BigInteger()),
    }


def _least(one: Any, other: Any) -> sa.ColumnElement[Any]:
    return sa.case((other < one, other), else_=one)


def _sqlite_upsert(table: sa.Table, values: sa.Select[Any]) -> sa.Insert:
    insert = sqlite.insert(table).from_select(list(table.columns), values)
    both = sa.union(
        sa.select(sa.func.json_each(table.c.scopes).table_valued("value").c.value),
        sa.select(sa.func.json_each(insert.excluded.scopes).table_valued("value").c.value),
    ).subquery()
    merged = sa.select(sa.func.json_group_array(both.c.value)).scalar_subquery()
    changes = _changes(table, insert.excluded, merged)
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changes)


def _postgresql_upsert(table: sa.Table, values: sa.Select[Any]) -> sa.Insert:
    insert = postgresql.insert(table).from_select(list(table.columns), values)
    both = sa.cast(table.c.scopes, JSONB).op("||")(sa.cast(insert.excluded.scopes, JSONB))
    each = sa.func.jsonb_array_elements_text(both).table_valued("value")
    scope = sa.distinct(each.c.value)
    every = sa.func.jsonb_agg(aggregate_order_by(scope, each.c.value))
    merged = sa.select(sa.cast(every, table.c.scopes.type)).scalar_subquery()
    # Of no scopes at all it makes NULL.
    scopes = sa.func.coalesce(merged, insert.excluded.scopes)
    changes = _changes(table, insert.excluded, scopes)
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changes)


def _mysql_upsert(table: sa.Table, values: sa.Select[Any]) -> sa.Insert:
    insert = mysql.insert(table).from_select(list(table.columns), values)
    added = insert.inserted.scopes
    # It has no union of two arrays: some scopes may be there twice, and are read once.
    merged = sa.case(
        (sa.func.json_contains(table.c.scopes, added), table.c.scopes),
        else_=sa.func.json_merge_preserve(table.c.scopes, added),
    )
    return insert.on_duplicate_key_update(list(_changes(table, insert.inserted, merged).items()))


_UPSERTS = {
    "sqlite": _sqlite_upsert,
    "postgresql": _postgresql_upsert,
    "mysql": _mysql_upsert,
    "mariadb": _mysql_upsert,
}
