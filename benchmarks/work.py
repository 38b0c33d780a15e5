"""What is counted and timed by its label: requests to an app, or a part of what they need."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from flask import Flask

from . import apps, keys, subjects
from .databases import Database
from .subjects import Label, Prepare

POOL = "a pool's connection"
DRIVER = "a driver's statement"


def work_of(label: Label, database: Database) -> Prepare:
    """Return what does the work of a label."""
    parts = {POOL: _pool_work, DRIVER: _driver_work}
    if label.app in parts:
        return _repeated(apps.make_app(apps.BARE, database.url), parts[label.app])
    app = apps.make_app(label.app, database.url)
    return subjects.requests(app, label, database.keys).prepare


def _repeated(app: Flask, make: Callable[[Flask], Callable[[], object]]) -> Prepare:
    with app.app_context():
        once = make(app)

    def repeat(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            once()
        return time.perf_counter() - start

    return lambda count: partial(repeat, count)


def _pool_work(app: Flask) -> Callable[[], object]:
    engine = app.extensions["sqlalchemy"].engine

    def once() -> None:
        engine.raw_connection().close()

    return once


def _driver_work(app: Flask) -> Callable[[], object]:
    """Return a look-up of the columns that authentication reads, on one connection."""
    engine = app.extensions["sqlalchemy"].engine
    connection = engine.raw_connection().driver_connection
    if engine.dialect.name == "postgresql":
        connection.autocommit = True
    mark = "?" if engine.dialect.name == "sqlite" else "%s"
    statement = (
        "SELECT id, organization_id, name, scopes, digest, created_by, created_at, expires_at, "
        f"last_used_at, revoked_at, previous_digest, previous_until, previous_used_at, "
        f"rotated_at, confirmed_at FROM orgkeys_key WHERE id = {mark}"
    )
    key_id = keys.token_of(0).id

    def once() -> None:
        cursor = connection.cursor()
        cursor.execute(statement, (key_id,))
        cursor.fetchone()
        cursor.close()

    return once
