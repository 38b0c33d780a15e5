"""Flask-Login keeps its own: the two ways in never stand in for each other."""

from __future__ import annotations

import pytest
from flask import Flask, request
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
