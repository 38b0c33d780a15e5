"""Promise 2: authentication leaves the host's session and transaction as they are."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import flask_sqlalchemy.session
import pytest
import sqlalchemy as sa
from flask import Flask, Response, abort, g
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, orm

from flask_orgkeys import require_key
from flask_orgkeys.errors import ConfigurationError

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer
from .outside import (
    connection_of_another_process,
    engine_of_another_process,
    last_used_at,
    saved_notes,
    url_of,
)

Hook = Callable[[Host], object]

SESSION_EVENTS = (
    "before_flush",
    "after_begin",
    "before_commit",
    "after_soft_rollback",
    "after_transaction_create",
    "after_transaction_end",
)

ROUTES = {
    "/open": 200,
    "/api/whoami": 200,
    "/api/o/acme/deployments": 201,
    "/api/o/beta/deployments": 404,
    "/api/publish-and-deploy": 403,
}

SMALL_POOL = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}


def host_with_hook(new_host: MakeHost, url: str, hook: Hook, **arguments: Any) -> Host:
    """A host with a hook that runs before ours, and views that end a request in each way."""
    hosts: list[Host] = []

    def before_init(app: Flask, _db: SQLAlchemy) -> None:
        @app.before_request
        def run_hook() -> None:
            hook(hosts[0])

    config = {"PROPAGATE_EXCEPTIONS": False, **arguments.pop("config", {})}
    host = new_host(url, before_init=before_init, config=config, **arguments)
    hosts.append(host)

    @host.app.post("/commits")
    @require_key
    def commits() -> str:
        host.db.session.commit()
        return ""

    @host.app.post("/returns")
    @require_key
    def returns() -> str:
        return ""

    @host.app.post("/raises")
    @require_key
    def raises() -> str:
        raise RuntimeError

    return host


def add_note(host: Host) -> None:
    host.db.session.add(host.Note(text="of the hook"))


def add_and_flush_note(host: Host) -> None:
    add_note(host)
    host.db.session.flush()


def send(host: Host, token: str, path: str) -> Any:
    method = "GET" if path in ("/open", "/api/whoami") else "POST"
    return host.client().open(path, method=method, headers=bearer(token))


@pytest.mark.parametrize(
    ("ending", "status", "saved"),
    [("/commits", 200, ["of the hook"]), ("/returns", 200, []), ("/raises", 500, [])],
)
@pytest.mark.parametrize("hook", [add_note, add_and_flush_note])
def test_row_of_an_earlier_hook_is_saved_if_and_only_if_the_view_commits(
    new_host: MakeHost, any_database_url: str, hook: Hook, ending: str, status: int, saved: Any
) -> None:
    host = host_with_hook(new_host, any_database_url, hook)
    token, key_id = host.issue()
    assert send(host, token, ending).status_code == status
    assert saved_notes(host) == saved
    assert last_used_at(host, key_id) is not None


@pytest.mark.parametrize("is_flushed", [False, True])
def test_nothing_happens_to_the_session_of_an_earlier_hook(
    new_host: MakeHost, any_database_url: str, is_flushed: bool
) -> None:
    found: list[dict[str, Any]] = []

    def use_session(host: Host) -> None:
        session = host.db.session()
        g.organization = session.scalars(sa.select(host.Organization)).first()
        g.note = host.Note(text="of the hook")
        session.add(g.note)
        if is_flushed:
            session.flush()
        g.transaction = session.get_transaction()
        g.happened = []
        for name in SESSION_EVENTS:
            event.listen(session, name, lambda *_, name=name: g.happened.append(name))

    host = host_with_hook(new_host, any_database_url, use_session)

    @host.app.after_request
    def look(response: Response) -> Response:
        session = host.db.session()
        found.append(
            {
                "happened": list(g.happened),
                "same transaction": session.get_transaction() is g.transaction,
                "is pending": g.note in session.new,
                "expired": sa.inspect(g.organization).expired_attributes,
            }
        )
        return response

    token, _ = host.issue()
    assert {path: send(host, token, path).status_code for path in ROUTES} == ROUTES
    untouched = {"happened": [], "same transaction": True, "expired": set()}
    assert found == [{**untouched, "is pending": not is_flushed}] * len(ROUTES)


def test_invalid_pending_object_is_not_flushed(new_host: MakeHost, any_database_url: str) -> None:
    host = host_with_hook(
        new_host, any_database_url, lambda host: host.db.session.add(host.Note(text=None))
    )
    token, _ = host.issue()
    assert {path: send(host, token, path).status_code for path in ROUTES} == ROUTES


class SessionOfTheHost(flask_sqlalchemy.session.Session):
    """A host's own way to its engines, which happens to lead to the usual ones."""

    def get_bind(self, *arguments: Any, **more: Any) -> Any:
        return super().get_bind(*arguments, **more)


