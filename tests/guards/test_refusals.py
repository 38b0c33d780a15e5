"""Refusals and what stands around a guard: class frameworks, error handlers, CORS, WebSockets."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import flask_restful
import pytest
from flask import Flask, Response, redirect
from flask.views import MethodView
from flask_cors import CORS, cross_origin
from werkzeug.exceptions import HTTPException

from flask_orgkeys import errors, require_key, require_scope, signals
from flask_orgkeys.guards import refusals

from ..conftest import MakeHost
from ..host import Host, bearer

ALWAYS = {"ORGKEYS_PROBLEM_DETAILS": "always"}
PREFLIGHT = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}


def kept(host: Host) -> int:
    return len(host.app.extensions["orgkeys"].refusals)


class TestMemory:
    def test_a_guard_made_at_each_request(self, host: Host) -> None:
        class Resource(flask_restful.Resource):  # type: ignore[misc]
            method_decorators = [require_key]

            def get(self) -> str:
                return "in"

        flask_restful.Api(host.app).add_resource(Resource, "/resource")
        client = host.client()
        client.get("/resource")
        before = kept(host)
        for _ in range(20):
            assert client.get("/resource").status_code == 401
        assert kept(host) == before

    def test_a_guard_made_in_a_view(self, host: Host) -> None:
        number = iter(range(100))

        @host.app.get("/made")
        def made() -> Any:
            return require_scope(f"scope-{next(number)}")(lambda: "in")()

        host.app.view_functions["made"] = made
        client = host.client()
        for _ in range(20):
            assert client.get("/made").status_code == 401
        assert kept(host) == 0

    def test_what_is_kept_has_a_bound(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refusals, "MOST_KEPT", 8)

        @host.app.get("/any")
        def view() -> Any:
            raise AssertionError

        client = host.client()
        client.get("/open")
        for number in range(20):
            host.app.view_functions["view"] = require_scope(f"scope-{number}")(lambda: "in")
            client.get("/any")
        assert 0 < kept(host) <= 8


class TestProblemDetails:
    def code(self, answer: Any) -> Any:
        return (answer.get_json(silent=True) or {}).get("code")

    def test_a_class_framework_sends_the_document(self, host: Host) -> None:
        class Resource(flask_restful.Resource):  # type: ignore[misc]
            @require_scope("project:deploy")
            def get(self, **arguments: Any) -> str:
                return "in"

        flask_restful.Api(host.app).add_resource(Resource, "/o/<org_slug>/resource")
        poor, _ = host.issue(scopes=["app:publish"])
        answers = [
            host.client().get("/o/acme/resource"),
            host.client().get("/o/acme/resource", headers=bearer(poor)),
            host.client().get("/o/beta/resource", headers=bearer(poor)),
        ]
        codes = ["missing_key", "insufficient_scope", "organization_not_found"]
        assert [self.code(answer) for answer in answers] == codes
        assert [answer.get_json()["status"] for answer in answers] == [401, 403, 404]
        assert answers[0].headers["WWW-Authenticate"] == 'Bearer realm="host"'

    def test_data_is_the_problem(self) -> None:
        assert errors.RevokedKey().data == errors.RevokedKey().problem()

    @pytest.mark.parametrize("handled", [401, HTTPException, errors.MissingKey, Exception])
    @pytest.mark.parametrize("handler", [lambda _: ("theirs", 401), lambda _: redirect("/login")])
    def test_always_goes_before_every_handler(
        self, new_host: MakeHost, handled: Any, handler: Callable[[Any], Any]
    ) -> None:
        for config, is_ours in ((ALWAYS, True), ({}, False)):
            host = new_host("sqlite://", config=config)
            host.app.register_error_handler(handled, handler)
            answer = host.client().get("/api/whoami")
            assert (self.code(answer) == "missing_key") is is_ours
            assert not is_ours or answer.status_code == 401

    def test_always_holds_within_a_class(self, new_host: MakeHost) -> None:
        host = new_host(config=ALWAYS)
        host.app.register_error_handler(401, lambda _: ("theirs", 401))

        class Releases(MethodView):
            @require_key
            def get(self) -> str:
                return "in"

        host.app.add_url_rule("/releases", view_func=Releases.as_view("releases"))
        answer = host.client().get("/releases")
        assert self.code(answer) == "missing_key"
        assert answer.headers["Cache-Control"] == "no-store"

    def test_always_leaves_a_decorator_that_catches_a_refusal(self, new_host: MakeHost) -> None:
        host = new_host(config=ALWAYS)

        def or_anyone(view: Any) -> Any:
            @wraps(view)
            def either() -> Any:
                try:
                    return view()
                except errors.MissingKey:
                    return "anyone"

            return either

        host.app.add_url_rule("/either", "either", or_anyone(require_key(lambda: "by key")))
        assert host.client().get("/either").text == "anyone"

    @pytest.mark.parametrize("value", ["", "never", True, None])
    def test_anything_else_is_an_error_at_start(self, new_host: MakeHost, value: Any) -> None:
        with pytest.raises(errors.ConfigurationError, match="ORGKEYS_PROBLEM_DETAILS"):
            new_host(config={"ORGKEYS_PROBLEM_DETAILS": value})


class TestPreflight:
    """No credentials come with it, so it gets an answer, and no view runs for it."""

    def options(self, host: Host, path: str, headers: Any) -> Any:
        return host.client().options(path, headers=headers)

    def test_with_cors_for_the_app(self, host: Host) -> None:
        CORS(host.app)
        answer = self.options(host, "/api/deploy", PREFLIGHT)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == PREFLIGHT["Origin"]
        refused = host.client().post("/api/deploy", headers={"Origin": PREFLIGHT["Origin"]})
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == PREFLIGHT["Origin"]

    def test_with_cross_origin_above_the_guard(self, host: Host) -> None:
        view = cross_origin()(require_key(lambda: "in"))
        host.app.add_url_rule("/above", "above", view, methods=["POST"])
        answer = self.options(host, "/above", PREFLIGHT)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == PREFLIGHT["Origin"]

    @pytest.mark.parametrize("has_key", [True, False])
    def test_a_view_that_takes_options_never_runs(self, host: Host, has_key: bool) -> None:
        ran: list[str] = []
        host.app.add_url_rule(
            "/own",
            "own",
            require_key(lambda: ran.append("view") or "in"),
            methods=["POST", "OPTIONS"],
            provide_automatic_options=False,
        )
        headers = PREFLIGHT | (bearer(host.issue()[0]) if has_key else {})
        answer = self.options(host, "/own", headers)
        assert (answer.status_code, ran) == (200, [])
        assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}

    @pytest.mark.parametrize("missing", PREFLIGHT)
    def test_any_other_options_request_needs_a_key(self, host: Host, missing: str) -> None:
        view = require_key(lambda: "in")
        host.app.add_url_rule(
            "/own", "own", view, methods=["OPTIONS"], provide_automatic_options=False
        )
        headers = {name: value for name, value in PREFLIGHT.items() if name != missing}
        assert self.options(host, "/own", headers).status_code == 401


class Socket:
    """A WebSocket of a server, as Flask-Sock hands it to a view."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def send(self, data: str) -> None:
        self.calls.append(data)

    def receive(self) -> str:
        return ""

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        self.calls.append((reason, message))


