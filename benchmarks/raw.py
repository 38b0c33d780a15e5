"""The yardstick: the least that checks a key, written by hand on the driver."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from flask import abort, request
from sqlalchemy.engine import URL, make_url

from . import keys

_SELECT = "SELECT digest, scopes, expires_at, revoked_at FROM orgkeys_key WHERE id = "

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]
Read = Callable[[str], Any]

_connections: list[Any] = []


def make_guard(database_url: str) -> Guard:
    thread = threading.local()

    def reader() -> Read:
        """Return the running thread's, which has a connection of its own."""
        try:
            read: Read = thread.read
        except AttributeError:
            read = thread.read = _connect(database_url)
        return read

    def guard(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            _check(request.environ.get("HTTP_AUTHORIZATION"), reader)
            return view(*args, **kwargs)

        return guarded

    return guard


def _check(header: str | None, reader: Callable[[], Read]) -> None:
    if header is None or not header.startswith("Bearer "):
        abort(401)
    prefix, _, rest = header[7:].partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != keys.PREFIX:
        abort(401)
    row = reader()(key_id)
    digest = "sha256$" + hashlib.sha256(secret.encode()).hexdigest()
    if row is None or not hmac.compare_digest(row[0], digest):
        abort(401)
    _, scopes, expires_at, revoked_at = row
    if revoked_at is not None or (expires_at is not None and expires_at <= datetime.now(UTC)):
        abort(401)
    if keys.SCOPE not in scopes:
        abort(403)


def _connect(database_url: str) -> Read:
    url = make_url(database_url)
    return _sqlite_reader(url) if url.get_backend_name() == "sqlite" else _postgresql_reader(url)


def _sqlite_reader(url: URL) -> Read:
    connection = sqlite3.connect(url.database or "")
    _connections.append(connection)
    statement = _SELECT + "?"  # Prepared once: the driver keeps it by its text.

    def read(key_id: str) -> Any:
        row = connection.execute(statement, (key_id,)).fetchone()
        if row is None:
            return None
        digest, scopes, expires_at, revoked_at = row
        if expires_at is not None:
            expires_at = datetime.fromisoformat(expires_at).replace(tzinfo=UTC)
        return digest, json.loads(scopes), expires_at, revoked_at

    return read


def _postgresql_reader(url: URL) -> Read:
    import psycopg

    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg.connect(conninfo, autocommit=True)
    _connections.append(connection)
    cursor = connection.cursor()
    statement = _SELECT + "%s"

    def read(key_id: str) -> Any:
        return cursor.execute(statement, (key_id,), prepare=True).fetchone()

    return read


def close_connections() -> None:
    while _connections:
        _connections.pop().close()
