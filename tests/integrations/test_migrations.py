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
    app.cli.command("tables")(lambda: print("tables:", *tables()))
    app.cli.command("lose-column")(lose_column)
    return app


def tables():
    return sorted(sa.inspect(db.engine).get_table_names())


def lose_column():
    with db.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orgkeys_key DROP COLUMN revoked_by"))


def describe():
    inspector = sa.inspect(db.engine)
    for table in (table for table in tables() if table.startswith("orgkeys_")):
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

OURS = {"orgkeys_event", "orgkeys_key", "orgkeys_limit", "orgkeys_notice", "orgkeys_use"}

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


def said(ran: subprocess.CompletedProcess[str], kind: str) -> list[str]:
    return [line for line in ran.stdout.splitlines() if line.startswith(kind)]


@pytest.mark.parametrize("project", PROJECTS.values(), ids=PROJECTS)
def test_there_and_back_again(project: str, run_flask: RunFlask, tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(project, encoding="utf-8")

    by_metadata = ("create-all", "describe", "drop-all")
    there = ("db init", "db migrate", "db upgrade", "describe", "db check")
    back = ("db downgrade base", "tables")
    again = ("db upgrade", "tables", "db check")
    ran = run_flask(*by_metadata, *there, *back, *again)

    succeed(ran)
    schema = said(ran, "schema:")
    half = len(schema) // 2
    assert half > 50
    assert schema[:half] == schema[half:]
    (migration,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert "flask_orgkeys" not in migration.read_text(encoding="utf-8")
    without, with_ours = (set(line.split()[1:]) for line in said(ran, "tables:"))
    assert without == {"alembic_version"}
    assert with_ours >= OURS


@pytest.mark.parametrize("database_url", [databases.PYMYSQL], indirect=True)
@pytest.mark.parametrize("collation", ["latin1_swedish_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"])
def test_collation_of_the_organisations(
    run_flask: RunFlask, database_url: str, tmp_path: Path, collation: str
) -> None:
    """The host's table is there, with a collation that its model does not tell: MariaDB refuses a
    reference from any other.
    """
    (tmp_path / "project.py").write_text(PROJECTS["String"], encoding="utf-8")
    charset = collation.partition("_")[0]
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        columns = "id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL"
        how = f"CHARACTER SET {charset} COLLATE {collation}"
        connection.execute(sa.text(f"CREATE TABLE organization ({columns}) {how}"))

    succeed(run_flask("db init", "db migrate", "db upgrade", "db check"))

    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO organization VALUES ('acme', 'Acme')"))
        limit = "INSERT INTO orgkeys_limit (organization_id, creations) VALUES ('acme', 1)"
        connection.execute(sa.text(limit))
        (found,) = connection.scalars(
            sa.text(
                "SELECT DISTINCT collation_name FROM information_schema.columns "
                "WHERE table_schema = DATABASE() AND column_name = 'organization_id'"
            )
        )
    engine.dispose()
    assert found == collation
    succeed(run_flask("db downgrade base", "db upgrade"))
    # Printed, for somebody else to run, it asks no database.
    printed = run_flask("db upgrade --sql")
    succeed(printed)
    assert "CREATE TABLE orgkeys_limit" in printed.stdout


def test_a_difference_is_found(run_flask: RunFlask, tmp_path: Path) -> None:
    """So that finding none means something."""
    (tmp_path / "project.py").write_text(PROJECTS["Integer"], encoding="utf-8")

    checked = run_flask("db init", "db migrate", "db upgrade", "lose-column", "db check")

    assert checked.returncode != 0
    found = (checked.stdout + checked.stderr).partition("New upgrade operations detected")[2]
    assert "revoked_by" in found
