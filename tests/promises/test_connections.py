"""Promise 3: no second connection, and none held when the view starts."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter, sleep
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Response, abort, stream_with_context
from sqlalchemy import event
from werkzeug.test import EnvironBuilder

from flask_orgkeys import current_key, require_key, require_scope

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer, with_wrong_secret
from . import hooks
from .hooks import Hook, before_ours, leave_alone, write
from .outside import connection_of_another_process, last_used_at

SMALL_POOL = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}

servers = pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)


def pool_of(host: Host) -> Any:
    with host.app.app_context():
        return host.db.engine.pool


def sessions_in_transaction(host: Host) -> list[str]:
    """What the server says of this database's sessions that have a transaction open."""
    of_server = {
        "postgresql": "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'",
        "mysql": "SELECT trx_state FROM information_schema.innodb_trx"
        " JOIN information_schema.processlist ON id = trx_mysql_thread_id"
        " WHERE db = database() AND id <> connection_id()",
    }
    with connection_of_another_process(host) as connection:
        if connection.dialect.name == "mysql":
            # MariaDB answers with what it has found up to 100 ms before.
            sleep(0.2)
        return list(connection.scalars(sa.text(of_server[connection.dialect.name])))


@pytest.mark.wall_clock
@servers
@pytest.mark.parametrize("hook", hooks.ALL)
@pytest.mark.parametrize("path", ["/api/whoami", "/api/o/acme/deployments"])
def test_one_connection_is_enough(
    new_host: MakeHost, any_database_url: str, hook: Hook, path: str
) -> None:
    host = new_host(
        any_database_url,
        **before_ours(hook),
        config={"SQLALCHEMY_ENGINE_OPTIONS": SMALL_POOL},
    )
    token, key_id = host.issue()
    opened: list[Any] = []
    event.listen(pool_of(host), "connect", lambda connection, _: opened.append(connection))
    client = host.client()
    started = perf_counter()
    method = "GET" if path == "/api/whoami" else "POST"
    assert client.open(path, method=method, headers=bearer(token)).status_code in (200, 201)
    assert perf_counter() - started < 1
    assert last_used_at(host, key_id) is not None
    assert opened == []


@servers
def test_view_starts_with_no_connection_out_and_no_transaction_open(
    new_host: MakeHost, any_database_url: str
) -> None:
    host = new_host(any_database_url)
    seen: list[Any] = []

    @host.app.get("/looks")
    @require_scope("project:deploy")
    def look() -> str:
        seen.append((pool_of(host).checkedout(), sessions_in_transaction(host)))
        return ""

    token, _ = host.issue()
    # With a last use to be written, and without.
    for _ in range(2):
        assert host.client().get("/looks", headers=bearer(token)).status_code == 200
    assert seen == [(0, []), (0, [])]


@servers
def test_view_of_an_organisation_starts_with_the_connection_of_the_session_at_most(
    new_host: MakeHost, any_database_url: str
) -> None:
    host = new_host(any_database_url)
    seen: list[int] = []

    @host.app.get("/o/<org_slug>/looks")
    @require_key
    def look(org_slug: str) -> str:
        seen.append(pool_of(host).checkedout())
        host.db.session.rollback()
        seen.append(pool_of(host).checkedout())
        return ""

    token, _ = host.issue()
    assert host.client().get("/o/acme/looks", headers=bearer(token)).status_code == 200
    assert seen == [1, 0]


@pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)
@pytest.mark.parametrize("hook", hooks.ALL)
def test_two_thousand_mixed_requests_leave_the_pool_as_it_was(
    new_host: MakeHost, any_database_url: str, hook: Hook
) -> None:
    host = new_host(
        any_database_url,
        **before_ours(hook),
        config={
            "PROPAGATE_EXCEPTIONS": False,
            "SQLALCHEMY_ENGINE_OPTIONS": SMALL_POOL,
            "ORGKEYS_LAST_USED_SECONDS": 1,
        },
    )
    add_mixed_views(host)
    host.app.logger.disabled = True
    valid, _ = host.issue()
    revoked, key_id = host.issue()
    host.revoke(key_id)
    requests = [
        ("/api/whoami", valid, "200"),
        ("/api/whoami", revoked, "401"),
        ("/api/whoami", with_wrong_secret(valid), "401"),
        ("/api/publish-and-deploy", valid, "403"),
        ("/o/beta/streams", valid, "404"),
        ("/o/acme/streams", valid, "200"),
        ("/fails", valid, "500"),
        ("/streams", valid, "200"),
        ("/streams-plainly", valid, "200"),
        ("/streams-and-fails", valid, "200"),
    ]
    pool = pool_of(host)
    opened: list[Any] = []
    event.listen(pool, "connect", lambda connection, _: opened.append(connection))
    with host.app.app_context():
        host.db.session.execute(sa.select(sa.literal(1)))
    before = pool.status()
    for number in range(200 if hook is leave_alone else 20):
        for path, token, status in requests:
            # Every other client goes away after the first bytes.
            assert status_of(host, path, token, reads_all=number % 2 == 0).startswith(status)
    assert pool.status() == before
    assert opened == []


