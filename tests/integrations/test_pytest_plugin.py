"""The pytest plugin, in the tests of a host project that has done nothing to get it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

from .. import databases

HOST = '''
import os

import pytest
import sqlalchemy as sa
from flask import Flask, abort
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy.orm import DeclarativeBase, scoped_session, sessionmaker

from flask_orgkeys import OrgKeys, current_key, require_key, require_scope


class Base(DeclarativeBase):
    pass


class JoiningSession(Session):
    """Flask-SQLAlchemy's own takes no notice of a bind."""

    def get_bind(self, *arguments, **named):
        return self.bind or super().get_bind(*arguments, **named)


db = SQLAlchemy(model_class=Base, session_options={"class_": JoiningSession})
orgkeys = OrgKeys(db, organization="organization.id")


class Organization(db.Model):
    id = sa.Column(sa.Integer, primary_key=True)
    slug = sa.Column(sa.String(64), unique=True, nullable=False)


@orgkeys.organization_loader
def load_organization(slug):
    return db.session.scalar(sa.select(Organization).where(Organization.slug == slug)) or abort(404)


def create_app():
    app = Flask("host")
    app.config.update(
        TESTING=True,
        SECRET_KEY="x" * 32,
        SQLALCHEMY_DATABASE_URI=os.environ["HOST_DATABASE"],
        ORGKEYS_SCOPES={"project:deploy": "Deploy", "app:publish": "Publish"},
    )
    db.init_app(app)
    orgkeys.init_app(app)

    @app.post("/o/<org_slug>/deployments")
    @require_scope("project:deploy")
    def deploy(org_slug):
        return {"by": current_key.name}, 201

    @app.get("/whoami")
    @require_key
    def whoami():
        return {"id": current_key.id, "scopes": sorted(current_key.scopes)}

    return app
'''

FRESH_TABLES = """
import pytest
from host import Organization, create_app, db, orgkeys


@pytest.fixture
def app():
    app = create_app()
    with app.app_context():
        db.drop_all()
        db.create_all()
        db.session.add_all([Organization(slug="acme"), Organization(slug="beta")])
        db.session.commit()
    yield app
    with app.app_context():
        db.drop_all()
        db.engine.dispose()
"""

OUTER_TRANSACTION = '''
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from host import JoiningSession, Organization, create_app, db, orgkeys
from sqlalchemy.orm import scoped_session, sessionmaker


def begin_before_savepoints(engine):
    """As SQLAlchemy's manual has it for sqlite3, which does not by itself."""

    @sa.event.listens_for(engine, "connect")
    def leave_it_to_us(connection, _record):
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")


@pytest.fixture(scope="session")
def app():
    app = create_app()
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            begin_before_savepoints(db.engine)
        db.drop_all()
        db.create_all()
    yield app
    with app.app_context():
        db.session.remove()
        db.drop_all()
        db.engine.dispose()


@contextmanager
def by_engine(connection):
    """Every session gets the connection for the engine."""
    engine = db.engines[None]
    db.engines[None] = connection
    yield
    db.engines[None] = engine


@contextmanager
def by_session(connection):
    """The host's session is another one."""
    session = db.session
    db.session = scoped_session(
        sessionmaker(
            class_=JoiningSession,
            db=db,
            bind=connection,
            join_transaction_mode="create_savepoint",
        ),
        scopefunc=session.registry.scopefunc,
    )
    yield
    db.session = session


@pytest.fixture(autouse=True, params=[by_engine, by_session])
def outer_transaction(app, request):
    with app.app_context():
        engine = db.engine
        with engine.connect() as connection:
            transaction = connection.begin()
            with request.param(connection):
                db.session.add_all([Organization(slug="acme"), Organization(slug="beta")])
                db.session.flush()
                yield
                db.session.remove()
            transaction.rollback()
        with engine.connect() as connection:
            for table in db.metadata.sorted_tables:
                count = connection.scalar(sa.select(sa.func.count()).select_from(table))
                assert count == 0, f"rows left in {table}"