HANDSHAKE = {"Connection": "Upgrade", "Upgrade": "websocket"}


class TestWebSocket:
    def add(self, app: Flask, view: Any) -> Socket:
        socket = Socket()

        def accepted(**arguments: Any) -> Response:
            view(socket, **arguments)
            return Response("", 200)

        app.add_url_rule("/ws/<org_slug>", "ws", wraps(view)(accepted), websocket=True)
        return socket

    def test_an_accepted_one_is_closed_with_the_code(self, host: Host) -> None:
        told: list[Any] = []
        socket = self.add(host.app, require_key(lambda ws, org_slug: ws.send("in")))
        token, _ = host.issue()
        client = host.client()
        with signals.request_refused.connected_to(
            lambda _app, error, **_: told.append(type(error)), host.app
        ):
            assert client.get("/ws/acme", headers=HANDSHAKE).status_code == 200
            client.get("/ws/beta", headers=HANDSHAKE | bearer(token))
        client.get("/ws/acme", headers=HANDSHAKE | bearer(token))
        assert socket.calls == [(1008, "missing_key"), (1008, "organization_not_found"), "in"]
        assert told == [errors.MissingKey, errors.OrganizationNotFound]

    def test_one_that_is_not_accepted_yet_is_answered(self, host: Host) -> None:
        view = require_key(lambda: "in")
        host.app.add_url_rule("/ws", "ws", view, websocket=True)
        answer = host.client().get("/ws", headers=HANDSHAKE)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "missing_key")
