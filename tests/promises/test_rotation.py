"""Promise 20: a rotation costs no request and loses no secret."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import request

from flask_orgkeys import errors, holder
from flask_orgkeys.keys import rotation

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer
from ..keys.test_rotation import WEEK, answer, end_previous, rotate
from . import hooks
from .hooks import before_ours
from .test_processes import ask, gunicorn, of_one_of_each

CLIENTS = 4
PATH = "/api/key-and-worker"

LEVELS = [
    (databases.SQLITE_FILE, None),
    *((databases.PSYCOPG, level) for level in (None, "REPEATABLE READ", "SERIALIZABLE")),
    (databases.PSYCOPG2, "SERIALIZABLE"),
    *((databases.PYMYSQL, level) for level in (None, "READ COMMITTED", "SERIALIZABLE")),
]


def at_levels(levels: list[tuple[str, str | None]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("any_database_url", "level"),
        [pytest.param(*pair, id=f"{pair[0]}-{pair[1] or 'default'}") for pair in levels],
        indirect=["any_database_url"],
    )


SNAPSHOTS = pytest.mark.parametrize(
    ("any_database_url", "level"),
    [
        pytest.param(databases.PYMYSQL, None, id="mariadb"),
        pytest.param(databases.PSYCOPG, "REPEATABLE READ", id="psycopg"),
    ],
    indirect=["any_database_url"],
)


def options_of(level: str | None, **pool: Any) -> dict[str, Any]:
    options = {**pool, **({"isolation_level": level} if level else {})}
    return {"SQLALCHEMY_ENGINE_OPTIONS": options} if options else {}


@of_one_of_each
def test_no_request_fails_from_one_secret_to_the_next(any_host: Host) -> None:
    """Four workers under constant load: rotate, then let every client switch in its turn."""
    with any_host.app.app_context():
        url = any_host.db.engine.url.render_as_string(hide_password=False)
    old, key_id = any_host.issue()
    secrets = [old] * CLIENTS
    answers: Counter[tuple[int, bool]] = Counter()
    is_over = threading.Event()
    with gunicorn(url) as port, ThreadPoolExecutor(CLIENTS) as pool:

        def load(client: int) -> None:
            while not is_over.is_set():
                token = secrets[client]
                status, _ = ask(port, PATH, token)
                answers[status, token == old] += 1

        clients = [pool.submit(load, client) for client in range(CLIENTS)]
        try:
            new = change_over(any_host, key_id, secrets, answers)
        finally:
            is_over.set()
        for client in clients:
            client.result(timeout=30)
        assert {status for status, _ in answers} == {200}
        assert min(answers[200, True], answers[200, False]) >= 20
        key = any_host.key(key_id)
        assert None not in (key.confirmed_at, key.previous_used_at)
        # In every worker, at once.
        any_host.revoke(key_id)
        codes = [ask(port, PATH, token)[1]["code"] for token in [old, new] * 8]
        assert set(codes) == {"revoked_key"}


def change_over(
    host: Host, key_id: str, secrets: list[str], answers: Counter[tuple[int, bool]]
) -> str:
    wait_for(lambda: answers.total() >= 25)
    new = rotate(host, key_id)
    before = answers.total()
    wait_for(lambda: answers.total() >= before + 25)
    for client in range(CLIENTS):
        secrets[client] = new
        before = answers.total()
        wait_for(lambda before=before: answers.total() >= before + 20)  # type: ignore[misc]
    return new


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@at_levels(LEVELS)
def test_second_of_two_at_once_waits_and_has_written_nothing(
    new_host: MakeHost, any_database_url: str, level: str | None
) -> None:
    host = new_host(any_database_url, config=options_of(level))
    old, key_id = host.issue()
    with ThreadPoolExecutor(1) as pool, host.app.app_context():
        acme = host.organization_ids["acme"]
        first = host.orgkeys.rotate_key(acme, key_id, overlap=WEEK, expires_at=None)
        second = begin(pool, host, key_id)
        assert not second.done()
        host.db.session.commit()
        with pytest.raises(errors.RotationConflict):
            second.result(timeout=30)
    assert [answer(host, token) for token in (old, first.token)] == [200, 200]
    assert [event["action"] for event in host.events()] == ["created", "rotated"]
    # One that begins after the commit is a rotation again.
    assert answer(host, rotate(host, key_id)) == 200


@at_levels(LEVELS)
def test_rotation_that_waits_for_a_revocation(
    new_host: MakeHost, any_database_url: str, level: str | None
) -> None:
    host = new_host(any_database_url, config=options_of(level))
    token, key_id = host.issue()
    with ThreadPoolExecutor(1) as pool, host.app.app_context():
        host.orgkeys.revoke_key(host.organization_ids["acme"], key_id)
        second = begin(pool, host, key_id)
        host.db.session.commit()
        with pytest.raises((errors.KeyEnded, errors.RotationConflict)):
            second.result(timeout=30)
    assert answer(host, token) == "revoked_key"
    assert host.key(key_id).rotated_at is None


def begin(pool: ThreadPoolExecutor, host: Host, key_id: str) -> Future[str]:
    """Begin to rotate in another thread, and give it the time to wait for a lock."""
    has_begun = threading.Event()

    def begin_and_rotate() -> str:
        has_begun.set()
        return rotate(host, key_id)

    future = pool.submit(begin_and_rotate)
    assert has_begun.wait(20)
    time.sleep(0.5)
    return future


@contextmanager
def after_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> Iterator[None]:
    """Act, in another thread, between the reading of a key and its lock."""
    read = rotation._read

    def read_and_act(*arguments: Any) -> Any:
        found = read(*arguments)
        patch.undo()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(act).result(timeout=30)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "_read", read_and_act)
        yield


# The serialisable reads of MariaDB lock: nothing comes in between.
@at_levels([pair for pair in LEVELS if pair != (databases.PYMYSQL, "SERIALIZABLE")])
def test_first_use_in_between_is_not_lost(
    new_host: MakeHost,
    any_database_url: str,
    level: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts, or it is a conflict; the secret in use stays alive."""
    host = new_host(any_database_url, config=options_of(level))
    _, key_id = host.issue()
    used = rotate(host, key_id)
    with after_reading(monkeypatch, lambda: answer(host, used)):
        try:
            rotate(host, key_id)
        except errors.RotationConflict:
            assert level in ("REPEATABLE READ", "SERIALIZABLE")
    assert answer(host, used) == 200


