"""What is checked at start, and by the first request."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from flask import Flask, request_started
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String

from flask_orgkeys import OrgKeys, errors, require_key, require_scope

from ..conftest import MakeHost
from ..host import Host, make_host


def test_the_list_of_hooks_stays_as_it_is(host: Host) -> None:
    hooks = host.app.before_request_funcs[None]
    before = list(hooks)
    host.client().get("/open")
    assert host.app.before_request_funcs[None] is hooks
    assert hooks == before


def test_no_later_request_pays_for_the_check(host: Host) -> None:
    before = len(request_started.receivers)
    host.client().get("/open")
    # A signal with receivers looks for those of the app at each request.
    assert len(request_started.receivers) == before - 1


def test_an_app_that_serves_no_request_leaves_nothing() -> None:
    gc.collect()
    before = len(request_started.receivers)
    app = weakref.ref(make_host("sqlite://", has_own_models=True, tables=False).app)
    gc.collect()
    assert app() is None
    assert len(request_started.receivers) == before


def test_a_fault_fails_each_request_before_any_hook(new_host: MakeHost) -> None:
    ran: list[str] = []
    host = new_host(before_init=lambda app, _db: app.before_request(lambda: ran.append("hook")))
    host.app.add_url_rule("/late", "late", require_scope("undeclared")(lambda: ""))
    for _ in range(2):
        with pytest.raises(errors.ConfigurationError, match="undeclared"):
            host.client().get("/open")
    assert ran == []


@pytest.mark.parametrize("mounts_first", [True, False])
def test_pages_with_host_matching_are_an_error(mounts_first: bool) -> None:
    db = SQLAlchemy()
    orgkeys = OrgKeys(db, organization=String(10))
    app = Flask("app", host_matching=True, static_host="localhost")
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", ORGKEYS_SCOPES={"a": "Something"})
    db.init_app(app)
    LoginManager(app)
    steps: list[Any] = [
        lambda: app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/keys"),
        lambda: orgkeys.init_app(app),
    ]
    first, second = steps if mounts_first else reversed(steps)
    first()
    with pytest.raises(errors.ConfigurationError, match="host_matching=True"):
        second()


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("organization_loader", "there is no organization loader"),
        ("permission_checker", "there is no permission checker"),
    ],
)
def test_a_missing_function_is_logged_once(
    host: Host, caplog: pytest.LogCaptureFixture, missing: str, text: str
) -> None:
    setattr(host.app.extensions["orgkeys"].host, missing, None)
    for _ in range(2):
        host.client().get("/open")
    assert [text in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("rule", "has_pages", "missing"),
    [
        ("/items", False, []),
        ("/<org_slug>/items", False, ["loader"]),
        ("/items", True, ["loader", "checker"]),
    ],
)
def test_only_a_function_that_is_needed_is_missed(
    caplog: pytest.LogCaptureFixture, rule: str, has_pages: bool, missing: list[str]
) -> None:
    db = SQLAlchemy()
    orgkeys = OrgKeys(db, organization=String(10))
    app = Flask("app")
    app.config.update(
        SQLALCHEMY_DATABASE_URI="sqlite://", SECRET_KEY="k" * 32, ORGKEYS_SCOPES={"a": "Something"}
    )
    db.init_app(app)
    LoginManager(app)
    orgkeys.init_app(app)
    if has_pages:
        app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/keys")
    app.add_url_rule(rule, "items", require_key(lambda **_: ""))
    app.test_client().get("/nowhere")
    said = [record.message.partition(":")[0].rpartition(" ")[2] for record in caplog.records]
    assert said == missing


def test_nothing_is_logged_if_nothing_is_missing(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.client().get("/open")
    assert caplog.records == []
