"""Promise 10: a database that cannot be asked is a 503, and concerns nobody without a key."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import perf_counter
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from flask_orgkeys import tokens

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer, disposing, make_host
from .outside import connection_of_another_process, last_used_at

PASSWORD = "pass-word-of-the-tests"
CONNECT_SECONDS = 2

DRIVERS = {
    "psycopg": "postgresql+psycopg://{user}@{address}/nowhere?connect_timeout=2",
    "psycopg2": "postgresql+psycopg2://{user}@{address}/nowhere?connect_timeout=2",
    "pymysql": "mysql+pymysql://{user}@{address}/nowhere?connect_timeout=2&read_timeout=2",
}

GUARDED = "/api/whoami"
GUARDED_BY_ORGANISATION = "/api/o/acme/deployments"


def valid_looking_key() -> str:
    return str(tokens.generate("orgk"))


def send(host: Host, path: str, token: str) -> Any:
    method = "GET" if path in (GUARDED, "/open") else "POST"
    return host.client().open(path, method=method, headers=bearer(token))


@contextmanager
def host_without_database(url: str, **options: Any) -> Iterator[Host]:
    config = {"SQLALCHEMY_ENGINE_OPTIONS": options}
    with disposing(make_host(url, config=config, tables=False)) as host:
        yield host


def unused_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def nobody_listens() -> Iterator[str]:
    yield f"127.0.0.1:{unused_port()}"


@contextmanager
def nobody_has_that_name() -> Iterator[str]:
    yield "database.invalid:5432"


@contextmanager
def nobody_answers() -> Iterator[str]:
    """A server that accepts connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=16)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.wall_clock
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("outage", "at_most_seconds"),
    [
        (nobody_listens, 1.0),
        # As long as the machine takes to find that out.
        (nobody_has_that_name, 30),
        # Waited for once, whatever is retried.
        (nobody_answers, 1.5 * CONNECT_SECONDS),
    ],
)
def test_server_that_cannot_be_reached_is_unavailable(
    driver: str, outage: Any, at_most_seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    token = valid_looking_key()
    with outage() as address:
        url = DRIVERS[driver].format(user=f"someone:{PASSWORD}", address=address)
        with host_without_database(url) as host:
            started = perf_counter()
            answer = send(host, GUARDED, token)
            assert perf_counter() - started < at_most_seconds
            assert_unavailable(answer)
    (record,) = errors_logged(caplog)
    message = record.getMessage()
    assert re.match("API keys cannot be checked: (OperationalError|ConnectionTimeout): ", message)
    assert "\n" not in message
    assert record.exc_info is None
    for secret in (PASSWORD, token, token[-38:]):
        assert secret not in caplog.text


def assert_unavailable(answer: Any) -> None:
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "WWW-Authenticate" not in answer.headers
    assert answer.json == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "API keys cannot be checked at the moment. Try again shortly.",
        "code": "unavailable",
    }


