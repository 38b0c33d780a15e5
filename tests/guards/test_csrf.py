"""Under a global ``CSRFProtect``: a key needs no token, and nothing else is let through."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from flask.views import MethodView, View
from flask_login import current_user, login_required
from flask_wtf import CSRFProtect
from flask_wtf.csrf import generate_csrf
from werkzeug.test import TestResponse

from flask_orgkeys import current_key, require_key, require_scope, revocation

from ..conftest import MakeHost
from ..host import Host, bearer
from .test_guards import SHAPES, Register

CSRF = {"WTF_CSRF_ENABLED": True}


def protect(app: Flask, _db: Any = None) -> CSRFProtect:
    csrf = CSRFProtect(app)
    for name in ("test_login", "test_token"):
        csrf.exempt(f"tests.host.{name}")
    return csrf


@pytest.fixture(params=["before", "after"])
def host(request: pytest.FixtureRequest, new_host: MakeHost) -> Host:
    """A host whose ``CSRFProtect`` was set up before, or after, the plugin."""
    before_init = protect if request.param == "before" else None
    host = new_host(config=CSRF, before_init=before_init)
    if before_init is None:
        protect(host.app)

    @host.app.post("/cookie-form")
    @login_required
    def cookie_form() -> str:
        return "changed"

    @host.app.get("/csrf-token")
    def csrf_token() -> str:
        return str(generate_csrf())

    return host


def is_refused_for_csrf(answer: TestResponse) -> bool:
    return answer.status_code == 400 and "CSRF" in answer.text


def plain(view: Callable[..., Any]) -> Callable[..., Any]:
    """The same function once more: no guard, the same module, the same name."""

    @wraps(view)
    def copy(**arguments: Any) -> str:
        return "open"

    vars(copy).clear()
    return copy


@pytest.mark.parametrize("register", SHAPES)
class TestGuardedViews:
    def test_a_key_needs_no_token(self, host: Host, register: Register) -> None:
        register(host.app, "/shape/<org_slug>")
        token, _ = host.issue(name="Pipeline")

        for client in (host.client(), host.client("ada")):
            answer = client.post("/shape/acme", headers=bearer(token))
            assert answer.status_code == 200
            assert answer.text == "by Pipeline"

    def test_a_bad_key_is_answered_by_the_guard(self, host: Host, register: Register) -> None:
        register(host.app, "/shape/<org_slug>")

        answer = host.client("ada").post("/shape/acme", headers=bearer("orgk_bad"))
        assert answer.status_code == 401
        assert answer.get_json()["code"] == "invalid_key"

    def test_without_a_key_a_cookie_needs_a_token(self, host: Host, register: Register) -> None:
        """Whatever stands around the guard may act on it."""
        register(host.app, "/shape/<org_slug>")

        without = host.client().post("/shape/acme")
        assert (without.status_code, without.get_json()["code"]) == (401, "missing_key")
        assert is_refused_for_csrf(host.client("ada").post("/shape/acme"))
        basic = {"Authorization": "Basic c3RhZ2luZzpzZWNyZXQ="}
        assert is_refused_for_csrf(host.client().post("/shape/acme", headers=basic))

    def test_a_digest_of_another_sites_url_needs_a_token(
        self, host: Host, register: Register
    ) -> None:
        """A browser quotes the URL in its Digest credentials, and the other site writes that."""
        register(host.app, "/shape/<org_slug>")

        digest = {"Authorization": 'Digest username="a", uri="/shape/acme?,bearer,", response="0"'}
        assert is_refused_for_csrf(host.client("ada").post("/shape/acme", headers=digest))


def cookie_or_key(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def either(*arguments: Any, **named: Any) -> Any:
        return "by cookie" if current_user.is_authenticated else view(*arguments, **named)

    return either


def test_a_key_of_a_guard_in_a_hook_needs_no_token(host: Host) -> None:
    """The views of a blueprint may all be guarded by one ``before_request`` function."""
    api = Blueprint("api", __name__)
    api.before_request(require_key(lambda: None))
    api.add_url_rule("/hooked", "hooked", lambda: "in", methods=["POST"])
    host.app.register_blueprint(api)
    token, _ = host.issue()
    assert host.client("ada").post("/hooked", headers=bearer(token)).text == "in"
    assert host.client().post("/hooked").status_code == 401
    assert is_refused_for_csrf(host.client("ada").post("/hooked"))


class AroundAMethod(MethodView):
    decorators = [cookie_or_key]

    @require_key
    def post(self) -> str:
        return "by key"


class AsDispatchRequest(MethodView):
    def dispatch_request(self, **arguments: Any) -> Any:
        return "by cookie" if current_user.is_authenticated else super().dispatch_request()

    @require_key
    def post(self) -> str:
        return "by key"


class InABaseClass(AsDispatchRequest):
    pass


class AroundAClass(MethodView):
    decorators = [require_key, cookie_or_key]

    def post(self) -> str:
        return "by key"


class TestWhatStandsAroundAGuard:
    @pytest.mark.parametrize("view", [AroundAMethod, AsDispatchRequest, InABaseClass, AroundAClass])
    def test_a_class_that_acts_on_a_cookie(self, host: Host, view: type[MethodView]) -> None:
        host.app.add_url_rule("/either", view_func=view.as_view("either"))
        token, _ = host.issue()

        assert host.client().post("/either", headers=bearer(token)).text == "by key"
        client = host.client("ada")
        assert is_refused_for_csrf(client.post("/either"))
        form = {"csrf_token": client.get("/csrf-token").text}
        assert client.post("/either", data=form).text == "by cookie"

    def test_a_hook_that_acts_on_a_cookie(self, host: Host) -> None:
        acted: list[str] = []
        blueprint = Blueprint("hooked", __name__)

        @blueprint.before_request
        def act() -> None:
            if current_user.is_authenticated:
                acted.append(current_user.id)

        blueprint.add_url_rule("/hooked", "view", require_key(lambda: "in"), methods=["POST"])
        host.app.register_blueprint(blueprint)

        assert is_refused_for_csrf(host.client("ada").post("/hooked"))
        assert acted == []

    def test_the_revocation_by_possession(self, host: Host) -> None:
        host.app.register_blueprint(revocation.blueprint, url_prefix="/keys")

        data = {"token": "orgk_none"}
        assert host.client().post("/keys/revoke", data=data).status_code == 200
        assert is_refused_for_csrf(host.client("ada").post("/keys/revoke", data=data))
        for client in (host.client(), host.client("ada")):
            answer = client.post("/keys/revoke", data=data, headers=bearer("orgk_bad"))
            assert answer.status_code == 200


class TestOtherViews:
    def token_of(self, client: FlaskClient) -> str:
        return client.get("/csrf-token").text

    def test_a_cookie_needs_a_token(self, host: Host) -> None:
        client = host.client("ada")

        assert is_refused_for_csrf(client.post("/cookie-form"))
        answer = client.post("/cookie-form", data={"csrf_token": self.token_of(client)})
        assert answer.text == "changed"

    @pytest.mark.parametrize("is_valid", [True, False])
    def test_a_cookie_beside_a_key_needs_a_token_too(self, host: Host, is_valid: bool) -> None:
        token = host.issue()[0] if is_valid else "orgk_bad"

        assert is_refused_for_csrf(host.client("ada").post("/cookie-form", headers=bearer(token)))

    def test_one_that_shares_module_and_name_with_a_guarded_one(self, host: Host) -> None:
        @host.app.post("/guarded")
        @require_key
        def release(**arguments: Any) -> str:
            return "by key"

        twin = plain(release)
        assert (twin.__module__, twin.__name__) == (release.__module__, release.__name__)
        host.app.add_url_rule("/twin", "twin", twin, methods=["POST"])
        token, _ = host.issue()

        client = host.client("ada")
        assert client.post("/guarded", headers=bearer(token)).text == "by key"
        assert is_refused_for_csrf(client.post("/twin"))
        assert is_refused_for_csrf(client.post("/twin", headers=bearer(token)))

    def test_an_unguarded_method_beside_a_guarded_one(self, host: Host) -> None:
        class Releases(MethodView):
            @require_key
            def post(self) -> str:
                return "posted"

            def delete(self) -> str:
                return "deleted"

        host.app.add_url_rule("/releases", view_func=Releases.as_view("releases"))
        token, _ = host.issue()

        client = host.client("ada")
        assert client.post("/releases", headers=bearer(token)).text == "posted"
        assert is_refused_for_csrf(client.delete("/releases"))
        assert is_refused_for_csrf(client.delete("/releases", headers=bearer(token)))

    def test_a_view_whose_guarded_helper_is_named_like_a_method(self, host: Host) -> None:
        class Releases(View):
            methods = ["POST"]

            @require_key
            def post(self) -> str:
                return "helper"

            def dispatch_request(self) -> str:
                return "open"

        host.app.add_url_rule("/releases", view_func=Releases.as_view("releases"))

        assert is_refused_for_csrf(host.client("ada").post("/releases"))

    def test_one_that_lets_cookies_in_above_a_guard(self, host: Host) -> None:
        def or_signed_in(view: Callable[..., Any]) -> Callable[..., Any]:
            signed_in = login_required(view.__wrapped__)  # type: ignore[attr-defined]

            @wraps(view)
            def either(**arguments: Any) -> Any:
                return (view if current_key else signed_in)(**arguments)

            return either

        @host.app.post("/either")
        @or_signed_in
        @require_scope("project:deploy")
        def either() -> str:
            return "deployed"

        token, _ = host.issue()
        client = host.client("ada")

        assert client.post("/either", headers=bearer(token)).text == "deployed"
        assert is_refused_for_csrf(client.post("/either"))
        basic = {"Authorization": "Basic c3RhZ2luZzpzZWNyZXQ="}
        assert is_refused_for_csrf(client.post("/either", headers=basic))
        form = {"csrf_token": self.token_of(client)}
        assert client.post("/either", data=form).text == "deployed"

    @pytest.mark.parametrize("path", ["/nowhere", "/open"])
    def test_errors_of_routing_stay_what_they_are(self, host: Host, path: str) -> None:
        token, _ = host.issue()

        for headers in ({}, bearer(token)):
            assert host.client().post(path, headers=headers).status_code in (404, 405)

    def test_what_the_host_exempts_stays_exempt(self, host: Host) -> None:
        @host.app.post("/webhook")
        def webhook() -> str:
            return "received"

        host.app.extensions["csrf"].exempt(webhook)

        assert host.client().post("/webhook").text == "received"

    def test_the_pages_keep_their_own_protection(self, host: Host) -> None:
        client = host.client("ada")

        answer = client.post("/o/acme/api-keys/", data={"name": "x", "scopes": "project:deploy"})
        assert answer.status_code in (400, 422)
        assert host.keys() == []


class TestManualProtection:
    def test_a_manual_call_is_untouched(self, host: Host) -> None:
        csrf = host.app.extensions["csrf"]

        @host.app.post("/manual")
        @require_key
        def manual() -> str:
            csrf.protect()
            return "changed"

        token, _ = host.issue()

        assert is_refused_for_csrf(host.client().post("/manual", headers=bearer(token)))

    def test_a_manual_call_in_a_hook_is_untouched(self, host: Host) -> None:
        host.app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        host.app.before_request(host.app.extensions["csrf"].protect)
        token, _ = host.issue()

        assert is_refused_for_csrf(host.client().post("/api/deploy", headers=bearer(token)))

    def test_a_check_switched_off_stays_off(self, host: Host) -> None:
        host.app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        token, _ = host.issue()

        assert host.client("ada").post("/cookie-form").text == "changed"
        assert host.client().post("/api/deploy", headers=bearer(token)).status_code == 201

    def test_one_csrfprotect_serves_two_apps(self, new_host: MakeHost, host: Host) -> None:
        csrf = host.app.extensions["csrf"]
        token, _ = host.issue()
        with host.sibling() as other:
            csrf.init_app(other.app)

            @other.app.post("/cookie-form")
            def cookie_form() -> str:
                return "changed"

            for app in (host, other, host):
                answer = app.client().post("/api/deploy", headers=bearer(token))
                assert answer.status_code == 201
                assert is_refused_for_csrf(app.client().post("/cookie-form"))
