from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Blueprint, Flask, abort, request
from flask.views import MethodView, View
from flask_login import current_user
from sqlalchemy import event

from flask_orgkeys import AuthenticatedKey, current_key, errors, require_key, require_scope, signals

from ..conftest import MakeHost
from ..host import Host, bearer, mistyped

Register = Callable[[Flask, str], None]
"""Adds a view at a URL, for GET and POST, that requires ``project:deploy``."""

GUARD = require_scope("project:deploy")


def answer() -> str:
    return f"by {current_key.name}"


def as_function(app: Flask, url: str) -> None:
    @app.route(url, methods=["GET", "POST"])
    @GUARD
    def function_view(**arguments: Any) -> str:
        return answer()


def as_coroutine(app: Flask, url: str) -> None:
    @app.route(url, methods=["GET", "POST"])
    @GUARD
    async def coroutine_view(**arguments: Any) -> str:
        return answer()


def as_decorators_of_a_view(app: Flask, url: str) -> None:
    class DecoratedView(View):
        methods = ["GET", "POST"]
        decorators = [GUARD]

        def dispatch_request(self, **arguments: Any) -> str:
            return answer()

    app.add_url_rule(url, view_func=DecoratedView.as_view("decorated_view"))


def as_view_class(app: Flask, url: str) -> None:
    @GUARD
    class GuardedView(View):
        methods = ["GET", "POST"]

        def dispatch_request(self, **arguments: Any) -> str:
            return answer()

    app.add_url_rule(url, view_func=GuardedView.as_view("guarded_view"))


def as_method_view_class(app: Flask, url: str) -> None:
    @GUARD
    class GuardedMethodView(MethodView):
        def get(self, **arguments: Any) -> str:
            return answer()

        def post(self, **arguments: Any) -> str:
            return answer()

    app.add_url_rule(url, view_func=GuardedMethodView.as_view("guarded_method_view"))


def as_coroutine_method_view_class(app: Flask, url: str) -> None:
    @GUARD
    class CoroutineMethodView(MethodView):
        async def get(self, **arguments: Any) -> str:
            return answer()

        async def post(self, **arguments: Any) -> str:
            return answer()

    app.add_url_rule(url, view_func=CoroutineMethodView.as_view("coroutine_method_view"))


def as_inherited_class(app: Flask, url: str) -> None:
    @GUARD
    class Parent(MethodView):
        def get(self, **arguments: Any) -> str:
            return answer()

        post = get

    class Child(Parent):
        pass

    app.add_url_rule(url, view_func=Child.as_view("child"))


def as_methods(app: Flask, url: str) -> None:
    class MethodsGuarded(MethodView):
        @GUARD
        def get(self, **arguments: Any) -> str:
            return answer()

        @GUARD
        async def post(self, **arguments: Any) -> str:
            return answer()

    app.add_url_rule(url, view_func=MethodsGuarded.as_view("methods_guarded"))


def as_dispatch_request(app: Flask, url: str) -> None:
    class DispatchGuarded(View):
        methods = ["GET", "POST"]

        @GUARD
        def dispatch_request(self, **arguments: Any) -> str:
            return answer()

    app.add_url_rule(url, view_func=DispatchGuarded.as_view("dispatch_guarded"))


def as_nested_blueprint(app: Flask, url: str) -> None:
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    inner.add_url_rule(url, "view", GUARD(lambda **arguments: answer()), methods=["GET", "POST"])
    outer.register_blueprint(inner)
    app.register_blueprint(outer)


def as_stack(app: Flask, url: str) -> None:
    @app.route(url, methods=["GET", "POST"])
    @require_key
    @GUARD
    @require_key
    def stacked_view(**arguments: Any) -> str:
        return answer()


