"""The type of the columns of times."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

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
    columns are stored, compared and written as they are.
    """

    impl = postgresql.TIMESTAMP
    cache_ok = True

    def column_expression(self, column: Any) -> sa.ColumnElement[Any]:
        first, last = map(_literal, (EARLIEST, LATEST))
        return sa.case((column > last, last), (column < first, first), else_=column)


def _literal(moment: datetime) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"TIMESTAMPTZ '{moment.isoformat()}'")


# Alembic renders a type by its module and name: a migration has PostgreSQL's own type, so that a
# host's migrations need not import ours.
_WithinCalendar.__module__ = postgresql.TIMESTAMP.__module__
_WithinCalendar.__name__ = postgresql.TIMESTAMP.__name__

TIME = (
    sa.DateTime(timezone=True)
    # MariaDB drops microseconds from a plain DATETIME.
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(_WithinCalendar(timezone=True), "postgresql")
)
"""A time to the microsecond, which every driver can read."""
