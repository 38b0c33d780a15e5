"""The weak and missing parts of a set-up: ``flask orgkeys check``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from jinja2 import TemplateNotFound, TemplateSyntaxError, nodes
from werkzeug.middleware.proxy_fix import ProxyFix

from .. import errors
from ..config.checks import RANDOM_TEXT_COMMAND
from ..errors import ConfigurationError, RequestRefused
from ..guards.audit import doubts
from ..guards.endpoints import check_declared_scopes, guarded_rules, unused_scopes
from ..guards.refusals import error_handler
from ..keys.database import current_session
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


_LISTENER = """\
Run "PRAGMA foreign_keys = ON" on every new connection; write, where the app is made:

    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "connect")
    def enforce_foreign_keys(connection, _record):
        connection.execute("PRAGMA foreign_keys = ON")

with other databases beside it, only for the SQLite engine."""

_DOUBTS = {
    "guard-above-route": (
        UNSAFE,
        "The guard of {} stands above its route, and guards nothing.",
        "Put the guard below the route.",
    ),
    "guarded-after-as-view": (
        UNSAFE,
        "The class of {} was guarded after as_view had made its view, which is open.",
        "Guard the class before as_view is called.",
    ),
    "lost-guard": (
        UNSAFE,
        "The class of {} overrides what its parent has guarded: decorators or a method.",
        "Guard it again: decorators = [*Parent.decorators, ...], or a guard on the method.",
    ),
    "own-dispatch": (
        ADVICE,
        "The class of {} has guarded methods and its own dispatch_request, which runs first.",
        "Guard the class, or dispatch_request.",
    ),
    "hidden-guard": (
        UNSAFE,
        "{} has a guard below a decorator without functools.wraps: its scopes are not checked at "
        "start, and whatever the decorator does, it does for everyone.",
        "Put the guard above that decorator, or functools.wraps into it.",
    ),
    "unrouted-guard": (
        ADVICE,
        "{} is guarded, but no route has it.",
        "Register it, or take the guard away.",
    ),
    "no-wall": (
        ADVICE,
        "{} takes keys of any organisation: neither its URL nor its guard names one.",
        "Put the organisation into the URL, name its variable with organization=..., or select by "
        "current_key.organization_id.",
    ),
}

KINDS = (
    "secret-key",
    "secret-key-fallbacks",
    "csrf",
    "no-pepper",
    "no-loader",
    "no-checker",
    "undeclared-scope",
    "unused-scope",
    *_DOUBTS,
    "handler-without-code",
    "debug",
    "plain-http",
    "no-proxy-fix",
    "no-layout",
    "layout-blocks",
    "no-database",
    "no-timeout",
    "no-table",
    "no-column",
    "sqlite-foreign-keys",
)
"""The findings that there are."""

REFUSALS: tuple[type[RequestRefused], ...] = (
    errors.MissingKey,
    errors.InvalidKey,
    errors.RevokedKey,
    errors.ExpiredKey,
    errors.RotatedKey,
    errors.InsufficientScope,
    errors.OrganizationNotFound,
    errors.InvalidRequest,
    errors.Unavailable,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend.

    :param name: a short name that stays, of one of the :data:`KINDS`; behind a colon, the endpoint
        or function that it is about.
    :param severity: :data:`UNSAFE` if keys are at risk or do not work, :data:`ADVICE` if they could
        be kept better.
    """

    name: str
    severity: str
    problem: str
    remedy: str


def examine(app: Flask) -> Iterator[Finding]:
    """Examine an app's set-up, within its app context. Asks the database.

    :return: the findings, the gravest of each subject first.
    """
    state = state_of(app)
    has_pages = state.blueprint in app.blueprints.values()
    yield from _secret_key(app, has_pages)
    yield from _peppers(state)
    yield from _callbacks(state, has_pages)
    yield from _scopes(app)
    yield from _transport(app, has_pages)
    yield from _layout(app, state, has_pages)
    yield from _guards(app)
    yield from _error_handlers(app, state)
    yield from _database(app, state)


def _secret_key(app: Flask, has_pages: bool) -> Iterator[Finding]:
    if not has_pages:
        return
    remedy = f"Set one from your secret store; make it with: {RANDOM_TEXT_COMMAND}"
    key = app.secret_key
    if not key:
        yield Finding(
            "secret-key",
            UNSAFE,
            "SECRET_KEY is not set: nobody can sign in or send a form.",
            remedy,
        )
    elif _is_weak(key):
        yield Finding(
            "secret-key",
            UNSAFE,
            f"SECRET_KEY has {len(key)} characters: sessions and CSRF tokens can be forged.",
            remedy,
        )
    weak = [old for old in app.config.get("SECRET_KEY_FALLBACKS") or () if _is_weak(old)]
    if weak:
        yield Finding(
            "secret-key-fallbacks",
            UNSAFE,
            f"SECRET_KEY_FALLBACKS has {len(weak)} of fewer than {MIN_SECRET_KEY_BYTES} "
            "characters: sessions and CSRF tokens can be forged with it as with SECRET_KEY.",
            "Take it out, which signs out those whose session it signs.",
        )
    if not app.config.get("WTF_CSRF_ENABLED", True) and not app.testing:
        yield Finding(
            "csrf",
            UNSAFE,
            "WTF_CSRF_ENABLED is off: another site can make an administrator create or revoke "
            "keys.",
            "Leave it on outside of tests.",
        )


