"""``flask orgkeys create``, ``list`` and ``revoke``."""

from __future__ import annotations

import inspect
import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
import time_machine
from click.testing import CliRunner, Result
from flask.testing import FlaskCliRunner

import flask_orgkeys
from flask_orgkeys import signals
from flask_orgkeys.commands import group
from flask_orgkeys.keys.document import timestamp

from ..conftest import MakeHost
from ..host import SCOPES, Host, bearer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = re.compile(r"orgk_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\n")

# Older ones print a question for standard error on standard output, if that is no terminal.
CLICK_KEEPS_QUESTIONS_APART = tuple(map(int, version("click").split(".")[:2])) >= (8, 4)


def runner_of(host: Host, **options: Any) -> FlaskCliRunner:
    """A runner that keeps standard error off standard output, as every click since 8.2 does."""
    if "mix_stderr" in inspect.signature(CliRunner).parameters:
        options["mix_stderr"] = False
    return host.app.test_cli_runner(**options)


def run(host: Host, *arguments: str, **options: Any) -> Result:
    return runner_of(host).invoke(args=["orgkeys", *arguments], **options)


def create(host: Host, *arguments: str, organization: str = "acme") -> Result:
    required = ("--name", "CI", "--scope", "project:deploy")
    return run(host, "create", organization, *required, *arguments)


