"""At home beside other extensions, in whatever order they run."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, jsonify
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy

from flask_orgkeys import current_key, errors

from ..conftest import MakeHost
from ..host import Host, User, bearer


def limit_by_key(app: Flask, _db: SQLAlchemy) -> None:
    """Flask-Limiter, initialised before us: it asks for the key before our hook has run."""
    limiter = Limiter(
        lambda: current_key.id if current_key else get_remote_address(),
        default_limits=["2 per hour"],
        storage_uri="memory://",
    )
    limiter.init_app(app)


def test_limiter_before_us_limits_by_key(new_host: MakeHost) -> None:
    host = new_host(before_init=limit_by_key)
    first, _ = host.issue(name="first")
    second, _ = host.issue(name="second")
    client = host.client()
    statuses = [
        client.get("/api/whoami", headers=bearer(token)).status_code
        for token in (first, first, first, second)
    ]
    assert statuses == [200, 200, 429, 200]


def test_limiter_before_us_leaves_last_used_true(new_host: MakeHost) -> None:
    host = new_host(before_init=limit_by_key)
    token, key_id = host.issue()
    host.client().get("/api/whoami", headers=bearer(token))
    assert host.key(key_id).last_used_at is not None


@pytest.mark.parametrize(
    ("handled", "path", "sends_key", "status"),
    [
        (401, "/api/whoami", False, 401),
        (errors.MissingKey, "/api/whoami", False, 401),
        (403, "/api/publish-and-deploy", True, 403),
        (404, "/api/o/beta/deployments", True, 404),
        (Exception, "/api/whoami", False, 401),
    ],
)
def test_host_error_handler_writes_the_body_and_the_challenge_stays(
    host: Host, handled: Any, path: str, sends_key: bool, status: int
) -> None:
    @host.app.errorhandler(handled)
    def handle(error: Any) -> Any:
        return jsonify(mine=error.problem_code), error.code

    token, _ = host.issue()
    method = "GET" if path.endswith("whoami") else "POST"
    answer = host.client().open(path, method=method, headers=bearer(token) if sends_key else {})
    assert answer.status_code == status
    assert answer.json is not None
    assert answer.json.keys() == {"mine"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) is (status in (401, 403))


def test_request_loader_of_the_host_neither_opens_guards_nor_pages(new_host: MakeHost) -> None:
    def sign_in_by_header(app: Flask, _db: SQLAlchemy) -> None:
        login_manager: LoginManager = app.login_manager  # type: ignore[attr-defined]
        login_manager.request_loader(
            lambda request: User("ada") if "Authorization" in request.headers else None
        )

    host = new_host(before_init=sign_in_by_header)
    token, _ = host.issue()
    client = host.client()
    assert client.get("/api/whoami", headers=bearer("a-token-of-the-host")).status_code == 401
    assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
    assert client.get("/o/acme/api-keys", headers=bearer("a-token-of-the-host")).status_code == 403
    assert client.get("/o/acme/api-keys", headers=bearer(token)).status_code == 403
    basic = {"Authorization": "Basic YWRhOmFkYQ=="}
    assert client.get("/o/acme/api-keys", headers=basic).status_code == 401


def test_key_does_not_sign_the_host_in_as_a_user(host: Host) -> None:
    """A cookie of another user's beside the key changes nothing about whose key it is."""
    token, _ = host.issue("acme")
    client = host.client("bea")
    answer = client.post("/api/o/acme/deployments", headers=bearer(token))
    assert answer.status_code == 201
    assert client.post("/api/o/beta/deployments", headers=bearer(token)).status_code == 404