SETTINGS: dict[str, dict[str, Any]] = {
    "autoflush off": {"session_options": {"autoflush": False}},
    "own session class": {"session_options": {"class_": SessionOfTheHost}},
    "serializable": {"config": {"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "SERIALIZABLE"}}},
    "connections not reset": {
        "config": {"SQLALCHEMY_ENGINE_OPTIONS": {"pool_reset_on_return": None}}
    },
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_host_of_any_setting_keeps_its_transaction(
    new_host: MakeHost, any_database_url: str, setting: str
) -> None:
    host = host_with_hook(new_host, any_database_url, add_and_flush_note, **SETTINGS[setting])
    token, key_id = host.issue()
    assert send(host, token, "/raises").status_code == 500
    assert saved_notes(host) == []
    assert send(host, token, "/commits").status_code == 200
    assert saved_notes(host) == ["of the hook"]
    assert last_used_at(host, key_id) is not None


@pytest.mark.parametrize("setting", SETTINGS)
def test_host_of_any_setting_sees_a_revocation_at_once(
    new_host: MakeHost, any_database_url: str, setting: str
) -> None:
    host = new_host(any_database_url, **SETTINGS[setting])
    token, _ = host.issue()
    # The first writes its last use, which ends whatever transaction it has read in.
    for _ in range(2):
        assert send(host, token, "/api/whoami").status_code == 200
    key = sa.inspect(host.orgkeys.ApiKey).local_table
    with connection_of_another_process(host) as connection:
        connection.execute(sa.update(key).values(revoked_at=sa.func.current_timestamp()))
        connection.commit()
    answer = send(host, token, "/api/whoami")
    assert answer.json["code"] == "revoked_key"


BEGUN_BY_HAND = {"isolation_level": None}


def begin_by_hand(host: Host) -> None:
    """SQLAlchemy's recipe for savepoints on SQLite, with :data:`BEGUN_BY_HAND`."""
    with host.app.app_context():
        engine = host.db.engine
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


SQLITE_SETTINGS: dict[str, dict[str, Any]] = {"begun by hand": BEGUN_BY_HAND}
if sys.version_info >= (3, 12):
    SQLITE_SETTINGS["always in a transaction"] = {"autocommit": False}


@pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, databases.SQLITE_MEMORY], indirect=True
)
@pytest.mark.parametrize("setting", SQLITE_SETTINGS)
@pytest.mark.parametrize("reset", ["rollback", None])
def test_host_that_drives_sqlite_in_its_own_way(
    new_host: MakeHost, any_database_url: str, setting: str, reset: str | None
) -> None:
    options = {"connect_args": dict(SQLITE_SETTINGS[setting]), "pool_reset_on_return": reset}
    host = host_with_hook(
        new_host,
        any_database_url,
        add_and_flush_note,
        config={"SQLALCHEMY_ENGINE_OPTIONS": options},
    )
    if setting == "begun by hand":
        begin_by_hand(host)
    token, key_id = host.issue()
    assert send(host, token, "/raises").status_code == 500
    assert saved_notes(host) == []
    assert send(host, token, "/commits").status_code == 200
    assert saved_notes(host) == ["of the hook"]
    assert last_used_at(host, key_id) is not None
    host.revoke(key_id)
    assert send(host, token, "/raises").json["code"] == "revoked_key"


class SessionOnReplica(flask_sqlalchemy.session.Session):
    """Reads from a replica, as in SQLAlchemy's own recipe."""

    def get_bind(
        self, mapper: Any = None, clause: Any = None, bind: Any = None, **more: Any
    ) -> Any:
        if self._flushing or isinstance(clause, sa.UpdateBase):
            return super().get_bind(mapper, clause, bind, **more)
        return self._db.engines["replica"]


def test_key_is_read_from_where_keys_are_revoked_not_from_a_replica(
    new_host: MakeHost, tmp_path: Path
) -> None:
    host = new_host(
        config={"SQLALCHEMY_BINDS": {"replica": f"sqlite:///{tmp_path / 'replica.sqlite'}"}},
        session_options={"class_": SessionOnReplica, "expire_on_commit": False},
    )
    token, key_id = host.issue()
    assert send(host, token, "/api/whoami").status_code == 200
    assert last_used_at(host, key_id) is not None


def read_keys_too(host: Host) -> None:
    add_and_flush_note(host)
    host.db.session.execute(sa.select(host.orgkeys.ApiKey.id)).all()


@pytest.mark.parametrize("hook", [add_and_flush_note, read_keys_too])
def test_keys_in_a_database_of_their_own(
    new_host: MakeHost, any_database_url: str, tmp_path: Path, hook: Hook
) -> None:
    host = host_with_hook(
        new_host,
        f"sqlite:///{tmp_path / 'host.sqlite'}",
        hook,
        config={"SQLALCHEMY_BINDS": {"keys": any_database_url}},
        organization=sa.Integer,
        bind_key="keys",
    )
    token, key_id = host.issue()
    assert send(host, token, "/raises").status_code == 500
    assert saved_notes(host) == []
    assert send(host, token, "/commits").status_code == 200
    assert saved_notes(host) == ["of the hook"]
    with host.app.app_context():
        assert host.db.session.get(host.orgkeys.ApiKey, key_id).last_used_at is not None


def test_bind_key_without_a_database_is_refused_at_the_start(new_host: MakeHost) -> None:
    with pytest.raises(ConfigurationError, match="SQLALCHEMY_BINDS has no such key"):
        new_host(bind_key="keys")


class SessionOfTheTest(flask_sqlalchemy.session.Session):
    """Keeps to the connection it was made with, which Flask-SQLAlchemy's own does not."""

    def get_bind(self, *_arguments: Any, **_more: Any) -> Any:
        return self.bind


JOINED: dict[str, Any] = {"join_transaction_mode": "create_savepoint"}


def replace_session(host: Host, connection: sa.Connection) -> Callable[[], None]:
    original = host.db.session
    host.db.session = orm.scoped_session(orm.sessionmaker(connection, **JOINED))  # type: ignore[assignment]
    return lambda: setattr(host.db, "session", original)


def replace_session_by_subclass(host: Host, connection: sa.Connection) -> Callable[[], None]:
    original = host.db.session
    host.db.session = orm.scoped_session(
        orm.sessionmaker(connection, class_=SessionOfTheTest, db=host.db, **JOINED)
    )
    return lambda: setattr(host.db, "session", original)


def replace_engine(host: Host, connection: sa.Connection) -> Callable[[], None]:
    engines: Any = host.db.engines
    engine, engines[None] = engines[None], connection
    return lambda: engines.update({None: engine})


@contextmanager
def outer_transaction(host: Host, replace: Any) -> Iterator[None]:
    """One transaction around all that happens, rolled back in the end: a host's tests."""
    with host.app.app_context(), host.db.engine.connect() as connection:
        transaction = connection.begin()
        put_back = replace(host, connection)
        try:
            yield
        finally:
            host.db.session.remove()
            put_back()
            transaction.rollback()


@pytest.mark.parametrize("replace", [replace_session, replace_session_by_subclass, replace_engine])
def test_tests_of_a_host_in_an_outer_transaction(
    new_host: MakeHost, any_database_url: str, replace: Any
) -> None:
    is_sqlite = any_database_url.startswith("sqlite")
    options = {"connect_args": dict(BEGUN_BY_HAND)} if is_sqlite else {}
    host = host_with_hook(
        new_host,
        any_database_url,
        add_and_flush_note,
        session_options=dict(JOINED),
        config={"SQLALCHEMY_ENGINE_OPTIONS": options},
    )
    if is_sqlite:
        begin_by_hand(host)
    with outer_transaction(host, replace):
        token, key_id = host.issue()
        for path in ("/commits", "/api/whoami", "/api/o/acme/deployments"):
            assert send(host, token, path).status_code in (200, 201)
        assert host.db.session.scalar(sa.select(sa.func.count()).select_from(host.Note)) > 0
        host.revoke(key_id)
        assert send(host, token, "/api/whoami").json["code"] == "revoked_key"
    assert saved_notes(host) == []
    assert host.keys() == []


def fail_statement(host: Host) -> None:
    with suppress(sa.exc.DBAPIError):
        host.db.session.execute(sa.text("SELECT no_such_column"))


def fail_flush(host: Host) -> None:
    host.db.session.add(host.Note(text=None))
    with suppress(sa.exc.DBAPIError):
        host.db.session.flush()


@pytest.mark.parametrize("hook", [fail_statement, fail_flush])
def test_key_is_valid_within_a_failed_transaction_of_the_host(
    new_host: MakeHost, any_database_url: str, hook: Hook
) -> None:
    host = host_with_hook(new_host, any_database_url, hook)
    token, key_id = host.issue()
    assert send(host, token, "/returns").status_code == 200
    assert last_used_at(host, key_id) is not None


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
@pytest.mark.parametrize("hook", [fail_statement, fail_flush])
def test_failed_transaction_with_the_only_connection_is_no_wrong_answer(
    new_host: MakeHost, any_database_url: str, hook: Hook
) -> None:
    host = host_with_hook(
        new_host, any_database_url, hook, config={"SQLALCHEMY_ENGINE_OPTIONS": SMALL_POOL}
    )
    token, _ = host.issue()
    answer = send(host, token, "/returns")
    # PostgreSQL alone takes no statement any more where one has failed.
    is_refused = hook is fail_statement and "postgresql" in any_database_url
    assert answer.status_code == (503 if is_refused else 200)


def test_missing_table_leaves_the_transaction_of_the_host_usable(
    new_host: MakeHost, any_database_url: str
) -> None:
    host = host_with_hook(new_host, any_database_url, add_and_flush_note)

    @host.app.post("/commits-unguarded")
    def commits_unguarded() -> str:
        host.db.session.commit()
        return ""

    token, _ = host.issue()
    with connection_of_another_process(host) as connection:
        host.drop_key_table(connection)
        connection.commit()
    assert send(host, token, "/api/whoami").status_code == 503
    assert send(host, token, "/commits-unguarded").status_code == 200
    assert saved_notes(host) == ["of the hook"]


def test_authentication_sets_off_no_transaction_event_of_the_host(any_host: Host) -> None:
    token, _ = any_host.issue()
    happened: list[str] = []
    with any_host.app.app_context():
        engine = any_host.db.engine
    for name in ("begin", "commit", "rollback", "before_cursor_execute"):
        event.listen(engine, name, lambda *_, name=name: happened.append(name))
    assert send(any_host, token, "/api/whoami").status_code == 200
    assert happened == []


@pytest.mark.parametrize("any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True)
def test_recorded_use_makes_no_serializable_transaction_fail(
    new_host: MakeHost, any_database_url: str
) -> None:
    """The host's transaction reads the key, another writes its last use and commits, and a third
    has read what the host's writes: were the second serialisable too, the host's could not commit.
    """
    in_view, may_commit = threading.Event(), threading.Event()

    def wait_first(host: Host) -> None:
        host.db.session.execute(sa.select(host.Organization)).all()

    host = host_with_hook(
        new_host,
        any_database_url,
        wait_first,
        config={"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "SERIALIZABLE"}},
    )

    @host.app.post("/writes")
    @require_key
    def writes() -> str:
        in_view.set()
        if not may_commit.wait(20):
            abort(504)
        host.db.session.add(host.Note(text="of the view"))
        host.db.session.commit()
        return ""

    token, key_id = host.issue()
    statuses: list[int] = []
    slow = threading.Thread(
        target=lambda: statuses.append(send(host, token, "/writes").status_code)
    )
    with (
        engine_of_another_process(url_of(host), isolation_level="SERIALIZABLE") as engine,
        engine.connect() as third,
    ):
        assert third.scalar(sa.select(sa.func.count()).select_from(host.Note)) == 0
        slow.start()
        try:
            assert in_view.wait(20)
            assert send(host, token, "/api/whoami").status_code == 200
            assert last_used_at(host, key_id) is not None
        finally:
            may_commit.set()
            slow.join()
    assert statuses == [200]