class TestCreate:
    def test_streams(self, any_host: Host) -> None:
        """The key alone on standard output, and all that a person wants to know beside it."""
        result = create(any_host, "--expires-in", "30")
        assert result.exit_code == 0
        assert KEY.fullmatch(result.stdout)
        (key,) = any_host.keys()
        assert key.id in result.stderr
        assert "'CI'" in result.stderr
        assert "project:deploy" in result.stderr
        assert f"expires {key.expires_at:%Y-%m-%d}" in result.stderr
        assert result.stdout.strip().rpartition("_")[2] not in result.stderr

    def test_key(self, any_host: Host) -> None:
        token = create(any_host).stdout.strip()
        answer = any_host.client().post("/api/o/acme/deployments", headers=bearer(token))
        assert answer.status_code == 201

    def test_several_scopes(self, host: Host) -> None:
        assert create(host, "--scope", "app:publish", "--scope", "project:deploy").exit_code == 0
        (key,) = host.keys()
        assert key.scopes == ["app:publish", "project:deploy"]

    @pytest.mark.parametrize(
        ("config", "arguments", "days"),
        [
            ({}, (), 90),
            ({"ORGKEYS_DEFAULT_EXPIRY_DAYS": 30}, (), 30),
            ({"ORGKEYS_DEFAULT_EXPIRY_DAYS": None}, (), None),
            ({}, ("--expires-in", "never"), None),
            ({}, ("--expires-in", "1"), 1),
            ({}, ("--expires-in", "7"), 7),
            ({"ORGKEYS_ALLOW_NO_EXPIRY": False}, (), 90),
        ],
    )
    def test_expiry(
        self, new_host: MakeHost, config: dict[str, Any], arguments: tuple[str, ...], days: int
    ) -> None:
        host = new_host(config=config)
        with time_machine.travel(NOON, tick=False):
            assert create(host, *arguments).exit_code == 0
        (key,) = host.keys()
        assert key.expires_at == (None if days is None else NOON + timedelta(days=days))

    @pytest.mark.parametrize("value", ["0", "-1", "1.5", "", "Never", "٣٠", "9" * 6, "9" * 5000])
    def test_wrong_expiry(self, host: Host, value: str) -> None:
        result = create(host, f"--expires-in={value}")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "a number of days, or 'never'" in result.stderr
        assert host.keys() == []

    def test_no_expiry_where_it_is_off(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_ALLOW_NO_EXPIRY": False})
        result = create(host, "--expires-in", "never")
        assert result.exit_code == 2
        assert "ORGKEYS_ALLOW_NO_EXPIRY" in result.stderr
        assert host.keys() == []

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("create", "nowhere", "--name", "CI", "--scope", "app:publish"), "no organisation"),
            (("create", "a\0b", "--name", "CI", "--scope", "app:publish"), "no organisation"),
            (("create", "acme", "--name", "CI", "--scope", "admin"), "no such scope: 'admin'"),
            (("create", "acme", "--name", " ", "--scope", "app:publish"), "Enter a name"),
            (("create", "acme", "--name", "n" * 101, "--scope", "app:publish"), "at most 100"),
            (("list", "nowhere"), "no organisation 'nowhere'"),
            (("revoke", "nowhere", "0" * 12, "--yes"), "no organisation 'nowhere'"),
            (("revoke", "acme", "0" * 12, "--yes"), "no such API key"),
            (("revoke", "acme", "", "--yes"), "no such API key"),
        ],
        ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
    )
    def test_refused_arguments(
        self, any_host: Host, arguments: tuple[str, ...], message: str
    ) -> None:
        result = run(any_host, *arguments)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert message in result.stderr
        assert result.stderr.startswith("Error: ")
        assert any_host.keys() == []
        assert any_host.events() == []

    def test_undeclared_scope_names_the_declared(self, host: Host) -> None:
        result = run(host, "create", "acme", "--name", "CI", "--scope", "admin")
        assert all(scope in result.stderr for scope in SCOPES)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("create",),
            ("create", "acme"),
            ("create", "acme", "--name", "CI"),
            ("create", "acme", "--scope", "app:publish"),
            ("list",),
            ("list", "acme", "--status", "dead"),
            ("revoke",),
            ("revoke", "acme"),
            ("unknown",),
        ],
        ids=" ".join,
    )
    def test_usage(self, host: Host, arguments: tuple[str, ...]) -> None:
        result = run(host, *arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "Usage: " in result.stderr

    def test_limit(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_MAX_KEYS": 1})
        assert create(host).exit_code == 0
        result = create(host)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "1 live API keys" in result.stderr

    def test_missing_loader(self, host: Host) -> None:
        host.app.extensions["orgkeys"].host.organization_loader = None
        result = create(host)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "@orgkeys.organization_loader" in result.stderr

    def test_record(self, any_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOGNAME", "operator")
        for arguments in ((), ("--by", "release bot")):
            assert create(any_host, *arguments).exit_code == 0
        first, second = any_host.events()
        assert (first["actor"], first["address"]) == ("cli:operator", None)
        assert (second["actor"], second["address"]) == ("release bot", None)

    def test_user_without_a_name(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a container that runs by a number."""
        monkeypatch.setattr("getpass.getuser", _raise_key_error)
        assert create(host).exit_code == 0
        assert host.events()[0]["actor"] == "cli"

    def test_actor_that_does_not_fit(self, host: Host) -> None:
        result = create(host, "--by", "x" * 256)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "at most 255 characters" in result.stderr

    def test_failure_prints_no_key(self, host: Host) -> None:
        def fail(_sender: Any, **_: Any) -> None:
            raise RuntimeError("of the receiver")

        with signals.key_created.connected_to(fail):
            result = create(host)
        assert result.exit_code == 1
        assert "orgk_" not in result.output
        assert host.keys() == []

    @pytest.mark.parametrize("argument", ["--name", "--by"])
    def test_key_for_a_name(self, host: Host, argument: str) -> None:
        token, _ = host.issue()
        result = create(host, argument, f"CI {token}")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "API key" in result.stderr
        assert token[-38:] not in result.stderr
        assert len(host.keys()) == 1

    @pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["key", "json"])
    def test_output_that_cannot_be_written(
        self, host: Host, monkeypatch: pytest.MonkeyPatch, as_json: tuple[str, ...]
    ) -> None:
        def fail(*_: Any, err: bool = False, **__: Any) -> None:
            if not err:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(click, "echo", fail)
        result = create(host, *as_json)
        assert result.exit_code == 1
        assert host.keys() == []
        assert host.events() == []


class TestKeyInTheWrongPlace:
    """Nothing repeats its secret: what a pipeline writes to standard error is kept."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ("revoke", "acme", "0" * 12, "{}"),
            ("show", "acme", "0" * 12, "{}"),
            ("list", "acme", "{}"),
            ("list", "{}"),
            ("list", "acme", "--status", "{}"),
            ("list", "acme", "--unused-for", "{}"),
            ("check", "{}"),
            ("scan-rule", "{}"),
            ("scan-rule", "--format", "{}"),
            ("prune", "--older-than", "{}"),
            ("create", "acme", "--name", "CI", "--scope", "{}"),
            ("create", "acme", "--name", "CI", "--scope", "app:publish", "--expires-in", "{}"),
            ("verify", "--scope", "{}"),
            ("verify", "{}"),
            ("routes", "--under", "{}"),
            ("routes", "--open", "{}"),
            ("{}",),
            ("--{}",),
        ],
        ids=" ".join,
    )
    def test_error(self, host: Host, arguments: tuple[str, ...]) -> None:
        token, _ = host.issue()
        result = run(host, *(each.replace("{}", token) for each in arguments))
        assert result.exit_code in (1, 2)
        assert token[-38:] not in result.output
        assert result.stdout == ""


class TestList:
    def test_columns(self, any_host: Host) -> None:
        with time_machine.travel(NOON, tick=False):
            expires_at = NOON + timedelta(days=1)
            _, first = any_host.issue(name="first", expires_at=expires_at)
            token, second = any_host.issue(name="second", scopes=list(SCOPES))
            any_host.client().get("/api/whoami", headers=bearer(token))
            result = run(any_host, "list", "acme")
        assert result.exit_code == 0
        assert result.stderr == ""
        header, *lines = result.stdout.splitlines()
        columns = ["ID", "STATUS", "LAST USED", "EXPIRES", "CREATED", "BY", "SCOPES", "NAME"]
        assert re.split(r"  +", header) == columns
        today, tomorrow = "2026-01-01 12:00Z", "2026-01-02 12:00Z"
        rows = {line.split()[0]: re.split(r"  +", line)[1:] for line in lines}
        assert rows == {
            first: ["active", "never", tomorrow, today, "-", "project:deploy", "first"],
            second: ["active", today, "never", today, "-", " ".join(SCOPES), "second"],
        }
        assert token.rpartition("_")[2] not in result.output

    @pytest.mark.parametrize(
        ("arguments", "names"),
        [
            ((), ["expired", "plain"]),
            (("--status", "active"), ["plain"]),
            (("--status", "expired"), ["expired"]),
            (("--status", "revoked"), ["gone"]),
            (("--status", "all"), ["expired", "gone", "plain"]),
        ],
    )
    def test_status(self, host: Host, arguments: tuple[str, ...], names: list[str]) -> None:
        host.issue(name="plain")
        host.issue(name="expired", expires_at=datetime.now(UTC))
        host.revoke(host.issue(name="gone")[1])
        lines = run(host, "list", "acme", *arguments).stdout.splitlines()[1:]
        assert sorted(line.split()[-1] for line in lines) == names

    @pytest.mark.parametrize(
        ("arguments", "names"),
        [
            (("--use", "never"), ["lasting", "new", "soon"]),
            (("--use", "unused"), ["lasting"]),
            (("--expires", "soon"), ["soon"]),
            (("--expires", "never"), ["lasting", "used"]),
            (("--search", "S"), ["lasting", "soon", "used"]),
            (("--search", "S", "--use", "never", "--expires", "never"), ["lasting"]),
        ],
        ids=" ".join,
    )
    def test_filters_of_the_page(
        self, host: Host, arguments: tuple[str, ...], names: list[str]
    ) -> None:
        now = datetime.now(UTC)
        with time_machine.travel(now - timedelta(days=31)):
            host.issue(name="lasting")
        host.issue(name="new", expires_at=now + timedelta(days=30))
        host.issue(name="soon", expires_at=now + timedelta(days=3))
        host.client().get("/api/whoami", headers=bearer(host.issue(name="used")[0]))
        lines = run(host, "list", "acme", *arguments).stdout.splitlines()[1:]
        assert sorted(line.split()[-1] for line in lines) == names

    def test_uses_are_not_recorded(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
        _, key_id = host.issue()
        listed = run(host, "list", "acme").stdout.splitlines()[1]
        assert re.split(r"  +", listed)[2] == "not recorded"
        assert re.search("last_used_at +not recorded", run(host, "show", "acme", key_id).stdout)
        asked = run(host, "revoke", "acme", key_id, input="n").output
        assert "last used not recorded" in asked
        refused = run(host, "list", "acme", "--use", "never")
        assert refused.exit_code == 2
        assert "ORGKEYS_LAST_USED_SECONDS is None" in refused.stderr

    def test_names_of_actors(self, host: Host) -> None:
        """As the host's namer has them; ``show`` tells the recorded text, too."""
        _, key_id = host.issue(created_by="3")
        run(host, "revoke", "acme", key_id, "--yes", "--by", "gone")
        host.orgkeys.actor_namer(lambda actors: {"3": "Ada Lovelace"})
        listed = run(host, "list", "acme", "--status", "all").stdout.splitlines()[1]
        assert re.split(r"  +", listed)[5] == "Ada Lovelace"
        shown = run(host, "show", "acme", key_id).stdout
        assert re.search(r"created_by +3 \(Ada Lovelace\)", shown)
        assert re.search(r"revoked_by +gone$", shown, re.MULTILINE)

    def test_none(self, host: Host) -> None:
        assert run(host, "list", "acme").stdout.splitlines() == [
            "ID  STATUS  LAST USED  EXPIRES  CREATED  BY  SCOPES  NAME"
        ]


class TestRevoke:
    def test_confirmed(self, any_host: Host) -> None:
        _, key_id = any_host.issue(name="storefront")
        result = run(any_host, "revoke", "acme", key_id, input="y\n")
        assert result.exit_code == 0
        assert f"Revoked {key_id}" in result.stderr
        if CLICK_KEEPS_QUESTIONS_APART:
            assert "Revoke 'storefront', last used never? [y/N]" in result.stderr
            assert result.stdout == ""
        assert any_host.key(key_id).revoked_at is not None

    @pytest.mark.parametrize("answer", ["n\n", "\n", ""], ids=repr)
    def test_not_confirmed(self, host: Host, answer: str) -> None:
        _, key_id = host.issue()
        result = run(host, "revoke", "acme", key_id, input=answer)
        assert result.exit_code == 1
        assert not CLICK_KEEPS_QUESTIONS_APART or result.stdout == ""
        assert host.key(key_id).revoked_at is None
        assert len(host.events()) == 1

    def test_without_asking(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOGNAME", "operator")
        _, key_id = host.issue()
        result = run(host, "revoke", "acme", key_id, "--yes")
        assert result.exit_code == 0
        assert "?" not in result.stderr
        assert host.key(key_id).revoked_by == "cli:operator"
        assert host.events()[1]["actor"] == "cli:operator"

    def test_twice(self, host: Host) -> None:
        _, key_id = host.issue()
        for by, message in (("first", "Revoked"), ("second", "Was revoked already")):
            result = run(host, "revoke", "acme", key_id, "--yes", "--by", by)
            assert result.exit_code == 0
            assert message in result.stderr
        assert host.key(key_id).revoked_by == "first"
        assert len(host.events()) == 2

    @pytest.mark.parametrize("form", ["orgk_{id}", "orgk_{id}…", "orgk_{id}...", "{token}"])
    def test_key_as_it_is_at_hand(self, host: Host, form: str) -> None:
        """As the pages show it; or the whole key, which is not repeated."""
        token, key_id = host.issue()
        text = form.format(id=key_id, token=token)
        result = run(host, "revoke", "acme", text, "--yes")
        assert result.exit_code == 0
        assert host.key(key_id).revoked_at is not None
        assert token not in result.output

    def test_whole_key_of_another(self, host: Host) -> None:
        token, _ = host.issue("beta")
        result = run(host, "revoke", "acme", token, "--yes")
        assert result.exit_code == 1
        assert token.rpartition("_")[2] not in result.output


APP = """
from flask import Flask
from flask_orgkeys import OrgKeys
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass


class Organization:
    id = "acme"


db = SQLAlchemy(model_class=Base)
orgkeys = OrgKeys(db, organization=String(64))
orgkeys.organization_loader(lambda slug: Organization if slug == "acme" else None)


def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///keys.sqlite"
    app.config["ORGKEYS_SCOPES"] = {"project:deploy": "Deploy"}
    db.init_app(app)
    orgkeys.init_app(app)
    with app.app_context():
        db.create_all()
    return app
"""


class TestProcess:
    """As somebody types it: a process of its own."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        (tmp_path / "cockpit.py").write_text(APP)
        return tmp_path

    @staticmethod
    def flask(project: Path, line: str) -> subprocess.CompletedProcess[str]:
        """Run a shell line in which ``$flask`` is the command."""
        package = Path(flask_orgkeys.__file__).parents[1]
        env = {**os.environ, "PYTHONPATH": str(package), "PYTHONWARNINGS": "error"}
        env["flask"] = f"{sys.executable} -m flask --app cockpit"
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=project,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_pipe_into_a_secret_store(self, project: Path) -> None:
        create = "$flask orgkeys create acme --name CI --scope project:deploy"
        done = self.flask(project, f"{create} 2>/dev/null | cat > store; $flask orgkeys list acme")
        assert done.returncode == 0
        assert done.stderr == ""
        stored = (project / "store").read_text()
        assert KEY.fullmatch(stored)
        assert stored.split("_")[1] in done.stdout
        assert stored.strip().rpartition("_")[2] not in done.stdout

    def test_exit_code(self, project: Path) -> None:
        done = self.flask(project, "$flask orgkeys create nowhere --name CI --scope project:deploy")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == "Error: no organisation 'nowhere'\n"

    def test_help(self, project: Path) -> None:
        done = self.flask(project, "$flask --help && $flask orgkeys --help")
        assert done.returncode == 0
        assert "Manage the API keys of an organisation." in done.stdout
        assert all(command in done.stdout for command in ("create", "list", "revoke"))


def _raise_key_error() -> str:
    raise KeyError("uid not found")


class TestOutput:
    """``create --output FILE``."""

    def test_file(self, host: Host, tmp_path: Path) -> None:
        file = tmp_path / "key"
        result = create(host, "--output", str(file))
        assert (result.exit_code, result.stdout) == (0, "")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        answer = host.client().get("/api/whoami", headers=bearer(file.read_text().rstrip("\n")))
        assert answer.status_code == 200

    def test_json(self, host: Host, tmp_path: Path) -> None:
        file = tmp_path / "key.json"
        assert create(host, "--json", "--output", str(file)).stdout == ""
        document = json.loads(file.read_text())
        assert document["token"].startswith(f"orgk_{document['id']}_")

    @pytest.mark.parametrize("kind", ["file", "link", "directory", "in no directory"])
    def test_existing(self, host: Host, tmp_path: Path, kind: str) -> None:
        """Nothing is overwritten, and no link is followed."""
        target = tmp_path / "target"
        file = tmp_path / "key"
        if kind == "file":
            file.write_text("mine")
        elif kind == "link":
            file.symlink_to(target)
        elif kind == "directory":
            file.mkdir()
        else:
            file = tmp_path / "missing" / "key"
        result = create(host, "--output", str(file))
        assert (result.exit_code, result.stdout) == (1, "")
        assert "--output" in result.stderr
        assert host.keys() == []
        assert not target.exists()
        assert kind != "file" or file.read_text() == "mine"

    def test_failed_creation(self, host: Host, tmp_path: Path) -> None:
        """Leaves no file behind."""
        file = tmp_path / "key"
        assert create(host, "--name", " ", "--output", str(file)).exit_code == 1
        assert not file.exists()


class TestRetry:
    """A commit that fails for another transaction's sake, after the key was printed."""

    @pytest.fixture
    def host(self, new_host: MakeHost) -> Host:
        return new_host(has_own_models=True)

    @staticmethod
    def fail_commits(host: Host, failures: int) -> None:
        errors = [sa.exc.IntegrityError("", {}, Exception("conflict"))] * failures

        def fail(_session: Any) -> None:
            if errors:
                raise errors.pop()

        with host.app.app_context():
            sa.event.listen(host.db.session, "before_commit", fail)

    @pytest.mark.parametrize("options", [(), ("--json",)], ids=["plain", "json"])
    def test_one_key_that_works(self, host: Host, options: tuple[str, ...]) -> None:
        self.fail_commits(host, 2)
        result = create(host, *options)
        assert result.exit_code == 0
        document = json.loads(result.stdout) if options else {"token": result.stdout[:-1]}
        answer = host.client().get("/api/whoami", headers=bearer(document["token"]))
        assert answer.status_code == 200
        (key,) = host.keys()
        assert document.get("created_at", timestamp(key.created_at)) == timestamp(key.created_at)

    def test_none_in_the_end(self, host: Host) -> None:
        self.fail_commits(host, 3)
        result = create(host)
        assert result.exit_code == 1
        assert len(result.stdout.splitlines()) == 1
        assert "is void" in result.stderr
        assert host.keys() == []


class TestHelp:
    def test_summaries_fit_on_a_line(self, host: Host) -> None:
        lines = run(host, "--help", env={"COLUMNS": "80"}).stdout.splitlines()
        summaries = lines[lines.index("Commands:") + 1 :]
        assert [line.split()[0] for line in summaries] == sorted(group.commands.commands)
        assert all(line.endswith(".") and "..." not in line for line in summaries)
        assert max(map(len, lines)) <= 80

    def test_every_option_is_explained(self) -> None:
        for name, command in group.commands.commands.items():
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    assert parameter.help, (name, parameter.name)


class TestNarrowEncoding:
    """Standard output in cp1252, as on Windows: names may hold any character."""

    @pytest.mark.parametrize("command", ["list", "show", "verify", "revoke"])
    def test_no_traceback(self, host: Host, command: str) -> None:
        token, key_id = host.issue(name="Übung 🚀", created_by="Zoë 中")
        runner = runner_of(host, charset="cp1252")
        arguments = {
            "list": ["acme"],
            "show": ["acme", key_id],
            "verify": [],
            "revoke": ["acme", key_id, "--yes", "--by", "中"],
        }
        result = runner.invoke(args=["orgkeys", command, *arguments[command]], input=token)
        assert (result.exit_code, result.exception) == (0, None)
        assert command == "revoke" or r"Übung \U0001f680" in result.stdout
