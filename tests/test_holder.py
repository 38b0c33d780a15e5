"""Self-service of a key's holder: the routes that a host mounts."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_wtf import CSRFProtect
from werkzeug.test import TestResponse

from flask_orgkeys import holder

from . import databases
from .authentication.test_rotated_secrets import change
from .conftest import MakeHost
from .host import Host, bearer
from .keys import test_rotation as by_code
from .keys.test_rotation import answer, in_days

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def make(new_host: MakeHost) -> MakeHost:
    def make(url: str | None = None, **arguments: Any) -> Host:
        host = new_host(url, **arguments)
        host.app.register_blueprint(holder.blueprint, url_prefix="/api/key")
        return host

    return make


@pytest.fixture
def mounted(make: MakeHost, any_database_url: str) -> Host:
    return make(any_database_url)


@pytest.fixture
def on_sqlite(make: MakeHost) -> Host:
    return make()


def rotate(host: Host, token: str, **options: Any) -> TestResponse:
    return host.client().post("/api/key/rotate", headers=bearer(token), **options)


def refusal(response: TestResponse) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    return response.status_code, response.get_json()["code"]


@pytest.mark.parametrize("path", ["/api/key", "/api/key/"])
def test_presented_key_is_told(mounted: Host, path: str) -> None:
    token, key_id = mounted.issue(name="CI", may_rotate_itself=True, expires_at=in_days(30))
    response = mounted.client().get(path, headers=bearer(token))
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    key = mounted.key(key_id)
    members = response.get_json()
    assert datetime.fromisoformat(members.pop("created_at")) == key.created_at
    assert datetime.fromisoformat(members.pop("expires_at")) == key.expires_at
    assert members == {
        "id": key_id,
        "name": "CI",
        "organization_id": key.organization_id,
        "scopes": ["project:deploy"],
        "previous_until": None,
        "may_rotate_itself": True,
    }


def test_key_must_be_valid(on_sqlite: Host) -> None:
    for method, path in (("GET", "/api/key"), ("POST", "/api/key/rotate")):
        response = on_sqlite.client("ada").open(path, method=method)
        assert refusal(response) == (401, "missing_key")


def test_secret_is_replaced(mounted: Host) -> None:
    old, key_id = mounted.issue(may_rotate_itself=True, expires_at=in_days(30))
    before = mounted.key(key_id)
    response = rotate(mounted, old)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    members = response.get_json()
    assert sorted(members) == ["expires_at", "key", "previous_until"]
    key = mounted.key(key_id)
    assert datetime.fromisoformat(members["expires_at"]) == key.expires_at
    assert datetime.fromisoformat(members["previous_until"]) == key.previous_until
    # As long as it had.
    length = before.expires_at - before.created_at
    assert abs(key.expires_at - key.rotated_at - length) < SECOND
    assert abs(key.previous_until - key.rotated_at - DAY) < SECOND
    assert (key.confirmed_at, key.previous_used_at) == (None, None)
    kept = ("name", "scopes", "note", "may_rotate_itself", "created_by")
    assert [getattr(key, name) for name in kept] == [getattr(before, name) for name in kept]
    event = mounted.events()[-1]
    assert (event["action"], event["actor"]) == ("rotated", "holder of the key")
    assert event["address"] == "127.0.0.1"
    assert [answer(mounted, token) for token in (old, members["key"])] == [200, 200]


def test_key_without_expiry_stays_so(on_sqlite: Host) -> None:
    token, _ = on_sqlite.issue(may_rotate_itself=True)
    assert rotate(on_sqlite, token).get_json()["expires_at"] is None


def test_length_is_measured_from_the_last_rotation(on_sqlite: Host) -> None:
    token, key_id = on_sqlite.issue(may_rotate_itself=True, expires_at=in_days(30))
    change(on_sqlite, key_id, created_at=in_days(-300))
    token = by_code.rotate(on_sqlite, key_id, expires_at=in_days(10))
    expires_at = datetime.fromisoformat(rotate(on_sqlite, token).get_json()["expires_at"])
    assert abs(expires_at - in_days(10)) < 10 * SECOND


@pytest.mark.parametrize(
    ("hours", "overlap"), [((0, 1, 24, 168, 720), DAY), ((0, 1), timedelta(hours=1))]
)
def test_default_overlap(make: MakeHost, hours: Any, overlap: timedelta) -> None:
    host = make(config={"ORGKEYS_ROTATION_OVERLAP_HOURS": hours})
    token, key_id = host.issue(may_rotate_itself=True)
    assert rotate(host, token).status_code == 200
    key = host.key(key_id)
    assert abs(key.previous_until - key.rotated_at - overlap) < SECOND


@pytest.mark.parametrize("seconds", [0, 1, 2_592_000, 60.0])
def test_overlap_is_chosen(on_sqlite: Host, seconds: float) -> None:
    token, key_id = on_sqlite.issue(may_rotate_itself=True)
    assert rotate(on_sqlite, token, json={"overlap_seconds": seconds}).status_code == 200
    key = on_sqlite.key(key_id)
    assert abs(key.previous_until - key.rotated_at - timedelta(seconds=seconds)) < SECOND


@pytest.mark.parametrize(
    "body",
    [
        *(
            f'{{"overlap_seconds": {value}}}'
            for value in (
                *("-1", "2592001", "1.5", '"60"', "null", "true", "[]", "1e400", "NaN", "Infinity"),
                "9" * 5000,
            )
        ),
        "{",
        "[]",
        "60",
        "null",
        "overlap_seconds=60",
        b"\xff",
        "[" * 100_000,
    ],
)
def test_wrong_overlap(on_sqlite: Host, body: Any) -> None:
    token, key_id = on_sqlite.issue(may_rotate_itself=True)
    response = rotate(on_sqlite, token, data=body, content_type="application/json")
    assert refusal(response) == (422, "invalid_overlap")
    assert on_sqlite.key(key_id).rotated_at is None


def test_permission_is_needed(mounted: Host) -> None:
    token, key_id = mounted.issue()
    assert refusal(rotate(mounted, token)) == (403, "rotation_not_allowed")
    assert mounted.key(key_id).rotated_at is None


def test_refusals_do_not_announce_the_end(on_sqlite: Host) -> None:
    token, _ = on_sqlite.issue(expires_at=in_days(5))
    assert "API-Key-Expires" in on_sqlite.client().get("/api/key", headers=bearer(token)).headers
    assert "API-Key-Expires" not in rotate(on_sqlite, token).headers


def test_lost_answer_is_recovered_by_the_secret_before(mounted: Host) -> None:
    old, key_id = mounted.issue(may_rotate_itself=True)
    lost = rotate(mounted, old).get_json()["key"]
    until = mounted.key(key_id).previous_until
    new = rotate(mounted, old).get_json()["key"]
    assert mounted.key(key_id).previous_until == until
    answers = [answer(mounted, token) for token in (old, lost, new)]
    assert answers == [200, "invalid_key", 200]
    assert refusal(rotate(mounted, old)) == (403, "rotation_not_allowed")
    assert rotate(mounted, new).status_code == 200


def test_rotation_is_the_first_use_of_its_secret(mounted: Host) -> None:
    """A new secret that does nothing but rotate moves up like any other."""
    oldest, _ = mounted.issue(may_rotate_itself=True)
    old = rotate(mounted, oldest).get_json()["key"]
    new = rotate(mounted, old).get_json()["key"]
    answers = [answer(mounted, token) for token in (oldest, old, new)]
    assert answers == ["invalid_key", 200, 200]


def test_secret_before_ended(on_sqlite: Host) -> None:
    old, _ = on_sqlite.issue(may_rotate_itself=True)
    assert rotate(on_sqlite, old, json={"overlap_seconds": 0}).status_code == 200
    assert refusal(rotate(on_sqlite, old)) == (401, "rotated_key")


@pytest.mark.parametrize("is_recovery", [False, True])
@pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)
def test_two_at_once(mounted: Host, is_recovery: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are authenticated before one of them rotates."""
    token, _ = mounted.issue(may_rotate_itself=True)
    if is_recovery:
        assert rotate(mounted, token).status_code == 200
    both = threading.Barrier(2, timeout=30)
    overlap = holder._overlap

    def wait(settings: Any) -> timedelta:
        both.wait()
        return overlap(settings)

    monkeypatch.setattr(holder, "_overlap", wait)
    responses: list[TestResponse] = []
    threads = [
        threading.Thread(target=lambda: responses.append(rotate(mounted, token))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    won, lost = sorted(responses, key=lambda response: response.status_code)
    assert refusal(lost) == (409, "rotation_conflict")
    assert won.status_code == 200
    assert answer(mounted, won.get_json()["key"]) == 200
    rotated = [event for event in mounted.events() if event["action"] == "rotated"]
    assert len(rotated) == 1 + is_recovery


def test_csrf_protection_lets_it_pass(make: MakeHost) -> None:
    host = make(config={"WTF_CSRF_ENABLED": True}, before_init=lambda app, _db: CSRFProtect(app))
    token, _ = host.issue(may_rotate_itself=True)
    assert rotate(host, token).status_code == 200


def test_database_that_does_not_answer(on_sqlite: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    token, _ = on_sqlite.issue(may_rotate_itself=True)
    monkeypatch.setattr(holder, "committed", fail)
    response = rotate(on_sqlite, token)
    assert refusal(response) == (503, "unavailable")
    assert response.headers["Retry-After"]


def test_revoked_meanwhile(on_sqlite: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    token, key_id = on_sqlite.issue(may_rotate_itself=True)
    overlap = holder._overlap

    def revoke(settings: Any) -> timedelta:
        on_sqlite.revoke(key_id)
        return overlap(settings)

    monkeypatch.setattr(holder, "_overlap", revoke)
    assert refusal(rotate(on_sqlite, token))[0] == 401
    assert on_sqlite.key(key_id).rotated_at is None
    assert datetime.now(UTC) >= on_sqlite.key(key_id).revoked_at