def add_mixed_views(host: Host) -> None:
    def use_database() -> str:
        return str(host.db.session.scalar(sa.select(sa.func.count()).select_from(host.Note)))

    @host.app.post("/fails")
    @require_key
    def fails() -> str:
        use_database()
        raise RuntimeError

    @host.app.post("/streams")
    @require_key
    def streams() -> Response:
        def parts() -> Iterator[str]:
            for _ in range(3):
                yield use_database() + current_key.id

        return Response(stream_with_context(parts()))

    @host.app.post("/streams-plainly")
    @require_key
    def streams_plainly() -> Response:
        use_database()
        return Response(iter("abc"))

    @host.app.post("/streams-and-fails")
    @require_key
    def streams_and_fails() -> Response:
        def parts() -> Iterator[str]:
            yield use_database()
            abort(500)

        return Response(stream_with_context(parts()))

    @host.app.post("/o/<org_slug>/streams")
    @require_key
    def streams_of_organization(org_slug: str) -> Response:
        return Response(stream_with_context(iter([use_database(), org_slug])))


def status_of(host: Host, path: str, token: str, *, reads_all: bool) -> str:
    """Send a request as a server does, and read its answer, or only the beginning."""
    method = "GET" if path == "/api/whoami" else "POST"
    environ = EnvironBuilder(path=path, method=method, headers=bearer(token)).get_environ()
    statuses: list[str] = []
    body: Any = host.app.wsgi_app(environ, lambda status, *_: statuses.append(status))  # type: ignore[arg-type]
    try:
        for _ in body:
            if not reads_all:
                break
    except Exception:
        assert path == "/streams-and-fails"
    finally:
        body.close()
    return statuses[0]


POOLS: dict[str, Any] = {
    "NullPool": sa.NullPool,
    "StaticPool": sa.StaticPool,
    "SingletonThreadPool": sa.SingletonThreadPool,
    "QueuePool": sa.QueuePool,
}


@pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("hook", hooks.ALL)
def test_pool_of_any_kind(new_host: MakeHost, any_database_url: str, pool: str, hook: Hook) -> None:
    host = new_host(
        any_database_url,
        **before_ours(hook),
        config={"SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": POOLS[pool]}},
    )

    @host.app.post("/commits")
    @require_key
    def commits() -> str:
        host.db.session.commit()
        return ""

    token, key_id = host.issue()
    opened: list[Any] = []
    closed: list[Any] = []
    event.listen(pool_of(host), "connect", lambda connection, _: opened.append(connection))
    event.listen(pool_of(host), "close", lambda connection, _: closed.append(connection))
    for path, status in (("/api/o/acme/deployments", 201), ("/commits", 200)):
        assert host.client().post(path, headers=bearer(token)).status_code == status
    assert last_used_at(host, key_id) is not None
    with connection_of_another_process(host) as connection:
        notes = connection.scalars(sa.select(sa.inspect(host.Note).local_table.c.text)).all()
    assert notes == (["of the hook"] if hook is write else [])
    if pool == "NullPool":
        assert {*map(id, opened)} == {*map(id, closed)}
        return
    # MariaDB's transactions see the past: whether the key was revoked since the host's began is
    # looked up beside it, where the pool has a connection to spare.
    looks_beside = hook is not hooks.leave_alone and any_database_url.startswith("mysql")
    assert len(opened) == (looks_beside and pool == "QueuePool")
    assert closed == []
