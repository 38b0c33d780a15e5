"""``flask orgkeys check`` names what is weak or missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import flask_restful
import pytest
import sqlalchemy as sa
from flask import Blueprint
from flask.views import MethodView, View
from jinja2 import DictLoader
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_orgkeys import errors, holder, require_key, require_scope
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
    host.app.wsgi_app = ProxyFix(host.app.wsgi_app)  # type: ignore[method-assign]


# The guarded routes of the tests' host that take keys of any organisation.
ACCEPTED = ("no-wall:whoami", "no-wall:deploy_anywhere", "no-wall:publish_and_deploy")


def check(
    host: Host, *, debug: bool = False, accepted: tuple[str, ...] = ACCEPTED
) -> tuple[int, str]:
    options = [part for name in accepted for part in ("--accept", name)]
    result = host.app.test_cli_runner().invoke(
        args=["orgkeys", "check", *options], env={"FLASK_DEBUG": str(int(debug))}
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
        ({"SECRET_KEY_FALLBACKS": ["short"]}, UNSAFE, "SECRET_KEY_FALLBACKS has 1 of fewer"),
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
    assert re.search(r" \([a-z-]+(:\S+)?\)$", problem)
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


@pytest.mark.parametrize("is_secure", [True, False])
def test_host_without_pages_needs_nothing_for_them(new_host: MakeHost, is_secure: bool) -> None:
    config = {"ORGKEYS_BASE_TEMPLATE": "nowhere.html", "SESSION_COOKIE_SECURE": is_secure}
    host = new_host(config={**STRONG, **config}, pages=False)
    enforce_foreign_keys(host)
    host.app.wsgi_app = host.app.wsgi_app.app  # type: ignore[attr-defined,method-assign]
    host.app.extensions["orgkeys"].host.permission_checker = None
    assert check(host) == (0, "Nothing unsafe found.\n")
    # A layout of the host's that is for others.
    host.app.jinja_loader = DictLoader({"nowhere.html": ""})
    assert check(host) == (0, "Nothing unsafe found.\n")


def test_tests_may_use_plain_http_without_csrf(new_host: MakeHost) -> None:
    relaxed = {"SESSION_COOKIE_SECURE": False, "WTF_CSRF_ENABLED": False, "TESTING": True}
    host = new_host(config={**STRONG, **relaxed})
    enforce_foreign_keys(host)
    assert check(host) == (0, "Nothing unsafe found.\n")


def test_strong_fallback_is_not_named(new_host: MakeHost) -> None:
    host = new_host(config={**STRONG, "SECRET_KEY_FALLBACKS": ["k" * 16]})
    enforce_foreign_keys(host)
    assert check(host) == (0, "Nothing unsafe found.\n")


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


def test_sqlite_without_an_organisation_table_needs_no_foreign_keys(new_host: MakeHost) -> None:
    host = new_host(config=STRONG, organization=sa.Integer)
    host.app.wsgi_app = ProxyFix(host.app.wsgi_app)  # type: ignore[method-assign]
    _, output = check(host)
    assert "sqlite-foreign-keys" not in output


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
    host.app.wsgi_app = ProxyFix(host.app.wsgi_app)  # type: ignore[method-assign]
    exit_code, output = check(host)
    assert exit_code == 0
    assert f"has no {timeout}" in output
    host.app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {timeout: 3}}
    assert check(host) == (0, "Nothing unsafe found.\n")
    in_url = new_host(f"{any_database_url}?{timeout}=3", config=STRONG, tables=False)
    assert "no-timeout" not in check(in_url)[1]


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


def test_remedy_for_sqlite_is_to_be_copied(new_host: MakeHost) -> None:
    _, output = check(new_host(config=STRONG))
    assert '\n      @event.listens_for(Engine, "connect")\n' in output
    _, _, remedy = output.partition("(sqlite-foreign-keys)\n")
    assert all(line.startswith("  ") for line in remedy.splitlines()[:3] if line)


def test_debug_is_said(strong_host: Host) -> None:
    exit_code, output = check(strong_host, debug=True)
    assert exit_code == 0
    assert "advice: FLASK_DEBUG is on" in output


def test_app_without_proxy_fix_is_advised(new_host: MakeHost) -> None:
    _, output = check(new_host(config=STRONG))
    assert "(no-proxy-fix)" in output


def test_proxy_fix_below_another_layer_counts(strong_host: Host) -> None:
    class Layer:
        def __init__(self, app: Any) -> None:
            self.app = app

        def __call__(self, environ: Any, start_response: Any) -> Any:
            return self.app(environ, start_response)

    strong_host.app.wsgi_app = Layer(strong_host.app.wsgi_app)  # type: ignore[method-assign]
    assert check(strong_host) == (0, "Nothing unsafe found.\n")


@pytest.mark.parametrize(
    ("layout", "missing"),
    [
        ("{% block head %}{% endblock %}", "no block content:"),
        ("{% extends 'orgkeys/base.html' %}", "no block content and no block head"),
        ("{% extends 'broken.html' %}", None),
        ("{% extends 'gone.html' %}", None),
        ("<html></html>", "no block content and no block head"),
        ("{% block content %}{% endblock %}", "no block head:"),
        ("{% extends 'whole.html' %}", None),
        ("{% extends layout %}", None),
    ],
)
def test_layout_without_its_blocks_is_unsafe(
    strong_host: Host, layout: str, missing: str | None
) -> None:
    whole = "{% block head %}{% endblock %}{% block content %}{% endblock %}"
    templates = {"orgkeys/base.html": layout, "whole.html": whole, "broken.html": "{% block %}"}
    strong_host.app.jinja_loader = DictLoader(templates)
    exit_code, output = check(strong_host)
    assert exit_code == (missing is not None)
    assert missing is None or missing in output


class TestAccept:
    def test_a_kind_or_one_finding(self, strong_host: Host) -> None:
        named = [f"({name})" for name in ACCEPTED]
        for accepted, left in (
            ((), named),
            (("no-wall:whoami",), named[1:]),
            (("no-wall",), []),
        ):
            exit_code, output = check(strong_host, accepted=accepted)
            assert exit_code == 0
            assert re.findall(r"\(no-wall:\S+\)$", output, re.MULTILINE) == left

    def test_an_unsafe_one(self, new_host: MakeHost) -> None:
        host = new_host(config={**STRONG, "SESSION_COOKIE_SECURE": False})
        enforce_foreign_keys(host)
        assert check(host)[0] == 1
        assert check(host, accepted=(*ACCEPTED, "plain-http"))[0] == 0

    def test_one_that_there_is_not(self, strong_host: Host) -> None:
        exit_code, output = check(strong_host, accepted=("nothing",))
        assert exit_code == 2
        assert "no such finding: 'nothing'" in output


def above_the_route(host: Host) -> None:
    global kept

    @require_key
    @host.app.get("/found")
    def found() -> str:
        return "open"

    kept = found


def after_as_view(host: Host) -> None:
    class Releases(View):
        def dispatch_request(self) -> str:
            return "open"

    host.app.add_url_rule("/found", view_func=Releases.as_view("found"))
    require_key(Releases)


class Guarded(MethodView):
    decorators = [require_key()]

    def get(self) -> str:
        return "in"


class GuardedMethod(MethodView):
    @require_key
    def get(self) -> str:
        return "in"


class GuardedDispatch(View):
    @require_key
    def dispatch_request(self) -> str:
        return "in"


def other_decorators(host: Host) -> None:
    class Child(Guarded):
        decorators = []

    host.app.add_url_rule("/found", view_func=Child.as_view("found"))


def overridden_method(host: Host) -> None:
    class Child(GuardedMethod):
        def get(self) -> str:
            return "open"

    host.app.add_url_rule("/found", view_func=Child.as_view("found"))


def overridden_dispatch(host: Host) -> None:
    class Child(GuardedDispatch):
        def dispatch_request(self) -> str:
            return "open"

    host.app.add_url_rule("/found", view_func=Child.as_view("found"))


def own_dispatch(host: Host) -> None:
    class Child(GuardedMethod):
        def dispatch_request(self) -> str:
            return "open"

    host.app.add_url_rule("/found/<org_slug>", view_func=Child.as_view("found"))


def without_wraps(host: Host) -> None:
    def cached(view: Callable[[], str]) -> Callable[[], str]:
        return lambda: "open" if host else view()

    host.app.add_url_rule("/found", "found", cached(require_key(lambda: "in")))


def below_several_without_wraps(host: Host) -> None:
    def cached(view: Callable[[], str]) -> Callable[[], str]:
        return lambda: "open" if host else view()

    host.app.add_url_rule("/found", "found", cached(cached(cached(require_key(lambda: "in")))))


def without_a_route(host: Host) -> None:
    global kept

    @require_key
    def found() -> str:
        return "nowhere"

    host.app.add_url_rule("/beside", "beside", lambda: "open")
    kept = found


kept: Any = None
"""The function that nothing else keeps, as its module would."""


@pytest.mark.parametrize(
    ("add", "name"),
    [
        (above_the_route, "guard-above-route:found"),
        (after_as_view, "guarded-after-as-view:found"),
        (other_decorators, "lost-guard:found"),
        (overridden_method, "lost-guard:found"),
        (overridden_dispatch, "lost-guard:found"),
        (own_dispatch, "own-dispatch:found"),
        (without_wraps, "hidden-guard:found"),
        (below_several_without_wraps, "hidden-guard:found"),
        (without_a_route, "unrouted-guard:without_a_route.<locals>.found"),
    ],
)
def test_guard_that_does_not_hold_is_named(
    strong_host: Host, add: Callable[[Host], None], name: str
) -> None:
    add(strong_host)
    _, output = check(strong_host)
    assert re.findall(r"\((\S+:\S+)\)$", output, re.MULTILINE) == [name]


@pytest.mark.parametrize("view_class", [Guarded, GuardedMethod, GuardedDispatch])
def test_guard_of_a_parent_that_holds_is_not_named(
    strong_host: Host, view_class: type[View]
) -> None:
    child = type("Child", (view_class,), {})
    strong_host.app.add_url_rule("/child", view_func=child.as_view("child"))
    blueprint = Blueprint("hooked", __name__)
    blueprint.before_request(require_key(lambda: None))
    blueprint.add_url_rule("/hooked", "view", lambda: "in")
    strong_host.app.register_blueprint(blueprint)
    accepted = (*ACCEPTED, "no-wall:child")
    assert check(strong_host, accepted=accepted) == (0, "Nothing unsafe found.\n")


def test_view_that_takes_a_proxy_from_around_it(strong_host: Host) -> None:
    """As of an import within ``create_app``: the command has no request to ask for."""
    from flask import request

    strong_host.app.add_url_rule("/path", "path", lambda: request.path)
    assert check(strong_host) == (0, "Nothing unsafe found.\n")


class GuardedByFramework(flask_restful.Resource):  # type: ignore[misc]
    method_decorators = [require_key]

    def get(self) -> str:
        return "in"


class OtherGuardOnClass(GuardedMethod):
    """The method is overridden, and a guard stands around all of them."""

    decorators = [require_key]

    def get(self) -> str:
        return "in"


class OtherGuardOnMethod(GuardedByFramework):
    """The parent's method has no guard of its own, nor has this one."""

    @require_scope("project:deploy")
    def post(self) -> str:
        return "in"


