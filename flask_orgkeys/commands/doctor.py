"""What is weak or missing in a set-up: ``flask orgkeys check``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from jinja2 import TemplateNotFound

from ..config.settings import RANDOM_TEXT_COMMAND
from ..errors import ConfigurationError
from ..guards.endpoints import check_declared_scopes, unused_scopes
from ..state import state_of

if TYPE_CHECKING:
    from flask import Flask

    from ..state import AppState

UNSAFE = "unsafe"
ADVICE = "advice"

MIN_SECRET_KEY_BYTES = 16

# What bounds the wait for a server that hangs, by driver. PyMySQL's connect_timeout ends when the
# server accepts the connection.
_TIMEOUTS = {
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pymysql": "read_timeout",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend.

    :param severity: :data:`UNSAFE` where keys are at risk or do not work, :data:`ADVICE` where
        they could be better kept.
    """

    severity: str
    problem: str
    remedy: str


def examine(app: Flask) -> Iterator[Finding]:
    """Examine an app's set-up, within its app context. Asks the database.

    :return: what is wrong, the gravest of each subject first.
    """
    state = state_of(app)
    has_pages = state.blueprint in app.blueprints.values()
    yield from _secret_key(app, has_pages)
    yield from _peppers(state)
    yield from _callbacks(state, has_pages)
    yield from _scopes(app)
    yield from _transport(app, has_pages)
    yield from _layout(app, state, has_pages)
    yield from _database(app, state)


def _secret_key(app: Flask, has_pages: bool) -> Iterator[Finding]:
    if not has_pages:
        return
    remedy = f"Set one from your secret store; make it with: {RANDOM_TEXT_COMMAND}"
    key = app.secret_key
    if not key:
        yield Finding(UNSAFE, "SECRET_KEY is not set: nobody can sign in or send a form.", remedy)
    elif len(key) < MIN_SECRET_KEY_BYTES:
        yield Finding(
            UNSAFE,
            f"SECRET_KEY has {len(key)} characters: sessions and CSRF tokens can be forged.",
            remedy,
        )
    if not app.config.get("WTF_CSRF_ENABLED", True) and not app.testing:
        yield Finding(
            UNSAFE,
            "WTF_CSRF_ENABLED is off: another site can make an administrator create or revoke "
            "keys.",
            "Leave it on outside of tests.",
        )


def _peppers(state: AppState) -> Iterator[Finding]:
    if not state.settings.peppers:
        yield Finding(
            ADVICE,
            "ORGKEYS_PEPPERS is empty: digests are plain SHA-256. That is enough against guessing; "
            "with a pepper, writing to the database is not enough to plant a key either.",
            f"Set one from your secret store; make it with: {RANDOM_TEXT_COMMAND}",
        )


def _callbacks(state: AppState, has_pages: bool) -> Iterator[Finding]:
    if state.host.organization_loader is None:
        yield Finding(
            UNSAFE,
            "There is no organisation loader: every page and every guarded URL that has the "
            "organisation answers 404.",
            "Register one with @orgkeys.organization_loader.",
        )
    if has_pages and state.host.permission_checker is None:
        yield Finding(
            UNSAFE,
            "There is no permission checker: every page answers 403.",
            "Register one with @orgkeys.permission_checker.",
        )


def _scopes(app: Flask) -> Iterator[Finding]:
    try:
        check_declared_scopes(app)
    except ConfigurationError as error:
        yield Finding(UNSAFE, f"No request is served: {error}", "Declare the scope, or mend it.")
    unused = unused_scopes(app)
    if unused:
        yield Finding(
            ADVICE,
            f"No view requires {', '.join(map(repr, unused))}: a key with it alone opens nothing.",
            "Guard a view with it, or take it out of ORGKEYS_SCOPES.",
        )


def _transport(app: Flask, has_pages: bool) -> Iterator[Finding]:
    if has_pages and not (app.debug or app.testing or app.config["SESSION_COOKIE_SECURE"]):
        yield Finding(
            UNSAFE,
            "SESSION_COOKIE_SECURE is off: over plain http, sessions and new keys can be read on "
            "the way.",
            "Serve by https only, and set SESSION_COOKIE_SECURE = True.",
        )


def _layout(app: Flask, state: AppState, has_pages: bool) -> Iterator[Finding]:
    name = state.settings.base_template
    try:
        if has_pages:
            app.jinja_env.get_template(name)
    except TemplateNotFound:
        yield Finding(
            UNSAFE,
            f"There is no template {name!r}: every page fails.",
            "Name your layout in ORGKEYS_BASE_TEMPLATE, or leave that out.",
        )


def _database(app: Flask, state: AppState) -> Iterator[Finding]:
    key_class = state.keys.models.ApiKey
    key_table = state.keys.models.key_table
    tables = state.keys.models.tables
    engine = state.host.session.get_bind(mapper=key_class).engine
    try:
        with engine.connect() as connection:
            yield from _tables(tables, connection)
            if connection.dialect.name == "sqlite" and key_table.foreign_keys:
                yield from _sqlite_foreign_keys(connection)
    except sa.exc.SQLAlchemyError as error:
        yield Finding(
            UNSAFE,
            f"The database does not answer ({type(error).__name__}): keys cannot be checked.",
            "Start it, or mend SQLALCHEMY_DATABASE_URI.",
        )
        return
    timeout = _TIMEOUTS.get(engine.dialect.driver)
    if timeout is not None and timeout not in _connect_args(app, engine.url):
        yield Finding(
            ADVICE,
            f"The database connection has no {timeout}: while the server hangs, so does each "
            "request with a key.",
            f'Set SQLALCHEMY_ENGINE_OPTIONS = {{"connect_args": {{"{timeout}": 3}}}}.',
        )


def _tables(tables: Iterable[Any], connection: sa.Connection) -> Iterator[Finding]:
    inspector = sa.inspect(connection)
    remedy = "Run flask db migrate and flask db upgrade, or db.create_all()."
    for table in tables:
        if not inspector.has_table(table.name):
            yield Finding(UNSAFE, f"The table {table.name} is missing.", remedy)
            continue
        present = {column["name"] for column in inspector.get_columns(table.name)}
        missing = [column.name for column in table.columns if column.name not in present]
        if missing:
            yield Finding(
                UNSAFE, f"The table {table.name} has no column {', '.join(missing)}.", remedy
            )


def _sqlite_foreign_keys(connection: sa.Connection) -> Iterator[Finding]:
    if not connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
        yield Finding(
            UNSAFE,
            "SQLite does not enforce foreign keys: the keys of a deleted organisation stay alive, "
            "and the next organisation may get its id, and so its keys.",
            'Run "PRAGMA foreign_keys = ON" on every new connection, in a listener for the '
            '"connect" event of the engine.',
        )


def _connect_args(app: Flask, url: sa.URL) -> dict[str, Any]:
    options = app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {}
    return {**url.query, **options.get("connect_args", {})}