@of_one_of_each
def test_pepper_upgrade_in_between_is_no_conflict(
    any_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, key_id = any_host.issue()
    with any_host.sibling(ORGKEYS_PEPPERS=["n" * 32, None]) as sibling:
        with after_reading(monkeypatch, lambda: answer(sibling, old)):
            new = rotate(sibling, key_id)
        assert [answer(sibling, token) for token in (old, new)] == [200, 200]


@of_one_of_each
@pytest.mark.parametrize("has_form", [True, False])
def test_one_of_thirty_two_wins(
    new_host: MakeHost, any_database_url: str, monkeypatch: pytest.MonkeyPatch, has_form: bool
) -> None:
    host = new_host(any_database_url, config=options_of(None, pool_size=32, pool_timeout=60))
    old, key_id = host.issue()
    after = host.orgkeys.rotation_marker(host.key(key_id)) if has_form else None
    barrier = threading.Barrier(32, timeout=60)
    read = rotation._read

    def read_together(*arguments: Any) -> Any:
        found = read(*arguments)
        barrier.wait()
        return found

    if not has_form:
        monkeypatch.setattr(rotation, "_read", read_together)

    def try_to_rotate(_: int) -> str | None:
        try:
            return rotate(host, key_id, after=after)
        except errors.RotationConflict:
            return None

    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(try_to_rotate, range(32)))
    (won,) = [token for token in results if token is not None]
    assert [answer(host, token) for token in (old, won)] == [200, 200]
    assert [event["action"] for event in host.events()] == ["created", "rotated"]


