"""Flask-Limiter counts by key, and by address where there is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask_limiter import Limiter
from flask_sqlalchemy import SQLAlchemy

from flask_orgkeys import OrgKeys, tokens

from ..conftest import MakeHost
from ..host import Host, bearer, with_wrong_secret

ADDRESS = "192.0.2.7"


def limit(app: Flask, _db: SQLAlchemy | None = None) -> None:
    Limiter(OrgKeys.limiter_key, app=app, default_limits=["2 per hour"], storage_uri="memory://")


@pytest.fixture(params=["before us", "after us"])
def limited_host(request: pytest.FixtureRequest, new_host: MakeHost) -> Host:
    """A host that allows two requests an hour, with Flask-Limiter set up before us or after us."""
    if request.param == "before us":
        return new_host(before_init=limit)
    host = new_host()
    limit(host.app)
    return host


def statuses(host: Host, *tokens_sent: str, addresses: list[str] | None = None) -> list[int]:
    """What requests are answered, one for each token and from each address."""
    return [
        host.client()
        .get("/open", headers=bearer(token), environ_base={"REMOTE_ADDR": address})
        .status_code
        for token in tokens_sent
        for address in addresses or [ADDRESS]
    ]


def test_each_key_has_an_allowance_of_its_own(limited_host: Host) -> None:
    first, second = (limited_host.issue()[0] for _ in range(2))

    assert statuses(limited_host, first, first, first, second) == [200, 200, 429, 200]


def test_a_key_has_one_allowance_wherever_it_is_used_from(limited_host: Host) -> None:
    token, _ = limited_host.issue()
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]

    assert statuses(limited_host, token, addresses=addresses) == [200, 200, 429]


@pytest.mark.parametrize(
    "make_other",
    [lambda token: str(tokens.generate("orgk")), with_wrong_secret, lambda _: "foreign"],
)
def test_guesses_share_the_allowance_of_their_address(
    limited_host: Host, make_other: Callable[[str], str]
) -> None:
    token, _ = limited_host.issue()
    guesses = [make_other(token) for _ in range(3)]

    assert statuses(limited_host, *guesses) == [200, 200, 429]
    assert statuses(limited_host, guesses[0], addresses=["192.0.2.8"]) == [200]
    assert statuses(limited_host, token) == [200]


def test_a_key_that_opens_nothing_counts_for_its_address(limited_host: Host) -> None:
    revoked, key_id = limited_host.issue()
    limited_host.revoke(key_id)
    expired, _ = limited_host.issue(expires_at=datetime.now(UTC) - timedelta(days=1))

    assert statuses(limited_host, revoked, expired, revoked) == [200, 200, 429]


def test_the_name_is_the_public_id_or_the_address(host: Host) -> None:
    token, key_id = host.issue()
    named = []
    for headers in (bearer(token), {}):
        with host.app.test_request_context(
            "/open", headers=headers, environ_base={"REMOTE_ADDR": ADDRESS}
        ):
            named.append(host.orgkeys.limiter_key())

    assert named == [key_id, ADDRESS]
