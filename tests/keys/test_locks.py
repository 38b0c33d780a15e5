"""Changes that wait for another transaction: the limit of keys, and the permission at the write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from flask_orgkeys import errors, signals
from flask_orgkeys.keys import locks
from flask_orgkeys.keys.database import committed

from .. import databases
from ..conftest import MakeHost
from ..host import Host
from ..promises.outside import connection_of_another_process
from ..promises.test_cut_short import deadline, errors_on_servers

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}
LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")

on_shared_databases = pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)
on_servers = pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)


@pytest.fixture
def locked_out() -> dict[str, bool]:
    return {"ada": False}


def let_until(host: Host, locked_out: dict[str, bool]) -> None:
    """Let ada manage keys until she is locked out."""
    host.orgkeys.permission_checker(lambda user, *_: not locked_out[user.id])


@contextmanager
def waiting_post(host: Host, path: str, data: Any = None) -> Iterator[Callable[[], int]]:
    """Post a form in a thread that is to wait; give a function that returns the status."""
    client = host.client("ada")
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(client.post, path, data=data)
        yield lambda: future.result(timeout=30).status_code


class TestLimit:
    """ORGKEYS_MAX_KEYS, at each level of isolation."""

    @on_servers
    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("organization", ["organization.id", sa.Integer], ids=["fk", "no-fk"])
    def test_snapshot_from_before(
        self, any_database_url: str, level: str, organization: Any, new_host: MakeHost
    ) -> None:
        """Transactions that all began before any key was made make one key."""
        options = {"isolation_level": level, "pool_size": 8}
        config = {"ORGKEYS_MAX_KEYS": 1, "SQLALCHEMY_ENGINE_OPTIONS": options}
        host = new_host(any_database_url, config=config, organization=organization)
        acme, begun = host.organization_ids["acme"], Barrier(4)

        def create(number: int) -> bool:
            waits = [begun]

            def change() -> None:
                assert host.orgkeys.count_keys(acme) <= 1
                while waits:
                    waits.pop().wait(timeout=30)
                host.orgkeys.create_key(acme, name=f"{number}", scopes=["project:deploy"])

            with host.app.app_context():
                try:
                    committed(host.db.session, change, retries=8)
                except errors.KeyLimitReached:
                    return False
                return True

        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(create, range(4))) == [False, False, False, True]
        assert len(host.keys()) == len(host.events()) == 1

    @on_servers
    def test_wait_has_a_bound(
        self, any_database_url: str, new_host: MakeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(locks, "LONGEST_WAIT_SECONDS", 1)
        host = new_host(any_database_url, config={"ORGKEYS_MAX_KEYS": 5})
        acme = host.organization_ids["acme"]
        with host.app.app_context():
            host.orgkeys.create_key(acme, name="slow", scopes=["project:deploy"])
            begun = time.monotonic()
            with waiting_post(host, LIST, FORM) as status:
                assert status() == 503
            assert time.monotonic() - begun < 5
            host.db.session.commit()
        assert host.client("ada").post(LIST, data=FORM).status_code == 200

    @errors_on_servers
    def test_wait_that_is_cut_short_is_not_swallowed(
        self, any_database_url: str, new_host: MakeHost, error: type[BaseException]
    ) -> None:
        """The error that ends the wait is raised on, and the next form makes a key."""
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.5}
        config = {"ORGKEYS_MAX_KEYS": 5, "SQLALCHEMY_ENGINE_OPTIONS": options}
        host = new_host(any_database_url, config=config)
        host.issue()
        client = host.client("ada")
        with connection_of_another_process(host) as other:
            other.execute(sa.text("UPDATE orgkeys_limit SET creations = creations + 1"))
            with pytest.raises(error), deadline(0.4, error, other.rollback):
                client.post(LIST, data=FORM)
        assert client.post(LIST, data=FORM).status_code == 200

    @on_servers
    def test_bound_of_the_host_stays(self, any_database_url: str, new_host: MakeHost) -> None:
        host = new_host(any_database_url, config={"ORGKEYS_MAX_KEYS": 5})
        text = "current_setting('lock_timeout')"
        if "mysql" in any_database_url:
            text = "@@innodb_lock_wait_timeout"
        with host.app.app_context():
            before = host.db.session.scalar(sa.text(f"SELECT {text}"))
            acme = host.organization_ids["acme"]
            host.orgkeys.create_key(acme, name="CI", scopes=["project:deploy"])
            assert host.db.session.scalar(sa.text(f"SELECT {text}")) == before


class TestPermission:
    """A change on the pages goes on with a permission that there is after its wait."""

    @on_shared_databases
    @pytest.mark.parametrize("limit", [None, 5])
    def test_creation_that_waits(
        self,
        any_database_url: str,
        limit: int | None,
        new_host: MakeHost,
        locked_out: dict[str, bool],
    ) -> None:
        host = new_host(any_database_url, config={"ORGKEYS_MAX_KEYS": limit})
        let_until(host, locked_out)
        with host.app.app_context():
            session = host.db.session
            host.orgkeys.create_key(
                host.organization_ids["acme"], name="slow", scopes=["project:deploy"]
            )
            row = sa.select(host.Organization).where(host.Organization.slug == "acme")
            session.scalars(row.with_for_update()).one()
            with waiting_post(host, LIST, FORM) as status:
                time.sleep(0.5)
                locked_out["ada"] = True
                session.commit()
                assert status() == 403
        (key,) = host.keys()
        assert key.name == "slow"

    @on_shared_databases
    def test_revocation_that_waits(self, any_host: Host, locked_out: dict[str, bool]) -> None:
        let_until(any_host, locked_out)
        _, key_id = any_host.issue()
        with any_host.app.app_context():
            session = any_host.db.session
            acme = any_host.organization_ids["acme"]
            any_host.orgkeys.update_key(acme, key_id, name="held")
            with waiting_post(any_host, f"{LIST}/{key_id}/revoke") as status:
                time.sleep(0.5)
                locked_out["ada"] = True
                session.commit()
                assert status() == 403
        assert any_host.key(key_id).revoked_at is None

    @on_shared_databases
    def test_permission_in_the_database(self, any_host: Host) -> None:
        """The transaction that is waited for takes the permission away."""
        host = any_host

        def may(_user: Any, organization: Any, _permission: str) -> bool:
            return bool(organization.name == "Acme")

        host.orgkeys.permission_checker(may)
        _, key_id = host.issue()
        with host.app.app_context():
            acme = host.organization_ids["acme"]
            host.orgkeys.update_key(acme, key_id, name="held")
            organization = host.db.session.get_one(host.Organization, acme)
            organization.name = "Left"
            host.db.session.flush()
            with waiting_post(host, f"{LIST}/{key_id}/revoke") as status:
                time.sleep(0.5)
                host.db.session.commit()
                assert status() == 403
        assert host.key(key_id).revoked_at is None

    @on_servers
    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("limit", [None, 5])
    @pytest.mark.parametrize(
        ("table", "path"),
        [
            ("organization", LIST),
            ("organization", LIST + "/{key_id}/revoke"),
            ("orgkeys_key", LIST + "/{key_id}/revoke"),
        ],
    )
    def test_row_that_the_host_locks(
        self,
        any_database_url: str,
        level: str,
        limit: int | None,
        path: str,
        table: str,
        new_host: MakeHost,
    ) -> None:
        """It changes nothing in that row, so that no conflict tells that a snapshot is old."""
        options = {"isolation_level": level}
        config = {"ORGKEYS_MAX_KEYS": limit, "SQLALCHEMY_ENGINE_OPTIONS": options}
        host = new_host(any_database_url, config=config)
        host.orgkeys.permission_checker(
            lambda *_: host.db.session.scalar(sa.select(host.Note.text)) == "ada may"
        )
        _, key_id = host.issue()
        with host.app.app_context():
            host.db.session.add(host.Note(text="ada may"))
            host.db.session.commit()
            column = "slug" if table == "organization" else "id"
            value = "acme" if table == "organization" else key_id
            lock = sa.text(f"SELECT id FROM {table} WHERE {column} = :value FOR UPDATE")
            assert host.db.session.execute(lock, {"value": value}).one()
            host.db.session.execute(sa.update(host.Note).values(text="ada may not"))
            with waiting_post(host, path.format(key_id=key_id), FORM) as status:
                time.sleep(0.5)
                host.db.session.commit()
                assert status() == 403
        (key,) = host.keys()
        assert key.revoked_at is None

    @on_servers
    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("is_first", [True, False])
    def test_creation_that_is_taken_back(
        self, any_database_url: str, level: str, is_first: bool, new_host: MakeHost
    ) -> None:
        """It leaves the row of the limit as it was, or none, so that no conflict tells."""
        options = {"isolation_level": level}
        config = {"ORGKEYS_MAX_KEYS": 5, "SQLALCHEMY_ENGINE_OPTIONS": options}
        host = new_host(any_database_url, config=config)
        host.orgkeys.permission_checker(
            lambda *_: host.db.session.scalar(sa.select(host.Note.text)) == "ada may"
        )
        if not is_first:
            host.issue()
        before = len(host.keys())
        with host.app.app_context():
            host.db.session.add(host.Note(text="ada may"))
            host.db.session.commit()
            acme = host.organization_ids["acme"]
            host.orgkeys.create_key(acme, name="CI", scopes=["project:deploy"])
            with waiting_post(host, LIST, FORM) as status:
                time.sleep(0.5)
                with connection_of_another_process(host) as other:
                    other.execute(sa.update(host.Note).values(text="ada may not"))
                    other.commit()
                host.db.session.rollback()
                assert status() == 403
        assert len(host.keys()) == before

    @pytest.mark.parametrize("path", [LIST, LIST + "/{key_id}/revoke"])
    def test_each_retry(self, host: Host, locked_out: dict[str, bool], path: str) -> None:
        let_until(host, locked_out)
        _, key_id = host.issue()

        def conflict(_sender: Any, **_: Any) -> None:
            locked_out["ada"] = True
            raise sa.exc.IntegrityError("", {}, Exception("of two at once"))

        signal = signals.key_created if path == LIST else signals.key_revoked
        client = host.client("ada")
        with signal.connected_to(conflict):
            response = client.post(path.format(key_id=key_id), data=FORM)
        assert response.status_code == 403
        assert len(host.events()) == 1

    def test_organisation_that_went_meanwhile(self, host: Host) -> None:
        with host.app.app_context():
            acme = host.db.session.scalar(sa.select(host.Organization).filter_by(slug="acme"))
        answers = [None, acme]
        host.orgkeys.organization_loader(lambda _slug: answers.pop())
        assert host.client("ada").post(LIST, data=FORM).status_code == 404
        assert host.keys() == []

    def test_pending_rows_of_the_host_are_kept(self, new_host: MakeHost) -> None:
        def before_init(app: Any, db: Any) -> None:
            @app.before_request
            def add_note() -> None:
                table = db.metadata.tables["note"]
                db.session.execute(sa.insert(table).values(text="of a hook"))

        host = new_host(before_init=before_init)
        client = host.client("ada")
        assert client.post(LIST, data=FORM).status_code == 200
        with host.app.app_context():
            assert host.db.session.scalar(sa.select(sa.func.count(host.Note.id))) == 1
