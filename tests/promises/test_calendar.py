"""Times at the ends of PostgreSQL's calendar, which no driver can read: written by the host itself.

Python's years end at 9999, PostgreSQL's go on, and it has infinite times, too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import pytest
import sqlalchemy as sa

from .. import databases
from ..commands.test_commands import run
from ..conftest import MakeHost
from ..host import Host, bearer

LIST = "/o/acme/api-keys"

BEYOND = (
    "infinity",
    "9999-12-31 23:59:59.999999+00",
    "294276-12-31 00:00+00",
    "0001-01-01 00:00+00",
    "4713-01-01 00:00+00 BC",
    "-infinity",
)

pytestmark = [
    pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"]),
    pytest.mark.parametrize(
        "any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True
    ),
]


@pytest.fixture
def host(new_host: MakeHost, any_database_url: str, zone: str) -> Host:
    url = sa.make_url(any_database_url).update_query_dict({"options": f"-c timezone={zone}"})
    return new_host(url.render_as_string(hide_password=False))


TIMES = (
    ("orgkeys_key", "expires_at"),
    ("orgkeys_key", "revoked_at"),
    ("orgkeys_key", "last_used_at"),
    ("orgkeys_key", "created_at"),
    ("orgkeys_key", "previous_until"),
    ("orgkeys_key", "previous_used_at"),
    ("orgkeys_key", "rotated_at"),
    ("orgkeys_key", "confirmed_at"),
    ("orgkeys_key", "uses_recorded_since"),
    ("orgkeys_use", "first_at"),
    ("orgkeys_use", "last_at"),
    ("orgkeys_event", "occurred_at"),
    ("orgkeys_notice", "told_at"),
    ("orgkeys_notice", "ends_at"),
)

CASES = [
    *(("orgkeys_key", "expires_at", beyond) for beyond in BEYOND),
    *((*time, beyond) for time, beyond in zip(TIMES[1:], cycle(BEYOND), strict=False)),
]


@pytest.fixture
def keys(host: Host) -> dict[str, str]:
    """Keys by their secret, each with one time beyond the calendar."""
    keys = {}
    with host.app.app_context():
        engine = host.db.engine
    for table, column, beyond in CASES:
        token, key_id = host.issue(name=f"{table}.{column}")
        if table == "orgkeys_use":
            assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 200
        keys[token] = key_id
        named_by = "id" if table == "orgkeys_key" else "key_id"
        values = {"time": beyond, "id": key_id}
        with engine.begin() as connection:
            if table == "orgkeys_notice":
                row = "VALUES (:id, 'expiring', now(), 7, now())"
                connection.execute(sa.text(f"INSERT INTO orgkeys_notice {row}"), {"id": key_id})
            update = f"UPDATE {table} SET {column} = :time WHERE {named_by} = :id"
            assert connection.execute(sa.text(update), values).rowcount
    return keys


def test_pages(host: Host, keys: dict[str, str]) -> None:
    client = host.client("ada")
    paths = [
        *("?status=all", "?status=expired", "?status=revoked", "?status=active"),
        *("?sort=expires", "?sort=-last_used", "?use=never", "?use=unused", "?expires=soon"),
        *("/activity", "/activity.csv"),
        *(f"/new?like={key_id}" for key_id in keys.values()),
        *(f"/{key_id}" for key_id in keys.values()),
        *(f"/{key_id}/{page}" for key_id in keys.values() for page in ("revoke", "edit", "rotate")),
    ]
    # The question before a rotation leads back from a key that has ended.
    answers = {path: client.get(LIST + path, follow_redirects=True) for path in paths}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        paths, 200
    )
    assert all(f"{table}.{column}" in answers["?status=all"].text for table, column in TIMES)
    for token, key_id in keys.items():
        assert client.post(f"{LIST}/check", data={"key": token}).status_code == 200
        assert client.post(f"{LIST}/{key_id}/edit", data={"name": "New"}).status_code == 303
        assert client.post(f"{LIST}/{key_id}/revoke").status_code == 303
    kept = host.keys()
    assert all(key.revoked_at is not None and key.name == "New" for key in kept)


def test_commands(host: Host, keys: dict[str, str]) -> None:
    calls = [
        ("list", "acme", "--status", "all"),
        ("list", "acme", "--status", "all", "--json"),
        ("events", "acme"),
        ("events", "acme", "--csv"),
        ("events", "acme", "--json"),
        ("review",),
        ("review", "--json"),
        ("notify", "--dry-run"),
        ("check",),
        *(("show", "acme", key_id, *how) for key_id in keys.values() for how in ((), ("--json",))),
        ("prune", "--older-than", "1", "--dry-run"),
        ("revoke", "acme", "--all", "--yes"),
        ("prune", "--older-than", "1"),
    ]
    for call in calls:
        result = run(host, *call)
        assert result.exception is None or isinstance(result.exception, SystemExit), call
        assert result.exit_code in (0, 1), (call, result.output)
    for token in keys:
        result = run(host, "verify", input=token)
        assert result.exception is None or isinstance(result.exception, SystemExit)


def test_rotation(host: Host, keys: dict[str, str]) -> None:
    for key_id in keys.values():
        result = run(host, "rotate", "acme", key_id)
        assert isinstance(result.exception, SystemExit | None)
        result = run(host, "end-previous", "acme", key_id)
        assert isinstance(result.exception, SystemExit | None)


def test_management(host: Host, keys: dict[str, str]) -> None:
    acme = host.organization_ids["acme"]
    with host.app.app_context():
        assert len(host.orgkeys.list_keys(acme, status="all")) == len(keys)
        for key_id in keys.values():
            key: Any = host.orgkeys.get_key(acme, key_id)
            # As after a commit, which expires every object of the session.
            host.db.session.refresh(key)
            host.orgkeys.list_uses(acme, key_id)
        host.orgkeys.list_events(acme)
        host.orgkeys.revoke_keys(acme)
        host.orgkeys.prune_keys(datetime(2020, 1, 1, tzinfo=UTC))
