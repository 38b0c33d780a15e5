"""Revoking many keys: all of an organisation, or all that somebody created."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_orgkeys import signals
from flask_orgkeys.keys import ending
from flask_orgkeys.keys.database import committed

from .. import databases
from ..commands.test_commands import run
from ..host import Host
from .test_management import at_once

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


def revoked(host: Host) -> set[str]:
    keys = host.keys()
    return {key.name for key in keys if key.revoked_at is not None}


@pytest.fixture
def staffed(any_host: Host) -> Host:
    """Two users' keys, in two organisations; one of them was revoked before."""
    return with_staff(any_host)


def with_staff(host: Host) -> Host:
    for organization, name, user in (
        ("acme", "acme-ada", "ada"),
        ("acme", "acme-ada-2", "ada"),
        ("acme", "acme-sam", "sam"),
        ("beta", "beta-ada", "ada"),
        ("beta", "beta-Ada", "Ada"),
        ("beta", "beta-nobody", None),
    ):
        host.issue(organization, name=name, created_by=user)
    _, gone = host.issue(name="gone", created_by="ada")
    with host.app.app_context():
        host.orgkeys.revoke_key(host.organization_ids["acme"], gone, revoked_by="first")
        host.db.session.commit()
    return host


CASES = [
    (("acme", "--all"), "3 keys in organisation 'acme'", {"acme-ada", "acme-ada-2", "acme-sam"}),
    (
        ("--created-by", "ada"),
        "3 keys created by 'ada' in 2 organisations",
        {"acme-ada", "acme-ada-2", "beta-ada"},
    ),
    (
        ("beta", "--created-by", "ada"),
        "1 key created by 'ada' in organisation 'beta'",
        {"beta-ada"},
    ),
    (("--created-by", "Ada"), "1 key created by 'Ada' in 1 organisation", {"beta-Ada"}),
]


class TestCommand:
    @pytest.mark.parametrize(("arguments", "words", "names"), CASES, ids=lambda _: "")
    def test_confirmed(
        self, staffed: Host, arguments: tuple[str, ...], words: str, names: set[str]
    ) -> None:
        before = staffed.events()
        heard: list[str] = []

        def hear(_sender: Any, key: Any, **_: Any) -> None:
            heard.append(key.name)

        refused = run(staffed, "revoke", *arguments, input="n\n")
        assert refused.exit_code == 1
        assert f"Revoke {words}? [y/N]" in refused.stderr
        assert revoked(staffed) == {"gone"}
        with signals.key_revoked.connected_to(hear):
            result = run(staffed, "revoke", *arguments, "--by", "bea", "--json", input="y\n")
        assert result.exit_code == 0
        documents = json.loads(result.stdout)
        assert {document["name"] for document in documents} == names
        assert {(each["status"], each["revoked_by"]) for each in documents} == {("revoked", "bea")}
        assert sorted(heard) == sorted(names)
        assert revoked(staffed) == names | {"gone"}
        added = staffed.events()[len(before) :]
        ids = {document["id"]: document["organization_id"] for document in documents}
        assert {event["key_id"]: event["organization_id"] for event in added} == ids
        assert len(added) == len(names)
        assert {(event["action"], event["actor"]) for event in added} == {("revoked", "bea")}
        again = run(staffed, "revoke", *arguments, "--yes", "--json")
        assert (again.exit_code, json.loads(again.stdout)) == (0, [])
        assert "no key to revoke" in again.stderr
        keys = staffed.keys()
        assert [key.revoked_by for key in keys if key.name == "gone"] == ["first"]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--all",),
            ("acme", "--all", "--created-by", "ada"),
            ("acme", "0" * 12, "--all"),
            ("acme", "0" * 12, "--created-by", "ada"),
        ],
        ids=" ".join,
    )
    def test_usage(self, host: Host, arguments: tuple[str, ...]) -> None:
        with_staff(host)
        result = run(host, "revoke", *arguments, "--yes")
        assert (result.exit_code, result.stdout) == (2, "")
        assert revoked(host) == {"gone"}

    @pytest.mark.parametrize("arguments", [("", "--all"), ("nowhere", "--created-by", "ada")])
    def test_unknown_organisation(self, host: Host, arguments: tuple[str, ...]) -> None:
        """An empty shell variable is no organisation, not every one."""
        with_staff(host)
        result = run(host, "revoke", *arguments, "--yes")
        assert result.exit_code == 1
        assert "no organisation" in result.stderr
        assert revoked(host) == {"gone"}

    @pytest.mark.parametrize("user", ["", "a\0b", "x" * 256])
    def test_unknown_user(self, host: Host, user: str) -> None:
        with_staff(host)
        result = run(host, "revoke", "--created-by", user, "--yes")
        assert result.exit_code == (1 if user else 0)
        assert revoked(host) == {"gone"}

    def test_failure_revokes_none(self, host: Host) -> None:
        with_staff(host)
        count = len(host.events())

        def fail(_sender: Any, **_: Any) -> None:
            raise RuntimeError("of the receiver")

        with signals.key_revoked.connected_to(fail):
            assert run(host, "revoke", "acme", "--all", "--yes").exit_code == 1
        assert revoked(host) == {"gone"}
        assert len(host.events()) == count


