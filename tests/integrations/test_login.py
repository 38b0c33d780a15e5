"""Flask-Login keeps its own: the two ways in never stand in for each other."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Request, request
from flask_login import LoginManager, login_required, login_user
from flask_sqlalchemy import SQLAlchemy

from ..conftest import MakeHost
from ..host import Host, User, bearer

PAGE = "/o/acme/api-keys"


def sign_in_by_form(app: Flask, _db: SQLAlchemy) -> None:
    """The usual set-up of a host: a sign-in view, and cookies that last."""
    login_manager: LoginManager = app.login_manager  # type: ignore[attr-defined]
    login_manager.login_view = "login"
    login_manager.session_protection = "strong"

    @app.route("/login", methods=["GET", "POST"])
    def login() -> str:
        if request.method == "POST":
            login_user(User(request.form["user"]), remember="remember" in request.form)
        return ""

    @app.get("/profile")
    @login_required
    def profile() -> str:
        return "profile"


@pytest.fixture
def login_host(new_host: MakeHost) -> Host:
    return new_host(before_init=sign_in_by_form)


def test_who_is_signed_out_is_sent_to_sign_in_and_back(login_host: Host) -> None:
    client = login_host.client()

    answer = client.get(PAGE)
    assert answer.status_code == 302
    assert answer.location == "/login?next=%2Fo%2Facme%2Fapi-keys"

    client.post("/login", data={"user": "ada"})
    assert client.get(PAGE).status_code == 200


def test_a_remembered_user_opens_the_pages(login_host: Host) -> None:
    client = login_host.client()
    client.post("/login", data={"user": "ada", "remember": "1"})
    client.delete_cookie("session")

    assert client.get(PAGE).status_code == 200


def test_an_unauthorized_handler_of_the_host_answers_for_the_pages(login_host: Host) -> None:
    login_host.app.login_manager.unauthorized_handler(lambda: ("Who are you?", 401))  # type: ignore[attr-defined]

    answer = login_host.client().get(PAGE)

    assert (answer.status_code, answer.text) == (401, "Who are you?")


def test_a_cookie_opens_no_guard_and_a_key_no_page(login_host: Host) -> None:
    token, _ = login_host.issue()
    signed_in, pipeline = login_host.client(), login_host.client()
    signed_in.post("/login", data={"user": "ada"})

    answers = [
        signed_in.get("/profile"),
        signed_in.get("/api/whoami"),
        pipeline.get("/profile", headers=bearer(token)),
        pipeline.get(PAGE, headers=bearer(token)),
        pipeline.get("/api/whoami", headers=bearer(token)),
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 302, 403, 200]


def test_a_key_leaves_no_session_behind(login_host: Host) -> None:
    token, _ = login_host.issue()
    client = login_host.client()

    assert "Set-Cookie" not in client.get("/api/whoami", headers=bearer(token)).headers
    assert client.get("/profile").status_code == 302


BASIC = {"Authorization": "Basic c3RhZ2luZzpzZWNyZXQ="}


class TestRequestLoader:
    """The pages go by whose user it is, not by which headers a request has."""

    def by_basic(self, host: Host) -> None:
        @host.app.login_manager.request_loader  # type: ignore[attr-defined]
        def load(sent: Request) -> Any:
            return User("ada") if request.authorization or sent.authorization else None

    def by_proxy(self, host: Host) -> None:
        @host.app.login_manager.request_loader  # type: ignore[attr-defined]
        def load(sent: Request) -> Any:
            user_id = sent.headers.get("X-Forwarded-User")
            return User(user_id) if user_id else None

    def test_the_cookie_of_a_deleted_account_beside_a_header(self, host: Host) -> None:
        self.by_basic(host)
        client = host.client("ada")
        with client.session_transaction() as session:
            session["_user_id"] = "deleted"

        assert client.get("/o/acme/api-keys", headers=BASIC).status_code == 401

    def test_a_header_alone(self, host: Host) -> None:
        self.by_basic(host)

        assert host.client().get("/o/acme/api-keys", headers=BASIC).status_code == 401

    def test_a_proxys_user_beside_basic(self, host: Host) -> None:
        self.by_proxy(host)
        headers = BASIC | {"X-Forwarded-User": "ada"}

        answer = host.client().get("/o/acme/api-keys", headers=headers)
        assert answer.status_code == 200

    def test_the_header_is_back_for_the_host(self, host: Host) -> None:
        self.by_proxy(host)
        seen: list[Any] = []
        host.app.teardown_request(lambda _: seen.append(request.authorization))
        headers = BASIC | {"X-Forwarded-User": "ada"}

        host.client().get("/o/acme/api-keys", headers=headers)
        assert [authorization.username for authorization in seen] == ["staging"]

    def test_a_cookie_beside_basic(self, host: Host) -> None:
        self.by_basic(host)

        assert host.client("ada").get("/o/acme/api-keys", headers=BASIC).status_code == 200
