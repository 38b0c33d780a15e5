"""What all commands have in common: JSON, exit codes, and what an outage looks like."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
import sqlalchemy as sa
import time_machine

from ..conftest import MakeHost
from ..host import Host
from .test_commands import create, run

NOON = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)

SHAPE = {
    "id": str,
    "name": str,
    "note": type(None),
    "start": str,
    "scopes": list,
    "status": str,
    "organization_id": int,
    "created_at": str,
    "created_by": str,
    "expires_at": str,
    "last_used_at": type(None),
    "revoked_at": type(None),
    "revoked_by": type(None),
    "may_rotate_itself": bool,
    "rotated_at": type(None),
    "previous_until": type(None),
    "previous_used_at": type(None),
    "confirmed_at": type(None),
}


class TestShape:
    def test_the_same_everywhere(self, any_host: Host) -> None:
        with time_machine.travel(NOON, tick=False):
            created = json.loads(create(any_host, "--by", "ada", "--json").stdout)
        token = created.pop("token")
        assert {name: type(value) for name, value in created.items()} == SHAPE
        assert created["start"] == f"orgk_{created['id']}…"
        assert created["created_at"] == "2026-01-01T12:00:00.000005Z"
        assert created["organization_id"] == any_host.organization_ids["acme"]
        with time_machine.travel(NOON, tick=False):
            shown = run(any_host, "show", "acme", created["start"], "--json")
            listed = run(any_host, "list", "acme", "--json")
            verified = run(any_host, "verify", "--json", input=token)
            revoke = ("revoke", "acme", created["id"], "--yes", "--by", "bea", "--json")
            revoked, again = run(any_host, *revoke), run(any_host, *revoke)
        assert json.loads(shown.stdout) == {**created, "uses": []}
        assert json.loads(listed.stdout) == [created]
        assert json.loads(verified.stdout) == {"passes": True, "code": None, "key": created}
        assert json.loads(revoked.stdout) == [
            {
                **created,
                "status": "revoked",
                "revoked_at": "2026-01-01T12:00:00.000005Z",
                "revoked_by": "bea",
            }
        ]
        assert json.loads(again.stdout) == []
        for result in (shown, listed, verified, revoked, again):
            assert result.exit_code == 0
            assert token.rpartition("_")[2] not in result.output

    def test_id_that_json_has_no_type_for(self, new_host: MakeHost) -> None:
        ids = {"acme": UUID(int=1), "beta": UUID(int=2)}
        host = new_host(organization_id_type=sa.Uuid, organization_ids=ids)
        assert json.loads(create(host, "--json").stdout)["organization_id"] == str(UUID(int=1))

    def test_check(self, host: Host) -> None:
        result = run(host, "check", "--json")
        document = json.loads(result.stdout)
        assert (result.exit_code, document["safe"]) == (1, False)
        assert all(finding.keys() == {"name", "severity", "problem", "remedy"}
                   for finding in document["findings"])  # fmt: skip


class TestShow:
    def test_values(self, host: Host) -> None:
        _, key_id = host.issue(name="storefront", created_by="ada")
        result = run(host, "show", "acme", key_id)
        lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
        assert dict(lines) == {
            "id": key_id,
            "name": "storefront",
            "note": "-",
            "start": f"orgk_{key_id}…",
            "scopes": "project:deploy",
            "status": "active",
            "organization_id": str(host.organization_ids["acme"]),
            "created_at": f"{host.key(key_id).created_at:%Y-%m-%d %H:%M}Z",
            "created_by": "ada",
            "expires_at": "never",
            "last_used_at": "never",
            "revoked_at": "never",
            "revoked_by": "-",
            "may_rotate_itself": "False",
            "rotated_at": "never",
            "previous_until": "-",
            "previous_used_at": "never",
            "confirmed_at": "never",
        }

    def test_key_of_another(self, host: Host) -> None:
        _, key_id = host.issue("beta")
        foreign, absent = (run(host, "show", "acme", each) for each in (key_id, "0" * 12))
        assert foreign.exit_code == absent.exit_code == 1
        assert foreign.stderr == absent.stderr == "Error: organisation 'acme' has no such API key\n"


ALL = [
    ("create", "acme", "--name", "CI", "--scope", "app:publish"),
    ("list", "acme"),
    ("show", "acme", "0" * 12),
    ("revoke", "acme", "--all", "--yes"),
    ("revoke", "--created-by", "ada", "--yes"),
    ("verify",),
    ("prune", "--older-than", "30"),
]


class TestOutage:
    @pytest.mark.parametrize("arguments", ALL, ids=" ".join)
    def test_missing_table(self, any_host: Host, arguments: tuple[str, ...]) -> None:
        """One line, with no statement and no values in it."""
        token, _ = any_host.issue()
        with any_host.app.app_context():
            any_host.db.drop_all()
        result = run(any_host, *arguments, input=token)
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.startswith("Error: the database cannot be asked: ")
        assert result.stderr.count("\n") == 1
        assert "SELECT" not in result.stderr
        assert token.rpartition("_")[2] not in result.output

    def test_no_server(self, new_host: MakeHost) -> None:
        host = new_host("postgresql+psycopg://127.0.0.1:9/none", tables=False)
        try:
            result = run(host, "list", "acme")
        finally:
            host.app.config["SQLALCHEMY_DATABASE_URI"] = ""
            with host.app.app_context():
                host.db.engines[None] = sa.create_engine("sqlite://")  # type: ignore[index]
        assert (result.exit_code, result.stdout) == (3, "")
        assert "refused" in result.stderr

    def test_row_that_others_need(self, host: Host) -> None:
        """A host's table may refer to keys, and so keep them."""
        with host.app.app_context():
            host.db.session.execute(
                sa.text(
                    "CREATE TRIGGER keep BEFORE DELETE ON orgkeys_key BEGIN"
                    " SELECT raise(ABORT, 'it is needed'); END"
                )
            )
            host.db.session.commit()
        with time_machine.travel(NOON, tick=False):
            host.revoke(host.issue()[1])
        result = run(host, "prune", "--older-than", "1")
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: the database refuses it: ")
        assert len(host.keys()) == 1
        assert len(host.events()) == 2


