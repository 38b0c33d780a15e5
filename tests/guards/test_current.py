"""The key of the request: the scopes that count, vetoes, and the errors that say how to guard."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from flask import Flask, abort
from flask.views import MethodView

from flask_orgkeys import AuthenticatedKey, current_key, require_key, require_scope, signals

from ..conftest import MakeHost
from ..host import SCOPES, Host, bearer


class TestUndeclaredScopes:
    """A scope that was taken out of ``ORGKEYS_SCOPES`` after keys were made with it."""

    @pytest.fixture
    def token(self, host: Host, new_host: MakeHost) -> str:
        token, _ = host.issue(scopes=["app:publish", "project:deploy"])
        return token

    @pytest.fixture
    def later(self, host: Host, new_host: MakeHost) -> Any:
        declared = {name: text for name, text in SCOPES.items() if name != "app:publish"}
        app = Flask("later")
        app.config.update(host.app.config, ORGKEYS_SCOPES=declared)
        host.db.init_app(app)
        host.orgkeys.init_app(app)
        yield app
        with app.app_context():
            host.db.session.remove()
            host.db.engine.dispose()

    def get(self, app: Flask, url: str, token: str) -> Any:
        return app.test_client().get(url, headers=bearer(token))

    def test_current_key_does_not_hold_it(self, later: Flask, token: str) -> None:
        @later.get("/scopes")
        def scopes() -> list[Any]:
            return [sorted(current_key.scopes), current_key.has_scope("app:publish")]

        assert self.get(later, "/scopes", token).get_json() == [["project:deploy"], False]

    def test_a_guard_below_a_decorator_without_wraps(self, later: Flask, token: str) -> None:
        guarded = require_scope("app:publish")(lambda: "in")
        later.add_url_rule("/hidden", "hidden", lambda: guarded())
        assert self.get(later, "/hidden", token).status_code == 403

    def test_a_guarded_method_of_a_parent(self, later: Flask, token: str) -> None:
        class Parent(MethodView):
            @require_scope("app:publish")
            def get(self) -> str:
                return "in"

        class Child(Parent):
            def get(self) -> str:
                return super().get()

        later.add_url_rule("/child", view_func=Child.as_view("child"))
        assert self.get(later, "/child", token).status_code == 403


class TestVeto:
    @pytest.mark.parametrize("path", ["/open", "/api/whoami"])
    def test_it_holds_though_its_error_was_caught(self, new_host: MakeHost, path: str) -> None:
        caught: list[str] = []

        def before_init(app: Flask, _db: Any) -> None:
            @app.before_request
            def ask_first() -> None:
                try:
                    bool(current_key)
                except Exception as error:
                    caught.append(type(error).__name__)

        host = new_host(before_init=before_init)
        token, _ = host.issue()
        asked: list[str] = []

        def veto(_app: Flask, key: AuthenticatedKey) -> None:
            asked.append(key.id)
            abort(403)

        with signals.key_authenticated.connected_to(veto, host.app):
            assert host.client().get(path, headers=bearer(token)).status_code == 403
        assert caught == ["Forbidden"]
        assert len(asked) == 1


class TestWithoutAKey:
    def test_an_attribute_says_how_to_guard(self, host: Host) -> None:
        with host.app.test_request_context("/open"):
            for name in ("name", "scopes", "has_scope"):
                with pytest.raises(AttributeError, match="guard the view with @require_key"):
                    getattr(current_key, name)
            assert not current_key
            assert getattr(current_key, "name", "nobody") == "nobody"


def test_it_can_be_handed_to_a_queue(host: Host) -> None:
    token, _ = host.issue()
    with host.app.test_request_context("/open", headers=bearer(token)):
        pickled = pickle.dumps(current_key)
        expected = current_key._get_current_object()  # type: ignore[attr-defined]
    assert pickle.loads(pickled) == expected
    assert type(pickle.loads(pickled)) is AuthenticatedKey


class TestParentheses:
    def test_they_may_be_empty(self, host: Host) -> None:
        @host.app.get("/empty")
        @require_key()
        def empty() -> str:
            return str(current_key.name)

        token, _ = host.issue(name="CI")
        assert host.client().get("/empty").status_code == 401
        assert host.client().get("/empty", headers=bearer(token)).text == "CI"

    def test_a_scope_in_them_is_refused(self) -> None:
        with pytest.raises(TypeError, match="require_scope"):
            require_key("project:deploy")  # type: ignore[call-overload]
