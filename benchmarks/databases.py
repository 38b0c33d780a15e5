"""Databases made for one run and dropped at its end: a SQLite file in WAL mode, or PostgreSQL."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, make_url

from . import apps, keys
from .keys import KeySet

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
KINDS = (SQLITE, POSTGRESQL)

SERVER = make_url(
    os.environ.get("ORGKEYS_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
).set(drivername="postgresql+psycopg")


@dataclass(frozen=True)
class Database:
    """A database filled with keys."""

    kind: str
    url: str
    keys: KeySet


@contextmanager
def filled(kind: str, size: int, directory: Path) -> Iterator[Database]:
    """Make a database of ``size`` valid keys."""
    key_set = KeySet(size)
    with empty(kind, directory) as url:
        app = apps.make_app(apps.ORGKEYS, url)
        with app.app_context():
            db = app.extensions["sqlalchemy"]
            db.create_all()
            _fill(db.engine, db.metadata.tables, key_set)
            db.engine.dispose()
        try:
            yield Database(kind, url, key_set)
        finally:
            apps.close_connections()


@contextmanager
def copied(database: Database, directory: Path) -> Iterator[Database]:
    """Make a copy of a database that nobody is connected to."""
    original = make_url(database.url).database or ""
    with empty(database.kind, directory, template=original) as url:
        if database.kind == SQLITE:
            shutil.copyfile(original, make_url(url).database or "")
        try:
            yield replace(database, url=url)
        finally:
            apps.close_connections()


@contextmanager
def empty(kind: str, directory: Path, template: str = "template1") -> Iterator[str]:
    """Make a database, empty but for what is in PostgreSQL's template; give its URL; drop it."""
    name = f"orgkeys_benchmark_{secrets.token_hex(6)}"
    if kind == SQLITE:
        path = directory / f"{name}.sqlite"
        try:
            yield f"sqlite:///{path}"
        finally:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        return
    admin = connect_to_server()
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield _rendered(SERVER.set(database=name))
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def connect_to_server() -> sa.Engine:
    """Return an engine that has reached the PostgreSQL server.

    :raises sqlalchemy.exc.OperationalError: where there is none.
    """
    engine = sa.create_engine(SERVER, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    engine.connect().close()
    return engine


def version(database: Database) -> dict[str, str]:
    """Return the version of a server."""
    if database.kind != POSTGRESQL:
        return {}
    with connect_to_server().connect() as connection:
        return {POSTGRESQL: str(connection.exec_driver_sql("SHOW server_version").scalar())}


def _rendered(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _fill(engine: sa.Engine, tables: Any, key_set: KeySet) -> None:
    with engine.connect() as connection:
        if engine.dialect.name == SQLITE:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("PRAGMA synchronous = OFF")
        connection.commit()
        organizations = [
            {"id": number, "slug": f"org-{number}", "name": f"Organisation {number}"}
            for number in range(1, keys.ORGANIZATIONS + 1)
        ]
        connection.execute(tables["organization"].insert(), organizations)
        copy = _copy_to_postgresql if engine.dialect.name == POSTGRESQL else _insert
        copy(connection, tables["orgkeys_key"], key_set.rows(keys.now()))
        connection.commit()
    _settle(engine)


def _insert(connection: Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    remaining = iter(rows)
    while batch := list(islice(remaining, 20_000)):
        connection.execute(table.insert(), batch)


def _copy_to_postgresql(
    connection: Connection, table: sa.Table, rows: Iterable[dict[str, Any]]
) -> None:
    from psycopg.types.json import Json

    names = [column.name for column in table.columns]
    statement = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            values = {**row, "scopes": Json(row["scopes"])}
            copy.write_row([values.get(name) for name in names])


def _settle(engine: sa.Engine) -> None:
    """Do now what the database would otherwise do during the measurement."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == SQLITE:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.exec_driver_sql("VACUUM (ANALYZE)")
            connection.exec_driver_sql("CHECKPOINT")
