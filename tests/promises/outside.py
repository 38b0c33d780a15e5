"""The database as another process sees it, whatever the host has open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from ..host import Host


def url_of(host: Host, bind_key: str | None = None) -> sa.URL:
    with host.app.app_context():
        return host.db.engines[bind_key].url


@contextmanager
def engine_of_another_process(url: sa.URL | str, **options: Any) -> Iterator[Engine]:
    engine = sa.create_engine(url, poolclass=sa.NullPool, **options)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def connection_of_another_process(host: Host) -> Iterator[Connection]:
    """A connection of its own; to SQLite's memory there is none but the host's."""
    url = url_of(host)
    if url.get_backend_name() == "sqlite" and not url.database:
        with host.app.app_context(), host.db.engine.connect() as connection:
            yield connection
        return
    with engine_of_another_process(url) as engine, engine.connect() as connection:
        yield connection


def last_used_at(host: Host, key_id: str) -> datetime | None:
    """The last use that is written, as an aware time."""
    key = sa.inspect(host.orgkeys.ApiKey).local_table
    with connection_of_another_process(host) as connection:
        moment = connection.scalar(sa.select(key.c.last_used_at).where(key.c.id == key_id))
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)


def saved_notes(host: Host) -> list[str]:
    """The texts of the host's own rows that are committed."""
    with connection_of_another_process(host) as connection:
        return list(connection.scalars(sa.select(sa.inspect(host.Note).local_table.c.text)))
