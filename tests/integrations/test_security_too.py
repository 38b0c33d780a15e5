"""A host whose users, roles and sign-in are Flask-Security's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from flask_security import Security, SQLAlchemyUserDatastore, auth_required, hash_password
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_orgkeys import OrgKeys, current_key, require_scope

from ..host import bearer, form_fields, shown_key

PAGE = "/o/acme/api-keys"
PASSWORD = "cockpit-demo"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """Roles hold permissions, one of them ours; ada has it, sam has not, bea is of elsewhere."""
    db = SQLAlchemy(model_class=type("Base", (DeclarativeBase,), {}))
    orgkeys = OrgKeys(db, organization="organization.id")
    fsqla_v3.FsModels.set_db_info(db)

    class Organization(db.Model):  # type: ignore[name-defined,misc]
        id = sa.Column(sa.Integer, primary_key=True)
        slug = sa.Column(sa.String(64), unique=True, nullable=False)
        name = sa.Column(sa.String(100), nullable=False)

    class Role(db.Model, fsqla_v3.FsRoleMixin):  # type: ignore[name-defined,misc]
        pass

    class User(db.Model, fsqla_v3.FsUserMixin):  # type: ignore[name-defined,misc]
        organization_id = sa.Column(sa.ForeignKey("organization.id"), nullable=False)

    app = Flask("host")
    app.config.update(
        TESTING=True,
        SECRET_KEY="host-secret-" + "key-of-the-tests-0123456789",
        SECURITY_PASSWORD_SALT="salt-of-the-tests-0123456789",
        SECURITY_PASSWORD_HASH="pbkdf2_sha512",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'host.sqlite'}",
        ORGKEYS_SCOPES={"project:deploy": "Deploy"},
    )
    db.init_app(app)
    security = Security(app, SQLAlchemyUserDatastore(db, User, Role))
    orgkeys.init_app(app)
    app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/api-keys")

    @orgkeys.organization_loader
    def load_organization(slug: str) -> Any:
        return db.session.scalar(sa.select(Organization).where(Organization.slug == slug))

    @orgkeys.permission_checker
    def may(user: Any, organization: Any, permission: str) -> bool:
        is_member: bool = user.organization_id == organization.id
        return is_member and user.has_permission(permission)

    @app.post("/api/o/<org_slug>/deployments")
    @require_scope("project:deploy")
    def deploy(org_slug: str) -> tuple[dict[str, Any], int]:
        return {"by": current_key.name}, 201

    @app.get("/account")
    @auth_required("token", "session")
    def account() -> str:
        return "account"

    with app.app_context():
        db.create_all()
        db.session.add_all(
            Organization(id=number, slug=slug, name=slug.title())
            for number, slug in enumerate(("acme", "beta"), start=1)
        )
        users = security.datastore
        users.create_role(name="administrator", permissions={"apiKeyManagement"})
        password = hash_password(PASSWORD)
        for name, organization_id, roles in (
            ("ada", 1, ["administrator"]),
            ("sam", 1, []),
            ("bea", 2, ["administrator"]),
        ):
            users.create_user(
                email=f"{name}@example.com",
                password=password,
                organization_id=organization_id,
                roles=roles,
            )
        db.session.commit()
    yield app
    with app.app_context():
        db.engine.dispose()


def sign_in(app: Flask, name: str) -> FlaskClient:
    """A browser in which somebody has filled in Flask-Security's own form."""
    client = app.test_client()
    form = form_fields(client.get("/login").text)
    sent = {**form, "email": f"{name}@example.com", "password": PASSWORD}
    assert client.post("/login", data=sent).status_code == 302
    return client


def create_key(administrator: FlaskClient) -> str:
    form = form_fields(administrator.get(f"{PAGE}/new").text)
    sent = {**form, "name": "CI", "scopes": "project:deploy", "expires_in": "30"}
    return shown_key(administrator.post(PAGE, data=sent).text)


def test_who_is_signed_out_is_sent_to_flask_securitys_sign_in(app: Flask) -> None:
    answer = app.test_client().get(PAGE)

    assert answer.status_code == 302
    assert answer.location == f"/login?next={PAGE}"


@pytest.mark.parametrize(("name", "status"), [("ada", 200), ("sam", 403), ("bea", 403)])
def test_a_permission_of_a_role_opens_the_pages(app: Flask, name: str, status: int) -> None:
    assert sign_in(app, name).get(PAGE).status_code == status


def test_a_key_made_by_an_administrator_deploys(app: Flask) -> None:
    token = create_key(sign_in(app, "ada"))
    pipeline = app.test_client()

    answer = pipeline.post("/api/o/acme/deployments", headers=bearer(token))
    assert (answer.status_code, answer.json) == (201, {"by": "CI"})
    assert pipeline.post("/api/o/beta/deployments", headers=bearer(token)).status_code == 404


def test_a_key_is_no_sign_in_and_a_sign_in_no_key(app: Flask) -> None:
    administrator = sign_in(app, "ada")
    token = create_key(administrator)

    assert administrator.get("/account").status_code == 200
    assert administrator.post("/api/o/acme/deployments").status_code == 401
    assert app.test_client().get("/account", headers=bearer(token)).status_code == 302
    assert app.test_client().get(PAGE, headers=bearer(token)).status_code == 403


def test_an_auth_token_of_flask_security_is_no_key(app: Flask) -> None:
    user: Any = app.extensions["security"].datastore.find_user
    with app.app_context():
        auth_token = user(email="ada@example.com").get_auth_token()
    pipeline = app.test_client()
    headers = {"Authentication-Token": auth_token}

    assert pipeline.get("/account", headers=headers).status_code == 200
    assert pipeline.post("/api/o/acme/deployments", headers=headers).status_code == 401
    refused = pipeline.post("/api/o/acme/deployments", headers=bearer(auth_token))
    assert refused.status_code == 401