def names_listed(host: Host, *arguments: str) -> list[str]:
    listed = json.loads(run(host, "list", "acme", *arguments, "--json").stdout)
    return sorted(document["name"] for document in listed)


class TestFilters:
    @pytest.mark.parametrize(
        ("scope", "names"),
        [
            ("app", ["one"]),
            ("app:publish", ["both", "longer"]),
            ("App", []),
            ("a%", ["wild"]),
            ("a_p", ["under"]),
            (",", []),
            ("app:", []),
            ("undeclared", ["former"]),
        ],
    )
    def test_scope(self, new_host: MakeHost, any_database_url: str, scope: str,
                   names: list[str]) -> None:  # fmt: skip
        """Exactly, though scopes are parts and patterns of one another."""
        scopes = ("app", "app:publish", "a%", "a_p", "a/b'c", ",x,", "undeclared")
        host = new_host(
            any_database_url, config={"ORGKEYS_SCOPES": dict.fromkeys(scopes, "Something")}
        )
        host.issue(name="one", scopes=["app"])
        host.issue(name="longer", scopes=["app:publish"])
        host.issue(name="both", scopes=["app:publish", "a/b'c"])
        host.issue(name="wild", scopes=["a%"])
        host.issue(name="under", scopes=["a_p"])
        host.issue(name="former", scopes=["undeclared"])
        host.issue("beta", name="of beta", scopes=list(scopes))
        assert names_listed(host, "--scope", scope) == names

    def test_times(self, any_host: Host) -> None:
        with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False) as clock:
            used, _ = any_host.issue(name="used", expires_at=datetime(2026, 2, 5, tzinfo=UTC))
            any_host.issue(name="old", expires_at=datetime(2026, 1, 20, tzinfo=UTC))
            clock.move_to(datetime(2026, 1, 25, tzinfo=UTC))
            any_host.issue(name="new", created_by="ada")
            header = {"Authorization": f"Bearer {used}"}
            assert any_host.client().get("/api/whoami", headers=header).status_code == 200
            clock.move_to(datetime(2026, 2, 1, tzinfo=UTC))
            found = {
                arguments: names_listed(any_host, *arguments)
                for arguments in (
                    ("--unused-for", "6"),
                    ("--unused-for", "7"),
                    ("--unused-for", "8"),
                    ("--expiring-within", "3"),
                    ("--expiring-within", "4"),
                    ("--expiring-within", "5"),
                    ("--expiring-within", "5", "--status", "current"),
                    ("--created-by", "ada"),
                    ("--created-by", "Ada"),
                )
            }
        assert list(found.values()) == [
            ["new", "old", "used"],
            ["old"],
            ["old"],
            [],
            [],
            ["used"],
            ["old", "used"],
            ["new"],
            [],
        ]

    def test_refused(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
        assert run(host, "list", "acme", "--unused-for", "3").exit_code == 2
        assert run(host, "list", "acme", "--expiring-within", "0").exit_code == 2
        for arguments in (("--scope", "a b"), ("--scope", ""), ("--created-by", "a\0b")):
            result = run(host, "list", "acme", *arguments)
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr.startswith("Error: ")
        with host.app.app_context(), pytest.raises(ValueError, match="unused_since has no time"):
            host.orgkeys.list_keys(1, unused_since=datetime(2026, 1, 1))  # noqa: DTZ001
