"""100,000 keys that end soon: one run of ``flask orgkeys notify`` in few statements and little
memory.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_orgkeys import signals
from flask_orgkeys.keys.notices import Notice

from ..host import Host

KEYS = 100_000
ORGANIZATIONS = 100
KEYS_EACH = KEYS // ORGANIZATIONS
MAX_STATEMENTS_EACH = 30


@pytest.fixture
def large_host(host: Host) -> Host:
    now = datetime.now(UTC)
    with host.app.app_context(), host.db.engine.begin() as connection:
        connection.execute(sa.delete(host.Organization))
        numbers = range(1, ORGANIZATIONS + 1)
        organizations = [{"id": i, "slug": f"org-{i}", "name": f"Org {i}"} for i in numbers]
        connection.execute(sa.insert(host.Organization), organizations)
        for organization in numbers:
            rows = [
                {
                    "id": f"{organization * KEYS_EACH + number:012d}",
                    "organization_id": organization,
                    "name": f"Pipeline {number}",
                    "folded_name": f"pipeline {number}",
                    "scopes": ["project:deploy"],
                    "digest": "sha256$" + "0" * 64,
                    "created_at": now - timedelta(days=60),
                    "expires_at": now + timedelta(days=5, seconds=number),
                }
                for number in range(KEYS_EACH)
            ]
            table = host.orgkeys.ApiKey.__table__  # type: ignore[attr-defined]
            connection.execute(sa.insert(table), rows)
    return host


@contextmanager
def counted_statements(host: Host) -> Iterator[list[str]]:
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        statements.append(sql[:6])

    with host.app.app_context():
        engine = host.db.engine
    sa.event.listen(engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", count)


def notices_in_memory() -> int:
    gc.collect()
    return sum(type(value) is Notice for value in gc.get_objects())


def test_one_run_is_bounded(large_host: Host) -> None:
    told: list[int] = []
    kept: list[int] = []

    def receive(app: Any, notices: Any, **_: Any) -> None:
        told.append(len(notices))
        if len(told) in (ORGANIZATIONS // 2, ORGANIZATIONS):
            kept.append(notices_in_memory())

    receiving = signals.notices_due.connected_to(receive, large_host.app)
    with receiving, counted_statements(large_host) as statements:
        result = large_host.app.test_cli_runner().invoke(args=["orgkeys", "notify"])
    assert result.exit_code == 0, result.stderr
    assert told == [KEYS_EACH] * ORGANIZATIONS
    assert result.stdout.count("Pipeline") == KEYS
    assert len(statements) <= MAX_STATEMENTS_EACH * ORGANIZATIONS
    # Those of one organisation, without and with an address, and those told before it.
    assert max(kept) <= 3 * KEYS_EACH
