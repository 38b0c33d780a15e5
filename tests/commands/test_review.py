"""``flask orgkeys events``, ``review``, and the uses in ``show``."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from ..conftest import MakeHost
from ..host import Host, bearer
from .test_commands import run

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def at(moment: datetime) -> Any:
    return time_machine.travel(moment, tick=False)


def run_json(host: Host, *arguments: str) -> Any:
    result = run(host, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


class TestEvents:
    @pytest.fixture
    def recorded(self, host: Host) -> Host:
        for days, (organization, name) in enumerate([("acme", "a"), ("beta", "b"), ("acme", "c")]):
            with at(NOON + timedelta(days=days)):
                host.issue(organization, name=name, created_by=f"=ada{days}")
        return host

    def test_one_organisation(self, recorded: Host) -> None:
        assert [event["actor"] for event in run_json(recorded, "events", "acme")] == [
            "=ada2",
            "=ada0",
        ]

    def test_every_organisation(self, recorded: Host) -> None:
        events = run_json(recorded, "events")
        assert [event["actor"] for event in events] == ["=ada2", "=ada1", "=ada0"]
        assert list(events[0]) == [
            "organization_id",
            "key_id",
            "action",
            "occurred_at",
            "actor",
            "address",
            "details",
        ]

    @pytest.mark.parametrize(
        ("since", "actors"),
        [
            ("2026-06-03", ["=ada2"]),
            ("2026-06-02T12:00", ["=ada2", "=ada1"]),
            ("2026-06-02T12:00:01Z", ["=ada2"]),
            ("2026-06-02T14:00+02:00", ["=ada2", "=ada1"]),
            ("2027-01-01", []),
        ],
    )
    def test_since(self, recorded: Host, since: str, actors: list[str]) -> None:
        found = run_json(recorded, "events", "--since", since)
        assert [event["actor"] for event in found] == actors

    @pytest.mark.parametrize(
        "since", ["yesterday", "", "0001-01-01T00:00+14:00", "0001-01-01", "9999-12-31"]
    )
    def test_wrong_time(self, recorded: Host, since: str) -> None:
        result = run(recorded, "events", "--since", since)
        assert result.exit_code == 2
        assert "--since" in result.stderr

    def test_csv(self, recorded: Host) -> None:
        heading, *rows = csv.reader(io.StringIO(run(recorded, "events", "acme", "--csv").stdout))
        assert [dict(zip(heading, row, strict=True))["actor"] for row in rows] == [
            "'=ada2",
            "'=ada0",
        ]

    def test_table(self, recorded: Host) -> None:
        heading, *rows = run(recorded, "events", "acme").stdout.splitlines()
        assert heading.split() == ["WHEN", "ORGANIZATION", "KEY", "ACTION", "ACTOR", "ADDRESS"]
        assert [row.split()[-2] for row in rows] == ["=ada2", "=ada0"]

    def test_csv_and_json(self, host: Host) -> None:
        assert run(host, "events", "--csv", "--json").exit_code == 2

    def test_many(self, host: Host) -> None:
        with host.app.app_context():
            host.db.session.add_all(
                host.orgkeys.KeyEvent(
                    organization_id=host.organization_ids["acme"],
                    key_id=f"{number:012}",
                    action="created",
                    occurred_at=NOON,
                )
                for number in range(1200)
            )
            host.db.session.commit()
        found = run_json(host, "events", "acme")
        assert [int(event["key_id"]) for event in found] == list(range(1199, -1, -1))


class TestReview:
    def findings(self, host: Host, *arguments: str) -> dict[str, list[str]]:
        return {each["name"]: each["findings"] for each in run_json(host, "review", *arguments)}

    def test_findings(self, host: Host) -> None:
        """A key for each finding, and one that needs no look."""
        soon = NOON + timedelta(days=30)
        client = host.client()
        with at(NOON - timedelta(days=100)):
            stale, _ = host.issue(name="stale", expires_at=soon)
            host.issue(name="never used", expires_at=soon)
            client.get("/api/deploy", headers=bearer(stale))
        with at(NOON - timedelta(days=2)):
            good, _ = host.issue(name="good", expires_at=soon)
            host.issue(name="new", expires_at=soon)
            eternal, _ = host.issue(name="eternal")
            wide, _ = host.issue(
                name="wide", scopes=["project:deploy", "app:publish"], expires_at=soon
            )
            dead, dead_id = host.issue(name="dead", expires_at=soon)
            for token in (good, eternal, wide, dead):
                client.get("/api/deploy", headers=bearer(token))
            host.revoke(dead_id)
        with at(NOON - timedelta(days=1)):
            client.get("/api/deploy", headers=bearer(dead))
        with at(NOON):
            assert self.findings(host) == {
                "stale": ["unused"],
                "never used": ["unused"],
                "eternal": ["no_expiration"],
                "wide": ["scopes_never_needed"],
                "dead": ["ended_still_called"],
            }
            assert run(host, "review").exit_code == 0
            assert "scopes never needed (app:publish)" in run(host, "review", "acme").stdout
            assert self.findings(host, "beta") == {}
            assert run(host, "review", "beta").stdout == "No key needs a look.\n"

    @pytest.mark.parametrize("hours", [1, 30])
    def test_old_secret(self, host: Host, hours: int) -> None:
        """In the overlap, and after it."""
        with at(NOON):
            old, key_id = host.issue(expires_at=NOON + timedelta(days=30))
            with host.app.app_context():
                host.orgkeys.rotate_key(
                    host.organization_ids["acme"],
                    key_id,
                    overlap=timedelta(days=1),
                    expires_at=NOON + timedelta(days=90),
                )
                host.db.session.commit()
        with at(NOON + timedelta(hours=hours)):
            host.client().get("/api/deploy", headers=bearer(old))
            assert self.findings(host) == {"CI": ["old_secret_still_called"]}
        with at(NOON + timedelta(days=20)):
            assert self.findings(host) == {}

    def test_without_a_record(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
        with at(NOON - timedelta(days=200)):
            host.issue(name="old", expires_at=NOON + timedelta(days=1))
            host.issue(name="eternal")
        with at(NOON):
            assert self.findings(host) == {"eternal": ["no_expiration"]}

    def test_json(self, any_host: Host) -> None:
        _, key_id = any_host.issue()
        assert run_json(any_host, "review", "acme") == [
            {
                "key_id": key_id,
                "name": "CI",
                "organization_id": any_host.organization_ids["acme"],
                "findings": ["no_expiration"],
            }
        ]


class TestShow:
    def test_uses(self, host: Host) -> None:
        token, key_id = host.issue()
        assert run_json(host, "show", "acme", key_id)["uses"] == []
        with at(NOON):
            host.client().get("/api/deploy", headers={**bearer(token), "User-Agent": "curl/8.5"})
        assert run_json(host, "show", "acme", key_id)["uses"] == [
            {
                "key_id": key_id,
                "endpoint": "deploy_anywhere",
                "outcome": "accepted",
                "scopes": ["project:deploy"],
                "first_at": "2026-06-01T12:00:00.000000Z",
                "last_at": "2026-06-01T12:00:00.000000Z",
                "address": "127.0.0.1",
                "agent": "curl/8.5",
                "uses": 1,
            }
        ]
        *_, heading, row = run(host, "show", "acme", key_id).stdout.splitlines()
        assert heading.split() == ["LAST", "ENDPOINT", "OUTCOME", "SCOPES", "FROM", "AT", "LEAST"]
        assert row.split()[2:5] == ["deploy_anywhere", "accepted", "project:deploy"]
