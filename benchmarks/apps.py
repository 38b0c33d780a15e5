"""The apps that are compared: all alike but for how a view is guarded.

Each is a Flask app with Flask-SQLAlchemy and the same six lines of views: a host has these anyway.
None uses a session cookie, Flask-Login or the settings pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_orgkeys import OrgKeys, current_organization, require_scope

from . import keys, naive, raw

BARE = "bare"
RAW = "raw"
ORGKEYS = "flask-orgkeys"
NAIVE = "naive ORM"

OPEN = "/open"
GUARDED = "/guarded"

# Longer than any run: the last use that the database is filled with stays fresh.
LAST_USED_SECONDS = 1_000_000

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]

_made: list[Flask] = []


def organization_path(organization_id: int) -> str:
    return f"/o/org-{organization_id}{GUARDED}"


def make_app(kind: str, database_url: str) -> Flask:
    """Build one of the apps. ``gunicorn`` calls this, too."""
    app = Flask(f"benchmark {kind}")
    app.config.update(
        SECRET_KEY="no session is used, so that this signs nothing",
        SQLALCHEMY_DATABASE_URI=database_url,
        ORGKEYS_SCOPES={keys.SCOPE: "Deploy", keys.OTHER_SCOPE: "Publish"},
        ORGKEYS_LAST_USED_SECONDS=LAST_USED_SECONDS,
    )
    db = SQLAlchemy()
    find_organization = _organization_loader(db)
    db.init_app(app)
    guard = _guard_of(kind, app, db, find_organization)
    # A host needs the organisation anyway. The guard of flask-orgkeys loads it for the wall.
    of_guard = (lambda _slug: current_organization) if kind == ORGKEYS else None
    _add_views(app, guard, of_guard or find_organization)
    _made.append(app)
    return app


def close_connections() -> None:
    """Close every connection of the apps that have been made."""
    raw.close_connections()
    while _made:
        app = _made.pop()
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


def _organization_loader(db: SQLAlchemy) -> Callable[[str], Any]:
    class Organization(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "organization"
        id = sa.Column(sa.Integer, primary_key=True)
        slug = sa.Column(sa.String(64), unique=True, nullable=False)
        name = sa.Column(sa.String(100), nullable=False)

    def load_organization(slug: str) -> Any:
        return db.session.scalar(sa.select(Organization).where(Organization.slug == slug))

    return load_organization


def _guard_of(
    kind: str, app: Flask, db: SQLAlchemy, find_organization: Callable[[str], Any]
) -> Guard:
    """Set the app up for what guards its views, and return that."""
    if kind == ORGKEYS:
        orgkeys = OrgKeys(db, organization="organization.id")
        orgkeys.organization_loader(find_organization)
        orgkeys.init_app(app)
        return require_scope(keys.SCOPE)
    if kind == RAW:
        return raw.make_guard(app.config["SQLALCHEMY_DATABASE_URI"])
    return naive.make_guard(db) if kind == NAIVE else lambda view: view


def _add_views(app: Flask, guard: Guard, find_organization: Callable[[str], Any]) -> None:
    @app.get(OPEN)
    def open_view() -> str:
        return "done"

    @app.get(GUARDED)
    @guard
    def guarded_view() -> str:
        return "done"

    @app.get(f"/o/<org_slug>{GUARDED}")
    @guard
    def view_in_organization(org_slug: str) -> str:
        name: str = find_organization(org_slug).name
        return name