'''

TESTS = """
import pytest
import sqlalchemy as sa
from host import Organization, db, orgkeys


@pytest.mark.parametrize("number", [1, 2])
def test_pipeline_deploys(orgkeys_client, number):
    pipeline = orgkeys_client(scopes=["project:deploy"], organization="acme")
    assert pipeline.post("/o/acme/deployments").status_code == 201
    assert pipeline.post("/o/beta/deployments").status_code == 404


def test_scope_is_missing(orgkeys_client):
    reader = orgkeys_client(scopes=["app:publish"], organization="acme")
    assert reader.post("/o/acme/deployments").status_code == 403
    assert reader.get("/whoami").json["scopes"] == ["app:publish"]


def test_two_clients_have_two_keys(orgkeys_client):
    clients = [orgkeys_client(scopes=["app:publish"], organization="acme") for _ in range(2)]
    assert len({client.get("/whoami").json["id"] for client in clients}) == 2


def test_other_header_goes_first(orgkeys_client):
    client = orgkeys_client(scopes=["app:publish"], organization="acme")
    assert client.get("/whoami", headers={"Authorization": "Bearer other"}).status_code == 401


def test_issued_key_can_be_read_and_sent(app, issue_key):
    issued = issue_key(scopes=["app:publish"], organization="beta", name="CI", created_by="ada")
    assert (issued.key.name, issued.key.created_by) == ("CI", "ada")
    answer = app.test_client().get(
        "/whoami", headers={"Authorization": f"Bearer {issued.token}"}
    )
    assert answer.json["id"] == issued.key.id


def test_organization_by_object_slug_or_id(app, issue_key):
    with app.app_context():
        acme = db.session.scalar(sa.select(Organization).where(Organization.slug == "acme"))
        for organization in (acme, "acme", acme.id):
            issued = issue_key(scopes=["app:publish"], organization=organization)
            assert issued.key.organization_id == acme.id


def test_organization_is_one_that_the_test_has_yet_to_commit(app, orgkeys_client):
    with app.app_context():
        gamma = Organization(slug="gamma")
        db.session.add(gamma)
        for organization in (gamma, "gamma"):
            pipeline = orgkeys_client(scopes=["project:deploy"], organization=organization)
            assert pipeline.post("/o/gamma/deployments").status_code == 201


def test_organization_that_does_not_exist(issue_key):
    with pytest.raises(LookupError, match="finds no 'acme-inc'"):
        issue_key(scopes=["app:publish"], organization="acme-inc")


def test_revoked_key_is_refused(app, orgkeys_client):
    client = orgkeys_client(scopes=["app:publish"], organization="acme")
    with app.app_context():
        key = db.session.scalar(sa.select(orgkeys.ApiKey))
        orgkeys.revoke_key(key.organization_id, key.id)
        db.session.commit()
    assert client.get("/whoami").json["code"] == "revoked_key"
"""

RunTests = Callable[..., str]


@pytest.fixture
def run_tests(tmp_path: Path) -> RunTests:
    """Run pytest on files, in a process and a folder of its own. Returns what it says."""

    def run(database: str = databases.SQLITE_FILE, **files: str) -> str:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(dedent(text), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
        with databases.temporary_database(database, tmp_path) as url:
            return subprocess.run(
                [*command, "--rootdir", str(tmp_path), str(tmp_path)],
                capture_output=True,
                text=True,
                timeout=100,
                cwd=tmp_path,
                # Under CI, pytest says each error twice.
                env={**os.environ, "HOST_DATABASE": url, "CI": ""},
            ).stdout

    return run


def test_a_host_with_fresh_tables_for_each_test(run_tests: RunTests) -> None:
    said = run_tests(host=HOST, conftest=FRESH_TABLES, test_host=TESTS)

    assert "10 passed" in said, said


@pytest.mark.parametrize("database", databases.ONE_OF_EACH)
def test_a_host_with_an_outer_transaction_around_each_test(
    run_tests: RunTests, database: str
) -> None:
    said = run_tests(database, host=HOST, conftest=OUTER_TRANSACTION, test_host=TESTS)

    assert "20 passed" in said, said
    assert "error" not in said


def test_without_an_app_the_error_says_what_to_write(run_tests: RunTests) -> None:
    said = run_tests(
        test_host="""
            def test_client(orgkeys_client): ...

            def test_key(issue_key): ...
        """
    )

    assert said.count("Write a fixture named 'app' that returns it") == 2
    assert said.count("def orgkeys_app(your_fixture):") == 2
    assert "2 errors" in said


def test_a_missing_fixture_behind_the_app_is_named(run_tests: RunTests) -> None:
    said = run_tests(
        test_host="""
            import pytest

            @pytest.fixture
            def app(settings_of_mine): ...

            def test_nothing(issue_key): ...
        """
    )

    assert "fixture 'settings_of_mine' not found" in said
    assert "fixtures of flask-orgkeys" not in said


def test_an_app_of_another_name_is_given_by_a_fixture(run_tests: RunTests) -> None:
    conftest = FRESH_TABLES.replace("def app():", "def application():") + dedent(
        """
        @pytest.fixture
        def orgkeys_app(application):
            return application
        """
    )
    said = run_tests(
        host=HOST,
        conftest=conftest,
        test_host="""
            def test_pipeline(orgkeys_client):
                client = orgkeys_client(scopes=["app:publish"], organization="acme")
                assert client.get("/whoami").status_code == 200
        """,
    )

    assert "1 passed" in said, said


def test_organizations_of_elsewhere_are_named_by_their_id(run_tests: RunTests) -> None:
    host = HOST.replace('organization="organization.id"', "organization=sa.String(64)")
    said = run_tests(
        host=host.replace("@orgkeys.organization_loader", ""),
        conftest=FRESH_TABLES,
        test_host="""
            def test_tenant(issue_key):
                issued = issue_key(scopes=["app:publish"], organization="tenant-7")
                assert issued.key.organization_id == "tenant-7"
        """,
    )

    assert "1 passed" in said, said


def test_a_fixture_of_the_host_with_the_same_name_is_left_alone(run_tests: RunTests) -> None:
    said = run_tests(
        host=HOST,
        conftest=FRESH_TABLES,
        test_host="""
            import pytest

            @pytest.fixture
            def issue_key():
                return "TICKET-1"

            def test_both(issue_key, orgkeys_client):
                client = orgkeys_client(scopes=["app:publish"], organization="acme")
                assert client.get("/whoami").status_code == 200
                assert issue_key == "TICKET-1"
        """,
    )

    assert "1 passed" in said, said


def test_pytest_finds_the_plugin_by_itself() -> None:
    (plugin,) = (
        entry for entry in entry_points(group="pytest11") if entry.value.startswith("flask_orgkeys")
    )

    assert (plugin.name, plugin.value) == ("orgkeys", "flask_orgkeys.testing")


def test_a_run_that_does_not_use_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, json, pytest; before = set(sys.modules); import flask_orgkeys.testing;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    assert {name.partition(".")[0] for name in json.loads(printed)} == {"flask_orgkeys"}