class OverriddenBelowFramework(OtherGuardOnMethod):
    """Guarded by the framework's decorators still."""

    def post(self) -> str:
        return "in"


class OtherGuardAroundDispatch(GuardedDispatch):
    decorators = [require_key]

    def dispatch_request(self) -> str:
        return "in"


class GuardOnOwnDispatch(GuardedMethod):
    @require_key
    def dispatch_request(self, **arguments: Any) -> Any:
        return super().dispatch_request(**arguments)


@pytest.mark.parametrize(
    "view_class",
    [
        OtherGuardOnClass,
        OtherGuardOnMethod,
        OverriddenBelowFramework,
        OtherGuardAroundDispatch,
        GuardOnOwnDispatch,
    ],
)
def test_guard_that_holds_in_another_place_is_not_named(
    strong_host: Host, view_class: type[View]
) -> None:
    strong_host.app.add_url_rule("/child", view_func=view_class.as_view("child"))
    assert strong_host.client().get("/child").status_code == 401
    accepted = (*ACCEPTED, "no-wall:child")
    assert check(strong_host, accepted=accepted) == (0, "Nothing unsafe found.\n")


def test_view_with_a_variable_that_is_not_set_yet(strong_host: Host) -> None:
    def view() -> str:
        return later

    strong_host.app.add_url_rule("/later", "later", view)
    assert check(strong_host) == (0, "Nothing unsafe found.\n")
    later = "in"


