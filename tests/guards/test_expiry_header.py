"""The response header ``API-Key-Expires``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Response

from flask_orgkeys import errors, require_key, require_scope

from ..conftest import MakeHost
from ..host import Host, bearer, with_wrong_secret

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HEADER = "API-Key-Expires"


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def issue(host: Host, left: timedelta | None = timedelta(days=5), **arguments: Any) -> str:
    expires_at = None if left is None else NOW + left
    return host.issue(expires_at=expires_at, **arguments)[0]


def headers(host: Host, token: str, path: str = "/api/whoami", **arguments: Any) -> list[str]:
    answer = host.client().open(path, headers=bearer(token), **arguments)
    return answer.headers.getlist(HEADER)


def test_it_is_the_end_of_the_key(any_host: Host) -> None:
    token = issue(any_host, timedelta(days=5, microseconds=7))
    assert headers(any_host, token) == ["2026-06-06T12:00:00.000007Z"]


@pytest.mark.parametrize(
    ("left", "number"),
    [
        (timedelta(days=30, microseconds=1), 0),
        (timedelta(days=30), 1),
        (timedelta(microseconds=1), 1),
        (None, 0),
    ],
)
def test_within_the_longest_threshold(host: Host, left: timedelta | None, number: int) -> None:
    assert len(headers(host, issue(host, left))) == number


def test_longest_threshold_is_an_option(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_NOTICE_DAYS": (3, 1)})
    assert headers(host, issue(host)) == []
    assert headers(host, issue(host, timedelta(days=3))) != []


def test_it_can_be_switched_off(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_EXPIRY_HEADER": False})
    assert headers(host, issue(host)) == []


def test_refusals_have_none(host: Host, at_noon: Any) -> None:
    token, key_id = host.issue(expires_at=NOW + timedelta(days=5))
    assert headers(host, token, "/api/publish-and-deploy", method="POST") == []
    assert headers(host, token, "/api/o/beta/deployments", method="POST") == []
    assert headers(host, with_wrong_secret(token)) == []
    host.revoke(key_id)
    assert headers(host, token) == []
    ended = issue(host)
    at_noon.move_to(NOW + timedelta(days=5))
    assert headers(host, ended) == []


@pytest.mark.parametrize(
    ("overlap", "left", "expected"),
    [(7, 90, "2026-06-08"), (7, 5, "2026-06-06"), (7, None, "2026-06-08"), (60, 90, None)],
)
def test_the_secret_before(
    new_host: MakeHost, overlap: int, left: int | None, expected: str | None
) -> None:
    host = new_host(config={"ORGKEYS_ROTATION_OVERLAP_HOURS": (168, 24 * 60)})
    token, key_id = host.issue()
    with host.app.app_context():
        issued = host.orgkeys.rotate_key(
            host.organization_ids["acme"],
            key_id,
            overlap=timedelta(days=overlap),
            expires_at=None if left is None else NOW + timedelta(days=left),
        )
        host.db.session.commit()
    assert headers(host, token) == ([f"{expected}T12:00:00.000000Z"] if expected else [])
    assert len(headers(host, issued.token)) == (left == 5)


def test_the_key_ends_before_the_secret_before(any_host: Host) -> None:
    """A rotation again gives the key an earlier end, and leaves the overlap as it is."""
    token, key_id = any_host.issue()
    with any_host.app.app_context():
        for days in (90, 2):
            any_host.orgkeys.rotate_key(
                any_host.organization_ids["acme"],
                key_id,
                overlap=timedelta(days=7),
                expires_at=NOW + timedelta(days=days),
            )
        any_host.db.session.commit()
    assert headers(any_host, token) == ["2026-06-03T12:00:00.000000Z"]


def test_unguarded_routes_and_pages_have_none(host: Host) -> None:
    token = issue(host)
    assert headers(host, token, "/open") == []
    assert headers(host, token, "/o/acme/api-keys") == []


def test_several_guards_set_it_once(host: Host) -> None:
    @host.app.get("/api/twice")
    @require_key
    @require_scope("project:deploy")
    def twice() -> str:
        return ""

    assert len(headers(host, issue(host), "/api/twice")) == 1


@pytest.mark.parametrize("is_handled", [False, True])
def test_the_inner_guard_refuses(host: Host, is_handled: bool) -> None:
    @host.app.get("/api/inner")
    @require_key
    @require_scope("app:publish")
    def inner() -> str:
        return ""

    if is_handled:
        host.app.register_error_handler(errors.InsufficientScope, lambda _: ("no", 403))
    answer = host.client().get("/api/inner", headers=bearer(issue(host)))
    assert answer.status_code == 403
    assert HEADER not in answer.headers


def test_async_view(host: Host) -> None:
    @host.app.get("/api/async")
    @require_key
    async def wait() -> Response:
        return Response("", 201)

    assert len(headers(host, issue(host), "/api/async")) == 1


def test_errors_of_the_view_have_it(host: Host) -> None:
    @host.app.get("/api/gone")
    @require_key
    def gone() -> tuple[str, int]:
        return "", 410

    assert len(headers(host, issue(host), "/api/gone")) == 1


def test_the_next_request_in_the_same_context_has_its_own(host: Host) -> None:
    with host.app.app_context():
        assert len(headers(host, issue(host))) == 1
        assert headers(host, issue(host, None)) == []
