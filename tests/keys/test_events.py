"""``list_events`` and ``count_events``: the audit record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from ..host import Host

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def recorded(any_host: Host) -> Iterator[Host]:
    """Three keys of acme, one of them revoked, and one key of beta; an hour between the events."""
    orgkeys, ids = any_host.orgkeys, any_host.organization_ids
    with any_host.app.app_context():
        for hours, (slug, name, who) in enumerate(
            [
                ("acme", "100% CI", "ada"),
                ("acme", "Grafana_2", "Ben@acme"),
                ("beta", "theirs", "ada"),
                ("acme", "Straße", None),
            ]
        ):
            with time_machine.travel(NOON + timedelta(hours=hours), tick=False):
                orgkeys.create_key(ids[slug], name=name, scopes=["project:deploy"], created_by=who)
        with time_machine.travel(NOON + timedelta(hours=4), tick=False):
            orgkeys.revoke_key(ids["acme"], key_id(any_host, "100% CI"), revoked_by="eve")
        any_host.db.session.commit()
        yield any_host


def key_id(host: Host, name: str) -> str:
    return str(host.db.session.query(host.orgkeys.ApiKey).filter_by(name=name).one().id)


def listed(host: Host, organization: str = "acme", **arguments: Any) -> list[tuple[int, str]]:
    events = host.orgkeys.list_events(host.organization_ids[organization], **arguments)
    return [
        (round((event.occurred_at - NOON) / timedelta(hours=1)), event.action) for event in events
    ]


ALL_OF_ACME = [(4, "revoked"), (3, "created"), (1, "created"), (0, "created")]


def test_filters(recorded: Host) -> None:
    ci, theirs = key_id(recorded, "100% CI"), key_id(recorded, "theirs")
    assert listed(recorded) == ALL_OF_ACME
    assert listed(recorded, "beta") == [(2, "created")]
    assert listed(recorded, key_id=ci) == [(4, "revoked"), (0, "created")]
    assert listed(recorded, key_id=theirs) == []
    assert listed(recorded, key_id="\0") == []
    assert listed(recorded, action="revoked") == [(4, "revoked")]
    assert listed(recorded, action="pruned") == []
    assert listed(recorded, since=NOON + timedelta(hours=3)) == ALL_OF_ACME[:2]
    assert listed(recorded, limit=2, offset=1) == ALL_OF_ACME[1:3]
    assert listed(recorded, limit=2**80, offset=2**80) == []


@pytest.mark.parametrize(
    ("search", "hours"),
    [
        ("%", [4, 0]),
        ("_", [1]),
        ("100%", [4, 0]),
        ("grafana", [1]),
        ("STRASSE", [3]),
        ("eve", [4]),
        ("BEN@", [1]),
        ("ada", [0]),
        ("theirs", []),
        ("\0", []),
        ("x" * 100_000, []),
    ],
)
def test_search(recorded: Host, search: str, hours: list[int]) -> None:
    assert [hour for hour, _ in listed(recorded, search=search)] == hours
    acme = recorded.organization_ids["acme"]
    assert recorded.orgkeys.count_events(acme, search=search) == len(hours)


def test_search_by_id(recorded: Host) -> None:
    ci = key_id(recorded, "100% CI")
    for text in (ci, ci[:6], f"orgk_{ci}…", f" {ci} "):
        assert listed(recorded, search=text) == [(4, "revoked"), (0, "created")]
    assert listed(recorded, search=ci[::-1].swapcase()) == []


def test_pruned_keys_keep_their_events(recorded: Host) -> None:
    ci = key_id(recorded, "100% CI")
    recorded.orgkeys.prune_keys(NOON + timedelta(hours=5))
    actions = [
        event.action
        for event in recorded.orgkeys.list_events(recorded.organization_ids["acme"], key_id=ci)
    ]
    assert actions == ["pruned", "revoked", "created"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": NOON.replace(tzinfo=None)},
        {"since": "2026-01-01"},
        {"action": "deleted"},
        {"action": ""},
        {"limit": -1},
        {"offset": -1},
    ],
)
def test_wrong_arguments(host: Host, wrong: dict[str, Any]) -> None:
    with host.app.app_context(), pytest.raises(ValueError, match=next(iter(wrong))):
        host.orgkeys.list_events(host.organization_ids["acme"], **wrong)


@pytest.mark.parametrize("wrong", ["acme", "1", None, 1.5, object()])
def test_organization_that_the_column_cannot_hold(host: Host, wrong: Any) -> None:
    with host.app.app_context():
        for function in (host.orgkeys.list_events, host.orgkeys.count_events):
            with pytest.raises(ValueError, match="organization_id"):
                function(wrong)


def test_details_are_a_dict(recorded: Host) -> None:
    """Of every event, also if it has no particulars."""
    organization_id = recorded.organization_ids["acme"]
    events = recorded.orgkeys.list_events(organization_id)
    assert {event.action: event.details for event in events} == {"created": {}, "revoked": {}}


@pytest.mark.parametrize("end", [" ", "0"])
def test_key_id_is_matched_whole(recorded: Host, end: str) -> None:
    id_ = key_id(recorded, "100% CI")
    assert len(listed(recorded, key_id=id_)) == 2
    assert listed(recorded, key_id=id_ + end) == []
