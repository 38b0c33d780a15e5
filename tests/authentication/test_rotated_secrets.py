"""Authentication of a rotated key: which secret is accepted, until when, and what is noted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_orgkeys.authentication import authenticator as authenticator_module
from flask_orgkeys.authentication import writes
from flask_orgkeys.authentication.drivers import Driver

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer, with_wrong_secret
from ..keys.test_rotation import WEEK, answer, end_previous, in_days, rotate

PEPPERS = ["n" * 32, "o" * 32]
MICROSECOND = timedelta(microseconds=1)
ZONES = ["UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"]


def change(host: Host, key_id: str, **values: Any) -> None:
    """Write columns of a key as no function of ours does."""
    table = host.orgkeys.ApiKey.__table__
    with host.app.app_context():
        host.db.session.execute(sa.update(table).where(table.c.id == key_id).values(**values))
        host.db.session.commit()


@contextmanager
def writes_fail(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(driver: Driver, *_: Any) -> None:
        raise driver.error("not now")

    with monkeypatch.context() as patch:
        for driver in ("SQLite", "PostgreSQL", "MariaDB"):
            patch.setattr(f"flask_orgkeys.authentication.drivers.{driver}.write", fail)
        yield


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the time at which authentication decides."""

    def set_time(moment: datetime) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return moment.astimezone(tz)

        monkeypatch.setattr(authenticator_module, "datetime", Clock)

    return set_time


def test_both_secrets_are_accepted_for_the_overlap(any_host: Host) -> None:
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    assert [answer(any_host, token) for token in (old, new, old)] == [200, 200, 200]
    assert answer(any_host, with_wrong_secret(new)) == "invalid_key"


def test_overlap_of_zero_ends_the_old_secret_at_once(any_host: Host) -> None:
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id, overlap=timedelta(0))
    assert [answer(any_host, token) for token in (old, new)] == ["rotated_key", 200]


def test_ended_early(any_host: Host) -> None:
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    end_previous(any_host, key_id)
    assert [answer(any_host, token) for token in (old, new)] == ["rotated_key", 200]


def test_challenge_of_a_rotated_secret(host: Host) -> None:
    old, key_id = host.issue()
    rotate(host, key_id, overlap=timedelta(0))
    response = host.client().get("/api/whoami", headers=bearer(old))
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert response.content_type == "application/problem+json"
    assert response.get_json()["code"] == "rotated_key"
    assert old not in response.get_data(as_text=True)


def test_lost_answer(any_host: Host) -> None:
    """The old secret works on, the new one that nobody got is dead, the one after works."""
    old, key_id = any_host.issue()
    lost = rotate(any_host, key_id)
    new = rotate(any_host, key_id)
    assert [answer(any_host, token) for token in (old, lost, new)] == [200, "invalid_key", 200]


def test_oldest_secret_ends_with_the_next_rotation(any_host: Host) -> None:
    oldest, key_id = any_host.issue()
    old = rotate(any_host, key_id)
    assert answer(any_host, old) == 200
    new = rotate(any_host, key_id)
    answers = [answer(any_host, token) for token in (oldest, old, new)]
    assert answers == ["invalid_key", 200, 200]


def test_revocation_in_the_overlap_ends_both(any_host: Host) -> None:
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    any_host.revoke(key_id)
    assert [answer(any_host, token) for token in (old, new)] == ["revoked_key", "revoked_key"]


def test_order_of_the_refusals(host: Host) -> None:
    old, key_id = host.issue()
    rotate(host, key_id, overlap=timedelta(0))
    assert answer(host, old) == "rotated_key"
    change(host, key_id, expires_at=datetime.now(UTC))
    assert answer(host, old) == "expired_key"
    host.revoke(key_id)
    assert answer(host, old) == "revoked_key"


