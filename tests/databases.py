"""The databases the tests run on: one made for each kind, dropped at the end.

Servers are looked for at their usual loopback addresses; ``ORGKEYS_TEST_POSTGRESQL`` and
``ORGKEYS_TEST_MARIADB`` name others. A server that does not answer skips its tests, unless
``ORGKEYS_TEST_REQUIRE_ALL`` is set, which turns the skip into a failure.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

SQLITE_FILE = "sqlite-file"
SQLITE_MEMORY = "sqlite-memory"
PSYCOPG = "postgresql-psycopg"
PSYCOPG2 = "postgresql-psycopg2"
PYMYSQL = "mariadb-pymysql"

ALL = (SQLITE_FILE, SQLITE_MEMORY, PSYCOPG, PSYCOPG2, PYMYSQL)
ONE_OF_EACH = (SQLITE_FILE, PSYCOPG, PYMYSQL)
SERVERS = (PSYCOPG, PSYCOPG2, PYMYSQL)

_POSTGRESQL = os.environ.get(
    "ORGKEYS_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
_MARIADB = os.environ.get("ORGKEYS_TEST_MARIADB", "mariadb://root@127.0.0.1:3306/")

_SERVER_URLS = {
    PSYCOPG: make_url(_POSTGRESQL).set(drivername="postgresql+psycopg"),
    PSYCOPG2: make_url(_POSTGRESQL).set(drivername="postgresql+psycopg2"),
    PYMYSQL: make_url(_MARIADB).set(drivername="mysql+pymysql"),
}


def skip_or_fail(reason: str) -> None:
    """Skip the running test, or fail it where nothing may be skipped."""
    if os.environ.get("ORGKEYS_TEST_REQUIRE_ALL"):
        pytest.fail(f"{reason} (ORGKEYS_TEST_REQUIRE_ALL is set)")
    pytest.skip(reason)


def is_on_server(url: str) -> bool:
    """Tell whether a database is on a server."""
    return make_url(url).get_backend_name() != "sqlite"


def kind_of(url: str) -> str:
    """Return the kind of a server's database."""
    driver = make_url(url).drivername
    return next(kind for kind, server in _SERVER_URLS.items() if server.drivername == driver)


@contextmanager
def temporary_database(kind: str, directory: Path) -> Iterator[str]:
    """Make an empty database of ``kind``; yield its URL; drop it."""
    if kind == SQLITE_FILE:
        yield f"sqlite:///{directory / f'{secrets.token_hex(4)}.sqlite'}"
        return
    if kind == SQLITE_MEMORY:
        yield "sqlite://"
        return
    with _server_database(_SERVER_URLS[kind]) as url:
        yield url.render_as_string(hide_password=False)


@contextmanager
def _server_database(server: URL) -> Iterator[URL]:
    name = f"orgkeys_test_{secrets.token_hex(6)}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    try:
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    except sa.exc.OperationalError as error:
        skip_or_fail(
            f"no {server.get_backend_name()} server at {server.host}:{server.port}: start one, or "
            "name yours in ORGKEYS_TEST_POSTGRESQL or ORGKEYS_TEST_MARIADB"
            f" ({type(error.orig).__name__})"
        )
    try:
        yield server.set(database=name)
    finally:
        force = " WITH (FORCE)" if server.get_backend_name() == "postgresql" else ""
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name}{force}"))
        admin.dispose()
