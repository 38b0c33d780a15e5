"""``orgkeys.authenticate``: a guard's decision without a view."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_orgkeys import AuthenticatedKey, current_key, errors, signals
from flask_orgkeys.errors import RequestRefused

from ..conftest import MakeHost
from ..host import Host, bearer, mistyped, with_wrong_secret
from ..promises.outside import last_used_at


def authenticate(host: Host, token: Any, **arguments: Any) -> AuthenticatedKey:
    with host.app.app_context():
        return host.orgkeys.authenticate(token, **arguments)


def uses(host: Host, key_id: str) -> list[tuple[str, str, list[str], int]]:
    with host.app.app_context():
        rows = host.orgkeys.list_uses(host.organization_ids["acme"], key_id)
        return [(row.endpoint, row.outcome, row.scopes, row.uses) for row in rows]


def test_accepted(any_host: Host) -> None:
    token, key_id = any_host.issue()
    acme = any_host.organization_ids["acme"]
    key = authenticate(
        any_host, token, scopes=["project:deploy"], organization_id=acme, endpoint="socket"
    )
    assert (key.id, key.name, key.organization_id) == (key_id, "CI", acme)
    assert key.has_scope("project:deploy")
    assert uses(any_host, key_id) == [("socket", "accepted", ["project:deploy"], 1)]
    assert last_used_at(any_host, key_id) is not None
    with any_host.app.app_context():
        (use,) = any_host.orgkeys.list_uses(acme, key_id)
        assert (use.address, use.agent) == (None, None)


def test_without_an_endpoint_it_is_a_last_use_alone(host: Host) -> None:
    token, key_id = host.issue()
    authenticate(host, token)
    assert uses(host, key_id) == []
    assert last_used_at(host, key_id) is not None


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda _: None, errors.MissingKey),
        (lambda _: "", errors.MissingKey),
        (lambda token: f"Bearer {token}", errors.InvalidKey),
        (lambda token: f" {token}", errors.InvalidKey),
        (lambda token: token.encode(), errors.InvalidKey),
        (mistyped, errors.InvalidKey),
        (with_wrong_secret, errors.InvalidKey),
        (lambda _: "\ud800" * 99, errors.InvalidKey),
    ],
)
def test_no_key(host: Host, spoil: Any, refusal: type[RequestRefused]) -> None:
    token, key_id = host.issue()
    with pytest.raises(refusal) as caught:
        authenticate(host, spoil(token), endpoint="socket")
    assert type(caught.value) is refusal
    assert uses(host, key_id) == []


def test_refusals(host: Host) -> None:
    acme, beta = host.organization_ids["acme"], host.organization_ids["beta"]
    token, key_id = host.issue()
    expired, expired_id = host.issue(expires_at=datetime.now(UTC) + timedelta(microseconds=1))
    with pytest.raises(errors.OrganizationNotFound):
        authenticate(host, token, organization_id=beta, scopes=["app:publish"], endpoint="task")
    with pytest.raises(errors.InsufficientScope) as caught:
        authenticate(host, token, organization_id=acme, scopes=["app:publish"], endpoint="task")
    assert 'scope="app:publish"' in str(caught.value.get_response().headers["WWW-Authenticate"])
    host.revoke(key_id)
    with pytest.raises(errors.RevokedKey):
        authenticate(host, token, endpoint="task")
    with pytest.raises(errors.ExpiredKey):
        authenticate(host, expired, endpoint="task")
    assert [use[1] for use in uses(host, key_id)] == [
        "revoked_key",
        "insufficient_scope",
        "organization_not_found",
    ]
    assert [use[1] for use in uses(host, expired_id)] == ["expired_key"]


def test_database_that_cannot_be_asked(host: Host) -> None:
    token, _ = host.issue()
    with host.app.app_context():
        host.db.drop_all()
    with pytest.raises(errors.Unavailable):
        authenticate(host, token, endpoint="task")


@pytest.mark.parametrize(
    "wrong",
    [
        {"organization_id": None},
        {"organization_id": "acme"},
        {"organization_id": 1.5},
        {"scopes": "project:deploy"},
        {"scopes": ["project:unknown"]},
        {"scopes": [None]},
        {"endpoint": 1},
    ],
)
def test_wrong_arguments(host: Host, wrong: dict[str, Any]) -> None:
    token, _ = host.issue()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        authenticate(host, token, **wrong)


def test_within_a_request(host: Host) -> None:
    """It changes nothing about ``current_key``, and the client is that of the request."""
    token, key_id = host.issue()
    other, _ = host.issue("beta", name="other")

    @host.app.get("/asks")
    def asks() -> dict[str, Any]:
        before = current_key.name if current_key else None
        found = host.orgkeys.authenticate(token, endpoint="inner")
        return {"current": [before, current_key.name if current_key else None], "id": found.id}

    client = host.client()
    assert client.get("/asks").json == {"current": [None, None], "id": key_id}
    answer = client.get("/asks", headers=bearer(other))
    assert answer.json == {"current": ["other", "other"], "id": key_id}
    with host.app.app_context():
        (use,) = host.orgkeys.list_uses(host.organization_ids["acme"], key_id)
        assert (use.endpoint, use.address) == ("inner", "127.0.0.1")


def test_signals(host: Host) -> None:
    token, key_id = host.issue()
    heard: list[Any] = []

    def accepted(_app: Any, key: AuthenticatedKey, **_: Any) -> None:
        heard.append(key.id)

    def refused(_app: Any, error: RequestRefused, key_id: str | None, **_: Any) -> None:
        heard.append((error.problem_code, key_id))

    with (
        signals.key_authenticated.connected_to(accepted),
        signals.request_refused.connected_to(refused),
    ):
        authenticate(host, token)
        with pytest.raises(errors.InsufficientScope):
            authenticate(host, token, scopes=["app:publish"])
    assert heard == [key_id, ("insufficient_scope", key_id)]


def test_record_switched_off(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
    token, key_id = host.issue()
    authenticate(host, token, endpoint="task")
    assert uses(host, key_id) == []