def _is_weak(key: str | bytes) -> bool:
    return len(key) < MIN_SECRET_KEY_BYTES


def _peppers(state: AppState) -> Iterator[Finding]:
    if not state.settings.peppers:
        yield Finding(
            "no-pepper",
            ADVICE,
            "ORGKEYS_PEPPERS is empty: digests are plain SHA-256. That is enough against guessing; "
            "with a pepper, writing to the database is not enough to plant a key either.",
            f"Set one from your secret store; make it with: {RANDOM_TEXT_COMMAND}",
        )


def _callbacks(state: AppState, has_pages: bool) -> Iterator[Finding]:
    if state.host.organization_loader is None:
        yield Finding(
            "no-loader",
            UNSAFE,
            "There is no organisation loader: every page and every guarded URL that has the "
            "organisation answers 404.",
            "Register one with @orgkeys.organization_loader.",
        )
    if has_pages and state.host.permission_checker is None:
        yield Finding(
            "no-checker",
            UNSAFE,
            "There is no permission checker: every page answers 403.",
            "Register one with @orgkeys.permission_checker.",
        )


def _scopes(app: Flask) -> Iterator[Finding]:
    try:
        check_declared_scopes(app)
    except ConfigurationError as error:
        yield Finding(
            "undeclared-scope",
            UNSAFE,
            f"No request is served: {error}",
            "Declare the scope, or mend it.",
        )
    unused = unused_scopes(app)
    if unused:
        yield Finding(
            "unused-scope",
            ADVICE,
            f"No view requires {', '.join(map(repr, unused))}: a key with it alone opens nothing.",
            "Guard a view with it, or take it out of ORGKEYS_SCOPES.",
        )


def _guards(app: Flask) -> Iterator[Finding]:
    for doubt in doubts(app):
        severity, problem, remedy = _DOUBTS[doubt.kind]
        name = f"{doubt.kind}:{doubt.subject}"
        yield Finding(name, severity, problem.format(repr(doubt.subject)), remedy)


def _error_handlers(app: Flask, state: AppState) -> Iterator[Finding]:
    """Try the host's error handlers on each refusal, as if a guarded URL had been asked for."""
    if state.settings.problem_details == "always":
        return
    silent: dict[str, list[str]] = {}
    for rule, _, _ in guarded_rules(app):
        with app.test_request_context(rule.rule, headers={"Accept": "application/json"}):
            for reason in REFUSALS:
                handler = error_handler(app, reason(), _blueprints(rule.endpoint))
                if handler is not None and not _tells_code(app, handler, reason):
                    silent.setdefault(handler.__qualname__, []).append(reason.problem_code)
    for name, codes in silent.items():
        yield Finding(
            f"handler-without-code:{name}",
            ADVICE,
            f"The error handler {name!r} answers refused keys without their code "
            f"({', '.join(dict.fromkeys(codes))}): programs cannot tell the reasons apart.",
            'Answer with error.problem(), or set ORGKEYS_PROBLEM_DETAILS = "always".',
        )


def _blueprints(endpoint: str) -> list[str]:
    """Return the names of an endpoint's blueprints, the innermost first."""
    parts = endpoint.split(".")[:-1]
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _tells_code(app: Flask, handler: Any, reason: type[RequestRefused]) -> bool:
    try:
        answer = app.make_response(app.ensure_sync(handler)(reason("realm")))
    except Exception:
        return False
    return reason.problem_code in answer.get_data(as_text=True)


def _transport(app: Flask, has_pages: bool) -> Iterator[Finding]:
    if app.debug:
        yield Finding(
            "debug",
            ADVICE,
            "FLASK_DEBUG is on: whether the app is served by https only is not checked.",
            "Run this as the app runs in production.",
        )
    if has_pages and app.config["SESSION_COOKIE_SECURE"]:
        yield from _proxy(app)
    elif has_pages and not (app.debug or app.testing):
        yield Finding(
            "plain-http",
            UNSAFE,
            "SESSION_COOKIE_SECURE is off: over plain http, sessions and new keys can be read on "
            "the way.",
            "Serve by https only, and set SESSION_COOKIE_SECURE = True.",
        )