def below_a_decorator_of_the_host(app: Flask, url: str) -> None:
    def hosts_decorator(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated(**arguments: Any) -> Any:
            return view(**arguments)

        return decorated

    @app.route(url, methods=["GET", "POST"])
    @hosts_decorator
    @GUARD
    def decorated_view(**arguments: Any) -> str:
        return answer()


def as_hook_of_a_blueprint(app: Flask, url: str) -> None:
    blueprint = Blueprint("hooked", __name__)
    blueprint.before_request(GUARD(lambda: None))
    blueprint.add_url_rule(url, "view", lambda **arguments: answer(), methods=["GET", "POST"])
    app.register_blueprint(blueprint)


SHAPES: list[Register] = [
    as_function,
    as_coroutine,
    as_decorators_of_a_view,
    as_view_class,
    as_method_view_class,
    as_coroutine_method_view_class,
    as_inherited_class,
    as_methods,
    as_dispatch_request,
    as_nested_blueprint,
    as_stack,
    below_a_decorator_of_the_host,
]


def code_of(answer: Any) -> str:
    return str(answer.get_json()["code"])


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("register", [*SHAPES, as_hook_of_a_blueprint])
class TestShapes:
    """The same guard on every kind of view."""

    def test_a_key_with_the_scope_opens_it(
        self, host: Host, register: Register, method: str
    ) -> None:
        register(host.app, "/shape/<org_slug>")
        token, _ = host.issue(name="Pipeline")

        opened = host.client().open("/shape/acme", method=method, headers=bearer(token))
        assert opened.status_code == 200
        assert opened.text == "by Pipeline"

    def test_anything_less_does_not(self, host: Host, register: Register, method: str) -> None:
        register(host.app, "/shape/<org_slug>")
        token, _ = host.issue()
        poor, _ = host.issue(scopes=["project:read-rc"])
        client = host.client("ada")

        refusals = [
            client.open("/shape/acme", method=method),
            client.open("/shape/acme", method=method, headers=bearer(mistyped(token))),
            client.open("/shape/beta", method=method, headers=bearer(token)),
            client.open("/shape/acme", method=method, headers=bearer(poor)),
        ]
        assert [refusal.status_code for refusal in refusals] == [401, 401, 404, 403]


class TestDecoration:
    def test_a_guarded_function_keeps_its_name_and_arguments(self, host: Host) -> None:
        def publish(version: str, *, app_name: str = "web") -> tuple[str, str]:
            """Publish a version."""
            return version, app_name

        guarded = require_key(publish)
        token, _ = host.issue()

        assert (guarded.__name__, guarded.__doc__) == ("publish", "Publish a version.")
        with host.app.test_request_context(headers=bearer(token)):
            assert guarded("1.2", app_name="shop") == ("1.2", "shop")

    def test_a_guarded_subclass_leaves_its_parent_open(self, host: Host) -> None:
        class Parent(MethodView):
            def get(self) -> str:
                return "open"

        @require_key
        class Child(Parent):
            pass

        host.app.add_url_rule("/parent", view_func=Parent.as_view("parent"))
        host.app.add_url_rule("/child", view_func=Child.as_view("child"))

        assert host.client().get("/parent").text == "open"
        assert host.client().get("/child").status_code == 401
        assert View.decorators == []

    def test_the_guard_of_a_class_runs_before_its_other_decorators(self, host: Host) -> None:
        ran: list[str] = []

        def note(view: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(view)
            def noted(**arguments: Any) -> Any:
                ran.append("decorator")
                return view(**arguments)

            return noted

        @require_key
        class Noted(MethodView):
            decorators = [note]

            def get(self) -> str:
                return ""

        host.app.add_url_rule("/noted", view_func=Noted.as_view("noted"))

        assert host.client().get("/noted").status_code == 401
        assert ran == []

    def test_an_unguarded_method_beside_a_guarded_one_is_open(self, host: Host) -> None:
        class Releases(MethodView):
            def get(self) -> str:
                return "open"

            @require_key
            def delete(self) -> str:
                return "deleted"

        host.app.add_url_rule("/releases", view_func=Releases.as_view("releases"))

        assert host.client().get("/releases").text == "open"
        assert host.client().delete("/releases").status_code == 401

    def test_every_guard_of_a_stack_is_needed(self, host: Host) -> None:
        @host.app.get("/stack")
        @require_scope("app:publish")
        @require_scope("project:deploy")
        def stack() -> str:
            return "both"

        statuses = []
        for scopes in (["app:publish"], ["project:deploy"], ["app:publish", "project:deploy"]):
            token, _ = host.issue(scopes=scopes)
            statuses.append(host.client().get("/stack", headers=bearer(token)).status_code)
        assert statuses == [403, 403, 200]

    def test_a_view_without_attributes_is_no_obstacle(self, host: Host) -> None:
        class Callback:
            __slots__ = ()

            def __call__(self) -> str:
                return "plain"

        host.app.add_url_rule("/plain", "plain", Callback())

        assert host.client().get("/plain").text == "plain"


@pytest.fixture
def loaded(host: Host) -> list[Any]:
    """What the loader was asked for."""
    asked: list[Any] = []
    load = host.app.extensions["orgkeys"].host.organization_loader
    assert load is not None

    @host.orgkeys.organization_loader
    def load_and_note(slug: Any) -> Any:
        asked.append(slug)
        return load(slug)

    return asked


class TestOrganisationWall:
    def deploy(self, host: Host, url: str, token: str) -> Any:
        return host.client().post(url, headers=bearer(token))

    def test_a_key_works_in_its_organisation_alone(self, any_host: Host) -> None:
        acme, _ = any_host.issue("acme")
        beta, _ = any_host.issue("beta")
        statuses = {
            (slug, name): self.deploy(any_host, f"/api/o/{slug}/deployments", token).status_code
            for slug in ("acme", "beta", "nobody")
            for name, token in (("acme", acme), ("beta", beta))
        }

        opened = {pair for pair, status in statuses.items() if status == 201}
        assert opened == {("acme", "acme"), ("beta", "beta")}
        assert set(statuses.values()) == {201, 404}

    def test_it_stands_where_a_preprocessor_takes_the_organisation_out(self, host: Host) -> None:
        blueprint = Blueprint("taken", __name__, url_prefix="/taken/<org_slug>")

        @blueprint.url_value_preprocessor
        def take_out(endpoint: str | None, values: dict[str, Any] | None) -> None:
            assert values is not None
            del values["org_slug"]

        blueprint.add_url_rule("/", "view", require_key(lambda: "in"), methods=["POST"])
        host.app.register_blueprint(blueprint)
        token, _ = host.issue()

        assert self.deploy(host, "/taken/acme/", token).text == "in"
        assert self.deploy(host, "/taken/beta/", token).status_code == 404
        assert self.deploy(host, "/taken/nobody/", token).status_code == 404

    def test_it_stands_on_a_subdomain(self, new_host: MakeHost) -> None:
        host = new_host(config={"SERVER_NAME": "cockpit.test"})
        host.app.subdomain_matching = True
        host.app.url_map.host_matching = False
        host.app.add_url_rule(
            "/sub", "sub", require_key(lambda org_slug: "in"), subdomain="<org_slug>"
        )
        token, _ = host.issue()

        inside = host.client().get("http://acme.cockpit.test/sub", headers=bearer(token))
        assert inside.text == "in"
        outside = host.client().get("http://beta.cockpit.test/sub", headers=bearer(token))
        assert outside.status_code == 404

    def test_it_stands_behind_a_default_of_the_rule(self, host: Host) -> None:
        view = require_key(lambda org_slug: org_slug)
        for slug in ("acme", "beta"):
            host.app.add_url_rule(f"/{slug}", slug, view, defaults={"org_slug": slug})
        token, _ = host.issue()

        assert host.client().get("/acme", headers=bearer(token)).text == "acme"
        assert host.client().get("/beta", headers=bearer(token)).status_code == 404

    def test_it_stands_at_the_configured_variable(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_ORG_ARG": "tenant"}, pages=False)
        host.app.add_url_rule("/t/<tenant>", "tenant", require_key(lambda tenant: tenant))
        token, _ = host.issue()

        assert host.client().get("/t/acme", headers=bearer(token)).text == "acme"
        assert host.client().get("/t/beta", headers=bearer(token)).status_code == 404
        # Here the variable of the same old name is one like any other.
        assert self.deploy(host, "/api/o/beta/deployments", token).status_code == 201

    def test_the_loader_gets_what_the_converter_makes(self, host: Host, loaded: list[Any]) -> None:
        host.app.add_url_rule("/n/<int:org_slug>", "n", require_key(lambda org_slug: ""))
        token, _ = host.issue()

        assert host.client().get("/n/0012", headers=bearer(token)).status_code == 404
        assert loaded == [12]

    def test_the_loader_is_asked_about_valid_keys_only(self, host: Host, loaded: list[Any]) -> None:
        token, _ = host.issue()

        assert self.deploy(host, "/api/o/acme/deployments", mistyped(token)).status_code == 401
        assert loaded == []
        assert self.deploy(host, "/api/o/acme/deployments", token).status_code == 201
        assert loaded == ["acme"]

    @pytest.mark.parametrize("slug", ["%00", "acme%00", "%00acme"])
    def test_the_loader_is_never_handed_nul(self, host: Host, loaded: list[Any], slug: str) -> None:
        token, _ = host.issue()

        refused = self.deploy(host, f"/api/o/{slug}/deployments", token)
        assert (refused.status_code, code_of(refused)) == (404, "organization_not_found")
        assert loaded == []

    def test_a_loader_may_abort_with_404(self, host: Host) -> None:
        host.orgkeys.organization_loader(lambda slug: abort(404, "a text of the host"))
        token, _ = host.issue()

        refused = self.deploy(host, "/api/o/acme/deployments", token)
        assert (refused.status_code, code_of(refused)) == (404, "organization_not_found")
        assert "a text of the host" not in refused.text

    def test_a_loader_may_abort_with_anything_else(self, host: Host) -> None:
        host.orgkeys.organization_loader(lambda slug: abort(451))
        token, _ = host.issue()

        assert self.deploy(host, "/api/o/acme/deployments", token).status_code == 451

    def test_without_a_loader_nobody_gets_in(self, host: Host) -> None:
        host.app.extensions["orgkeys"].host.organization_loader = None
        token, _ = host.issue()

        refused = self.deploy(host, "/api/o/acme/deployments", token)
        assert (refused.status_code, code_of(refused)) == (404, "organization_not_found")
        assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 200

    def test_a_loader_that_fails_is_answered_503(
        self, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        def load(slug: str) -> Any:
            raise ValueError(f"no {slug}")

        host.orgkeys.organization_loader(load)
        token, _ = host.issue()

        refused = self.deploy(host, "/api/o/acme/deployments", token)
        assert (refused.status_code, code_of(refused)) == (503, "unavailable")
        assert f"the organization loader failed: ValueError at {__file__}:" in caplog.text
        assert "acme" not in caplog.text

    def test_no_value_of_a_failed_statement_is_logged(
        self, any_host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        @any_host.orgkeys.organization_loader
        def load(slug: str) -> Any:
            statement = sa.text("SELECT id FROM no_such_table WHERE slug = :slug")
            return any_host.db.session.execute(statement, {"slug": slug}).first()

        token, _ = any_host.issue()

        self.deploy(any_host, f"/api/o/{token}/deployments", token)
        self.deploy(any_host, "/api/o/misplaced/deployments", token)
        assert "cannot be loaded" in caplog.text
        assert "misplaced" not in caplog.text
        assert token.rpartition("_")[2] not in caplog.text

    def test_no_value_of_a_failed_flush_is_logged(
        self, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither by a guard nor by a page: the session quotes the statement that has failed."""
        client = host.client("ada")
        load = host.app.extensions["orgkeys"].host.organization_loader

        @host.orgkeys.organization_loader
        def load_after_a_failed_flush(slug: str) -> Any:
            host.db.session.add(host.Organization(slug=slug, name="misplaced"))
            with suppress(sa.exc.IntegrityError):
                host.db.session.flush()
            return load(slug)

        token, _ = host.issue()
        assert self.deploy(host, "/api/o/acme/deployments", token).status_code == 503
        assert client.get("/o/acme/api-keys").status_code == 503
        assert caplog.text.count("transaction has been rolled back") == 2
        assert "misplaced" not in caplog.text

    @pytest.mark.parametrize(
        "error",
        [
            sa.exc.OperationalError("SELECT 1", None, Exception("server closed")),
            sa.exc.InterfaceError("SELECT 1", None, Exception("closed")),
            sa.exc.TimeoutError("QueuePool limit"),
        ],
    )
    def test_a_loader_that_cannot_ask_is_answered_503(
        self, host: Host, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        @host.orgkeys.organization_loader
        def load(slug: str) -> Any:
            raise error

        token, _ = host.issue()

        refused = self.deploy(host, "/api/o/acme/deployments", token)
        assert (refused.status_code, code_of(refused)) == (503, "unavailable")
        assert refused.headers["Retry-After"] == "5"
        assert "cannot be loaded" in caplog.text

    @pytest.mark.parametrize(
        "driver", ["postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql"]
    )
    def test_a_loader_whose_own_database_is_gone_is_answered_503(
        self, host: Host, driver: str
    ) -> None:
        token, _ = host.issue()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            engine = sa.create_engine(f"{driver}://nobody@127.0.0.1:{closed.getsockname()[1]}/none")

            @host.orgkeys.organization_loader
            def load(slug: str) -> Any:
                with engine.connect() as connection:
                    return connection.execute(sa.text("SELECT 1")).first()

            refused = self.deploy(host, "/api/o/acme/deployments", token)
        assert (refused.status_code, code_of(refused)) == (503, "unavailable")

    def test_a_loader_without_its_table_is_answered_503(self, any_host: Host) -> None:
        @any_host.orgkeys.organization_loader
        def load(slug: str) -> Any:
            return any_host.db.session.execute(sa.text("SELECT id FROM no_such_table")).first()

        token, _ = any_host.issue()

        refused = self.deploy(any_host, "/api/o/acme/deployments", token)
        assert (refused.status_code, code_of(refused)) == (503, "unavailable")

    def test_the_loader_flushes_nothing_of_the_host(
        self, new_host: MakeHost, any_database_url: str
    ) -> None:
        any_host = new_host(any_database_url, has_own_models=True)
        flushed: list[Any] = []
        pending: list[Any] = []

        @any_host.app.before_request
        def add_invalid() -> None:
            note = any_host.Note(text=None)
            any_host.db.session.add(note)
            pending.append(note)

        @any_host.app.post("/o/<org_slug>/pending")
        @require_key
        def view(org_slug: str) -> str:
            assert pending[0] in any_host.db.session.new
            return "still pending"

        event.listen(any_host.db.session, "before_flush", lambda *_: flushed.append(1))
        token, _ = any_host.issue()
        flushed.clear()

        assert self.deploy(any_host, "/o/acme/pending", token).text == "still pending"
        assert self.deploy(any_host, "/o/beta/pending", token).status_code == 404
        assert flushed == []

    def test_autoflush_is_as_before_in_the_view(self, host: Host) -> None:
        @host.app.post("/o/<org_slug>/autoflush")
        @require_key
        def view(org_slug: str) -> dict[str, bool]:
            return {"autoflush": host.db.session().autoflush}

        token, _ = host.issue()

        assert self.deploy(host, "/o/acme/autoflush", token).get_json() == {"autoflush": True}


class TestCurrentKey:
    EXPIRES_AT = datetime(2099, 12, 31, 23, 59, 59, 999999, UTC)

    @pytest.fixture
    def seen(self, any_host: Host) -> list[Any]:
        """The values of ``current_key`` in the view at ``/seen``, beyond their requests."""
        values: list[Any] = []

        @any_host.app.get("/seen")
        def see() -> str:
            values.append(current_key._get_current_object())
            return ""

        return values

    def test_a_request_with_a_key_has_it(self, any_host: Host, seen: list[Any]) -> None:
        before = datetime.now(UTC)
        token, key_id = any_host.issue(
            name="Rélease 🚀",
            scopes=["project:deploy", "app:publish"],
            expires_at=self.EXPIRES_AT.astimezone(),
            created_by="ada",
        )
        any_host.client().get("/seen", headers=bearer(token))

        (key,) = seen
        assert isinstance(key, AuthenticatedKey)
        assert key.id == key_id
        assert key.name == "Rélease 🚀"
        assert key.organization_id == any_host.organization_ids["acme"]
        assert key.scopes == frozenset({"project:deploy", "app:publish"})
        assert isinstance(key.scopes, frozenset)
        assert key.created_by == "ada"
        assert key.expires_at == self.EXPIRES_AT
        assert before <= key.created_at <= datetime.now(UTC)
        for moment in (key.expires_at, key.created_at):
            assert moment.utcoffset() == timedelta(0)
        assert [key.has_scope(scope) for scope in ("app:publish", "app", "project:read-rc")] == [
            True,
            False,
            False,
        ]

    def test_what_is_not_set_is_none(self, any_host: Host, seen: list[Any]) -> None:
        token, _ = any_host.issue()
        any_host.client().get("/seen", headers=bearer(token))

        assert (seen[0].expires_at, seen[0].created_by) == (None, None)

    def test_it_outlives_session_and_request(self, any_host: Host, seen: list[Any]) -> None:
        token, key_id = any_host.issue()
        any_host.client().get("/seen", headers=bearer(token))
        any_host.revoke(key_id)

        assert (seen[0].id, seen[0].name) == (key_id, "CI")
        assert not sa.inspect(seen[0], raiseerr=False)

    def test_it_is_frozen(self, host: Host) -> None:
        token, _ = host.issue()

        with host.app.test_request_context(headers=bearer(token)):
            for name in ("id", "scopes", "organization_id"):
                with pytest.raises(dataclasses.FrozenInstanceError):
                    setattr(current_key, name, "another")

    def test_it_holds_no_secret(self, host: Host) -> None:
        token, _ = host.issue()

        with host.app.test_request_context(headers=bearer(token)):
            shown = repr(current_key) + str(dataclasses.asdict(current_key._get_current_object()))  # type: ignore[attr-defined]
        assert token.rpartition("_")[2] not in shown
        assert "sha256" not in shown

    def test_outside_of_a_request_it_is_falsy(self, host: Host) -> None:
        assert not current_key
        with host.app.app_context():
            assert not current_key
        with pytest.raises(AttributeError):
            _ = current_key.name

    def test_without_a_valid_key_it_is_falsy(self, host: Host) -> None:
        token, key_id = host.issue()
        host.revoke(key_id)

        for headers in ({}, bearer(token), bearer(mistyped(token)), {"Authorization": "Basic x"}):
            with host.app.test_request_context(headers=headers):
                assert not current_key

    def test_a_hook_before_ours_may_ask_first(self, new_host: MakeHost) -> None:
        asked: list[str | None] = []

        def before_init(app: Flask, _db: Any) -> None:
            app.before_request(lambda: asked.append(current_key.id if current_key else None))

        host = new_host(before_init=before_init)
        authenticated: list[str] = []
        with signals.key_authenticated.connected_to(
            lambda app, key: authenticated.append(key.id), host.app
        ):
            token, key_id = host.issue()
            client = host.client()
            assert client.get("/open", headers=bearer(token)).get_json() == {"key": key_id}
            assert client.get("/open").get_json() == {"key": None}
        assert asked == [key_id, None]
        assert authenticated == [key_id]

    def test_it_ends_with_the_request_in_a_pushed_app_context(self, host: Host) -> None:
        token, key_id = host.issue()
        client = host.client()

        with host.app.app_context():
            assert client.get("/open", headers=bearer(token)).get_json() == {"key": key_id}
            assert client.get("/open").get_json() == {"key": None}
            assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
            assert client.get("/api/whoami").status_code == 401
            assert not current_key

    def test_a_request_within_a_request_has_its_own(self, host: Host) -> None:
        outer, outer_id = host.issue("acme")
        inner, inner_id = host.issue("beta")

        @host.app.get("/nested")
        @require_key
        def nested() -> dict[str, Any]:
            before = current_key.id
            within = host.app.test_client().get("/open", headers=bearer(inner)).get_json()
            without = host.app.test_client().get("/open").get_json()
            return {"before": before, "in": within, "out": without, "after": current_key.id}

        assert host.client().get("/nested", headers=bearer(outer)).get_json() == {
            "before": outer_id,
            "in": {"key": inner_id},
            "out": {"key": None},
            "after": outer_id,
        }

    def test_a_key_of_another_app_opens_nothing_here(self, host: Host) -> None:
        with host.sibling(ORGKEYS_PREFIX="other") as other:
            token, _ = other.issue()

            @host.app.get("/across")
            @require_key
            def across() -> str:
                return "in"

            @host.app.before_request
            def look_across() -> None:
                with other.app.app_context():
                    assert current_key or not request.authorization

            assert host.client().get("/across", headers=bearer(token)).status_code == 401

    def test_a_cookie_is_no_key(self, host: Host) -> None:
        client = host.client("ada")

        assert client.get("/o/acme/api-keys").status_code == 200
        assert client.get("/api/whoami").status_code == 401
        assert client.post("/api/o/acme/deployments").status_code == 401
        assert client.get("/open").get_json() == {"key": None}

    def test_a_cookie_beside_a_key_changes_nothing(self, host: Host) -> None:
        token, _ = host.issue("beta")
        client = host.client("ada")

        assert client.post("/api/o/acme/deployments", headers=bearer(token)).status_code == 404
        assert client.post("/api/o/beta/deployments", headers=bearer(token)).status_code == 201

    def test_a_request_loader_of_the_host_opens_no_guard(self, host: Host) -> None:
        loaded: list[str] = []

        @host.app.login_manager.request_loader  # type: ignore[attr-defined]
        def load(loaded_from: Any) -> Any:
            loaded.append(loaded_from.path)
            return host.app.login_manager._user_callback("ada")  # type: ignore[attr-defined]

        @host.app.get("/me")
        def me() -> str:
            return str(current_user.id)

        headers = {"Authorization": "Bearer a-token-of-the-host"}
        assert host.client().get("/me", headers=headers).text == "ada"
        assert host.client().get("/api/whoami", headers=headers).status_code == 401
        assert loaded == ["/me"]


class TestSignals:
    @pytest.fixture
    def sent(self, host: Host) -> Iterator[list[tuple[str, Any, dict[str, Any]]]]:
        seen: list[tuple[str, Any, dict[str, Any]]] = []

        def receiver_of(name: str) -> Callable[..., None]:
            def receive(app: Flask, **arguments: Any) -> None:
                if "key" in arguments:
                    arguments["key_id"] = arguments["key"].id
                seen.append((name, app, arguments))

            return receive

        with ExitStack() as stack:
            for name in ("key_created", "key_revoked", "key_authenticated", "request_refused"):
                signal = getattr(signals, name)
                stack.enter_context(signal.connected_to(receiver_of(name)))
            yield seen

    def test_each_step_of_a_key_is_told_once(
        self, host: Host, sent: list[tuple[str, Any, dict[str, Any]]]
    ) -> None:
        token, key_id = host.issue()
        host.client().post("/api/o/acme/deployments", headers=bearer(token))
        host.client().post("/api/o/beta/deployments", headers=bearer(token))
        host.revoke(key_id)
        host.revoke(key_id)
        host.client().get("/api/whoami", headers=bearer(token))
        host.client().get("/api/whoami", headers=bearer(mistyped(token)))
        host.client().get("/open", headers=bearer(token))

        told = [(name, arguments["key_id"]) for name, _, arguments in sent]
        assert told == [
            ("key_created", key_id),
            ("key_authenticated", key_id),
            ("key_authenticated", key_id),
            ("request_refused", key_id),
            ("key_revoked", key_id),
            ("request_refused", key_id),
            ("request_refused", None),
        ]
        refusals = [arguments["error"] for name, _, arguments in sent if name == "request_refused"]
        assert [type(error) for error in refusals] == [
            errors.OrganizationNotFound,
            errors.RevokedKey,
            errors.InvalidKey,
        ]
        assert {app for _, app, _ in sent} == {host.app}
        assert token.rpartition("_")[2] not in repr(sent)

    def test_the_current_app_may_differ_from_the_first(
        self, host: Host, sent: list[tuple[str, Any, dict[str, Any]]]
    ) -> None:
        token, _ = host.issue()
        with host.sibling() as other:
            other.client().get("/api/whoami", headers=bearer(token))

            assert sent[-1][1] is other.app
