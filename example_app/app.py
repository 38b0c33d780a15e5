"""The application factory."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, current_app, render_template, request
from flask_login import current_user
from sqlalchemy import event, exc, select
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from flask_orgkeys import holder

from . import mailbox
from .api import api
from .extensions import csrf, db, login_manager, orgkeys
from .models import Organization, User, as_utc
from .pages import pages
from .seed import prepare_database

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM = "application/problem+json"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Build a Cockpit. When it returns, its tables exist and an empty database is seeded.

    :param config: values for ``app.config``, over the defaults. Without a ``SECRET_KEY`` a random
        one is made and kept in the instance folder, and without a ``SQLALCHEMY_DATABASE_URI``
        that folder holds a SQLite database.
    """
    app = Flask("example_app")
    app.config.update(
        SQLALCHEMY_DATABASE_URI="sqlite:///cockpit.sqlite",
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=1024 * 1024,
        ORGKEYS_BASE_TEMPLATE="cockpit/settings.html",
        ORGKEYS_SCOPES={
            "app:publish": "Publish app versions",
            "project:read-rc": "Read project runtime configuration",
            "project:deploy": "Trigger and manage deployments",
        },
    )
    app.config.update(config or {})
    if not app.config["SECRET_KEY"]:
        app.config["SECRET_KEY"] = _kept_secret(Path(app.instance_path))

    db.init_app(app)
    csrf.init_app(app)
    # Not as a context processor, which would ask the database for the user on error pages too.
    login_manager.init_app(app, add_context_processor=False)
    orgkeys.init_app(app)
    mailbox.connect(app)

    app.register_blueprint(pages)
    app.register_blueprint(api)
    app.register_blueprint(holder.blueprint, url_prefix="/api/key")
    app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/api-keys")
    app.register_error_handler(HTTPException, answer_error)
    app.register_error_handler(exc.OperationalError, answer_outage)
    app.register_error_handler(exc.TimeoutError, answer_outage)
    app.after_request(add_security_headers)
    app.add_template_global(current_user, "current_user")
    app.add_template_filter(as_utc)

    with app.app_context():
        _enforce_foreign_keys_on_sqlite()
        prepare_database()
    return app


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load_user(email: str) -> User | None:
    """Return the user that a session names."""
    return db.session.scalar(select(User).where(User.email == email))


@orgkeys.organization_loader
def load_organization(slug: str) -> Organization | None:
    """Return the organisation that a URL names."""
    return Organization.by_slug(slug)


@orgkeys.permission_checker
def may(user: User, organization: Organization, permission: str) -> bool:
    """Tell whether a member may do something. To others the organisation does not exist."""
    membership = user.membership_of(organization)
    if membership is None:
        abort(404)
    return membership.is_admin and permission == "apiKeyManagement"


def add_security_headers(response: Response) -> Response:
    """Set the headers of every answer. What a view or the plugin has set stays."""
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response


def answer_error(error: HTTPException) -> Any:
    """Answer an error: people get a page, automation gets a problem document (RFC 9457)."""
    response = error.get_response()
    if response.mimetype == PROBLEM and request.path.startswith("/api/"):
        return response
    if request.path.startswith("/api/"):
        problem = {
            "type": "about:blank",
            "title": error.name,
            "status": error.code,
            "detail": error.description,
        }
        response.data = json.dumps(problem) + "\n"
        response.content_type = PROBLEM
    else:
        response.data = render_template("cockpit/error.html", error=error)
        response.content_type = "text/html; charset=utf-8"
    return response


def answer_outage(_error: Exception) -> Any:
    """Answer for a database that cannot be asked."""
    current_app.logger.exception("the database cannot be asked")
    return answer_error(ServiceUnavailable(retry_after=5))


def _kept_secret(folder: Path) -> str:
    """Return the secret key kept in ``folder``, made at the first start."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret_key"
    if not path.exists():
        draft = folder / f"secret_key.{secrets.token_hex(8)}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48), encoding="ascii")
        try:
            # Of workers that start together one links first, and all read its whole draft.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii")


def _enforce_foreign_keys_on_sqlite() -> None:
    for engine in db.engines.values():
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _turn_foreign_keys_on)


def _turn_foreign_keys_on(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
