"""The type of the columns of times."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators

from .times import EARLIEST, LATEST

if TYPE_CHECKING:
    # ``TypeDecorator`` is generic for type checkers alone.
    _Decorator = sa.types.TypeDecorator[datetime]
else:
    _Decorator = sa.types.TypeDecorator


class _WithinCalendar(_Decorator):
    """PostgreSQL's timestamp, as far as Python has its year.

    PostgreSQL's times may be infinite, or lie in years before 1 or after 9999, in UTC or in the
    zone of the session. Its drivers raise an error for such a row, and then every page, command and
    request that reads it fails. So the server is asked for the nearest time that they can read. The
    columns are stored, compared and written as they are. So are they read after ``DISTINCT``, which
    can be sorted by nothing but the expressions that it reads.
    """

    impl = postgresql.TIMESTAMP
    cache_ok = True

    def column_expression(self, column: Any) -> sa.ColumnElement[Any]:
        return _Readable(column)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it by a function: by its name, its class would be PostgreSQL's own type."""
        return _within_calendar, (self.timezone,)


class _Readable(sa.ColumnElement[Any]):
    """The nearest time that drivers can read."""

    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        first, last = map(_literal, (EARLIEST, LATEST))
        self.column = column
        self.nearest = sa.case((column > last, last), (column < first, first), else_=column)
        self.type = column.type


@compiles(_Readable)
def _read(element: _Readable, compiler: Any, **options: Any) -> str:
    statement = compiler.stack[-1].get("selectable")
    is_distinct = getattr(statement, "_distinct", False)
    is_distinct = is_distinct or getattr(element.column, "operator", None) is operators.distinct_op
    text: str = compiler.process(element.column if is_distinct else element.nearest, **options)
    return text


def _literal(moment: datetime) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"TIMESTAMPTZ '{moment.isoformat()}'")


# Alembic renders a type by its module and name: a migration has PostgreSQL's own type, so that a
# host's migrations need not import ours.
_WithinCalendar.__module__ = postgresql.TIMESTAMP.__module__
_WithinCalendar.__name__ = postgresql.TIMESTAMP.__name__


def _within_calendar(timezone: bool) -> _WithinCalendar:
    return _WithinCalendar(timezone=timezone)


TIME = (
    sa.DateTime(timezone=True)
    # MariaDB drops microseconds from a plain DATETIME.
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(_WithinCalendar(timezone=True), "postgresql")
)
"""A time to the microsecond, which every driver can read."""
