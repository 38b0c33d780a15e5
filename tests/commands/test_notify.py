"""``flask orgkeys notify``."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from flask_orgkeys import signals
from flask_orgkeys.errors import ConfigurationError
from flask_orgkeys.keys import notices
from flask_orgkeys.state import state_of

from ..conftest import MakeHost
from ..host import Host

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)

Told = list[tuple[Any, str, str, int | None]]


@contextmanager
def receiving(host: Host, failing_for: Any = None) -> Iterator[Told]:
    told: Told = []

    def receive(app: Any, *, organization_id: Any, notices: Any, **_: Any) -> None:
        if organization_id == failing_for:
            raise RuntimeError("the mail server is away")
        host.db.session.add(host.Note(text=f"mail to {organization_id}"))
        told.extend((organization_id, each.key_id, each.kind, each.days) for each in notices)

    with signals.notices_due.connected_to(receive, host.app):
        yield told


def notify(host: Host, *options: str) -> Any:
    return host.app.test_cli_runner().invoke(args=["orgkeys", "notify", *options])


def issue(host: Host, organization: str = "acme", *, left: float = 5, lived: float = 60) -> str:
    with time_machine.travel(NOW - timedelta(days=lived), tick=False):
        return host.issue(organization, expires_at=NOW + timedelta(days=left))[1]


def call(
    host: Host,
    key_id: str,
    outcome: str,
    at: datetime,
    address: str | None = None,
    endpoint: str = "deploy",
) -> None:
    """Note a use of a key."""
    use = host.orgkeys.KeyUse(
        key_id=key_id,
        endpoint=endpoint,
        outcome=outcome,
        scopes=[],
        first_at=at,
        last_at=at,
        address=address,
        uses=1,
    )
    with host.app.app_context():
        host.db.session.add(use)
        host.db.session.commit()


def marks(host: Host) -> int:
    with host.app.app_context():
        table = host.db.metadata.tables["orgkeys_notice"]
        return host.db.session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def notes(host: Host) -> int:
    with host.app.app_context():
        return host.db.session.scalar(sa.select(sa.func.count()).select_from(host.Note)) or 0


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def test_each_threshold_is_told_once(any_host: Host, at_noon: Any) -> None:
    key_id = issue(any_host, left=29)
    acme = any_host.organization_ids["acme"]
    with receiving(any_host) as told:
        for day in (0, 1, 22, 22.5, 28, 28.5, 20, 29, 30):
            at_noon.move_to(NOW + timedelta(days=day))
            assert notify(any_host).exit_code == 0
    assert told == [(acme, key_id, "expiring", days) for days in (30, 7, 1)]


def test_one_signal_an_organisation(host: Host) -> None:
    ids = {issue(host, organization) for organization in ("acme", "acme", "beta")}
    with receiving(host) as told:
        result = notify(host, "--json")
    assert {key_id for _, key_id, _, _ in told} == ids
    assert notes(host) == 2
    printed = json.loads(result.stdout)
    assert {entry["key_id"] for entry in printed} == ids
    assert {entry["organization_id"] for entry in printed} == set(host.organization_ids.values())
    assert {entry["days"] for entry in printed} == {7}


def test_without_a_receiver_nothing_is_marked(host: Host) -> None:
    issue(host)
    result = notify(host)
    assert result.exit_code == 1
    assert "notices_due" in result.stderr
    assert marks(host) == 0


def test_without_a_receiver_it_fails_also_with_nothing_due(host: Host) -> None:
    assert notify(host).exit_code == 1


def test_dry_run_needs_no_receiver_and_marks_nothing(host: Host) -> None:
    key_id = issue(host)
    for _ in range(2):
        result = notify(host, "--dry-run")
        assert result.exit_code == 0
        assert key_id in result.stdout
    assert marks(host) == 0


def test_failing_receiver_is_told_again_and_holds_nobody_up(any_host: Host) -> None:
    acme, beta = (any_host.organization_ids[name] for name in ("acme", "beta"))
    first, second = issue(any_host, "acme"), issue(any_host, "beta")
    with receiving(any_host, failing_for=acme) as told:
        result = notify(any_host)
    assert result.exit_code == 1
    assert "1 organisation could not be told" in result.stderr
    assert told == [(beta, second, "expiring", 7)]
    assert notes(any_host) == 1
    with receiving(any_host) as told:
        assert notify(any_host).exit_code == 0
    assert told == [(acme, first, "expiring", 7)]


def test_revoked_key_is_not_told(host: Host) -> None:
    host.revoke(issue(host))
    with receiving(host) as told:
        assert notify(host).exit_code == 0
    assert told == []


def test_marks_of_deleted_keys_go(host: Host) -> None:
    key_id = issue(host)
    with receiving(host):
        notify(host)
        with host.app.app_context():
            host.db.session.delete(host.db.session.get(host.orgkeys.ApiKey, key_id))
            host.db.session.commit()
        assert marks(host) == 1
        notify(host)
    assert marks(host) == 0


def test_two_runs_at_once_tell_once(any_host: Host) -> None:
    for _ in range(3):
        issue(any_host)
    runs = 2
    barrier = threading.Barrier(runs)
    told: list[str] = []

    def receive(app: Any, *, notices: Any, **_: Any) -> None:
        told.extend(notice.key_id for notice in notices)

    def run() -> None:
        barrier.wait()
        notify(any_host)

    with signals.notices_due.connected_to(receive, any_host.app):
        threads = [threading.Thread(target=run) for _ in range(runs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        notify(any_host)
    assert len(told) == len(set(told)) == 3


@pytest.mark.parametrize(
    "days",
    [(), (0,), (-1,), (7, 7), (1, 7), (7.0,), ("7",), (True,), 7, "7", {7, 1}, None, (10**6,)],
)
def test_wrong_thresholds_are_refused(new_host: MakeHost, days: Any) -> None:
    with pytest.raises(ConfigurationError, match="ORGKEYS_NOTICE_DAYS"):
        new_host(config={"ORGKEYS_NOTICE_DAYS": days})


def test_a_list_of_thresholds(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_NOTICE_DAYS": [3]})
    issue(host, left=5)
    with receiving(host) as told:
        notify(host)
    assert told == []


def test_progress_stands_on_standard_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {issue(host, organization) for organization in ("acme", "beta")}
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    with receiving(host):
        result = notify(host, "--json")
    assert "Notifying" in result.stderr
    assert "100%" in result.stderr
    assert {entry["key_id"] for entry in json.loads(result.stdout)} == ids


def test_json_is_a_list_with_nothing_due(host: Host) -> None:
    with receiving(host):
        assert json.loads(notify(host, "--json").stdout) == []


def test_expired_key_that_is_called_is_told_once_with_the_caller(any_host: Host) -> None:
    key_id = issue(any_host, left=-3)
    called_at = NOW - timedelta(hours=1)
    call(any_host, key_id, "expired_key", called_at, "203.0.113.7")
    call(any_host, key_id, "accepted", NOW - timedelta(days=4), "203.0.113.8")
    acme = any_host.organization_ids["acme"]
    with receiving(any_host) as told:
        (entry,) = json.loads(notify(any_host, "--json").stdout)
        notify(any_host)
    assert told == [(acme, key_id, "expired_still_called", None)]
    assert entry["last_used_at"] == "2026-06-01T11:00:00.000000Z"
    assert entry["last_used_from"] == "203.0.113.7"


def test_expired_key_that_was_called_long_ago_is_not_told(host: Host) -> None:
    key_id = issue(host, left=-30)
    call(host, key_id, "expired_key", NOW - timedelta(days=8))
    with receiving(host) as told:
        notify(host)
    assert told == []


def test_last_use_and_its_address(host: Host) -> None:
    key_id = issue(host)
    used_at = NOW - timedelta(hours=2)
    with host.app.app_context():
        key = host.db.session.get(host.orgkeys.ApiKey, key_id)
        key.last_used_at = used_at
        host.db.session.commit()
    call(host, key_id, "accepted", used_at - timedelta(hours=1), "203.0.113.7", "first")
    call(host, key_id, "accepted", used_at, "203.0.113.8", "second")
    call(host, key_id, "insufficient_scope", NOW, "203.0.113.9")
    (entry,) = json.loads(notify(host, "--dry-run", "--json").stdout)
    assert entry["last_used_at"] == "2026-06-01T10:00:00.000000Z"
    assert entry["last_used_from"] == "203.0.113.8"


def test_overlap_is_told_with_the_last_use_of_the_secret_before(any_host: Host) -> None:
    key_id = issue(any_host, left=60)
    with any_host.app.app_context():
        key = any_host.db.session.get(any_host.orgkeys.ApiKey, key_id)
        key.rotated_at = NOW - timedelta(days=6.5)
        key.previous_until = NOW + timedelta(days=0.5)
        key.previous_used_at = NOW - timedelta(hours=3)
        key.last_used_at = NOW
        any_host.db.session.commit()
    acme = any_host.organization_ids["acme"]
    with receiving(any_host) as told:
        (entry,) = json.loads(notify(any_host, "--json").stdout)
        notify(any_host)
    assert told == [(acme, key_id, "previous_secret_ending", 1)]
    assert entry["ends_at"] == "2026-06-02T00:00:00.000000Z"
    assert entry["last_used_at"] == "2026-06-01T09:00:00.000000Z"


def test_new_expiry_is_told_anew(any_host: Host) -> None:
    key_id = issue(any_host, left=1)
    with receiving(any_host) as told:
        notify(any_host)
        with any_host.app.app_context():
            key = any_host.db.session.get(any_host.orgkeys.ApiKey, key_id)
            key.expires_at = NOW + timedelta(days=6)
            any_host.db.session.commit()
        notify(any_host)
        notify(any_host)
    assert [days for *_, days in told] == [1, 7]


def test_clock_that_steps_back_tells_nothing_again(host: Host, at_noon: Any) -> None:
    issue(host, left=5)
    with receiving(host) as told:
        notify(host)
        at_noon.move_to(NOW - timedelta(days=10))
        notify(host)
    assert [days for *_, days in told] == [7]


def test_notice_of_another_run_meanwhile_is_not_told(any_host: Host) -> None:
    """The other run commits between the reading and the marking."""
    first, second = sorted(issue(any_host) for _ in range(2))
    with any_host.app.app_context():
        store = state_of().keys
        acme = any_host.organization_ids["acme"]
        found = notices.due_in(store, acme, NOW, (30, 7, 1))
        assert [notice.key_id for notice in found] == [first, second]
        any_host.db.session.rollback()
        assert notices.claim(store, found[:1], NOW) == found[:1]
        any_host.db.session.commit()
        assert notices.claim(store, found, NOW) == found[1:]
        assert notices.claim(store, found, NOW) == []
        farther = [replace(notice, days=30) for notice in found]
        assert notices.claim(store, farther, NOW) == []
        nearer = [replace(notice, days=1) for notice in found]
        assert notices.claim(store, nearer, NOW) == nearer


def test_receiver_that_breaks_the_session_is_a_failure(host: Host) -> None:
    issue(host)

    def receive(app: Any, **_: Any) -> None:
        with suppress(sa.exc.IntegrityError):
            host.db.session.execute(sa.insert(host.Note).values(text=None))
            host.db.session.flush()
        host.db.session.add(host.Note(text=None))

    with signals.notices_due.connected_to(receive, host.app):
        assert notify(host).exit_code == 1
    assert marks(host) == 0
    with receiving(host) as told:
        assert notify(host).exit_code == 0
    assert len(told) == 1


def test_async_receiver(host: Host) -> None:
    issue(host)
    told: list[int] = []

    async def receive(app: Any, notices: Any, **_: Any) -> None:
        told.append(len(notices))

    with signals.notices_due.connected_to(receive, host.app):
        assert notify(host).exit_code == 0
    assert told == [1]