class TestMethods:
    @pytest.mark.parametrize("organization_id", [None, "x", True])
    def test_no_organisation(self, host: Host, organization_id: Any) -> None:
        with_staff(host)
        with host.app.app_context():
            with pytest.raises(ValueError, match="organization_id"):
                host.orgkeys.revoke_keys(organization_id)
            with pytest.raises(ValueError, match="created_by must be text"):
                host.orgkeys.revoke_keys_created_by(None)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="created_by must be text"):
                host.orgkeys.list_keys_created_by(None)  # type: ignore[arg-type]
            host.db.session.commit()
        assert revoked(host) == {"gone"}

    def test_caller_commits(self, host: Host) -> None:
        with_staff(host)
        with host.app.app_context():
            keys = host.orgkeys.revoke_keys(host.organization_ids["acme"])
            assert {key.name for key in keys} == {"acme-ada", "acme-ada-2", "acme-sam"}
            host.db.session.rollback()
        assert revoked(host) == {"gone"}

    def test_more_than_are_locked_at_once(
        self, any_host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ending, "ROWS_AT_ONCE", 2)
        with_staff(any_host)
        assert run(any_host, "revoke", "acme", "--all", "--yes").exit_code == 0
        assert revoked(any_host) == {"acme-ada", "acme-ada-2", "acme-sam", "gone"}


@pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)
class TestAtOnce:
    def test_first_stays(self, any_host: Host) -> None:
        """Each key is revoked once: one time and actor, one record, one of those that ask has it
        in its answer.
        """
        for _ in range(6):
            any_host.issue(created_by="ada")
        acme = any_host.organization_ids["acme"]

        def work(number: int) -> list[tuple[str, str | None]]:
            orgkeys, by = any_host.orgkeys, {"revoked_by": f"number {number}"}
            with any_host.app.app_context():

                def change() -> list[tuple[str, str | None]]:
                    if number % 2:
                        keys = orgkeys.revoke_keys(acme, **by)
                    else:
                        keys = orgkeys.revoke_keys_created_by("ada", **by)
                    return [(key.id, key.revoked_by) for key in keys]

                return committed(any_host.db.session, change)

        answered = [each for answer in at_once(4, work) for each in answer]
        kept = any_host.keys()
        actors = {key.id: key.revoked_by for key in kept}
        assert dict(answered) == actors
        events = [event for event in any_host.events() if event["action"] == "revoked"]
        assert len(answered) == len(events) == 6
        assert {event["key_id"]: event["actor"] for event in events} == actors

    def test_revoked_since_it_was_read(self, any_host: Host) -> None:
        """What the session holds, or its snapshot, is from before another revocation."""
        _, key_id = any_host.issue()
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context():
            held = any_host.orgkeys.get_key(acme, key_id)
            assert held is not None
            any_host.db.session.commit()
            assert held.revoked_at is None
            with any_host.db.engine.begin() as other:
                table = any_host.db.metadata.tables["orgkeys_key"]
                change = sa.update(table).values(revoked_at=held.created_at, revoked_by="first")
                other.execute(change)
            assert any_host.orgkeys.revoke_keys(acme, revoked_by="second") == []
            any_host.db.session.commit()
        assert any_host.key(key_id).revoked_by == "first"

    def test_prune(self, any_host: Host) -> None:
        """A row is deleted, and recorded, once."""
        for _ in range(6):
            any_host.revoke(any_host.issue()[1])
        with any_host.app.app_context():
            table = any_host.db.metadata.tables["orgkeys_key"]
            any_host.db.session.execute(sa.update(table).values(revoked_at=LONG_AGO))
            any_host.db.session.commit()
        before = LONG_AGO + timedelta(days=1)

        def work(_: int) -> int:
            prune, session = any_host.orgkeys.prune_keys, any_host.db.session
            with any_host.app.app_context():
                batches = [committed(session, lambda: prune(before, limit=2)) for _ in range(4)]
                return sum(batches)

        assert sum(at_once(3, work)) == 6
        assert any_host.keys() == []
        pruned = [event["key_id"] for event in any_host.events() if event["action"] == "pruned"]
        assert len(pruned) == len(set(pruned)) == 6