def _proxy(app: Flask) -> Iterator[Finding]:
    layer: Any = app.wsgi_app
    while layer is not None and not isinstance(layer, ProxyFix):
        layer = getattr(layer, "app", None)
    if layer is None:
        yield Finding(
            "no-proxy-fix",
            ADVICE,
            "No ProxyFix is around the app: if a proxy speaks https for it, curl examples on the "
            "pages say http://, and addresses in the audit record are the proxy's.",
            "Behind a proxy, write app.wsgi_app = werkzeug.middleware.proxy_fix.ProxyFix("
            "app.wsgi_app), with the number of proxies.",
        )


def _layout(app: Flask, state: AppState, has_pages: bool) -> Iterator[Finding]:
    name = state.settings.base_template
    try:
        if has_pages:
            app.jinja_env.get_template(name)
    except TemplateNotFound:
        yield Finding(
            "no-layout",
            UNSAFE,
            f"There is no template {name!r}: every page fails.",
            "Name your layout in ORGKEYS_BASE_TEMPLATE, or leave that out.",
        )
        return
    missing = _missing_blocks(app, name) if has_pages else []
    if missing:
        yield Finding(
            "layout-blocks",
            UNSAFE,
            f"The layout {name!r} has no block {' and no block '.join(missing)}: the pages are "
            "empty without content, and have no style without head.",
            "Write {% block head %}{% endblock %} into its head, and "
            "{% block content %}{% endblock %} into its body.",
        )


def _missing_blocks(app: Flask, name: str) -> list[str]:
    """Return the blocks that a layout and those it extends lack; none if they cannot be known."""
    environment = app.jinja_env
    found: set[str] = set()
    seen: set[str] = set()
    parent: str | None = name
    while parent is not None and parent not in seen and environment.loader is not None:
        seen.add(parent)
        try:
            tree = environment.parse(environment.loader.get_source(environment, parent)[0])
        except (TemplateNotFound, TemplateSyntaxError):
            return []
        found |= {block.name for block in tree.find_all(nodes.Block)}
        extends = tree.find(nodes.Extends)
        if extends is not None and not isinstance(extends.template, nodes.Const):
            return []
        parent = None if extends is None else str(extends.template.value)  # type: ignore[attr-defined]
    return [block for block in ("content", "head") if block not in found]


def _database(app: Flask, state: AppState) -> Iterator[Finding]:
    key_class = state.keys.models.ApiKey
    key_table = state.keys.models.key_table
    tables = state.keys.models.tables
    session = current_session(state.host.session)
    engine = session.get_bind(mapper=key_class).engine
    try:
        with engine.connect() as connection:
            # Since SQLAlchemy 2.1 a session has options of its own.
            of_session = getattr(session, "execution_options", {})
            yield from _tables(tables, connection, of_session)
            if connection.dialect.name == "sqlite" and key_table.foreign_keys:
                yield from _sqlite_foreign_keys(connection)
    except sa.exc.SQLAlchemyError as error:
        yield Finding(
            "no-database",
            UNSAFE,
            f"The database does not answer ({type(error).__name__}): keys cannot be checked.",
            "Start it, or mend SQLALCHEMY_DATABASE_URI.",
        )
        return
    timeout = _TIMEOUTS.get(engine.dialect.driver)
    if timeout is not None and timeout not in _connect_args(app, engine.url):
        yield Finding(
            "no-timeout",
            ADVICE,
            f"The database connection has no {timeout}: while the server hangs, so does each "
            "request with a key.",
            f'Set SQLALCHEMY_ENGINE_OPTIONS = {{"connect_args": {{"{timeout}": 3}}}}.',
        )


def _tables(
    tables: Iterable[Any], connection: sa.Connection, of_session: Mapping[str, Any]
) -> Iterator[Finding]:
    inspector = sa.inspect(connection)
    remedy = "Run flask db migrate and flask db upgrade, or db.create_all()."
    options = {**connection.get_execution_options(), **of_session}
    schemas = options.get("schema_translate_map") or {}
    for table in tables:
        schema = schemas.get(table.schema, table.schema)
        if not inspector.has_table(table.name, schema=schema):
            yield Finding("no-table", UNSAFE, f"The table {table.name} is missing.", remedy)
            continue
        present = {column["name"] for column in inspector.get_columns(table.name, schema=schema)}
        missing = [column.name for column in table.columns if column.name not in present]
        if missing:
            yield Finding(
                "no-column",
                UNSAFE,
                f"The table {table.name} has no column {', '.join(missing)}.",
                remedy,
            )


def _sqlite_foreign_keys(connection: sa.Connection) -> Iterator[Finding]:
    if not connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
        yield Finding(
            "sqlite-foreign-keys",
            UNSAFE,
            "SQLite does not enforce foreign keys: the keys of a deleted organisation stay alive, "
            "and the next organisation may get its id, and so its keys.",
            _LISTENER,
        )


def _connect_args(app: Flask, url: sa.URL) -> dict[str, Any]:
    options = app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {}
    return {**url.query, **options.get("connect_args", {})}
