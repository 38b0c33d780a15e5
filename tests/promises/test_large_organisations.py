"""100,000 keys in one organisation: a page in few statements, rows and little text (promise 16)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from .. import databases
from ..conftest import MakeHost
from ..host import Host

KEYS = 100_000
EVENTS = 100_000
MAX_STATEMENTS = 10
ROWS_A_PAGE = 25
MAX_BYTES = 500_000


@pytest.fixture(scope="module", params=databases.ONE_OF_EACH)
def large_database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with databases.temporary_database(request.param, tmp_path_factory.mktemp("large")) as url:
        yield url


@pytest.fixture
def large_host(new_host: MakeHost, large_database_url: str) -> Host:
    host = new_host(large_database_url)
    table = host.orgkeys.ApiKey.__table__  # type: ignore[attr-defined]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with host.app.app_context(), host.db.engine.begin() as connection:
        for first in range(0, KEYS, 10_000):
            connection.execute(
                sa.insert(table),
                [
                    {
                        "id": f"{number:012d}",
                        "organization_id": host.organization_ids["acme"],
                        "name": f"Pipeline {number}",
                        "folded_name": f"pipeline {number}",
                        "scopes": ["project:deploy"],
                        "digest": "sha256$" + "0" * 64,
                        "created_at": start + timedelta(seconds=number),
                    }
                    for number in range(first, first + 10_000)
                ],
            )
    return host


@pytest.fixture
def host_with_many_events(new_host: MakeHost, large_database_url: str) -> Host:
    host = new_host(large_database_url)
    table = host.db.metadata.tables["orgkeys_event"]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with host.app.app_context(), host.db.engine.begin() as connection:
        for first in range(0, EVENTS, 10_000):
            connection.execute(
                sa.insert(table),
                [
                    {
                        "organization_id": host.organization_ids["acme"],
                        "key_id": f"{number % 1000:012d}",
                        "action": "updated" if number % 2 else "revoked",
                        "occurred_at": start + timedelta(seconds=number),
                        "actor": f"user {number % 100}",
                        "details": {},
                    }
                    for number in range(first, first + 10_000)
                ],
            )
    return host


@contextmanager
def counted_rows(host: Host) -> Iterator[list[int]]:
    """How many rows each statement is answered by. SQLite's driver does not know, and says -1."""
    rows: list[int] = []

    def count(_c: Any, cursor: Any, *_: Any) -> None:
        rows.append(cursor.rowcount)

    with host.app.app_context():
        engine = host.db.engine
    sa.event.listen(engine, "after_cursor_execute", count)
    try:
        yield rows
    finally:
        sa.event.remove(engine, "after_cursor_execute", count)


def test_first_last_and_searched_page_are_bounded(large_host: Host) -> None:
    client = large_host.client("ada")
    for query, expected in {
        "": "Pipeline 99999",
        "page=4000": "Pipeline 0",
        "q=pipeline+77777": "Pipeline 77777",
        "q=000000000042": "Pipeline 42",
        "q=nothing+like+it": "No key matches",
        "status=all&sort=name&page=999999999": "Pipeline 99999",
        "sort=-last_used": "Pipeline",
        "sort=expires": "Pipeline",
    }.items():
        with counted_rows(large_host) as rows:
            answer = client.get(f"/o/acme/api-keys?{query}")
        assert answer.status_code == 200
        assert expected in answer.text, query
        assert 1 <= len(rows) <= MAX_STATEMENTS, query
        assert max(rows) <= ROWS_A_PAGE, query
        assert len(answer.data) <= MAX_BYTES, query


def test_pages_of_the_activity_are_bounded(host_with_many_events: Host) -> None:
    client = host_with_many_events.client("ada")
    for query in ("", "page=4000", "action=revoked&page=99", "q=user+42", "q=000000000042"):
        with counted_rows(host_with_many_events) as rows:
            answer = client.get(f"/o/acme/api-keys/activity?{query}")
        assert answer.status_code == 200
        assert answer.text.count("<tr") > ROWS_A_PAGE, query
        assert 1 <= len(rows) <= MAX_STATEMENTS, query
        assert max(rows) <= ROWS_A_PAGE, query
        assert len(answer.data) <= MAX_BYTES, query
