"""``flask orgkeys verify``, ``prune`` and ``routes``."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask_restful
import pytest
import sqlalchemy as sa
import time_machine
from flask import Blueprint
from flask.views import MethodView

import flask_orgkeys
from flask_orgkeys import require_key, require_scope, revocation, tokens

from ..conftest import MakeHost
from ..host import Host, mistyped, with_wrong_secret
from .test_commands import APP, run

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def secret_of(token: str) -> str:
    return token.rpartition("_")[2]


class TestVerify:
    def test_whose_it_is(self, any_host: Host) -> None:
        token, key_id = any_host.issue(name="storefront", created_by="ada")
        result = run(any_host, "verify", input=f"{token}\n")
        assert result.exit_code == 0
        assert result.stdout.startswith("It would pass.\n")
        assert all(text in result.stdout for text in (key_id, "storefront", "ada"))
        assert any_host.key(key_id).last_used_at is None
        assert len(any_host.events()) == 1

    @pytest.mark.parametrize(
        ("case", "arguments", "code"),
        [
            ("valid", (), None),
            ("valid", ("--scope", "project:deploy", "--organization", "acme"), None),
            ("valid", ("--scope", "app:publish"), "insufficient_scope"),
            ("valid", ("--organization", "beta"), "organization_not_found"),
            ("revoked", (), "revoked_key"),
            ("expired", (), "expired_key"),
            ("wrong secret", (), "invalid_key"),
            ("mistyped", (), "invalid_key"),
            ("unknown", (), "invalid_key"),
            ("nothing", (), "invalid_key"),
            ("no text", (), "invalid_key"),
            ("too much", (), "invalid_key"),
        ],
    )
    @pytest.mark.parametrize("output", [(), ("--json",)], ids=["text", "json"])
    def test_nothing_leaks(
        self,
        host: Host,
        case: str,
        arguments: tuple[str, ...],
        code: str | None,
        output: tuple[str, ...],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        expires_at = datetime.now(UTC) if case == "expired" else None
        token, key_id = host.issue(expires_at=expires_at)
        if case == "revoked":
            host.revoke(key_id)
        typed: Any = {
            "wrong secret": with_wrong_secret(token),
            "mistyped": mistyped(token),
            "unknown": str(tokens.generate("orgk")),
            "nothing": "",
            "no text": b"\xff\0" + token.encode(),
            "too much": token * 100_000,
        }.get(case, token)
        before = host.key(key_id).last_used_at
        result = run(host, "verify", *arguments, *output, input=typed)
        assert result.exit_code == (0 if code is None else 1)
        assert secret_of(token)[:16] not in result.output + caplog.text
        assert host.key(key_id).last_used_at == before
        if not output:
            said = "It would pass." if code is None else f"It would be refused: {code}."
            assert result.stdout.splitlines()[0] == said
            assert (key_id in result.stdout) is (code != "invalid_key")
            return
        document = json.loads(result.stdout)
        assert (document["passes"], document["code"]) == (code is None, code)
        assert (document["key"] is None) is (code == "invalid_key")

    def test_never_from_an_argument(self, host: Host) -> None:
        token, _ = host.issue()
        for arguments in ((token,), ("acme", token), ("--organization", token)):
            result = run(host, "verify", *arguments, input="")
            assert result.exit_code != 0
            assert secret_of(token) not in result.output
        assert "history: revoke it" in run(host, "verify", token).stderr

    @pytest.mark.parametrize("command", ["list", "show", "revoke", "create"])
    def test_a_key_in_the_wrong_place_is_not_repeated(self, host: Host, command: str) -> None:
        token, _ = host.issue()
        extra = {"show": ["x"], "revoke": ["--all"]}.get(command, [])
        extra = ["--name", "CI", "--scope", "app:publish"] if command == "create" else extra
        result = run(host, command, token, *extra)
        assert result.exit_code == 1
        assert secret_of(token) not in result.output

    def test_wrong_arguments(self, host: Host) -> None:
        assert run(host, "verify", "--scope", "admin", input="x").exit_code == 2
        result = run(host, "verify", "--organization", "nowhere", input="x")
        assert (result.exit_code, result.stderr) == (1, "Error: no organisation 'nowhere'\n")

    def test_at_a_terminal(self, tmp_path: Path) -> None:
        """It asks, and what is typed is not shown."""
        (tmp_path / "cockpit.py").write_text(APP)
        token = str(tokens.generate("orgk"))
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "cockpit", "orgkeys", "verify"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(flask_orgkeys.__file__).parents[1])},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        shown = b""
        while b"API key: " not in shown:
            shown += os.read(leader, 1000)
        os.write(leader, f"{token}\n".encode())
        assert process.wait(timeout=60) == 1
        shown += os.read(leader, 10_000)
        os.close(leader)
        assert b"It would be refused: invalid_key." in shown
        assert secret_of(token).encode() not in shown


class TestPrune:
    def ended(self, host: Host) -> dict[str, str]:
        """Keys that ended at different times before now, and such as live."""
        keys = {}
        with time_machine.travel(NOON - timedelta(days=40), tick=False):
            keys["revoked"] = host.issue()[1]
            host.revoke(keys["revoked"])
            keys["expired"] = host.issue("beta", expires_at=datetime.now(UTC))[1]
            keys["alive"] = host.issue()[1]
            keys["expiring"] = host.issue(expires_at=NOON + timedelta(days=1))[1]
            keys["expired lately"] = host.issue(expires_at=NOON - timedelta(days=29))[1]
            keys["revoked lately"] = host.issue()[1]
        with time_machine.travel(NOON - timedelta(days=29), tick=False):
            host.revoke(keys["revoked lately"])
        return keys

    def test_what_ended_long_ago(self, any_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOGNAME", "operator")
        keys = self.ended(any_host)
        before = any_host.events()
        with time_machine.travel(NOON, tick=False):
            dry = run(any_host, "prune", "--older-than", "30", "--dry-run")
            assert len(any_host.keys()) == len(keys)
            result = run(any_host, "prune", "--older-than", "30")
            again = run(any_host, "prune", "--older-than", "30", "--json")
        assert (dry.exit_code, dry.output) == (0, "Would prune 2 keys.\n")
        assert (result.exit_code, result.output) == (0, "Pruned 2 keys.\n")
        assert json.loads(again.stdout) == {
            "ended_before": "2025-12-02T12:00:00.000000Z",
            "ended": 0,
            "pruned": 0,
        }
        gone = {keys["revoked"], keys["expired"]}
        left = any_host.keys()
        assert {key.id for key in left} == set(keys.values()) - gone
        events = any_host.events()
        assert events[: len(before)] == before
        added = events[len(before) :]
        assert {event["key_id"] for event in added} == gone
        assert {(event["action"], event["actor"]) for event in added} == {
            ("pruned", "cli:operator")
        }
        (of_beta,) = [event for event in added if event["key_id"] == keys["expired"]]
        assert of_beta["organization_id"] == any_host.organization_ids["beta"]

    def test_batches(self, host: Host) -> None:
        """Each is one transaction with its record: the first stays where the second fails."""
        with time_machine.travel(NOON, tick=False):
            for _ in range(5):
                host.revoke(host.issue()[1])
        prune = ("prune", "--older-than", "1", "--batch", "2")
        deletions: list[str] = []

        def fail_in_second(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
            if sql.startswith("DELETE FROM orgkeys_key"):
                deletions.append(sql)
                if len(deletions) == 2:
                    raise RuntimeError("in the second batch")

        with host.app.app_context():
            sa.event.listen(host.db.engine, "before_cursor_execute", fail_in_second)
            result = run(host, *prune)
            sa.event.remove(host.db.engine, "before_cursor_execute", fail_in_second)
        assert isinstance(result.exception, RuntimeError)
        pruned = [event for event in host.events() if event["action"] == "pruned"]
        assert (len(host.keys()), len(pruned)) == (3, 2)
        assert run(host, *prune).stdout == "Pruned 3 keys.\n"
        assert host.keys() == []

    def test_progress(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        """At a terminal, and on standard error, so that what is piped has none of it."""
        with time_machine.travel(NOON, tick=False):
            for _ in range(3):
                host.revoke(host.issue()[1])
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
        result = run(host, "prune", "--older-than", "1", "--batch", "2", "--json")
        assert "Pruning" in result.stderr
        assert "100%" in result.stderr
        assert json.loads(result.stdout)["pruned"] == 3

    @pytest.mark.parametrize("days", ["0", "-1", "x", "36501", ""])
    def test_wrong_days(self, host: Host, days: str) -> None:
        assert run(host, "prune", f"--older-than={days}").exit_code == 2

    def test_a_time_to_come_is_refused(self, host: Host) -> None:
        """Keys that expire before then are alive."""
        _, key_id = host.issue(expires_at=datetime.now(UTC) + timedelta(days=1))
        with host.app.app_context():
            for prune in (host.orgkeys.prune_keys, host.orgkeys.count_ended_keys):
                with pytest.raises(ValueError, match="yet to come"):
                    prune(datetime.now(UTC) + timedelta(days=2))  # type: ignore[operator]
            with pytest.raises(ValueError, match="no time zone"):
                host.orgkeys.prune_keys(datetime(2026, 1, 1))  # noqa: DTZ001
        assert host.key(key_id) is not None


@pytest.fixture
def routed(new_host: MakeHost) -> Host:
    """A host with views of every kind."""
    host = new_host()
    api = Blueprint("api", __name__)

    @api.get("/guarded")
    @require_scope("app:publish")
    def guarded() -> str:
        return ""

    @api.get("/unguarded")
    def unguarded() -> str:
        return ""

    class Items(MethodView):
        @require_scope("app:publish")
        def get(self) -> str:
            return ""

        def head(self) -> str:
            return ""

        def delete(self) -> str:
            return ""

    class Guarded(MethodView):
        decorators = [require_key]

        def get(self) -> str:
            return ""

    host.app.register_blueprint(api, url_prefix="/v1")
    host.app.add_url_rule("/v1/items", view_func=Items.as_view("items"))
    host.app.add_url_rule("/v1", view_func=Guarded.as_view("root"))
    host.app.add_url_rule("/v10", "other", lambda: "")
    return host


class TestRoutes:
    def test_every_endpoint(self, routed: Host) -> None:
        result = run(routed, "routes")
        assert result.exit_code == 0
        lines = [line.split() for line in result.stdout.splitlines()]
        assert lines[0] == ["ENDPOINT", "METHODS", "RULE", "WALL", "SCOPES"]
        assert ["api.guarded", "GET", "/v1/guarded", "-", "app:publish"] in lines
        assert ["api.unguarded", "GET", "/v1/unguarded", "-", "-"] in lines
        assert ["items", "DELETE,", "HEAD", "/v1/items", "-", "-"] in lines
        assert ["items", "GET", "/v1/items", "-", "app:publish"] in lines
        assert ["root", "GET", "/v1", "-", "(any", "key)"] in lines
        assert ["deploy_anywhere", "GET,", "POST", "/api/deploy", "-", "project:deploy"] in lines
        assert ["publish_and_deploy", "POST", "/api/publish-and-deploy", "-", "app:publish",
                "project:deploy"] in lines  # fmt: skip
        assert result.stdout.endswith("\nNo endpoint demands project:read-rc.\n")

    def test_wall(self, routed: Host) -> None:
        guard = require_key(organization="team")
        routed.app.add_url_rule("/v1/<team>", "named", guard(lambda team: ""))
        result = run(routed, "routes")
        lines = [line.split() for line in result.stdout.splitlines()]
        assert ["named", "GET", "/v1/<team>", "team", "(any", "key)"] in lines
        assert ["deploy", "POST", "/api/o/<org_slug>/deployments", "org_slug",
                "project:deploy"] in lines  # fmt: skip

    @pytest.mark.parametrize(
        ("decorators", "unguarded"),
        [
            ([require_key], []),
            ({"get": [require_key], "head": [require_key]}, []),
            ({"get": [require_key]}, ["HEAD"]),
        ],
    )
    def test_method_decorators(self, routed: Host, decorators: Any, unguarded: list[str]) -> None:
        class Resource(flask_restful.Resource):  # type: ignore[misc]
            method_decorators = decorators

            def get(self) -> str:
                return ""

        flask_restful.Api(routed.app).add_resource(Resource, "/v2/resource")
        client = routed.client()
        assert client.get("/v2/resource").status_code == 401
        assert client.head("/v2/resource").status_code == (200 if unguarded else 401)
        document = json.loads(run(routed, "routes", "--under", "/v2", "--json").stdout)
        assert [method for route in document["unguarded"] for method in route["methods"]] == (
            unguarded
        )

    def test_the_outermost_of_two_guards_is_the_first(self, routed: Host) -> None:
        """A class framework puts the last of its decorators around the others."""

        class Resource(flask_restful.Resource):  # type: ignore[misc]
            method_decorators = [
                require_scope("project:deploy", organization="inner"),
                require_scope("app:publish", organization="outer"),
            ]

            def get(self, **_: str) -> str:
                return ""

        flask_restful.Api(routed.app).add_resource(Resource, "/v2/<inner>/<outer>")
        document = json.loads(run(routed, "routes", "--under", "/v2", "--json").stdout)
        (route,) = document["routes"]
        assert (route["scopes"], route["wall"]) == (["app:publish", "project:deploy"], "outer")

    def test_revocation_by_possession_is_not_unguarded(self, routed: Host) -> None:
        routed.app.register_blueprint(revocation.blueprint, url_prefix="/v2")
        result = run(routed, "routes", "--under", "/v2", "--json")
        assert (result.exit_code, json.loads(result.stdout)["unguarded"]) == (0, [])

    @pytest.mark.parametrize(
        ("rule", "is_caught"),
        [
            ("/<path:rest>", True),
            ("/<lang>/<path:rest>", True),
            ("/v2/<path:rest>", True),
            ("/v3/<path:rest>", False),
            ("/<page>", False),
        ],
    )
    def test_catch_all(self, routed: Host, rule: str, is_caught: bool) -> None:
        routed.app.add_url_rule("/v2/ok", "ok", require_key(lambda: ""))
        routed.app.add_url_rule(rule, "caught", lambda **_: "")
        result = run(routed, "routes", "--under", "/v2")
        assert ("no key is needed for caught" in result.stderr) is is_caught

    def test_unguarded(self, routed: Host) -> None:
        result = run(routed, "routes", "--under", "/v1", "--json")
        assert result.exit_code == 1
        assert result.stderr == "Error: no key is needed for api.unguarded, items\n"
        document = json.loads(result.stdout)
        assert {route["endpoint"] for route in document["routes"]} == {
            "api.guarded", "api.unguarded", "items", "root",
        }  # fmt: skip
        assert document["unguarded"] == [
            {"endpoint": "api.unguarded", "methods": ["GET"], "rule": "/v1/unguarded",
             "scopes": None, "wall": None},
            {"endpoint": "items", "methods": ["DELETE", "HEAD"], "rule": "/v1/items",
             "scopes": None, "wall": None},
        ]  # fmt: skip
        assert document["unused_scopes"] == ["project:read-rc"]

    @pytest.mark.parametrize(
        ("arguments", "exit_code"),
        [
            (("--under", "/api"), 0),
            (("--under", "/api/"), 0),
            (("--under", "/api", "--under", "/v1"), 1),
            (("--under", "/v1", "--open", "items"), 1),
            (("--under", "/v1", "--open", "items", "--open", "api.unguarded"), 0),
            (("--under", "/nowhere"), 1),
            (("--under", "/"), 1),
            (("--under", "api"), 2),
            (("--under", ""), 2),
            (("--under", "/v1", "--open", "gone"), 2),
        ],
    )
    def test_exit_code(self, routed: Host, arguments: tuple[str, ...], exit_code: int) -> None:
        assert run(routed, "routes", *arguments).exit_code == exit_code
