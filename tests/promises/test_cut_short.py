"""Promise 19: a request that is ended in the middle of our work costs the host nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.pool import QueuePool

from flask_orgkeys.authentication.drivers import Driver, SQLite
from flask_orgkeys.authentication.key_table import KeyTable
from flask_orgkeys.authentication.writes import PendingUses

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer
from .hooks import Hook, before_ours, leave_alone, read
from .outside import connection_of_another_process, engine_of_another_process, last_used_at, url_of
from .test_connections import pool_of

SMALL_POOL = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.5}

# The traceback of what was cut short keeps a socket that is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

on_sqlite = pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, databases.SQLITE_MEMORY], indirect=True
)


class Aborted(BaseException):
    """Raised in a worker that is told to stop, or by gevent.Timeout."""


class Overdue(Exception):
    """A deadline that is a plain exception."""


class OverdueAsOfTheLibrary(TimeoutError):
    """A deadline that looks like an error of the operating system."""


ERRORS = (Aborted, Overdue, OverdueAsOfTheLibrary)
errors = pytest.mark.parametrize("error", ERRORS)
errors_on_servers = pytest.mark.parametrize(
    ("any_database_url", "error"),
    [
        (database, error)
        for database in databases.SERVERS
        for error in ERRORS
        # PyMySQL takes it for an error of its socket: 2013, lost connection.
        if (database, error) != (databases.PYMYSQL, OverdueAsOfTheLibrary)
    ],
    indirect=["any_database_url"],
)


def connect_only(db: Any) -> None:
    """The session has a connection, on which no transaction has begun yet."""
    db.session.connection()


def small_host(new_host: MakeHost, url: str, hook: Hook = leave_alone) -> Host:
    options = {} if url == "sqlite://" else SMALL_POOL
    return new_host(url, **before_ours(hook), config={"SQLALCHEMY_ENGINE_OPTIONS": options})


@contextmanager
def deadline(
    seconds: float,
    error: type[BaseException],
    then: Callable[[], None] = lambda: None,
    begun: threading.Event | None = None,
) -> Iterator[None]:
    """Have a signal raise an error in the main thread after a while.

    :param begun: from when on, instead of at once.
    :param then: what else happens, a little later: a driver in C waits for it to heed the signal.
    """

    def raise_error(*_: Any) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, raise_error)
    main = threading.main_thread().ident
    assert main is not None
    is_over = threading.Event()

    def act() -> None:
        if begun is not None:
            begun.wait(timeout=10)
        if not is_over.wait(seconds):
            signal.pthread_kill(main, signal.SIGUSR1)
        is_over.wait(0.2)
        then()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def beginning_of(patch: pytest.MonkeyPatch, owner: type[Any], name: str) -> threading.Event:
    """Return an event that is set as soon as a method is called."""
    begun = threading.Event()
    method: Callable[..., Any] = getattr(owner, name)

    def begin(*arguments: Any) -> Any:
        begun.set()
        return method(*arguments)

    patch.setattr(owner, name, begin)
    return begun


SLOW_TOUCH = {
    "postgresql": [
        "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$",
        "CREATE TRIGGER slow BEFORE UPDATE ON orgkeys_key FOR EACH ROW EXECUTE FUNCTION nap()",
    ],
    "mysql": ["CREATE TRIGGER slow BEFORE UPDATE ON orgkeys_key FOR EACH ROW DO sleep(0.3)"],
}
QUICK_TOUCH = {"postgresql": ["DROP FUNCTION nap CASCADE"], "mysql": ["DROP TRIGGER slow"]}


@contextmanager
def slow_touch(host: Host) -> Iterator[None]:
    run_outside(host, SLOW_TOUCH)
    yield
    run_outside(host, QUICK_TOUCH)


def run_outside(host: Host, statements: dict[str, list[str]]) -> None:
    with connection_of_another_process(host) as connection:
        for statement in statements[connection.dialect.name]:
            connection.exec_driver_sql(statement)
        connection.commit()


@contextmanager
def locked_table(host: Host) -> Iterator[Callable[[], None]]:
    """Another process keeps the table of keys to itself, until what is yielded is called."""
    lock = {
        "postgresql": "LOCK TABLE orgkeys_key IN ACCESS EXCLUSIVE MODE",
        "mysql": "LOCK TABLES orgkeys_key WRITE",
    }
    with engine_of_another_process(url_of(host)) as engine, engine.connect() as connection:
        connection.exec_driver_sql(lock[engine.dialect.name])
        yield connection.invalidate


def send(host: Host, token: str) -> int:
    return host.client().get("/api/whoami", headers=bearer(token)).status_code


def assert_unharmed(host: Host, token: str, key_id: str) -> None:
    """No place in the pool is lost, and its connection is as a new one."""
    pool = pool_of(host)
    if isinstance(pool, QueuePool):
        assert pool.checkedout() == 0
    for _ in range(3):
        assert send(host, token) == 200
    assert last_used_at(host, key_id) is not None
    connection = pool.connect()
    driver = connection.dbapi_connection
    if host.app.config["SQLALCHEMY_DATABASE_URI"].startswith("postgresql"):
        assert driver.autocommit is False
        assert driver.info.transaction_status == 0
    cursor = driver.cursor()
    cursor.execute("SELECT 42")
    assert cursor.fetchall() in ([(42,)], ((42,),))
    connection.close()


@errors_on_servers
@pytest.mark.parametrize("hook", [leave_alone, connect_only, read])
def test_touch(
    new_host: MakeHost,
    any_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    hook: Hook,
    error: type[BaseException],
) -> None:
    host = small_host(new_host, any_database_url, hook)
    keys = [host.issue() for _ in range(2)]
    begun = beginning_of(monkeypatch, PendingUses, "write")
    with slow_touch(host):
        for token, _ in keys:
            begun.clear()
            with pytest.raises(error), deadline(0.1, error, begun=begun):
                send(host, token)
    assert_unharmed(host, *keys[-1])


@errors_on_servers
@pytest.mark.parametrize("hook", [leave_alone, connect_only, read])
def test_look_up(
    new_host: MakeHost,
    any_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    hook: Hook,
    error: type[BaseException],
) -> None:
    host = small_host(new_host, any_database_url, hook)
    token, key_id = host.issue()
    assert send(host, token) == 200
    begun = beginning_of(monkeypatch, KeyTable, "_call")
    for _ in range(2):
        begun.clear()
        with (
            locked_table(host) as unlock,
            pytest.raises(error),
            deadline(0.1, error, unlock, begun),
        ):
            send(host, token)
    assert_unharmed(host, token, key_id)


@contextmanager
def cut_short(
    patch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> Iterator[list[Any]]:
    """Have a method of the driver raise when its statement is done."""
    used: list[Any] = []
    owner = Driver if name == "write" else SQLite
    method: Callable[..., Any] = getattr(owner, name)

    def run_and_raise(driver: Driver, connection: Any, *arguments: Any) -> Any:
        if name == "write":
            calls = list(arguments[0])
            connection.execute(*calls[0])
        else:
            method(driver, connection, *arguments)
        used.append(connection)
        raise error

    with patch.context() as context:
        context.setattr(owner, name, run_and_raise)
        yield used


@on_sqlite
@errors
@pytest.mark.parametrize("hook", [leave_alone, connect_only, read])
@pytest.mark.parametrize("name", ["write", "read_apart"])
def test_on_sqlite(
    new_host: MakeHost,
    any_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    hook: Hook,
    error: type[BaseException],
) -> None:
    host = small_host(new_host, any_database_url, hook)
    keys = [host.issue() for _ in range(2)]
    with cut_short(monkeypatch, name, error) as used:
        for token, _ in keys:
            used.clear()
            with pytest.raises(error):
                send(host, token)
            assert len(used) == 1
    assert_unharmed(host, *keys[-1])
    with host.app.app_context(), host.db.engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        assert driver.execute("PRAGMA busy_timeout").fetchone() == (5000,)
        # A database in memory has no other connection.
        assert (driver is used[0]) is (any_database_url == "sqlite://")


@pytest.mark.parametrize("any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True)
def test_connection_that_ends_in_the_middle_of_a_touch_leaves_the_pool(
    new_host: MakeHost, any_database_url: str
) -> None:
    host = small_host(new_host, any_database_url)
    token, _ = host.issue()
    end_connection = SLOW_TOUCH["postgresql"][0].replace(
        "pg_sleep(0.3)", "pg_terminate_backend(pg_backend_pid())"
    )
    run_outside(host, {"postgresql": [end_connection, SLOW_TOUCH["postgresql"][1]]})
    for _ in range(3):
        assert send(host, token) == 200
    run_outside(host, QUICK_TOUCH)
    assert pool_of(host).checkedout() == 0
    connection: Any = pool_of(host).connect()
    assert not connection.dbapi_connection.closed
    connection.close()
