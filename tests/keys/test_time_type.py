"""Queries of a host's own for the times in our tables, on PostgreSQL."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from ..conftest import MakeHost
from ..host import Host


@pytest.fixture
def host(new_host: MakeHost, postgresql_url: str) -> Host:
    host = new_host(postgresql_url)
    for _ in range(2):
        host.issue()
    return host


@pytest.mark.filterwarnings("ignore:Column-expression-level unary distinct")
@pytest.mark.parametrize(
    "query",
    [
        lambda key: sa.select(key.created_at).distinct().order_by(key.created_at),
        lambda key: sa.select(key.id, key.created_at).distinct().order_by(key.created_at),
        lambda key: sa.select(sa.distinct(key.created_at)).order_by(key.created_at),
        lambda key: sa.select(key.created_at.distinct()),
        lambda key: sa.select(key.created_at, sa.func.count()).group_by(key.created_at),
        lambda key: sa.union_all(sa.select(key.created_at), sa.select(key.expires_at)).limit(2),
        lambda key: sa.update(key).values(name="New").returning(key.created_at),
    ],
)
def test_query(host: Host, query: Callable[[Any], Any]) -> None:
    with host.app.app_context():
        rows = host.db.session.execute(query(host.orgkeys.ApiKey)).all()
    assert len(rows) == 2


@pytest.mark.parametrize("function", [sa.func.min, sa.func.max])
def test_aggregate_of_times_beyond_the_calendar(host: Host, function: Any) -> None:
    key = host.orgkeys.ApiKey
    with host.app.app_context():
        host.db.session.execute(sa.update(key).values(expires_at=sa.text("'infinity'")))
        time = host.db.session.scalar(sa.select(function(key.expires_at)))
    assert time.year == 9999


def test_pickle(host: Host) -> None:
    with host.app.app_context():
        dialect = host.db.engine.dialect
    kind = host.orgkeys.ApiKey.__table__.c.created_at.type
    copy = pickle.loads(pickle.dumps(kind))
    assert repr(copy.dialect_impl(dialect)) == repr(kind.dialect_impl(dialect))
