"""A key's page: its facts, uses and events, and the verdict in the question before a revocation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from bs4 import BeautifulSoup

from ..conftest import MakeHost
from ..host import Host, bearer
from .test_pages import LIST

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def note_use(
    host: Host, key_id: str, *, days: float, outcome: str = "accepted", **values: Any
) -> None:
    """Add a row of uses, as if a guard had noted it."""
    used_at = NOW - timedelta(days=days)
    with host.app.app_context():
        defaults = {"endpoint": "deploy", "scopes": ["project:deploy"], "uses": 3}
        row = {**defaults, "first_at": used_at, "last_at": used_at, **values}
        host.db.session.add(host.orgkeys.KeyUse(key_id=key_id, outcome=outcome, **row))
        if outcome == "accepted":
            key = host.db.session.get(host.orgkeys.ApiKey, key_id)
            key.last_used_at = max(used_at, key.last_used_at or used_at)
        host.db.session.commit()


def issue(host: Host, *, age: float = 200, **arguments: Any) -> str:
    with time_machine.travel(NOW - timedelta(days=age), tick=False):
        return host.issue(**arguments)[1]


def words(host: Host, path: str) -> str:
    page = host.client("ada").get(f"{LIST}/{path}")
    assert page.status_code == 200
    return " ".join(BeautifulSoup(page.text, "html.parser").get_text(" ").split())


def section(host: Host, key_id: str, heading: str) -> str:
    soup = BeautifulSoup(host.client("ada").get(f"{LIST}/{key_id}").text, "html.parser")
    (title,) = [each for each in soup.select("h2") if each.get_text(strip=True) == heading]
    assert title.parent is not None
    return " ".join(title.parent.get_text(" ").split())


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (0, "fail at once"),
        (7, "fail at once"),
        (8, "last used 8 days ago"),
        (90, "last used 90 days ago"),
        (91, "Unused: last used 91 days ago"),
    ],
)
def test_verdict_by_the_last_use(host: Host, days: int, expected: str) -> None:
    key_id = issue(host)
    note_use(host, key_id, days=days, address="203.0.113.7", agent="curl/8.5")
    page = words(host, f"{key_id}/revoke")
    assert expected in page
    assert ("fail at once" in page) == (days < 8)
    assert "Rotate it instead" in page


def test_verdict_names_the_calls_of_the_last_days(host: Host) -> None:
    key_id = issue(host)
    note_use(host, key_id, days=1, endpoint="whoami", address="203.0.113.7", agent="curl/8.5")
    note_use(host, key_id, days=30, endpoint="publish_and_deploy")
    page = words(host, f"{key_id}/revoke")
    assert "whoami" in page
    assert "203.0.113.7, curl/8.5" in page
    assert "publish_and_deploy" not in page


def test_verdict_of_an_unused_key(host: Host) -> None:
    assert "Never used" in words(host, f"{issue(host)}/revoke")


def test_verdict_of_an_expired_key(host: Host) -> None:
    key_id = issue(host, expires_at=NOW - timedelta(days=1))
    page = words(host, f"{key_id}/revoke")
    assert "nothing can use it" in page
    assert "Rotate it instead" not in page
    assert "fail at once" not in page


def test_verdict_without_recording(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
    key_id = issue(host)
    assert "Not recorded" in words(host, f"{key_id}/revoke")
    assert "Last needed" not in words(host, key_id)


def test_uses_and_scopes(any_host: Host) -> None:
    key_id = issue(any_host, scopes=["project:deploy", "app:publish"])
    note_use(any_host, key_id, days=2, address="203.0.113.7", agent="curl/8.5")
    note_use(any_host, key_id, days=3, outcome="insufficient_scope", scopes=["project:read-rc"])
    calls = section(any_host, key_id, "What it calls")
    assert "deploy 2 days ago 203.0.113.7, curl/8.5 3" in calls
    assert "Needs project:read-rc" in section(any_host, key_id, "Refused")
    scopes = section(any_host, key_id, "What it may do")
    assert "project:deploy Trigger and manage deployments 2 days ago" in scopes
    assert "app:publish Publish app versions never" in scopes
    assert "1 of 2 scopes never needed" in scopes


def test_after_the_revocation(host: Host, at_noon: Any) -> None:
    token, key_id = host.issue()
    host.revoke(key_id)
    assert "Nobody has tried it since" in words(host, key_id)
    at_noon.move_to(NOW + timedelta(minutes=1))
    assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 401
    assert "at least 1 time since" in words(host, key_id)


def test_events(any_host: Host) -> None:
    key_id = issue(any_host, created_by="ada", age=2)
    any_host.revoke(key_id)
    events = section(any_host, key_id, "Activity")
    assert events.index("Revoked") < events.index("Created")
    assert "ada" in events


def test_foreign_and_absent_keys(host: Host) -> None:
    foreign = issue(host, organization="beta")
    client = host.client("ada")
    pages = [client.get(f"{LIST}/{key_id}") for key_id in (foreign, "x" * 12, "a\0b")]
    assert {page.status_code for page in pages} == {404}


@pytest.mark.parametrize(
    ("days", "expected"), [(15, "15 days ago"), (20, "20 days ago"), (31, "a month ago")]
)
def test_last_used_is_told_in_days_for_a_month(host: Host, days: int, expected: str) -> None:
    """The page and the question before a revocation agree."""
    key_id = issue(host)
    note_use(host, key_id, days=days)
    assert f"Last used {expected}" in words(host, key_id)
    assert f"last used {days} days ago" in words(host, f"{key_id}/revoke")


def test_each_table_is_named(host: Host) -> None:
    key_id = issue(host)
    note_use(host, key_id, days=1)
    note_use(host, key_id, days=1, outcome="insufficient_scope")
    soup = BeautifulSoup(host.client("ada").get(f"{LIST}/{key_id}").text, "html.parser")
    headings = {heading["id"]: heading.get_text() for heading in soup.select("h2[id]")}
    names = [headings[str(table["aria-labelledby"])] for table in soup.select("table")]
    assert names == ["What it may do", "What it calls", "Refused", "Activity"]
