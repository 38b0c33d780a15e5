"""Rotation of a key's secret, as a host calls it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from flask_orgkeys import errors, signals

from ..conftest import MakeHost
from ..host import Host, bearer

WEEK = timedelta(days=7)


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def rotate(host: Host, key_id: str, organization: str = "acme", **arguments: Any) -> str:
    """Rotate and commit. Returns the token."""
    arguments = {"overlap": WEEK, "expires_at": in_days(90), **arguments}
    with host.app.app_context():
        issued = host.orgkeys.rotate_key(host.organization_ids[organization], key_id, **arguments)
        host.db.session.commit()
        return issued.token


def end_previous(host: Host, key_id: str, organization: str = "acme", **arguments: Any) -> bool:
    with host.app.app_context():
        ids = host.organization_ids
        ended = host.orgkeys.end_previous_secret(ids[organization], key_id, **arguments)
        host.db.session.commit()
        return ended


def answer(host: Host, token: str) -> str | int:
    """The code of a refusal, or 200."""
    response = host.client().get("/api/whoami", headers=bearer(token))
    return 200 if response.status_code == 200 else str(response.get_json()["code"])


def test_key_keeps_all_but_its_secret_and_expiry(any_host: Host) -> None:
    token, key_id = any_host.issue(name="CI", note="pipeline", created_by="ada")
    before = any_host.key(key_id)
    expires_at = in_days(30)
    new = rotate(any_host, key_id, expires_at=expires_at)
    after = any_host.key(key_id)
    assert new.split("_")[:2] == token.split("_")[:2]
    assert new != token
    kept = ("id", "name", "scopes", "note", "created_at", "created_by", "organization_id")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert after.expires_at == expires_at
    assert (after.confirmed_at, after.previous_used_at) == (None, None)
    assert after.previous_digest == before.digest
    assert after.previous_until == after.rotated_at + WEEK


@pytest.mark.parametrize(
    ("overlap", "had", "new", "end"),
    [
        (WEEK, None, None, WEEK),
        (WEEK, 3, 90, timedelta(days=3)),
        (WEEK, 90, 2, timedelta(days=2)),
        (timedelta(hours=1), 3, 2, timedelta(hours=1)),
        (timedelta(0), None, None, timedelta(0)),
    ],
)
def test_end_of_the_secret_before_is_the_earliest(
    host: Host, overlap: timedelta, had: int | None, new: int | None, end: timedelta
) -> None:
    _, key_id = host.issue(expires_at=None if had is None else in_days(had))
    rotate(host, key_id, overlap=overlap, expires_at=None if new is None else in_days(new))
    key = host.key(key_id)
    assert abs(key.previous_until - (key.rotated_at + end)) < timedelta(seconds=30)


def test_rotation_is_recorded_and_signalled(any_host: Host) -> None:
    _, key_id = any_host.issue()
    sent = []

    def receive(app: Any, key: Any) -> None:
        sent.append((app, key.id, key.previous_until))

    with signals.key_rotated.connected_to(receive):
        token = rotate(any_host, key_id, rotated_by="ada")
    key = any_host.key(key_id)
    assert sent == [(any_host.app, key_id, key.previous_until)]
    event = any_host.events()[-1]
    assert (event["action"], event["actor"]) == ("rotated", "ada")
    assert event["occurred_at"].replace(tzinfo=UTC) == key.rotated_at
    assert event["details"]["was"] == {"expires_at": None}
    assert token.rpartition("_")[2] not in str(event)


def test_nothing_is_committed(any_host: Host) -> None:
    token, key_id = any_host.issue()
    with any_host.app.app_context():
        issued = any_host.orgkeys.rotate_key(
            any_host.organization_ids["acme"], key_id, overlap=WEEK, expires_at=None
        )
        any_host.db.session.rollback()
    assert answer(any_host, issued.token) == "invalid_key"
    assert answer(any_host, token) == 200
    assert any_host.key(key_id).rotated_at is None
    assert [event["action"] for event in any_host.events()] == ["created"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"overlap": timedelta(microseconds=-1)},
        {"overlap": timedelta(hours=720, microseconds=1)},
        {"overlap": 3600},
        {"overlap": None},
        {"expires_at": datetime(2999, 1, 1)},  # noqa: DTZ001 - a naive one
        {"expires_at": datetime.now(UTC)},
        {"expires_at": "never"},
        {"rotated_by": "a\0b"},
        {"rotated_by": "x" * 256},
    ],
)
def test_bad_arguments_are_value_errors(host: Host, arguments: dict[str, Any]) -> None:
    _, key_id = host.issue()
    with pytest.raises(ValueError):
        rotate(host, key_id, **arguments)
    assert host.key(key_id).rotated_at is None


def test_overlap_is_at_most_the_longest_configured(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_ROTATION_OVERLAP_HOURS": (1,)})
    _, key_id = host.issue()
    with pytest.raises(ValueError, match="ROTATION_OVERLAP_HOURS"):
        rotate(host, key_id, overlap=timedelta(hours=2))
    rotate(host, key_id, overlap=timedelta(hours=1))


def test_ended_key_stays_ended(any_host: Host) -> None:
    _, revoked = any_host.issue()
    any_host.revoke(revoked)
    _, expired = any_host.issue(expires_at=datetime.now(UTC))
    for key_id in (revoked, expired):
        with pytest.raises(errors.KeyEnded):
            rotate(any_host, key_id)
        assert any_host.key(key_id).rotated_at is None


@pytest.mark.parametrize("key_id", ["0" * 12, "", "a\0b", None])
def test_absent_key(any_host: Host, key_id: Any) -> None:
    with pytest.raises(errors.KeyNotFound):
        rotate(any_host, key_id)
    with pytest.raises(errors.KeyNotFound):
        end_previous(any_host, key_id)


def test_foreign_key_is_absent(any_host: Host) -> None:
    _, key_id = any_host.issue("acme")
    with pytest.raises(errors.KeyNotFound):
        rotate(any_host, key_id, "beta")
    rotate(any_host, key_id)
    with pytest.raises(errors.KeyNotFound):
        end_previous(any_host, key_id, "beta")


def test_unused_new_secret_alone_is_replaced(any_host: Host) -> None:
    """A lost answer costs nothing: rotate again."""
    _, key_id = any_host.issue()
    rotate(any_host, key_id)
    first = any_host.key(key_id)
    rotate(any_host, key_id, overlap=timedelta(hours=1))
    second = any_host.key(key_id)
    assert second.digest != first.digest
    assert second.rotated_at > first.rotated_at
    kept = ("previous_digest", "previous_until", "previous_used_at", "confirmed_at")
    assert [getattr(second, name) for name in kept] == [getattr(first, name) for name in kept]
    assert any_host.events()[-1]["details"]["kept_previous"] is True


def test_overlap_of_zero_ends_the_kept_secret(any_host: Host) -> None:
    _, key_id = any_host.issue()
    rotate(any_host, key_id)
    rotate(any_host, key_id, overlap=timedelta(0))
    key = any_host.key(key_id)
    assert key.previous_until == key.rotated_at


def test_kept_secret_does_not_outlive_the_key(host: Host) -> None:
    _, key_id = host.issue()
    rotate(host, key_id)
    expires_at = in_days(2)
    rotate(host, key_id, expires_at=expires_at)
    assert host.key(key_id).previous_until == expires_at


def test_form_names_the_rotation_it_was_shown_after(any_host: Host) -> None:
    _, key_id = any_host.issue()
    shown = any_host.orgkeys.rotation_marker(any_host.key(key_id))
    rotate(any_host, key_id, after=shown)
    for stale in (shown, "", "nonsense", "2020-01-01T00:00:00.000000Z"):
        with pytest.raises(errors.RotationConflict):
            rotate(any_host, key_id, after=stale)
        assert end_previous(any_host, key_id, after=stale) is False
    shown = any_host.orgkeys.rotation_marker(any_host.key(key_id))
    rotate(any_host, key_id, after=shown)
    assert [event["action"] for event in any_host.events()] == ["created", "rotated", "rotated"]


def test_secret_before_is_ended_early_once(any_host: Host) -> None:
    _, key_id = any_host.issue()
    assert end_previous(any_host, key_id) is False
    rotate(any_host, key_id)
    before = any_host.key(key_id)
    sent = []

    def receive(app: Any, key: Any) -> None:
        sent.append((app, key.id, key.previous_until))

    with signals.previous_secret_ended.connected_to(receive):
        marker = any_host.orgkeys.rotation_marker(before)
        assert end_previous(any_host, key_id, ended_by="ada", after=marker) is True
        assert end_previous(any_host, key_id) is False
    key = any_host.key(key_id)
    assert before.rotated_at <= key.previous_until <= datetime.now(UTC)
    assert key.previous_digest == before.previous_digest
    assert sent == [(any_host.app, key_id, key.previous_until)]
    event = any_host.events()[-1]
    assert (event["action"], event["actor"]) == ("previous_ended", "ada")
    assert [event["action"] for event in any_host.events()] == [
        "created",
        "rotated",
        "previous_ended",
    ]


def test_nothing_to_end_on_a_revoked_key(any_host: Host) -> None:
    _, key_id = any_host.issue()
    rotate(any_host, key_id)
    any_host.revoke(key_id)
    until = any_host.key(key_id).previous_until
    assert end_previous(any_host, key_id) is False
    assert any_host.key(key_id).previous_until == until


@pytest.mark.parametrize("seconds", [0, -3600], ids=["standing still", "set back"])
def test_clock_that_does_not_go_on(any_host: Host, seconds: int) -> None:
    """It makes no conflict of rotations that come one after another."""
    _, key_id = any_host.issue()
    with time_machine.travel(in_days(1), tick=False) as clock:
        for _ in range(4):
            assert answer(any_host, rotate(any_host, key_id)) == 200
            clock.shift(seconds)
