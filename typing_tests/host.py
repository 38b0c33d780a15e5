"""What a host's type checker makes of the public names. Checked by mypy and pyright, never run."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, assert_type

from flask import Flask
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String

from flask_orgkeys import IssuedKey, OrgKeys, current_key, errors, require_key, require_scope
from flask_orgkeys.testing import IssueKey, OrgKeysClient

app = Flask(__name__)
db = SQLAlchemy()
orgkeys = OrgKeys(db, organization="organization.id")
elsewhere = OrgKeys(db, organization=String(64))
orgkeys.init_app(app)
app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/api-keys")


class Organization:
    id: int
    slug: str


@orgkeys.organization_loader
def load_organization(slug: str) -> Organization | None:
    raise NotImplementedError


@orgkeys.permission_checker
def may(user: object, organization: Organization, permission: str) -> bool:
    raise NotImplementedError


# What a decorator is given is what it gives.
assert_type(load_organization("acme"), Organization | None)
assert_type(may(None, Organization(), "apiKeyManagement"), bool)


@app.post("/o/<org_slug>/deployments/<int:number>")
@require_scope("project:deploy")
def deploy(org_slug: str, number: int = 1) -> tuple[dict[str, Any], int]:
    return {"by": current_key.name, "organization_id": current_key.organization_id}, 201


@app.get("/whoami")
@require_key
async def whoami() -> str:
    return current_key.id


@require_scope("project:deploy", "app:publish")
class Versions(MethodView):
    def get(self, org_slug: str) -> ResponseReturnValue:
        return org_slug


assert_type(deploy("acme", number=2), tuple[dict[str, Any], int])
read: Callable[[], Awaitable[str]] = whoami
assert_type(Versions().get("acme"), ResponseReturnValue)

deploy(1)  # type: ignore[arg-type]
deploy("acme", branch="main")  # type: ignore[call-arg]
require_scope(1)  # type: ignore[arg-type]


def read_current_key() -> None:
    assert_type(current_key.id, str)
    assert_type(current_key.name, str)
    assert_type(current_key.scopes, frozenset[str])
    assert_type(current_key.created_by, str | None)
    assert_type(current_key.created_at, datetime)
    assert_type(current_key.expires_at, datetime | None)
    assert_type(current_key.has_scope("project:deploy"), bool)
    current_key.token  # type: ignore[attr-defined]
    current_key.name = "another"  # type: ignore[misc]


def manage(expires_at: datetime) -> None:
    issued = orgkeys.create_key(1, name="CI", scopes=["project:deploy"], expires_at=expires_at)
    assert_type(issued, IssuedKey)
    assert_type(issued.token, str)
    assert_type(issued.key.id, str)
    assert_type(issued.key.revoked_at, datetime | None)
    assert_type(orgkeys.revoke_key(1, issued.key.id, revoked_by="ada"), bool)
    found = orgkeys.get_key(1, issued.key.id)
    if found is not None:
        assert_type(found.name, str)
    orgkeys.get_key(1, issued.key.id).name  # type: ignore[union-attr]
    orgkeys.create_key(1, "CI", ["project:deploy"])  # type: ignore[call-arg]
    orgkeys.create_key(1, name="CI", scopes=[], expires_at=timedelta(1))  # type: ignore[arg-type]


@app.errorhandler(errors.RequestRefused)
def refuse(refusal: errors.RequestRefused) -> tuple[str, int]:
    return refusal.description or "", refusal.code or 401


def test_deploys(orgkeys_client: OrgKeysClient, issue_key: IssueKey) -> None:
    client = orgkeys_client(scopes=["project:deploy"], organization="acme")
    assert_type(client, FlaskClient)
    assert_type(issue_key(scopes=["project:deploy"], organization="acme"), IssuedKey)
    issue_key(scopes=["project:deploy"], organization=1, note="CI", may_rotate_itself=True)