def errors_logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [
        record
        for record in caplog.records
        if record.name.startswith("flask_orgkeys") and record.levelno >= logging.WARNING
    ]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic c29tZW9uZTpzb21ldGhpbmc=",
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo",
        "Bearer orgk_nothing",
        f"Bearer {'orgk_abcdefghijkl_'}{'0' * 38}",
    ],
)
def test_request_without_a_key_of_ours_attempts_no_connection(
    driver: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    attempts: list[Any] = []
    with nobody_listens() as address:
        url = DRIVERS[driver].format(user="someone", address=address)
        with host_without_database(url) as host, host.app.app_context():
            event.listen(host.db.engine, "do_connect", lambda *_: attempts.append(_))
            client = host.client()
            assert client.get("/open", headers=headers).json == {"key": None}
            assert client.get(GUARDED, headers=headers).status_code == 401
            assert client.post(GUARDED_BY_ORGANISATION, headers=headers).status_code == 401
            assert attempts == []
            send(host, GUARDED, valid_looking_key())
            assert len(attempts) == 1


def test_unguarded_route_is_open_to_a_key_that_cannot_be_checked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with nobody_listens() as address:
        url = DRIVERS["psycopg"].format(user="someone", address=address)
        with host_without_database(url) as host:
            assert send(host, "/open", valid_looking_key()).json == {"key": None}
    assert len(errors_logged(caplog)) == 1


@pytest.mark.wall_clock
@pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)
def test_exhausted_pool_is_unavailable_until_it_has_room(
    new_host: MakeHost, any_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
    host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": pool})
    token, _ = host.issue()
    with host.app.app_context():
        engine = host.db.engine
    with engine.connect():
        started = perf_counter()
        assert_unavailable(send(host, GUARDED, token))
        assert perf_counter() - started < 1
    (record,) = errors_logged(caplog)
    assert "TimeoutError: QueuePool limit of size 1" in record.getMessage()
    assert send(host, GUARDED, token).status_code == 200


@pytest.mark.parametrize(("path", "status"), [(GUARDED, 200), (GUARDED_BY_ORGANISATION, 201)])
@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_connections_that_the_server_has_closed_are_replaced(
    any_host: Host, path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    token, key_id = any_host.issue()
    with any_host.app.app_context():
        engine = any_host.db.engine
    # The second time, the uses are fresh, and the pool is one that took the place of another.
    for _ in range(2):
        for connection in [engine.connect() for _ in range(5)]:
            connection.close()
        assert engine.pool.checkedin() == 5
        kill_sessions(any_host)
        assert send(any_host, path, token).status_code == status
    assert last_used_at(any_host, key_id) is not None
    assert errors_logged(caplog) == []


def kill_sessions(host: Host) -> None:
    with connection_of_another_process(host) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).all()
            return
        sessions = connection.exec_driver_sql(
            "SELECT id FROM information_schema.processlist"
            " WHERE db = database() AND id <> connection_id()"
        )
        for session in sessions.scalars().all():
            connection.exec_driver_sql(f"KILL {session}")


@contextmanager
def listening(engine: sa.Engine, name: str, listener: Callable[..., None]) -> Iterator[None]:
    event.listen(engine, name, listener)
    try:
        yield
    finally:
        event.remove(engine, name, listener)


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_stale_connection_is_replaced_once_and_no_more(
    any_host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """The server goes away for good: the second attempt is the last."""
    token, _ = any_host.issue()
    assert send(any_host, GUARDED, token).status_code == 200
    with any_host.app.app_context():
        engine = any_host.db.engine
    kill_sessions(any_host)
    attempts: list[Any] = []

    def refuse(*_: Any) -> None:
        attempts.append(_)
        raise engine.dialect.loaded_dbapi.OperationalError("the server is gone")

    with listening(engine, "do_connect", refuse):
        assert_unavailable(send(any_host, GUARDED, token))
    assert len(attempts) == 1
    assert len(errors_logged(caplog)) == 1
    assert send(any_host, GUARDED, token).status_code == 200


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_server_that_closes_every_connection_is_asked_twice(any_host: Host) -> None:
    token, _ = any_host.issue()
    assert send(any_host, GUARDED, token).status_code == 200
    with any_host.app.app_context():
        engine = any_host.db.engine
    opened: list[Any] = []

    def lose(connection: Any, _record: Any) -> None:
        opened.append(connection)
        kill_sessions(any_host)

    kill_sessions(any_host)
    with listening(engine, "connect", lose):
        assert_unavailable(send(any_host, GUARDED, token))
    # After the one that was open before.
    assert len(opened) == 1
    assert send(any_host, GUARDED, token).status_code == 200


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_session_of_the_host_that_the_server_has_closed_is_unavailable(
    new_host: MakeHost, any_database_url: str
) -> None:
    """Its transaction is lost: only the host can begin it anew."""
    hosts: list[Host] = []

    def before_init(app: Any, db: Any) -> None:
        @app.before_request
        def begin_and_lose_transaction() -> None:
            if hosts:
                host = hosts.pop()
                db.session.execute(sa.select(host.Organization)).all()
                kill_sessions(host)

    host = new_host(any_database_url, before_init=before_init)
    token, _ = host.issue()
    hosts.append(host)
    assert_unavailable(send(host, GUARDED, token))
    assert send(host, GUARDED, token).status_code == 200


MISSING = {
    "orgkeys_key": (
        "ALTER TABLE orgkeys_key RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO orgkeys_key",
    ),
    "last_used_at": (
        "ALTER TABLE orgkeys_key RENAME COLUMN last_used_at TO elsewhere",
        "ALTER TABLE orgkeys_key RENAME COLUMN elsewhere TO last_used_at",
    ),
}


def run_outside(host: Host, statement: str) -> None:
    with connection_of_another_process(host) as connection:
        connection.exec_driver_sql(statement)
        connection.commit()


@pytest.mark.parametrize("missing", MISSING)
def test_missing_table_is_unavailable_and_named(
    any_host: Host, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    token, _ = any_host.issue()
    take_away, put_back = MISSING[missing]
    run_outside(any_host, take_away)
    try:
        answer = send(any_host, GUARDED, token)
    finally:
        run_outside(any_host, put_back)
    assert_unavailable(answer)
    (record,) = errors_logged(caplog)
    message = record.getMessage()
    assert missing in message
    assert message.endswith("a table or column of flask-orgkeys is missing: run 'flask db upgrade'")
    assert "\n" not in message
