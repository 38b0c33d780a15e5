"""Promise 5: a revocation is final, and immediate wherever the host's transaction began."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import request
from sqlalchemy import event
from sqlalchemy.pool import NullPool

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer
from . import hooks
from .hooks import before_ours
from .outside import connection_of_another_process

# As ALTER DATABASE sets it, of which the driver knows nothing.
LEVEL_OF_THE_SERVER = {
    "connect_args": {"options": r"-c default_transaction_isolation=repeatable\ read"}
}

SNAPSHOTS = pytest.mark.parametrize(
    ("any_database_url", "options"),
    [
        pytest.param(databases.PYMYSQL, {}, id="mariadb"),
        pytest.param(databases.PSYCOPG, {"isolation_level": "REPEATABLE READ"}, id="psycopg"),
        pytest.param(databases.PSYCOPG2, {"isolation_level": "SERIALIZABLE"}, id="psycopg2"),
        pytest.param(databases.PSYCOPG, LEVEL_OF_THE_SERVER, id="psycopg, level of the server"),
        pytest.param(databases.PSYCOPG2, LEVEL_OF_THE_SERVER, id="psycopg2, level of the server"),
    ],
    indirect=["any_database_url"],
)


# Each with a connection to spare, beside the host's and those of others.
ROOM = {
    "default": ({}, 0),
    "busy": ({}, 4),
    "small": ({"pool_size": 1, "max_overflow": 1}, 0),
    "unlimited": ({"pool_size": 1, "max_overflow": -1}, 4),
    "NullPool": ({"poolclass": NullPool}, 0),
}


@SNAPSHOTS
@pytest.mark.parametrize(("pool", "busy"), ROOM.values(), ids=list(ROOM))
def test_it_is_seen_past_a_transaction_that_sees_the_past(
    new_host: MakeHost,
    any_database_url: str,
    options: dict[str, Any],
    pool: dict[str, Any],
    busy: int,
) -> None:
    def read_and_have_it_revoked(db: Any) -> None:
        hooks.read(db)
        if "revoke" in request.args:
            with ThreadPoolExecutor(1) as executor:
                assert executor.submit(host.revoke, request.args["revoke"]).result(timeout=10)

    host = new_host(
        any_database_url,
        **before_ours(read_and_have_it_revoked),
        config={"SQLALCHEMY_ENGINE_OPTIONS": {**options, **pool}},
    )
    token, key_id = host.issue()
    assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 200
    with ExitStack() as others:
        with host.app.app_context():
            engine = host.db.engine
        for _ in range(busy):
            others.enter_context(engine.connect())
        answer = host.client().get(f"/api/whoami?revoke={key_id}", headers=bearer(token))
    assert answer.status_code == 401
    assert answer.get_json()["code"] == "revoked_key"


@SNAPSHOTS
@pytest.mark.parametrize("end", ["revoke", "acme"])
def test_without_room_beside_such_a_transaction_the_next_request_sees_it(
    new_host: MakeHost, any_database_url: str, options: dict[str, Any], end: str
) -> None:
    """The host's only connection is in its transaction. To wait for another would be in vain, and
    to read anew within it would lock the key.
    """
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.5}
    host = new_host(
        any_database_url,
        **before_ours(lambda db: read_and_end(db)),
        config={"SQLALCHEMY_ENGINE_OPTIONS": {**options, **pool}},
    )
    token, _ = host.issue()
    table = sa.inspect(host.orgkeys.ApiKey).local_table

    def read_and_end(db: Any) -> None:
        if "end" not in request.args:
            return
        hooks.read(db)
        if end == "acme":
            delete_organization(host, "acme")
            return
        with connection_of_another_process(host) as connection:
            connection.execute(sa.update(table).values(revoked_at=datetime.now(UTC)))
            connection.commit()

    client = host.client()
    begun = time.monotonic()
    assert client.get("/api/whoami?end", headers=bearer(token)).status_code == 200
    assert time.monotonic() - begun < 0.4
    assert client.get("/api/whoami", headers=bearer(token)).status_code == 401


def host_whose_hook_ends(new_host: MakeHost, url: str, end: Any, **options: Any) -> Host:
    """A host whose hook reads, and then has another process end what the query names."""

    def read_and_end(db: Any) -> None:
        if "end" in request.args:
            hooks.read(db)
            with ThreadPoolExecutor(1) as executor:
                executor.submit(end, host, request.args["end"]).result(timeout=10)

    host = new_host(url, **before_ours(read_and_end), config={"SQLALCHEMY_ENGINE_OPTIONS": options})
    return host


def delete_organization(host: Host, slug: str) -> None:
    with connection_of_another_process(host) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        table = sa.inspect(host.Organization).local_table
        connection.execute(sa.delete(table).where(table.c.slug == slug))
        connection.commit()


def revoke(host: Host, key_id: str) -> None:
    assert host.revoke(key_id)


@SNAPSHOTS
def test_an_organisation_deleted_since_takes_its_keys_along(
    new_host: MakeHost, any_database_url: str, options: dict[str, Any]
) -> None:
    host = host_whose_hook_ends(new_host, any_database_url, delete_organization, **options)
    token, _ = host.issue()
    answer = host.client().get("/api/whoami?end=acme", headers=bearer(token))
    assert answer.status_code == 401
    assert answer.get_json()["code"] == "invalid_key"


@pytest.mark.parametrize("any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True)
def test_it_is_seen_past_a_transaction_whose_level_the_host_sets_itself(
    new_host: MakeHost, any_database_url: str
) -> None:
    host = host_whose_hook_ends(new_host, any_database_url, revoke)

    def set_level() -> None:
        level = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        host.db.session.execute(sa.text(level))

    host.app.before_request_funcs[None].insert(0, set_level)
    token, key_id = host.issue()
    answer = host.client().get(f"/api/whoami?end={key_id}", headers=bearer(token))
    assert answer.get_json()["code"] == "revoked_key"


@pytest.mark.parametrize(
    ("end", "code"), [(revoke, "revoked_key"), (delete_organization, "invalid_key")]
)
def test_it_is_seen_past_an_open_transaction_on_a_file(
    new_host: MakeHost, end: Any, code: str
) -> None:
    """With a write-ahead log, others commit while the host reads."""
    host = host_whose_hook_ends(new_host, "", end, connect_args={"isolation_level": None})
    with host.app.app_context():
        engine = host.db.engine
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    token, key_id = host.issue()
    ended = key_id if end is revoke else "acme"
    answer = host.client().get(f"/api/whoami?end={ended}", headers=bearer(token))
    assert answer.status_code == 401
    assert answer.get_json()["code"] == code


@SNAPSHOTS
def test_a_key_that_is_not_committed_is_valid_in_its_transaction(
    new_host: MakeHost, any_database_url: str, options: dict[str, Any]
) -> None:
    host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": options})
    with host.app.app_context():
        acme = host.organization_ids["acme"]
        issued = host.orgkeys.create_key(acme, name="CI", scopes=["project:deploy"])
        assert host.client().get("/api/whoami", headers=bearer(issued.token)).status_code == 200
        host.orgkeys.revoke_key(acme, issued.key.id)
        assert host.client().get("/api/whoami", headers=bearer(issued.token)).status_code == 401


@pytest.mark.parametrize("is_loaded", [True, False], ids=["loaded", "expired"])
def test_the_mapped_class_takes_none_back(host: Host, is_loaded: bool) -> None:
    token, key_id = host.issue()
    host.revoke(key_id)
    with host.app.app_context():
        key = host.db.session.get(host.orgkeys.ApiKey, key_id)
        if not is_loaded:
            host.db.session.expire(key)
        with pytest.raises(ValueError, match="a revocation is final"):
            key.revoked_at = None
        key.name = "Renamed"
        host.db.session.commit()
    assert host.key(key_id).name == "Renamed"
    assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 401
