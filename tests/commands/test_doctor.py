"""``flask orgkeys check`` names what is weak or missing."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flask_orgkeys import require_scope
from flask_orgkeys.commands.doctor import ADVICE, UNSAFE

from .. import databases
from ..conftest import MakeHost
from ..host import Host

STRONG: dict[str, Any] = {
    "SESSION_COOKIE_SECURE": True,
    "WTF_CSRF_ENABLED": True,
    "TESTING": False,
    "ORGKEYS_PEPPERS": ["pepper-of-the-tests-" + "0123456789abcdef"],
    "ORGKEYS_SCOPES": {"app:publish": "Publish", "project:deploy": "Deploy"},
}


def enforce_foreign_keys(host: Host) -> None:
    with host.app.app_context():
        sa.event.listen(
            host.db.engine,
            "connect",
            lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"),
        )
        host.db.engine.dispose()


def check(host: Host, *, debug: bool = False) -> tuple[int, str]:
    result = host.app.test_cli_runner().invoke(
        args=["orgkeys", "check"], env={"FLASK_DEBUG": str(int(debug))}
    )
    return result.exit_code, result.output


@pytest.fixture
def strong_host(new_host: MakeHost) -> Host:
    host = new_host(config=STRONG)
    enforce_foreign_keys(host)
    return host


def test_strong_set_up_passes(strong_host: Host) -> None:
    assert check(strong_host) == (0, "Nothing unsafe found.\n")


@pytest.mark.parametrize(
    ("config", "severity", "said"),
    [
        ({"SECRET_KEY": None}, UNSAFE, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "short"}, UNSAFE, "SECRET_KEY has 5 characters"),
        ({"SECRET_KEY": "k" * 15}, UNSAFE, "SECRET_KEY has 15 characters"),
        ({"WTF_CSRF_ENABLED": False}, UNSAFE, "WTF_CSRF_ENABLED is off"),
        ({"SESSION_COOKIE_SECURE": False}, UNSAFE, "SESSION_COOKIE_SECURE is off"),
        ({"ORGKEYS_PEPPERS": []}, ADVICE, "ORGKEYS_PEPPERS is empty"),
        (
            {"ORGKEYS_SCOPES": {**STRONG["ORGKEYS_SCOPES"], "unused": "Nothing"}},
            ADVICE,
            "No view requires 'unused'",
        ),
        ({"ORGKEYS_SCOPES": {"app:publish": "Publish"}}, UNSAFE, "'project:deploy'"),
    ],
)
def test_weakness_is_named_with_its_remedy(
    new_host: MakeHost, config: dict[str, Any], severity: str, said: str
) -> None:
    host = new_host(config={**STRONG, **config})
    enforce_foreign_keys(host)
    exit_code, output = check(host)
    problem, remedy = output.splitlines()[:2]
    assert problem.startswith(f"{severity}: ")
    assert said in problem
    assert remedy.startswith("  ")
    assert exit_code == (1 if severity == UNSAFE else 0)


def test_debug_may_use_plain_http(new_host: MakeHost) -> None:
    host = new_host(config={**STRONG, "SESSION_COOKIE_SECURE": False})
    enforce_foreign_keys(host)
    assert check(host)[0] == 1
    assert check(host, debug=True)[0] == 0


def test_host_without_pages_needs_no_secret_key(new_host: MakeHost) -> None:
    host = new_host(config={**STRONG, "SECRET_KEY": None}, pages=False)
    enforce_foreign_keys(host)
    assert check(host)[0] == 0


@pytest.mark.parametrize("missing", ["organization_loader", "permission_checker"])
def test_missing_callback_is_unsafe(strong_host: Host, missing: str) -> None:
    setattr(strong_host.app.extensions["orgkeys"].host, missing, None)
    exit_code, output = check(strong_host)
    assert exit_code == 1
    assert "Register one with @orgkeys." in output


def test_sqlite_without_foreign_keys_is_unsafe(new_host: MakeHost) -> None:
    exit_code, output = check(new_host(config=STRONG))
    assert exit_code == 1
    assert "PRAGMA foreign_keys = ON" in output


def test_missing_and_outdated_tables_are_unsafe(new_host: MakeHost, any_database_url: str) -> None:
    host = new_host(any_database_url, config=STRONG)
    with host.app.app_context(), host.db.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE orgkeys_event"))
        connection.execute(sa.text("ALTER TABLE orgkeys_key DROP COLUMN last_used_at"))
    exit_code, output = check(host)
    assert exit_code == 1
    assert "The table orgkeys_event is missing." in output
    assert "The table orgkeys_key has no column last_used_at." in output


def test_unanswering_database_is_unsafe(strong_host: Host) -> None:
    with strong_host.app.app_context():
        engines = strong_host.db.engines
        working, engines[None] = engines[None], sa.create_engine("sqlite:////none/at/all")  # type: ignore[index]
        exit_code, output = check(strong_host)
        engines[None] = working  # type: ignore[index]
    assert exit_code == 1
    assert "does not answer" in output


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_hanging_database_is_bounded_by_advice(new_host: MakeHost, any_database_url: str) -> None:
    timeout = "read_timeout" if any_database_url.startswith("mysql") else "connect_timeout"
    host = new_host(any_database_url, config=STRONG)
    exit_code, output = check(host)
    assert exit_code == 0
    assert f"has no {timeout}" in output
    host.app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {timeout: 3}}
    assert check(host) == (0, "Nothing unsafe found.\n")


def test_missing_layout_is_unsafe(new_host: MakeHost) -> None:
    config = {**STRONG, "ORGKEYS_BASE_TEMPLATE": "nowhere.html"}
    exit_code, output = check(new_host(config=config))
    assert exit_code == 1
    assert "There is no template 'nowhere.html'" in output


def test_undeclared_scope_is_said_to_serve_nothing(strong_host: Host) -> None:
    strong_host.app.add_url_rule(
        "/late", "late", require_scope("project:destroy")(lambda: ""), methods=["POST"]
    )
    exit_code, output = check(strong_host)
    assert exit_code == 1
    assert "No request is served: the view 'late' requires the scope 'project:destroy'" in output
