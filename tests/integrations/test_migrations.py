"""Flask-Migrate, from a host project as ``flask db init`` makes it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from .. import databases

PROJECT = """
import os

import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_orgkeys import OrgKeys


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention={naming_convention})


db = SQLAlchemy(model_class=Base)
orgkeys = OrgKeys(db, organization={organization})
migrate = Migrate()


class Organization(db.Model):
    id = sa.Column({key_type}, primary_key=True)
    name = sa.Column(sa.String(100), nullable=False)


def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["HOST_DATABASE"]
    app.config["ORGKEYS_SCOPES"] = {{"project:deploy": "Deploy"}}
    db.init_app(app)
    migrate.init_app(app, db)
    orgkeys.init_app(app)
    app.cli.command("create-all")(lambda: db.create_all())
    app.cli.command("drop-all")(lambda: db.drop_all())
    app.cli.command("describe")(describe)
    return app


def describe():
    inspector = sa.inspect(db.engine)
    for table in ("orgkeys_event", "orgkeys_key"):
        for column in inspector.get_columns(table):
            column_type = column["type"].compile(db.engine.dialect)
            print("schema:", table, column["name"], column_type, column["nullable"])
        for inspect in ("get_pk_constraint", "get_foreign_keys", "get_indexes"):
            print("schema:", table, getattr(inspector, inspect)(table))
        uniques = inspector.get_unique_constraints(table)
        print("schema:", table, sorted(uniques, key=lambda unique: unique["name"]))
"""

NAMING_CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

PROJECTS = {
    "Integer": PROJECT.format(
        key_type="sa.Integer", organization='"organization.id"', naming_convention=None
    ),
    "String": PROJECT.format(
        key_type="sa.String(36)",
        organization='"organization.id"',
        naming_convention=NAMING_CONVENTION,
    ),
    "Uuid": PROJECT.format(
        key_type="sa.Uuid", organization='"organization.id"', naming_convention=None
    ),
    "String of elsewhere": PROJECT.format(
        key_type="sa.Integer",
        organization="sa.String(64)",
        naming_convention=NAMING_CONVENTION,
    ),
}

OURS = {"orgkeys_event", "orgkeys_key"}

# Several commands in one process, each with an app of its own: most of the time goes into imports.
FLASK = """
import sys
from flask.cli import cli

for command in sys.argv[1:]:
    cli.main(["--app", "project", *command.split()], standalone_mode=False)
"""

RunFlask = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=databases.ONE_OF_EACH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    with databases.temporary_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def run_flask(database_url: str, tmp_path: Path) -> RunFlask:
    """Run ``flask`` in the project's folder, with one command after another."""

    def run(*commands: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", FLASK, *commands],
            capture_output=True,
            text=True,
            timeout=100,
            cwd=tmp_path,
            env={**os.environ, "HOST_DATABASE": database_url, "PYTHONPATH": str(tmp_path)},
        )

    return run


def succeed(ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0, ran.stderr


def schemas(ran: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in ran.stdout.splitlines() if line.startswith("schema:")]


def tables_at(url: str) -> set[str]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    return set(sa.inspect(engine).get_table_names())


@pytest.mark.parametrize("project", PROJECTS.values(), ids=PROJECTS)
def test_there_and_back_again(
    project: str, run_flask: RunFlask, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "project.py").write_text(project, encoding="utf-8")

    created = run_flask("create-all", "describe", "drop-all")
    succeed(created)

    upgraded = run_flask("db init", "db migrate", "db upgrade", "describe", "db check")
    succeed(upgraded)
    assert len(schemas(upgraded)) > 20
    assert schemas(upgraded) == schemas(created)
    (migration,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert "flask_orgkeys" not in migration.read_text(encoding="utf-8")

    succeed(run_flask("db downgrade base"))
    assert tables_at(database_url) == {"alembic_version"}

    succeed(run_flask("db upgrade", "db check"))
    assert tables_at(database_url) >= OURS


def test_a_difference_is_found(run_flask: RunFlask, database_url: str, tmp_path: Path) -> None:
    """So that finding none means something."""
    (tmp_path / "project.py").write_text(PROJECTS["Integer"], encoding="utf-8")
    succeed(run_flask("db init", "db migrate", "db upgrade"))
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orgkeys_key DROP COLUMN revoked_by"))

    checked = run_flask("db check")

    assert checked.returncode != 0
    assert "revoked_by" in checked.stdout + checked.stderr