def test_views_of_ours_are_not_named(strong_host: Host) -> None:
    """They answer about the presented key alone, and no host can give them a wall."""
    strong_host.app.register_blueprint(holder.blueprint, url_prefix="/api/key")
    assert check(strong_host) == (0, "Nothing unsafe found.\n")


class TestErrorHandlers:
    NAME = "handler-without-code:TestErrorHandlers.silent"

    @staticmethod
    def silent(error: Any) -> tuple[dict[str, str], int]:
        return {"error": "no"}, error.code

    @staticmethod
    def telling(error: Any) -> tuple[Any, int]:
        return error.problem(), error.code

    def test_one_without_code_is_named(self, strong_host: Host) -> None:
        strong_host.app.register_error_handler(401, self.silent)
        exit_code, output = check(strong_host)
        assert exit_code == 0
        assert f"({self.NAME})" in output
        assert "(missing_key, invalid_key, revoked_key, expired_key, rotated_key)" in output

    def test_one_of_a_blueprint_is_named(self, strong_host: Host) -> None:
        outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
        outer.register_error_handler(403, self.silent)
        inner.add_url_rule("/in/<org_slug>", "view", require_key(lambda org_slug: ""))
        outer.register_blueprint(inner)
        strong_host.app.register_blueprint(outer)
        assert "(insufficient_scope)" in check(strong_host)[1]

    def test_one_of_the_outer_blueprint_alone_is_named(self, strong_host: Host) -> None:
        outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
        outer.register_error_handler(403, self.silent)
        inner.register_error_handler(401, self.telling)
        inner.add_url_rule("/in/<org_slug>", "view", require_key(lambda org_slug: ""))
        outer.register_blueprint(inner)
        strong_host.app.register_blueprint(outer)
        _, output = check(strong_host)
        assert output.count("handler-without-code") == 1
        assert "(insufficient_scope)" in output

    def test_one_that_fails_is_named(self, strong_host: Host) -> None:
        def failing(error: Any) -> Any:
            raise ZeroDivisionError

        strong_host.app.register_error_handler(401, failing)
        assert ".failing" in check(strong_host)[1]

    def test_an_async_one_is_run(self, strong_host: Host) -> None:
        async def telling(error: Any) -> tuple[Any, int]:
            return error.problem(), error.code

        strong_host.app.register_error_handler(401, telling)
        assert check(strong_host) == (0, "Nothing unsafe found.\n")

    def test_one_with_the_problem_is_not(self, strong_host: Host) -> None:
        strong_host.app.register_error_handler(errors.RequestRefused, self.telling)
        assert check(strong_host) == (0, "Nothing unsafe found.\n")

    def test_none_counts_when_ours_always_stays(self, new_host: MakeHost) -> None:
        host = new_host(config={**STRONG, "ORGKEYS_PROBLEM_DETAILS": "always"})
        enforce_foreign_keys(host)
        host.app.register_error_handler(401, self.silent)
        assert check(host) == (0, "Nothing unsafe found.\n")
