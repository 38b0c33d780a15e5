"""The tables of the usual models in a server's database, kept from one test to the next: to make
them takes ten times as long as to empty them.
"""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from . import databases

MANY_ROWS = 1_000
"""To delete more of them takes longer than to make the tables anew."""

_POSTGRESQL = """
SELECT concat_ws(' ', c.relkind, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                 a.attnotnull, a.attcollation, pg_get_expr(d.adbin, d.adrelid))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_'
ORDER BY 1
"""

_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")

_kept: dict[sa.URL, sa.MetaData] = {}


def take(url: str) -> bool:
    """Tell whether a database has the usual tables, empty; they are the caller's from now on."""
    return _kept.pop(_database(url), None) is not None


def keep(url: str, metadata: sa.MetaData) -> bool:
    """Empty the usual tables for the next host, and tell whether that was possible: they are as
    they were made, and hold few rows.
    """
    database = _database(url)
    with _engine(database).connect() as connection:
        if _description(connection) != _usual_description(databases.kind_of(url), metadata):
            return False
        deleted = 0
        for table in reversed(metadata.sorted_tables):
            deleted = max(deleted, connection.execute(sa.delete(table)).rowcount)
            if deleted > MANY_ROWS:
                return False
        connection.commit()
    _kept[database] = metadata
    return True


def drop_kept(url: str | sa.URL) -> None:
    """Leave a database as empty as it was made."""
    database = _database(url)
    metadata = _kept.pop(database, None)
    if metadata is not None:
        with _engine(database).connect() as connection:
            metadata.drop_all(connection)
            connection.commit()


def forget(url: str) -> None:
    """Keep nothing of a database that is dropped as a whole."""
    _kept.pop(_database(url), None)


def drop_all_kept() -> None:
    """Leave every database as empty as it was made."""
    for database in list(_kept):
        drop_kept(database)


def _database(url: str | sa.URL) -> sa.URL:
    """Return the URL without the options of its connections."""
    return sa.make_url(url).set(query={})


@cache
def _engine(database: sa.URL) -> sa.Engine:
    return sa.create_engine(database, poolclass=sa.NullPool)


@cache
def _usual_description(kind: str, metadata: sa.MetaData) -> list[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        databases.temporary_database(kind, Path(folder)) as url,
        _engine(_database(url)).connect() as connection,
    ):
        metadata.create_all(connection)
        connection.commit()
        return _description(connection)


def _description(connection: sa.Connection) -> list[str]:
    """Describe all that a test may have changed in a database."""
    if connection.dialect.name == "postgresql":
        return list(connection.scalars(sa.text(_POSTGRESQL)))
    names = list(connection.scalars(sa.text("SHOW TABLES")))
    created = [connection.execute(sa.text(f"SHOW CREATE TABLE `{name}`")).one() for name in names]
    triggers = connection.execute(sa.text("SHOW TRIGGERS")).all()
    return [_COUNTER.sub("", row[1]) for row in created] + [str(row) for row in triggers]