@SNAPSHOTS
@pytest.mark.parametrize("is_ended", [False, True])
def test_it_is_seen_past_a_transaction_that_sees_the_past(
    new_host: MakeHost, any_database_url: str, level: str | None, is_ended: bool
) -> None:
    """The host has read something when the rotation, or the end of the old secret, is committed."""
    found: list[str] = []

    def read_and_have_it_rotated(db: Any) -> None:
        hooks.read(db)
        if "act" in request.args:
            with ThreadPoolExecutor(1) as pool:
                act = end_previous if is_ended else rotate
                found.append(pool.submit(act, host, key_id).result(timeout=20))  # type: ignore[arg-type]
            if not is_ended:
                request.environ["HTTP_AUTHORIZATION"] = f"Bearer {found[0]}"

    host = new_host(
        any_database_url, **before_ours(read_and_have_it_rotated), config=options_of(level)
    )
    old, key_id = host.issue()
    if is_ended:
        rotate(host, key_id)
    response = host.client().get("/api/whoami?act=1", headers=bearer(old))
    if is_ended:
        assert response.get_json()["code"] == "rotated_key"
    else:
        assert response.status_code == 200


@SNAPSHOTS
def test_rotation_that_is_not_committed_holds_in_its_transaction(
    new_host: MakeHost, any_database_url: str, level: str | None
) -> None:
    host = new_host(any_database_url, config=options_of(level))
    old, key_id = host.issue()
    with host.app.app_context():
        acme = host.organization_ids["acme"]
        new = host.orgkeys.rotate_key(acme, key_id, overlap=WEEK, expires_at=None).token
        assert [answer(host, token) for token in (old, new)] == [200, 200]
        host.orgkeys.end_previous_secret(acme, key_id)
        assert [answer(host, token) for token in (old, new)] == ["rotated_key", 200]


def test_secret_is_in_one_body_alone(any_host: Host, caplog: pytest.LogCaptureFixture) -> None:
    any_host.app.register_blueprint(holder.blueprint, url_prefix="/api/key")
    old, key_id = any_host.issue(may_rotate_itself=True)
    client = any_host.client("ada")
    with caplog.at_level(logging.DEBUG):
        first = client.post("/api/key/rotate", headers=bearer(old))
        new = first.get_json()["key"]
        secret = new.rpartition("_")[2]
        others = [
            client.get("/api/key", headers=bearer(new)),
            client.get("/api/whoami", headers=bearer(new)),
            client.post("/api/key/rotate", headers=bearer(old)),
            *(
                client.get(f"/o/acme/api-keys{path}", buffered=True)
                for path in (
                    "?status=all",
                    "/activity",
                    "/activity.csv",
                    f"/{key_id}",
                    f"/{key_id}/revoke",
                    f"/{key_id}/rotate",
                )
            ),
        ]
    assert first.get_data(as_text=True).count(secret) == 1
    assert secret not in str(first.headers)
    assert [response.status_code for response in others] == [200, 200, 403, *[200] * 6]
    for response in others:
        assert secret not in response.get_data(as_text=True) + str(response.headers)
    assert secret not in caplog.text
    with any_host.app.app_context():
        for table in any_host.db.metadata.tables.values():
            assert secret not in str(any_host.db.session.execute(sa.select(table)).all())


def test_overlap_of_a_day_is_a_day(any_host: Host) -> None:
    _, key_id = any_host.issue()
    rotate(any_host, key_id, overlap=timedelta(days=1))
    key = any_host.key(key_id)
    assert key.previous_until - key.rotated_at == timedelta(days=1)


@at_levels(LEVELS)
def test_one_that_is_committed_before_the_second_reads(
    new_host: MakeHost,
    any_database_url: str,
    level: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second has begun by then, and waits for a connection, for example."""
    host = new_host(any_database_url, config=options_of(level))
    old, key_id = host.issue()
    read = rotation._read
    first: list[str] = []

    def wait_and_read(*arguments: Any) -> Any:
        patch.undo()
        with ThreadPoolExecutor(1) as pool:
            first.append(pool.submit(rotate, host, key_id).result(timeout=30))
        return read(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "_read", wait_and_read)
        with pytest.raises(errors.RotationConflict):
            rotate(host, key_id)
    assert [answer(host, token) for token in (old, *first)] == [200, 200]
