"""Names of other packages' that they do not promise: a test each, which fails if one changes."""

from __future__ import annotations

import inspect
from typing import Any

import flask_sqlalchemy.session
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import QueuePool


def pool(**options: Any) -> Any:
    return sa.create_engine("sqlite://", poolclass=QueuePool, **options).pool


# authentication


def test_sqlalchemy_pool_do_get_get_connection_and_checkin() -> None:
    of_one = pool(pool_size=1, max_overflow=0)
    entry = of_one._do_get()
    connection = entry.get_connection()
    assert connection.execute("SELECT 1").fetchone() == (1,)
    assert of_one.checkedout() == 1
    entry.checkin(_fairy_was_created=False)
    assert of_one.checkedout() == 0
    assert entry.dbapi_connection is connection


def test_sqlalchemy_pool_pre_ping() -> None:
    assert [bool(pool(pool_pre_ping=value)._pre_ping) for value in (False, True)] == [False, True]


def test_sqlalchemy_pool_max_overflow() -> None:
    assert [pool(max_overflow=number)._max_overflow for number in (-1, 7)] == [-1, 7]


def test_sqlalchemy_pool_dispatch() -> None:
    dispatch = pool().dispatch
    assert not dispatch.checkout
    assert not dispatch.reset


def test_sqlalchemy_compiler_positiontup_and_binds() -> None:
    column = sa.column("id", sa.Integer)
    select: Any = sa.select(column).where(column == sa.bindparam("key_id", type_=sa.Integer))
    compiled = select.compile(dialect=sqlite.dialect())
    assert list(compiled.positiontup) == ["key_id"]
    assert isinstance(compiled.binds["key_id"].type, sa.Integer)


def test_flask_sqlalchemy_session_get_bind() -> None:
    """A session of Flask-SQLAlchemy's own finds the engine by the bind key of the mapped table."""
    source = inspect.getsource(flask_sqlalchemy.session.Session.get_bind)
    assert "bind_key" in source
