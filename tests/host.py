"""A host application, as someone else would write it, for the tests to mount the plugin in."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import flask_login
import jinja2
import sqlalchemy as sa
from flask import Flask, abort
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin
from flask_sqlalchemy import SQLAlchemy
from jinja2.bccache import Bucket
from sqlalchemy import orm

from flask_orgkeys import OrgKeys, current_key, require_key, require_scope, tokens
from flask_orgkeys.host import Host as HostParts

from . import tables as kept_tables

SCOPES = {
    "app:publish": "Publish app versions",
    "project:read-rc": "Read project runtime configuration",
    "project:deploy": "Trigger and manage deployments",
}

USERS = {
    # id: (organisation, may manage keys)
    "ada": ("acme", True),
    "sam": ("acme", False),
    "bea": ("beta", True),
}


class User(UserMixin):
    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.organization, self.manages_keys = USERS[user_id]


class CompiledTemplates(jinja2.BytecodeCache):
    """The templates' code, for all hosts: compiling them takes longer than most tests."""

    def __init__(self) -> None:
        self._codes: dict[Hashable, CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get(self._key(bucket))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._codes[self._key(bucket)] = bucket.code

    def _key(self, bucket: Bucket) -> Hashable:
        # Flask-Babel's extension compiles into other code.
        return bucket.key, bucket.checksum, frozenset(bucket.environment.extensions)


COMPILED_TEMPLATES = CompiledTemplates()


@dataclass
class Host:
    """A host's parts, and the shortest ways for a test to use them."""

    app: Flask
    db: SQLAlchemy
    orgkeys: OrgKeys
    Organization: Any
    Note: Any
    organization_ids: dict[str, Any] = field(default_factory=dict)

    def client(self, user: str | None = None) -> FlaskClient:
        """A test client of its own, signed in as ``user`` where one is named."""
        client = self.app.test_client()
        if user is not None:
            assert client.post(f"/test-login/{user}").status_code == 204
        return client

    @contextmanager
    def sibling(self, **config: Any) -> Iterator[Host]:
        """Another app on the same db, OrgKeys and database, with a configuration of its own."""
        app = Flask("sibling")
        app.config.update(self.app.config)
        app.config.update(config)
        self.db.init_app(app)
        LoginManager(app)
        self.orgkeys.init_app(app)
        _add_endpoints(app, current_key)
        with disposing(replace(self, app=app)) as sibling:
            yield sibling

    def issue(
        self,
        organization: str = "acme",
        *,
        name: str = "CI",
        scopes: Any = ("project:deploy",),
        **arguments: Any,
    ) -> tuple[str, str]:
        """Create and commit a key. Returns ``(token, key_id)``."""
        with self.app.app_context():
            issued = self.orgkeys.create_key(
                self.organization_ids[organization], name=name, scopes=scopes, **arguments
            )
            self.db.session.commit()
            return issued.token, issued.key.id

    def revoke(self, key_id: str, organization: str = "acme") -> bool:
        with self.app.app_context():
            revoked = self.orgkeys.revoke_key(self.organization_ids[organization], key_id)
            self.db.session.commit()
            return revoked

    def key(self, key_id: str) -> Any:
        """The stored key, freshly read and detached from its session."""
        with self.app.app_context():
            return self.db.session.get(self.orgkeys.ApiKey, key_id)

    def keys(self) -> list[Any]:
        with self.app.app_context():
            return list(self.db.session.scalars(sa.select(self.orgkeys.ApiKey)))

    def drop_key_table(self, bind: Any) -> None:
        """Drop the table of keys, and before it the one that refers to it."""
        for name in ("orgkeys_use", "orgkeys_key"):
            self.db.metadata.tables[name].drop(bind)

    def events(self) -> list[dict[str, Any]]:
        """The audit record, oldest first."""
        table = self.db.metadata.tables["orgkeys_event"]
        with self.app.app_context():
            rows = self.db.session.execute(sa.select(table).order_by(table.c.id))
            return [dict(row._mapping) for row in rows]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def mistyped(token: str) -> str:
    """The same key with its last character wrong."""
    return token[:-1] + ("0" if token[-1] != "0" else "1")


def with_wrong_secret(token: str) -> str:
    """The same key with another secret, of the right shape and checksum."""
    prefix, key_id, secret = token.rsplit("_", 2)
    other = f"{prefix}_{key_id}_{secret[:32].swapcase()[::-1]}"
    return other + tokens.checksum(other)


def form_fields(html: str) -> dict[str, str]:
    """The hidden fields of a page's forms, as a browser would send them back."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    return {
        str(tag["name"]): str(tag.get("value", ""))
        for tag in soup.select("form[method=post] input[type=hidden][name]")
    }


def listed_names(html: str) -> list[str]:
    """The names in the table of keys, from the top."""
    from bs4 import BeautifulSoup

    return [
        tag.get_text(strip=True) for tag in BeautifulSoup(html, "html.parser").select("tbody th a")
    ]


def shown_key(html: str) -> str:
    """The full key on a page."""
    found = re.findall(r"\b[A-Za-z0-9_]+_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\b", html)
    assert found, "no key on the page"
    assert len(set(found)) == 1
    return str(found[0])


class Models(NamedTuple):
    """What a host has once, for however many apps."""

    db: SQLAlchemy
    orgkeys: OrgKeys
    Organization: Any
    Note: Any


def make_models(
    *,
    organization: Any = "organization.id",
    organization_id_type: Any = sa.Integer,
    model_class: type[Any] | None = None,
    session_options: dict[str, Any] | None = None,
    bind_key: str | None = None,
) -> Models:
    """Make the models of a host, on a db of their own."""
    db = SQLAlchemy(
        model_class=model_class or type("Base", (orm.DeclarativeBase,), {}),
        session_options=session_options,
    )
    orgkeys = OrgKeys(db, organization=organization, bind_key=bind_key)

    class Organization(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "organization"
        id = sa.Column(organization_id_type, primary_key=True)
        slug = sa.Column(sa.String(64), unique=True, nullable=False)
        name = sa.Column(sa.String(100), nullable=False)

    class Note(db.Model):  # type: ignore[name-defined,misc]
        """A row of the host's own, to see what becomes of it."""

        __tablename__ = "note"
        id = sa.Column(sa.Integer, primary_key=True)
        text = sa.Column(sa.String(100), nullable=False)

    return Models(db, orgkeys, Organization, Note)


@cache
def usual_models() -> Models:
    """The models of a host that asks for no others: mapping them takes longer than most tests."""
    return make_models()


def make_host(
    database_url: str,
    *,
    config: Mapping[str, Any] | None = None,
    organization_ids: Mapping[str, Any] | None = None,
    pages: bool = True,
    before_init: Any = None,
    tables: bool = True,
    has_own_models: bool = False,
    **models: Any,
) -> Host:
    """Build a host with two organisations (acme, beta), three users and guarded endpoints.

    ``before_init(app, db)`` runs before the plugin's ``init_app``, to register the host's hooks.
    Without ``tables`` it is built for a database that cannot be asked. A test that changes the
    models, or listens to the session, ``has_own_models``. ``models`` are as for
    :func:`make_models`.
    """
    is_usual = not models and not has_own_models
    if not is_usual:
        for url in (database_url, *(config or {}).get("SQLALCHEMY_BINDS", {}).values()):
            kept_tables.drop_kept(str(url))
    made = usual_models() if is_usual else make_models(**models)
    db, orgkeys = made.db, made.orgkeys
    orgkeys._host = HostParts(db, orgkeys._host.id_column)

    app = Flask("host")
    app.jinja_options = {"bytecode_cache": COMPILED_TEMPLATES}
    app.config.update(
        TESTING=True,
        SECRET_KEY="host-secret-" + "key-of-the-tests-0123456789",
        SQLALCHEMY_DATABASE_URI=database_url,
        WTF_CSRF_ENABLED=False,
        ORGKEYS_SCOPES=SCOPES,
    )
    app.config.update(config or {})
    db.init_app(app)

    login_manager = LoginManager(app)
    login_manager.user_loader(lambda user_id: User(user_id) if user_id in USERS else None)

    @app.post("/test-login/<user_id>")
    def test_login(user_id: str) -> tuple[str, int]:
        flask_login.login_user(User(user_id))
        return "", 204

    if before_init is not None:
        before_init(app, db)
    orgkeys.init_app(app)

    @orgkeys.organization_loader
    def load_organization(slug: str) -> Any:
        found = sa.select(made.Organization).where(made.Organization.slug == slug)
        return db.session.scalar(found)

    @orgkeys.permission_checker
    def may(user: Any, organization: Any, permission: str) -> bool:
        if user.organization != organization.slug:
            abort(404)
        return bool(user.manages_keys and permission == "apiKeyManagement")

    if pages:
        app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/api-keys")
    _add_endpoints(app, current_key)

    ids = dict(organization_ids or {"acme": None, "beta": None})
    host = Host(app, db, orgkeys, made.Organization, made.Note, ids)
    if not tables:
        return host
    path = path_of(sa.make_url(database_url))
    if is_usual and organization_ids is None and path is not None and not path.exists():
        path.write_bytes(_usual_sqlite_file())
        ids.update(acme=1, beta=2)
        return host
    with app.app_context():
        if not is_usual or not kept_tables.take(database_url):
            db.create_all()
        _add_organizations(host)
    return host


def path_of(url: sa.URL) -> Path | None:
    """The file of a database of SQLite."""
    if url.get_backend_name() != "sqlite" or not url.database or url.query:
        return None
    return Path(url.database)


@cache
def _usual_sqlite_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "host.sqlite"
        engine = sa.create_engine(f"sqlite:///{path}")
        models = usual_models()
        models.db.metadata.create_all(engine)
        rows = [
            {"id": 1, "slug": "acme", "name": "Acme"},
            {"id": 2, "slug": "beta", "name": "Beta"},
        ]
        with engine.begin() as connection:
            connection.execute(sa.insert(models.Organization), rows)
        engine.dispose()
        return path.read_bytes()


def _add_organizations(host: Host) -> None:
    ids = host.organization_ids
    for slug, identity in ids.items():
        row = host.Organization(slug=slug, name=slug.title())
        if identity is not None:
            row.id = identity
        host.db.session.add(row)
        host.db.session.flush()
        ids[slug] = row.id
    host.db.session.commit()


def _add_endpoints(app: Flask, current_key: Any) -> None:
    @app.get("/open")
    def open_view() -> dict[str, Any]:
        return {"key": current_key.id if current_key else None}

    @app.get("/api/whoami")
    @require_key
    def whoami() -> dict[str, Any]:
        return {"name": current_key.name, "organization_id": str(current_key.organization_id)}

    @app.route("/api/deploy", methods=["GET", "POST"])
    @require_scope("project:deploy")
    def deploy_anywhere() -> tuple[dict[str, Any], int]:
        return {"by": current_key.name}, 201

    @app.post("/api/o/<org_slug>/deployments")
    @require_scope("project:deploy")
    def deploy(org_slug: str) -> tuple[dict[str, Any], int]:
        return {"by": current_key.name, "organization": org_slug}, 201

    @app.post("/api/publish-and-deploy")
    @require_scope("app:publish", "project:deploy")
    def publish_and_deploy() -> tuple[dict[str, Any], int]:
        return {"by": current_key.name}, 201


@contextmanager
def disposing(host: Host) -> Iterator[Host]:
    """Close the host's connections at the end."""
    try:
        yield host
    finally:
        with host.app.app_context():
            host.db.session.remove()
            for engine in host.db.engines.values():
                engine.dispose()
