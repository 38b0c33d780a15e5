"""Promise 3: a connection that was borrowed for a look-up comes back to the pool as it was."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

from flask_orgkeys.authentication.loan import Loan

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer
from .test_connections import pool_of

SMALL_POOL = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.5}

every_database = pytest.mark.parametrize("any_database_url", databases.ALL, indirect=True)
servers = pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)


def whoami(host: Host, token: str) -> int:
    return host.client().get("/api/whoami", headers=bearer(token)).status_code


@servers
@pytest.mark.parametrize("name", ["checkout", "reset", "checkin"])
def test_listeners_of_the_host_are_told_of_each_connection(
    new_host: MakeHost, any_database_url: str, name: str
) -> None:
    host = new_host(any_database_url)
    token, _ = host.issue()
    assert whoami(host, token) == 200
    told: list[Any] = []
    # After the first request, too: a host may start to trace at any time.
    with host.app.app_context():
        event.listen(host.db.engine, name, lambda *arguments: told.append(arguments))
    for _ in range(3):
        assert whoami(host, token) == 200
    assert len(told) == 3


@servers
def test_the_ping_of_the_host_comes_before_the_look_up(
    new_host: MakeHost, any_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": {"pool_pre_ping": True}})
    token, _ = host.issue()
    # The first use is written, by a loan of its own.
    assert whoami(host, token) == 200
    pinged: list[Any] = []
    with host.app.app_context():
        dialect = host.db.engine.dialect
    ping = dialect.do_ping
    monkeypatch.setattr(dialect, "do_ping", lambda each: pinged.append(each) or ping(each))
    assert whoami(host, token) == 200
    assert len(pinged) == 1


class Aborted(BaseException):
    """What a worker raises in its own thread when it is told to stop."""


@every_database
def test_a_look_up_that_is_cut_short_leaves_no_connection_out(
    new_host: MakeHost, any_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = new_host(any_database_url)
    token, _ = host.issue()
    assert whoami(host, token) == 200
    with host.app.app_context():
        lookup = host.app.extensions["orgkeys"].authenticator.lookup
        table = lookup.table(host.db.engine)
    used: list[Any] = []

    def cut_short(connection: Any, *_: Any) -> Any:
        used.append(connection)
        connection.cursor().execute("SELECT 1")
        raise Aborted

    with monkeypatch.context() as patch:
        patch.setattr(table.driver, "read_apart", cut_short)
        with pytest.raises(Aborted):
            whoami(host, token)
    if isinstance(pool_of(host), QueuePool):
        assert pool_of(host).checkedout() == 0
        # It may be in the middle of an answer: nobody else gets it.
        with host.app.app_context(), host.db.engine.connect() as connection:
            assert connection.connection.dbapi_connection is not used[0]
    assert whoami(host, token) == 200


def dispose(engine: sa.Engine) -> None:
    engine.dispose()


def invalidate(engine: sa.Engine) -> None:
    """Its place in the pool stays, and is filled when it is next lent."""
    with engine.connect() as connection:
        connection.invalidate()


@servers
@pytest.mark.parametrize("lose_connection", [dispose, invalidate])
def test_connections_that_cannot_be_opened_do_not_use_up_the_pool(
    new_host: MakeHost, any_database_url: str, lose_connection: Callable[[sa.Engine], None]
) -> None:
    host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": SMALL_POOL})
    token, _ = host.issue()
    assert whoami(host, token) == 200
    with host.app.app_context():
        engine = host.db.engine
    lose_connection(engine)

    def refuse(*_: Any) -> None:
        raise sa.exc.OperationalError("connect", None, OSError("refused"))

    event.listen(engine, "do_connect", refuse)
    assert [whoami(host, token) for _ in range(3)] == [503] * 3
    event.remove(engine, "do_connect", refuse)
    assert whoami(host, token) == 200


def test_fork_while_another_thread_has_the_shared_connection_does_not_wait_for_it() -> None:
    pool = sa.create_engine("sqlite://", poolclass=StaticPool).pool
    with ThreadPoolExecutor(1) as executor:
        loan = executor.submit(Loan, pool).result()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(5)
            Loan(pool).give_back()
            os._exit(0)
        executor.submit(loan.give_back).result()
    assert os.waitpid(child, 0)[1] == 0


def test_repr_of_a_stored_key_shows_no_digest(host: Host) -> None:
    _, key_id = host.issue()
    with host.app.app_context():
        lookup = host.app.extensions["orgkeys"].authenticator.lookup
        with lookup.reader() as reader:
            stored = reader.find(key_id)
    assert stored.digest.partition("$")[2] not in repr(stored)


@pytest.mark.parametrize(
    "pool_class", [QueuePool, NullPool, StaticPool, SingletonThreadPool, AssertionPool]
)
def test_every_pool_lends_and_takes_back(pool_class: type[Any]) -> None:
    engine = sa.create_engine("sqlite://", poolclass=pool_class)
    engine.connect().close()
    for _ in range(2):
        loan = Loan(engine.pool)
        assert loan.connection.execute("SELECT 1").fetchone() == (1,)
        # Two threads on one cursor would read each other's rows.
        assert (loan.kept is not None) is (pool_class is QueuePool)
        loan.give_back()
    lost = Loan(engine.pool)
    lost.invalidate(RuntimeError("the server has gone away"))
    loan = Loan(engine.pool)
    assert loan.connection.execute("SELECT 2").fetchone() == (2,)
    assert loan.connection is not lost.connection
    loan.give_back()
    engine.dispose()
