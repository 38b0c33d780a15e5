"""The answers from the recorded uses, each from rows as the database may hold them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from flask_orgkeys.errors import KeyNotFound
from flask_orgkeys.keys import insight
from flask_orgkeys.keys.insight import Insight
from flask_orgkeys.state import state_of

from ..conftest import MakeHost
from ..host import Host

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


@pytest.fixture
def at_hand(host: Host) -> Iterator[Host]:
    with host.app.app_context():
        yield host


def new_key(host: Host, *, days_old: float = 200, **values: Any) -> Any:
    with time_machine.travel(ago(days=days_old), tick=False):
        issued = host.orgkeys.create_key(
            host.organization_ids["acme"],
            name="CI",
            scopes=["project:deploy", "app:publish"],
            expires_at=values.pop("expires_at", None),
        )
    for name, value in values.items():
        setattr(issued.key, name, value)
    host.db.session.flush()
    return issued.key


def add_use(host: Host, key: Any, **values: Any) -> None:
    use = {
        "key_id": key.id,
        "endpoint": "deploy",
        "outcome": "accepted",
        "scopes": ["project:deploy"],
        "last_at": NOW,
        "uses": 1,
        **values,
    }
    use.setdefault("first_at", use["last_at"])
    host.db.session.add(host.orgkeys.KeyUse(**use))
    host.db.session.flush()


def insight_of(key: Any) -> Insight:
    return insight.insight(state_of().keys, key, NOW)


@pytest.mark.parametrize(
    ("days", "kind"),
    [(0, "in_use"), (7, "in_use"), (8, "quiet"), (90, "quiet"), (91, "unused"), (190, "unused")],
)
def test_verdict_by_last_use(at_hand: Host, days: int, kind: str) -> None:
    key = new_key(at_hand)
    add_use(at_hand, key, last_at=ago(days=days))
    verdict = insight_of(key).verdict
    assert (verdict.kind, verdict.days) == (kind, days)
    assert verdict.last_used_at == ago(days=days)
    assert [use.endpoint for use in verdict.recent] == (["deploy"] if kind == "in_use" else [])


def test_verdict_counts_uses_without_a_guard(at_hand: Host) -> None:
    key = new_key(at_hand, last_used_at=ago(days=1))
    add_use(at_hand, key, last_at=ago(days=40))
    verdict = insight_of(key).verdict
    assert (verdict.kind, verdict.days, verdict.recent) == ("in_use", 1, ())


def test_verdict_takes_no_refusal_for_a_use(at_hand: Host) -> None:
    key = new_key(at_hand)
    add_use(at_hand, key, outcome="insufficient_scope")
    assert insight_of(key).verdict.kind == "never_used"


def test_verdict_of_a_key_from_before_the_record(at_hand: Host) -> None:
    key = new_key(at_hand, uses_recorded_since=None)
    assert insight_of(key).verdict.kind == "not_recorded"
    add_use(at_hand, key)
    assert insight_of(key).verdict.kind == "in_use"


@pytest.mark.parametrize("ended", [{"revoked_at": NOW}, {"expires_at": NOW}])
def test_verdict_of_an_ended_key(at_hand: Host, ended: Any) -> None:
    key = new_key(at_hand, **ended)
    add_use(at_hand, key)
    assert insight_of(key).verdict.kind == "ended"


def test_verdict_without_a_record(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
    with host.app.app_context():
        key = new_key(host)
        assert key.uses_recorded_since is None
        found = insight_of(key)
        assert found.verdict.kind == "not_recorded"
        assert [scope.is_never for scope in found.scopes] == [False, False]


def test_scopes(at_hand: Host) -> None:
    """Only accepted uses need a scope."""
    key = new_key(at_hand)
    add_use(at_hand, key, last_at=ago(days=3))
    add_use(at_hand, key, endpoint="other", last_at=ago(days=2))
    add_use(at_hand, key, outcome="insufficient_scope", scopes=["app:publish"])
    publish, deploy = insight_of(key).scopes
    assert (publish.scope, publish.last_at, publish.is_never) == ("app:publish", None, True)
    assert (deploy.scope, deploy.last_at, deploy.is_never) == (
        "project:deploy",
        ago(days=2),
        False,
    )


def test_never_is_said_only_of_a_whole_record(at_hand: Host) -> None:
    old = new_key(at_hand, uses_recorded_since=None)
    assert [scope.is_never for scope in insight_of(old).scopes] == [False, False]
    add_use(at_hand, old, first_at=ago(days=9))
    assert insight_of(old).recorded_since == ago(days=9)
    assert [scope.is_never for scope in insight_of(old).scopes] == [True, False]

    full = new_key(at_hand)
    for number in range(200):
        add_use(at_hand, full, endpoint=str(number))
    assert [scope.is_never for scope in insight_of(full).scopes] == [False, False]


def test_attempts_since_the_revocation(at_hand: Host) -> None:
    key = new_key(at_hand, revoked_at=ago(days=1))
    add_use(at_hand, key, outcome="expired_key", uses=9)
    add_use(at_hand, key, outcome="insufficient_scope", uses=9)
    assert insight_of(key).since_revocation == insight.Attempts()
    add_use(at_hand, key, outcome="revoked_key", uses=9, last_at=ago(hours=2), address="::1")
    add_use(at_hand, key, outcome="revoked_key", endpoint="other", uses=5, last_at=ago(hours=1))
    attempts = insight_of(key).since_revocation
    assert attempts.uses == 14
    assert attempts.last is not None
    assert attempts.last.last_at == ago(hours=1)


def test_old_secret(at_hand: Host) -> None:
    key = new_key(at_hand)
    add_use(at_hand, key, outcome="rotated_key", first_at=ago(days=30), uses=500)
    assert insight_of(key).of_old_secret.uses == 1


def test_recent_refusals(at_hand: Host) -> None:
    living, dead, calm = (
        new_key(at_hand),
        new_key(at_hand, expires_at=ago(days=2)),
        new_key(at_hand),
    )
    add_use(at_hand, living, outcome="insufficient_scope", uses=3, last_at=ago(hours=2))
    add_use(at_hand, living, outcome="organization_not_found", first_at=ago(days=9), uses=400)
    add_use(at_hand, dead, outcome="expired_key", uses=7, last_at=ago(minutes=40))
    add_use(at_hand, dead, outcome="insufficient_scope", last_at=ago(days=3))
    add_use(at_hand, calm, outcome="insufficient_scope", last_at=ago(days=8))
    add_use(at_hand, calm)
    found = insight.recent_refusals(state_of().keys, [living, dead, calm], NOW)
    assert {
        key_id: (refusals.uses, refusals.last_at, refusals.outcome)
        for key_id, refusals in found.items()
    } == {
        living.id: (4, NOW, "organization_not_found"),
        dead.id: (7, ago(minutes=40), "expired_key"),
    }


def test_list_uses(at_hand: Host) -> None:
    acme, beta = at_hand.organization_ids.values()
    key = new_key(at_hand)
    assert at_hand.orgkeys.list_uses(acme, key.id) == []
    add_use(at_hand, key, endpoint="older", last_at=ago(days=1))
    add_use(at_hand, key, endpoint="newer")
    uses = at_hand.orgkeys.list_uses(acme, key.id)
    assert [(use.endpoint, use.last_at) for use in uses] == [("newer", NOW), ("older", ago(days=1))]
    for organization_id, key_id in ((beta, key.id), (acme, "0" * 12), (acme, "\0")):
        with pytest.raises(KeyNotFound):
            at_hand.orgkeys.list_uses(organization_id, key_id)
