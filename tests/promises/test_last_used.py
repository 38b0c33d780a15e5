"""Promise 4: last used is true for every accepted request, and neither fails nor delays one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask, Response, after_this_request, request, stream_with_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from werkzeug.test import EnvironBuilder

from flask_orgkeys import current_key, require_key
from flask_orgkeys.authentication import writes
from flask_orgkeys.authentication.drivers import SQLite

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer
from . import hooks
from .hooks import Hook, before_ours, leave_alone, read, write
from .outside import (
    connection_of_another_process,
    engine_of_another_process,
    last_used_at,
    saved_notes,
    url_of,
)

NOW = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
SOON_SECONDS = 0.5

of_files_and_servers = pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)
of_one_of_each = pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)


def key_table(host: Host) -> sa.Table:
    table: sa.Table = sa.inspect(host.orgkeys.ApiKey).local_table
    return table


def add_views(host: Host) -> None:
    """Views that do with the session, the response and the request what views do."""
    session = host.db.session

    @host.app.post("/commits")
    @require_key
    def commits() -> str:
        session.add(host.Note(text="of the view"))
        session.commit()
        return ""

    @host.app.post("/rolls-back")
    @require_key
    def rolls_back() -> str:
        session.add(host.Note(text="of the view"))
        session.flush()
        session.rollback()
        return ""

    @host.app.post("/leaves-open")
    @require_key
    def leaves_open() -> str:
        session.add(host.Note(text="of the view"))
        session.flush()
        return ""

    @host.app.post("/fails")
    @require_key
    def fails() -> str:
        session.add(host.Note(text="of the view"))
        session.flush()
        raise RuntimeError

    @host.app.post("/runs-asynchronously")
    @require_key
    async def runs_asynchronously() -> str:
        session.add(host.Note(text="of the view"))
        return current_key.id

    @host.app.post("/streams")
    @require_key
    def streams() -> Response:
        def parts() -> Iterator[str]:
            for _ in range(3):
                yield str(session.scalar(sa.select(sa.func.count()).select_from(host.Note)))

        return Response(stream_with_context(parts()))

    @host.app.post("/streams-plainly")
    @require_key
    def streams_plainly() -> Response:
        return Response(iter("abc"))

    @host.app.post("/adds-to-response")
    @require_key
    def adds_to_response() -> str:
        @after_this_request
        def add(response: Response) -> Response:
            session.add(host.Note(text="after the view"))
            session.flush()
            return response

        return ""

    @host.app.teardown_request
    def fail_after_request(_error: BaseException | None) -> None:
        # By the path: asking for the key would have its use recorded on every route.
        if request.path == "/fails-in-teardown":
            raise RuntimeError

    host.app.add_url_rule("/fails-in-teardown", view_func=require_key(lambda: ""), methods=["POST"])


ROUTES = (
    "/api/deploy",
    "/api/o/acme/deployments",
    "/api/o/beta/deployments",
    "/api/publish-and-deploy",
    "/open",
    "/nowhere",
    "/commits",
    "/rolls-back",
    "/leaves-open",
    "/fails",
    "/runs-asynchronously",
    "/streams",
    "/streams-plainly",
    "/adds-to-response",
    "/fails-in-teardown",
)


@pytest.mark.wall_clock
@pytest.mark.parametrize("hook", hooks.ALL)
@pytest.mark.parametrize("reads_all", [True, False], ids=["read to the end", "client gone"])
def test_every_route_leaves_last_used_true(
    new_host: MakeHost, any_database_url: str, hook: Hook, reads_all: bool
) -> None:
    host = new_host(any_database_url, **before_ours(hook))
    host.app.logger.disabled = True
    add_views(host)
    ids = {}
    started = perf_counter()
    for path in ROUTES:
        token, ids[path] = host.issue(name=path)
        send_as_a_server(host, path, token, reads_all=reads_all)
    assert perf_counter() - started < SOON_SECONDS * len(ROUTES)
    assert [path for path in ROUTES if last_used_at(host, ids[path]) is None] == []


def send_as_a_server(host: Host, path: str, token: str, *, reads_all: bool = True) -> None:
    host.app.config["PROPAGATE_EXCEPTIONS"] = False
    environ = EnvironBuilder(path=path, method="POST", headers=bearer(token)).get_environ()
    with suppress(RuntimeError):
        body: Any = host.app.wsgi_app(environ, lambda *_: None)  # type: ignore[arg-type]
        try:
            for _ in body:
                if not reads_all:
                    break
        finally:
            body.close()


@of_files_and_servers
def test_pushed_app_context_sees_last_used_at_once(any_host: Host) -> None:
    token, key_id = any_host.issue()
    with any_host.app.app_context():
        key = any_host.db.session.get(any_host.orgkeys.ApiKey, key_id)
        assert key.last_used_at is None
        assert any_host.client().get("/api/whoami", headers=bearer(token)).status_code == 200
        assert last_used_at(any_host, key_id) is not None


@of_files_and_servers
def test_pushed_app_context_with_an_open_change_sees_last_used_when_it_ends(any_host: Host) -> None:
    token, key_id = any_host.issue()
    with any_host.app.app_context():
        write(any_host.db)
        assert any_host.client().get("/api/whoami", headers=bearer(token)).status_code == 200
        any_host.db.session.rollback()
        assert last_used_at(any_host, key_id) is not None


@of_one_of_each
def test_request_within_a_request_leaves_last_used_true_for_both(any_host: Host) -> None:
    inner_token, inner_id = any_host.issue()
    outer_token, outer_id = any_host.issue()

    @any_host.app.get("/asks-itself")
    @require_key
    def asks_itself() -> str:
        read(any_host.db)
        return any_host.client().get("/api/whoami", headers=bearer(inner_token)).text

    any_host.client().get("/asks-itself", headers=bearer(outer_token))
    assert last_used_at(any_host, inner_id) is not None
    assert last_used_at(any_host, outer_id) is not None


def count_writes(host: Host) -> None:
    """Have the database add a note for each row of ours that is written."""
    write_note = "INSERT INTO note (text) VALUES ('written')"
    on_update = "CREATE TRIGGER count_writes AFTER UPDATE ON orgkeys_key"
    statements = {
        "sqlite": [f"{on_update} BEGIN {write_note}; END"],
        "mysql": [f"{on_update} FOR EACH ROW {write_note}"],
        "postgresql": [
            "CREATE FUNCTION count_writes() RETURNS trigger LANGUAGE plpgsql"
            f" AS $$ BEGIN {write_note}; RETURN NULL; END $$",
            f"{on_update} FOR EACH ROW EXECUTE FUNCTION count_writes()",
        ],
    }
    with connection_of_another_process(host) as connection:
        for statement in statements[connection.dialect.name]:
            connection.exec_driver_sql(statement)
        connection.commit()


@of_files_and_servers
def test_many_at_once_write_once_per_step(any_host: Host) -> None:
    count_writes(any_host)
    token, key_id = any_host.issue()
    barrier = threading.Barrier(8)
    statuses: list[int] = []

    def ask() -> None:
        client = any_host.client()
        barrier.wait(20)
        statuses.extend(
            client.get("/api/whoami", headers=bearer(token)).status_code for _ in range(3)
        )

    with time_machine.travel(NOW, tick=False):
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 24
    assert saved_notes(any_host) == ["written"]
    assert last_used_at(any_host, key_id) == NOW

    for seconds, writes_so_far in ((59.999999, 1), (60, 2), (61, 2)):
        with time_machine.travel(NOW + timedelta(seconds=seconds), tick=False):
            any_host.client().get("/api/whoami", headers=bearer(token))
        assert len(saved_notes(any_host)) == writes_so_far


def test_last_used_can_be_switched_off(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
    token, key_id = host.issue()
    assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 200
    assert last_used_at(host, key_id) is None


@of_files_and_servers
def test_late_write_neither_turns_back_nor_repeats_nor_touches_another_column(
    any_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "RETRY_SECONDS", 0)
    any_host.app.add_url_rule("/reads", view_func=lambda: str(read(any_host.db)))
    token, key_id = any_host.issue()
    later = NOW + timedelta(seconds=1)
    with (
        engine_of_another_process(url_of(any_host)) as engine,
        engine.connect() as connection,
    ):
        connection.execute(
            sa.update(key_table(any_host)).values(last_used_at=later, name="renamed")
        )
        # Read before the other process commits, and written after.
        with time_machine.travel(NOW - timedelta(hours=1), tick=False):
            answer = any_host.client().get("/api/whoami", headers=bearer(token))
        assert answer.json is not None
        assert answer.json["name"] == "CI"
        connection.commit()
    any_host.client().get("/reads")
    assert last_used_at(any_host, key_id) == later
    assert any_host.key(key_id).name == "renamed"


def test_clock_that_steps_back_does_not_turn_last_used_back(any_host: Host) -> None:
    token, key_id = any_host.issue()
    for moment, last_used in (
        (NOW, NOW),
        (NOW - timedelta(hours=2), NOW),
        (NOW + timedelta(seconds=30), NOW),
        (NOW + timedelta(hours=1), NOW + timedelta(hours=1)),
    ):
        with time_machine.travel(moment, tick=False):
            assert any_host.client().get("/open", headers=bearer(token)).json == {"key": key_id}
        assert last_used_at(any_host, key_id) == last_used


def test_touch_is_one_statement_that_names_its_own_column(host: Host) -> None:
    token, _ = host.issue()
    statements: list[str] = []
    with host.app.app_context(), host.db.engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
    driver.set_trace_callback(statements.append)
    host.client().get("/api/whoami", headers=bearer(token))
    driver.set_trace_callback(None)
    (update,) = [statement for statement in statements if statement.startswith("UPDATE")]
    changes = update.split(" SET ")[1].split(" WHERE ")[0]
    assert changes.startswith("last_used_at=")
    assert "," not in changes


@contextmanager
def locked(host: Host, *key_ids: str) -> Iterator[None]:
    """Another process keeps the rows of all keys, or of some, to itself; on SQLite, the right to
    write.
    """
    with (
        engine_of_another_process(url_of(host)) as engine,
        engine.connect() as connection,
    ):
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            table = key_table(host)
            rows = sa.select(table).where(table.c.id.in_(key_ids) if key_ids else sa.true())
            assert connection.execute(rows.with_for_update()).all()
        yield
        connection.rollback()


def settings_of_connection(host: Host) -> Any:
    queries = {
        "sqlite": ["PRAGMA busy_timeout", "PRAGMA query_only"],
        "postgresql": [
            "SHOW lock_timeout",
            "SHOW synchronous_commit",
            "SHOW transaction_isolation",
        ],
        "mysql": ["SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout, @@autocommit"],
    }
    with host.app.app_context(), host.db.engine.connect() as connection:
        return (
            [connection.exec_driver_sql(query).one() for query in queries[connection.dialect.name]],
            getattr(connection.connection.dbapi_connection, "autocommit", None)
            if connection.dialect.name == "postgresql"
            else None,
        )


@pytest.mark.wall_clock
@of_files_and_servers
@pytest.mark.parametrize(
    ("isolation_level", "hook"),
    # On MariaDB a serialisable transaction of the host's own waits for the lock as it reads.
    [(None, leave_alone), (None, read), ("SERIALIZABLE", leave_alone)],
)
def test_lock_held_elsewhere_delays_no_request_and_loses_no_use(
    new_host: MakeHost, any_database_url: str, isolation_level: str | None, hook: Hook
) -> None:
    options = {"isolation_level": isolation_level} if isolation_level else {}
    host = new_host(
        any_database_url,
        **before_ours(hook),
        config={"SQLALCHEMY_ENGINE_OPTIONS": options},
    )
    token, key_id = host.issue()
    other_token, other_id = host.issue()
    settings = settings_of_connection(host)
    client = host.client()
    with locked(host):
        started = perf_counter()
        for _ in range(3):
            assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
        assert perf_counter() - started < SOON_SECONDS
        assert last_used_at(host, key_id) is None
        assert settings_of_connection(host) == settings
    assert client.get("/api/whoami", headers=bearer(other_token)).status_code == 200
    assert last_used_at(host, other_id) is not None
    assert last_used_at(host, key_id) is not None
    assert settings_of_connection(host) == settings


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_use_of_a_locked_row_holds_up_no_other(any_host: Host) -> None:
    locked_token, locked_id = any_host.issue()
    client = any_host.client()
    with locked(any_host, locked_id):
        assert client.get("/api/whoami", headers=bearer(locked_token)).status_code == 200
        for _ in range(2):
            token, key_id = any_host.issue()
            assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
            assert last_used_at(any_host, key_id) is not None
        assert last_used_at(any_host, locked_id) is None
    token, _ = any_host.issue()
    assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
    assert last_used_at(any_host, locked_id) is not None


@pytest.mark.parametrize("prepare_threshold", [0, 1, None])
def test_host_that_prepares_every_statement(
    new_host: MakeHost, postgresql_url: str, prepare_threshold: int | None
) -> None:
    options = {"connect_args": {"prepare_threshold": prepare_threshold}}
    host = new_host(postgresql_url, config={"SQLALCHEMY_ENGINE_OPTIONS": options})
    for _ in range(3):
        token, key_id = host.issue()
        assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 200
        assert last_used_at(host, key_id) is not None


@pytest.mark.wall_clock
@of_one_of_each
def test_renewal_of_a_digest_waits_as_little(any_host: Host) -> None:
    token, key_id = any_host.issue()
    other_token, _ = any_host.issue()
    digest = any_host.key(key_id).digest
    with any_host.sibling(ORGKEYS_PEPPERS=["pepper-of-the-tests-" * 2]) as peppered:
        with locked(any_host):
            started = perf_counter()
            assert peppered.client().get("/open", headers=bearer(token)).json == {"key": key_id}
            assert perf_counter() - started < SOON_SECONDS
        assert any_host.key(key_id).digest == digest
        assert peppered.client().get("/api/whoami", headers=bearer(other_token)).status_code == 200
        renewed = any_host.key(key_id)
        assert renewed.digest != digest
        assert renewed.last_used_at is not None
        assert peppered.client().get("/open", headers=bearer(token)).json == {"key": key_id}


@contextmanager
def role_that_only_reads(host: Host) -> Iterator[dict[str, Any]]:
    """The configuration of an app whose role at the server may read, no more."""
    url = url_of(host)
    if url.get_backend_name() == "sqlite":
        yield {"SQLALCHEMY_DATABASE_URI": f"sqlite:///file:{url.database}?mode=ro&uri=true"}
        return
    name = f"{url.database}_reader"
    grant, revoke = {
        "postgresql": (
            [f"CREATE ROLE {name} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"],
            [f"DROP OWNED BY {name}", f"DROP ROLE {name}"],
        ),
        "mysql": (
            [f"CREATE USER {name}@'%%'", f"GRANT SELECT ON {url.database}.* TO {name}@'%%'"],
            [f"DROP USER {name}@'%%'"],
        ),
    }[url.get_backend_name()]
    with engine_of_another_process(url, isolation_level="AUTOCOMMIT") as engine:
        with engine.connect() as connection:
            for statement in grant:
                connection.exec_driver_sql(statement)
        try:
            yield {"SQLALCHEMY_DATABASE_URI": url.set(username=name)}
        finally:
            with engine.connect() as connection:
                for statement in revoke:
                    connection.exec_driver_sql(statement)


@contextmanager
def replica(host: Host) -> Iterator[dict[str, Any]]:
    """The configuration of an app whose server takes no change at all, as a replica does."""
    connect_args = {
        "sqlite": {},
        "postgresql": {"options": "-c default_transaction_read_only=on"},
        "mysql": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
    }
    backend = url_of(host).get_backend_name()
    yield {"SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": connect_args[backend]}}


def take_no_change(app: Flask, db: SQLAlchemy) -> None:
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(
                db.engine, "connect", lambda driver, _: driver.execute("PRAGMA query_only = ON")
            )


@pytest.mark.wall_clock
@of_files_and_servers
@pytest.mark.parametrize("read_only", [role_that_only_reads, replica])
@pytest.mark.parametrize("opens_session", [False, True])
def test_database_that_takes_no_change_delays_no_request(
    any_host: Host, read_only: Any, opens_session: bool
) -> None:
    token, key_id = any_host.issue()
    with ExitStack() as stack:
        config = stack.enter_context(read_only(any_host))
        reader = stack.enter_context(any_host.sibling(**config))
        take_no_change(reader.app, reader.db)
        if opens_session:
            reader.app.before_request_funcs[None].insert(0, lambda: read(reader.db))
        settings = settings_of_connection(reader)
        client = reader.client()
        started = perf_counter()
        for _ in range(5):
            assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
        assert perf_counter() - started < SOON_SECONDS
        assert settings_of_connection(reader) == settings
        assert last_used_at(any_host, key_id) is None


def test_requests_without_a_key_are_spared_the_uses_that_cannot_be_written(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []
    written = SQLite.write

    def count(driver: Any, connection: Any, calls: Any) -> None:
        attempts.append(connection)
        written(driver, connection, calls)

    monkeypatch.setattr(SQLite, "write", count)
    monkeypatch.setattr(writes, "RETRY_SECONDS", 3600)
    host.app.add_url_rule("/reads", view_func=lambda: str(read(host.db)))
    token, _ = host.issue()
    with locked(host):
        host.client().get("/api/whoami", headers=bearer(token))
        assert len(attempts) == 1
        for _ in range(5):
            host.client().get("/reads")
        assert len(attempts) == 1


def test_use_left_over_is_written_by_whichever_request_comes_next(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "RETRY_SECONDS", 0)
    host.app.add_url_rule("/reads", view_func=lambda: str(read(host.db)))
    token, key_id = host.issue()
    with locked(host):
        host.client().get("/api/whoami", headers=bearer(token))
    assert last_used_at(host, key_id) is None
    host.client().get("/reads")
    assert last_used_at(host, key_id) is not None


def test_uses_left_over_are_bounded_and_the_latest_are_kept(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "MAX_UNWRITTEN_USES", 3)
    keys = [host.issue() for _ in range(6)]
    with locked(host):
        for token, _ in keys[:5]:
            host.client().get("/api/whoami", headers=bearer(token))
    host.client().get("/api/whoami", headers=bearer(keys[5][0]))
    assert [last_used_at(host, key_id) is not None for _, key_id in keys] == [
        False, False, False, True, True, True,
    ]  # fmt: skip


PROCESS = """
import sys
from tests.host import bearer, make_host

host = make_host(sys.argv[1])
token, key_id = host.issue()
print(key_id, flush=True)
sys.stdin.readline()
print(host.client().get("/api/whoami", headers=bearer(token)).status_code, flush=True)
sys.stdin.readline()
"""


def test_use_left_over_is_written_when_its_process_ends(new_host: MakeHost) -> None:
    host = new_host()
    url = url_of(host)
    other_url = str(url.set(database=f"{url.database}-of-the-process"))
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, other_url],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        key_id = process.stdout.readline().strip()
        with engine_of_another_process(other_url) as engine, engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "200\n"
            select = sa.select(key_table(host).c.last_used_at).where(key_table(host).c.id == key_id)
            assert connection.scalar(select) is None
            connection.rollback()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(20) == 0
            assert connection.scalar(select) is not None