@pytest.mark.parametrize("zone", ZONES)
def test_end_is_half_open_in_every_time_zone(
    any_host: Host, at: Any, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        old, key_id = any_host.issue()
        new = rotate(any_host, key_id)
        until = any_host.key(key_id).previous_until
        answers = []
        for moment in (until - MICROSECOND, until, until + MICROSECOND):
            at(moment)
            answers.append((answer(any_host, old), answer(any_host, new)))
        assert answers == [(200, 200), ("rotated_key", 200), ("rotated_key", 200)]
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_use_of_each_secret_is_noted_apart(any_host: Host) -> None:
    old, key_id = any_host.issue()
    assert answer(any_host, old) == 200
    before = any_host.key(key_id)
    assert (before.previous_used_at, before.confirmed_at) == (None, None)
    new = rotate(any_host, key_id)
    assert answer(any_host, old) == 200
    key = any_host.key(key_id)
    assert key.rotated_at < key.previous_used_at == key.last_used_at
    assert key.confirmed_at is None
    assert answer(any_host, new) == 200
    key = any_host.key(key_id)
    assert key.previous_used_at < key.confirmed_at == key.last_used_at


def test_uses_of_both_secrets_are_throttled(any_host: Host, at: Any) -> None:
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    start = datetime.now(UTC)
    for seconds in (0, 30, 59, 61):
        for offset, token in ((0, new), (0.5, old)):
            at(start + timedelta(seconds=seconds + offset))
            assert answer(any_host, token) == 200
    key = any_host.key(key_id)
    assert key.confirmed_at == start
    assert key.previous_used_at == start + timedelta(seconds=61.5)
    # The old secret's write took the last use along.
    assert key.last_used_at == key.previous_used_at


def test_last_used_never_goes_back(any_host: Host, at: Any) -> None:
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    later = datetime.now(UTC) + timedelta(seconds=30)
    for moment, token in ((later, old), (later - timedelta(seconds=10), new)):
        at(moment)
        assert answer(any_host, token) == 200
    key = any_host.key(key_id)
    assert key.last_used_at == key.previous_used_at == later
    assert key.confirmed_at == later - timedelta(seconds=10)


def test_first_use_is_noted_though_last_uses_are_not(
    new_host: MakeHost, any_database_url: str
) -> None:
    host = new_host(any_database_url, config={"ORGKEYS_LAST_USED_SECONDS": None})
    old, key_id = host.issue()
    new = rotate(host, key_id)
    assert answer(host, old) == 200
    assert answer(host, new) == 200
    key = host.key(key_id)
    assert key.confirmed_at is not None
    assert (key.last_used_at, key.previous_used_at) == (None, None)


def test_key_that_was_never_rotated_has_no_first_use(any_host: Host) -> None:
    token, key_id = any_host.issue()
    assert answer(any_host, token) == 200
    assert any_host.key(key_id).confirmed_at is None


def test_first_use_is_noted_once(any_host: Host, at: Any) -> None:
    _, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    start = datetime.now(UTC)
    for seconds in (0, 120):
        at(start + timedelta(seconds=seconds))
        assert answer(any_host, new) == 200
    assert any_host.key(key_id).confirmed_at == start


def test_failed_note_of_the_first_use_is_written_at_the_next_one(
    any_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    with writes_fail(monkeypatch):
        assert answer(any_host, new) == 200
        assert answer(any_host, old) == 200
    assert any_host.key(key_id).confirmed_at is None
    assert answer(any_host, new) == 200
    key = any_host.key(key_id)
    assert key.confirmed_at is not None
    # The use of the old secret was not forgotten over the new one's.
    assert key.previous_used_at is not None


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_late_note_marks_no_other_secret(
    any_host: Host, monkeypatch: pytest.MonkeyPatch, is_confirmed: bool
) -> None:
    """Uses that wait while the key is rotated again are no uses of the secrets after."""
    monkeypatch.setattr(writes, "RETRY_SECONDS", 0.0)
    old, key_id = any_host.issue()
    new = rotate(any_host, key_id)
    with writes_fail(monkeypatch):
        assert answer(any_host, new) == 200
        if is_confirmed:
            assert answer(any_host, old) == 200
            change(any_host, key_id, confirmed_at=datetime.now(UTC))
        rotate(any_host, key_id)
    other, _ = any_host.issue()
    assert answer(any_host, other) == 200
    key = any_host.key(key_id)
    assert (key.confirmed_at, key.previous_used_at) == (None, None)
    assert key.last_used_at is not None


of_shared_databases = pytest.mark.parametrize(
    # Two apps have two databases in memory.
    "any_database_url",
    [name for name in databases.ALL if name != databases.SQLITE_MEMORY],
    indirect=True,
)


@of_shared_databases
@pytest.mark.parametrize("new_is_first", [True, False])
def test_new_pepper_replaces_each_digest_in_its_own_column(
    new_host: MakeHost, any_database_url: str, new_is_first: bool
) -> None:
    host = new_host(any_database_url, config={"ORGKEYS_PEPPERS": PEPPERS[1:]})
    old, key_id = host.issue()
    new = rotate(host, key_id)
    before = host.key(key_id)
    with host.sibling(ORGKEYS_PEPPERS=PEPPERS) as sibling:
        for token in (new, old) if new_is_first else (old, new):
            assert answer(sibling, token) == 200
    after = host.key(key_id)
    assert after.digest.partition("$")[0] == after.previous_digest.partition("$")[0]
    assert after.digest.partition("$")[0] != before.digest.partition("$")[0]
    with host.sibling(ORGKEYS_PEPPERS=PEPPERS[:1]) as sibling:
        assert [answer(sibling, token) for token in (new, old)] == [200, 200]


@of_shared_databases
def test_late_pepper_upgrade_overwrites_no_newer_digest(
    any_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "RETRY_SECONDS", 0.0)
    old, key_id = any_host.issue()
    with any_host.sibling(ORGKEYS_PEPPERS=[*PEPPERS, None]) as sibling:
        with writes_fail(monkeypatch):
            assert answer(sibling, old) == 200
        new = rotate(sibling, key_id)
        digest = sibling.key(key_id).digest
        other, _ = sibling.issue()
        assert answer(sibling, other) == 200
        key = sibling.key(key_id)
        assert key.digest == digest
        assert key.previous_digest.startswith("hmac-sha256-of-sha256:")
        assert [answer(sibling, token) for token in (old, new)] == [200, 200]


def test_expired_key_is_expired_by_either_secret(host: Host) -> None:
    old, key_id = host.issue()
    new = rotate(host, key_id, expires_at=in_days(1))
    change(host, key_id, expires_at=datetime.now(UTC))
    assert [answer(host, token) for token in (old, new)] == ["expired_key", "expired_key"]


def test_old_secret_of_weeks_ago(host: Host) -> None:
    old, key_id = host.issue()
    rotate(host, key_id)
    change(host, key_id, previous_until=datetime.now(UTC) - WEEK)
    assert answer(host, old) == "rotated_key"
