"""The pages: every row of their contract, who may open them, and what surrounds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import quote

import flask_login
import pytest
import sqlalchemy as sa
import time_machine
from bs4 import BeautifulSoup
from flask import Flask, abort, g
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from werkzeug.test import TestResponse

from flask_orgkeys.errors import ConfigurationError

from ..conftest import MakeHost
from ..host import SCOPES, Host, User, bearer, form_fields, listed_names, shown_key

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}

# Method and path, with {id} for a key of acme's.
PAGES = (
    ("GET", LIST),
    ("GET", f"{LIST}/"),
    ("GET", f"{LIST}/new"),
    ("POST", LIST),
    ("POST", f"{LIST}/"),
    ("GET", LIST + "/{id}"),
    ("GET", LIST + "/{id}/edit"),
    ("POST", LIST + "/{id}/edit"),
    ("GET", LIST + "/{id}/revoke"),
    ("POST", LIST + "/{id}/revoke"),
)
on_every_page = pytest.mark.parametrize(("method", "path"), PAGES)


def ask(host: Host, user: str | None, method: str, path: str, **arguments: Any) -> TestResponse:
    """Ask for one of PAGES, with a form that would be accepted."""
    key_id = host.keys()[0].id if host.keys() else host.issue()[1]
    if method == "POST":
        arguments.setdefault("data", FORM)
    return host.client(user).open(path.format(id=key_id), method=method, **arguments)


def untouched(host: Host) -> bool:
    """Whether there is one key as it was issued, and nothing else."""
    (key,) = host.keys()
    return key.revoked_at is None and len(host.events()) == 1


@contextmanager
def failing(host: Host, error: Exception, from_statement: int = 1) -> Iterator[None]:
    """Let every statement fail, from the nth."""
    numbers = count(1)

    def refuse(*_: Any) -> None:
        if next(numbers) >= from_statement:
            raise error

    with host.app.app_context():
        engine = host.db.engine
    sa.event.listen(engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", refuse)


def description_of_dialog(html: str) -> str:
    """The text that assistive technology reads when the dialog opens."""
    soup = BeautifulSoup(html, "html.parser")
    (dialog,) = soup.select("dialog")
    ids = str(dialog.get("aria-describedby", "")).split()
    return " ".join(soup.select_one(f"#{each}").get_text(" ", strip=True) for each in ids)  # type: ignore[union-attr]


def heading_of_dialog(html: str) -> str:
    dialog = BeautifulSoup(html, "html.parser").select_one("dialog[open]")
    assert dialog is not None
    name = dialog.find(id=dialog["aria-labelledby"])
    assert name is not None
    return name.get_text()


class TestRows:
    """What each request of the contract's table is answered with."""

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_list(self, any_host: Host, slash: str) -> None:
        any_host.issue(name="storefront")
        response = any_host.client("ada").get(LIST + slash)
        assert response.status_code == 200
        assert listed_names(response.text) == ["storefront"]

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_creation(self, any_host: Host, slash: str) -> None:
        response = any_host.client("ada").post(LIST + slash, data=FORM)
        assert response.status_code == 200
        assert heading_of_dialog(response.text) == "API key created"
        token = shown_key(response.text)
        answer = any_host.client().get("/api/whoami", headers=bearer(token))
        assert answer.json == {
            "name": "CI",
            "organization_id": str(any_host.organization_ids["acme"]),
        }

    def test_create_form(self, host: Host) -> None:
        response = host.client("ada").get(f"{LIST}/new")
        assert response.status_code == 200
        assert heading_of_dialog(response.text) == "Create API key"

    def test_refused_creation(self, any_host: Host) -> None:
        response = any_host.client("ada").post(LIST, data={"name": ""})
        assert response.status_code == 422
        assert heading_of_dialog(response.text) == "Create API key"
        assert any_host.keys() == []

    def test_confirmation(self, any_host: Host) -> None:
        _, key_id = any_host.issue(name="storefront")
        response = any_host.client("ada").get(f"{LIST}/{key_id}/revoke")
        assert response.status_code == 200
        assert heading_of_dialog(response.text) == "Revoke storefront?"
        assert untouched(any_host)

    def test_revocation(self, any_host: Host) -> None:
        token, key_id = any_host.issue()
        response = any_host.client("ada").post(f"{LIST}/{key_id}/revoke")
        assert response.status_code == 303
        assert response.location.partition("?")[0] == LIST
        assert any_host.key(key_id).revoked_by == "ada"
        refused = any_host.client().get("/api/whoami", headers=bearer(token))
        assert refused.json is not None
        assert refused.json["code"] == "revoked_key"

    def test_notice_of_revocation(self, host: Host) -> None:
        _, key_id = host.issue(name="storefront")
        page = host.client("ada").post(f"{LIST}/{key_id}/revoke", follow_redirects=True).text
        status = BeautifulSoup(page, "html.parser").find(role="status")
        assert status is not None
        assert "storefront is revoked" in " ".join(status.get_text().split())

    def test_the_place_in_the_list_after_a_revocation(self, host: Host) -> None:
        for number in range(60):
            _, key_id = host.issue(name=f"CI {number:02}")
        client = host.client("ada")
        place = "q=ci&status=all&sort=name&page=3"
        page = BeautifulSoup(client.get(f"{LIST}?{place}").text, "html.parser")
        link = page.select_one("#orgkeys-revoke-" + key_id)
        assert link is not None
        question = BeautifulSoup(client.get(str(link["href"])).text, "html.parser")
        action = question.select_one("dialog form")
        assert action is not None
        answer = client.post(str(action["action"]))
        assert answer.location == f"{LIST}?revoked={key_id}&{place}"
        assert len(listed_names(client.get(answer.location).text)) == 10

    def test_repeated_revocation(self, host: Host) -> None:
        _, key_id = host.issue()
        for _ in range(2):
            response = host.client("ada").post(f"{LIST}/{key_id}/revoke")
            assert response.status_code == 303
        assert [event["action"] for event in host.events()] == ["created", "revoked"]

    def test_confirmation_of_a_revoked_key(self, host: Host) -> None:
        _, key_id = host.issue()
        host.revoke(key_id)
        assert host.client("ada").get(f"{LIST}/{key_id}/revoke").status_code == 303

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", LIST),
            ("DELETE", LIST),
            ("POST", f"{LIST}/new"),
            ("PATCH", LIST + "/{id}/revoke"),
        ],
    )
    def test_other_methods(self, host: Host, method: str, path: str) -> None:
        assert ask(host, "ada", method, path).status_code == 405
        assert untouched(host)

    def test_no_change_by_get(self, host: Host) -> None:
        _, key_id = host.issue()
        client = host.client("ada")
        for path in (LIST, f"{LIST}/new", f"{LIST}/{key_id}/revoke"):
            assert client.get(path, query_string=FORM).status_code == 200
            assert client.head(path, query_string=FORM).status_code == 200
        assert untouched(host)


class TestAccess:
    """Who may open a page: a signed-in user with the permission, and nobody else."""

    @on_every_page
    def test_signed_out(self, host: Host, method: str, path: str) -> None:
        assert ask(host, None, method, path).status_code == 401
        assert untouched(host)

    @on_every_page
    def test_sign_in_page_of_the_host(self, host: Host, method: str, path: str) -> None:
        host.app.login_manager.login_view = "sign_in"  # type: ignore[attr-defined]
        host.app.add_url_rule("/sign-in", "sign_in", lambda: "")
        response = ask(host, None, method, path)
        assert response.status_code == 302
        assert response.location.startswith("/sign-in?next=")
        assert untouched(host)

    @on_every_page
    def test_without_permission(self, host: Host, method: str, path: str) -> None:
        assert ask(host, "sam", method, path).status_code == 403
        assert untouched(host)

    def test_unknown_organisation(self, any_host: Host) -> None:
        for slug in ("nowhere", "acme2", "a\0b", "☃", "x" * 5000, "' OR 1=1 --"):
            for method, path in PAGES:
                response = ask(any_host, "ada", method, path.replace("acme", slug))
                assert response.status_code == 404
        assert untouched(any_host)

    def test_unknown_key(self, any_host: Host) -> None:
        _, key_id = any_host.issue()
        client = any_host.client("ada")
        texts = ("nope", "0" * 12, "x" * 5000, "☃" * 12, "a\0b", "' OR 1=1 --", "%" * 12, "_" * 12)
        for text in (*texts, key_id.swapcase(), f"{key_id} ", f"orgk_{key_id}"):
            for method in ("GET", "POST"):
                response = client.open(f"{LIST}/{quote(text)}/revoke", method=method)
                assert response.status_code == 404
        assert untouched(any_host)

    def test_permission_asked_for(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_PERMISSION": "manageKeys"})
        asked = []

        @host.orgkeys.permission_checker
        def may(user: Any, organization: Any, permission: str) -> bool:
            asked.append((user.get_id(), organization.slug, permission))
            return True

        assert host.client("sam").get(LIST).status_code == 200
        assert asked[0] == ("sam", "acme", "manageKeys")

    @pytest.mark.parametrize(
        "answer", [1, "yes", object(), [True], None, False], ids=lambda value: type(value).__name__
    )
    def test_answer_other_than_true(self, host: Host, answer: object) -> None:
        host.orgkeys.permission_checker(lambda *_: answer)
        for method, path in PAGES:
            assert ask(host, "ada", method, path).status_code == 403
        assert untouched(host)

    @pytest.mark.parametrize("error", [KeyError("x"), ValueError(), RecursionError()], ids=repr)
    def test_permission_checker_that_raises(
        self, host: Host, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        def may(*_: Any) -> bool:
            raise error

        host.orgkeys.permission_checker(may)
        for method, path in PAGES:
            assert ask(host, "ada", method, path).status_code == 403
        assert untouched(host)
        assert "which denies" in caplog.text

    @on_every_page
    def test_permission_checker_that_hides(self, host: Host, method: str, path: str) -> None:
        host.orgkeys.permission_checker(lambda *_: abort(404))
        assert ask(host, "ada", method, path).status_code == 404
        assert untouched(host)

    @on_every_page
    def test_missing_permission_checker(self, host: Host, method: str, path: str) -> None:
        host.app.extensions["orgkeys"].host.permission_checker = None
        assert ask(host, "ada", method, path).status_code == 403
        assert untouched(host)

    @on_every_page
    def test_missing_organization_loader(self, host: Host, method: str, path: str) -> None:
        host.app.extensions["orgkeys"].host.organization_loader = None
        assert ask(host, "ada", method, path).status_code == 404
        assert untouched(host)

    def test_permission_lost_before_the_form_is_sent(self, host: Host) -> None:
        _, key_id = host.issue()
        client = host.client("ada")
        assert client.get(f"{LIST}/new").status_code == 200
        host.orgkeys.permission_checker(lambda *_: False)
        assert client.post(LIST, data=FORM).status_code == 403
        assert client.post(f"{LIST}/{key_id}/revoke").status_code == 403
        assert untouched(host)


class TestAuthorizationHeader:
    """Keys do not manage keys; a header signs nobody in."""

    @pytest.mark.parametrize("user", ["ada", None])
    @pytest.mark.parametrize(
        "header",
        [
            "Bearer {token}",
            "bearer {token}",
            "BEARER {token}",
            "  Bearer {token}",
            "\tBearer {token}",
            "Bearer\t{token}",
            "Bearer  {token}",
            "Bearer",
            "Bearer ",
            "Bearer not-a-key-of-ours",
            "Bearer {token},Bearer {token}",
            "Basic YWRhOnB3, Bearer {token}",
            "Basic YWRhOnB3,bearer {token}",
            "Bearer {token}, Basic YWRhOnB3",
            "Basic YWRhOnB3 Bearer {token}",
            "Token {token}",
            "{token}",
            "Bearer:{token}",
        ],
    )
    def test_key(self, host: Host, user: str | None, header: str) -> None:
        token, _ = host.issue(scopes=list(host.app.config["ORGKEYS_SCOPES"]))
        headers = {"Authorization": header.format(token=token)}
        for method, path in PAGES:
            response = ask(host, user, method, path, headers=headers)
            assert response.status_code == 403
            assert token not in response.text
        (key,) = host.keys()
        assert key.revoked_at is None

    @on_every_page
    def test_basic_of_a_staging_proxy(self, host: Host, method: str, path: str) -> None:
        response = ask(host, "ada", method, path, auth=("staging", "password"))
        assert response.status_code in (200, 303)

    @on_every_page
    def test_basic_alone(self, host: Host, method: str, path: str) -> None:
        assert ask(host, None, method, path, auth=("ada", "password")).status_code == 401
        assert untouched(host)

    @on_every_page
    def test_user_of_a_request_loader(self, host: Host, method: str, path: str) -> None:
        @host.app.login_manager.request_loader  # type: ignore[attr-defined,untyped-decorator]
        def load_by_header(request: Any) -> User | None:
            return User("ada") if request.authorization else None

        assert ask(host, None, method, path, auth=("ada", "password")).status_code == 401
        assert untouched(host)
        assert ask(host, "ada", method, path, auth=("ada", "password")).status_code in (200, 303)

    def test_user_without_an_id(self, host: Host) -> None:
        """Such a user of a ``request_loader`` is no session's, for that has no id either."""

        class Token(User):
            def get_id(self) -> Any:
                return None

        @host.app.login_manager.request_loader  # type: ignore[attr-defined,untyped-decorator]
        def load_by_header(request: Any) -> User | None:
            return Token("ada") if request.authorization else None

        assert ask(host, None, "GET", LIST, auth=("ada", "password")).status_code == 401

    def test_user_of_a_request_loader_that_reads_a_cookie(self, host: Host) -> None:
        @host.app.login_manager.request_loader  # type: ignore[attr-defined,untyped-decorator]
        def load_by_cookie(request: Any) -> User | None:
            return User(request.cookies["jwt"]) if "jwt" in request.cookies else None

        client = host.client()
        assert client.get(LIST).status_code == 401
        client.set_cookie("jwt", "ada")
        assert client.get(LIST).status_code == 200

    def test_remembered_user(self, host: Host) -> None:
        @host.app.post("/remember")
        def remember() -> str:
            flask_login.login_user(User("ada"), remember=True)
            return ""

        client = host.client()
        client.post("/remember")
        client.delete_cookie("session")
        assert client.get(LIST, auth=("staging", "password")).status_code == 200


class TestMounting:
    """A host mounts the pages where it likes."""

    @pytest.fixture
    def mounted(self, new_host: MakeHost) -> Callable[..., Host]:
        def mount(prefix: str, **arguments: Any) -> Host:
            host = new_host(pages=False)
            host.app.register_blueprint(host.orgkeys.blueprint, url_prefix=prefix, **arguments)
            return host

        return mount

    @pytest.mark.parametrize(
        ("prefix", "url"),
        [
            ("/o/<org_slug>/api-keys", "/o/acme/api-keys"),
            ("/o/<org_slug>/api-keys/", "/o/acme/api-keys"),
            ("/<org_slug>", "/acme"),
            ("/<lang>/o/<string:org_slug>/keys", "/en/o/acme/keys"),
            ("/<int:shard>/<org_slug>/<lang>", "/7/acme/en"),
        ],
    )
    @pytest.mark.parametrize("name", [None, "keys"])
    def test_prefix(
        self, mounted: Callable[..., Host], prefix: str, url: str, name: str | None
    ) -> None:
        host = mounted(prefix, **({"name": name} if name else {}))
        client = host.client("ada")
        for path in (url, f"{url}/", f"{url}/new"):
            assert client.get(path).status_code == 200
        assert client.post(f"{url}/", data=FORM).status_code == 200
        (key,) = host.keys()
        page = client.get(f"{url}/{key.id}/revoke")
        links = re.findall(r'(?:href|src|action)="(/[^"#?]*)', page.text)
        assert links
        assert all(link.startswith(url) for link in links)
        for link in links:
            with client.get(link) as linked:
                assert linked.status_code == 200
        assert client.post(f"{url}/{key.id}/revoke").location.startswith(url)

    def test_value_preprocessor_of_the_host(self, new_host: MakeHost) -> None:
        """Flask's own pattern for a URL variable that every view shares."""

        def take_language(app: Flask, _db: SQLAlchemy) -> None:
            @app.url_value_preprocessor
            def pull(_endpoint: str | None, values: dict[str, Any] | None) -> None:
                for name in ("lang", "org_slug"):
                    setattr(g, name, (values or {}).pop(name, None))

            @app.url_defaults
            def push(endpoint: str, values: dict[str, Any]) -> None:
                if "lang" not in values and app.url_map.is_endpoint_expecting(endpoint, "lang"):
                    values["lang"] = g.lang

        host = new_host(pages=False, before_init=take_language)
        prefix = "/<lang>/o/<org_slug>/api-keys"
        host.app.register_blueprint(host.orgkeys.blueprint, url_prefix=prefix)
        page = host.client("ada").get("/de/o/acme/api-keys")
        assert page.status_code == 200
        assert 'href="/de/o/acme/api-keys/new"' in page.text

    def test_nested_blueprint(self, new_host: MakeHost) -> None:
        from flask import Blueprint

        host = new_host(pages=False)
        settings = Blueprint("settings", __name__, url_prefix="/o/<org_slug>/settings")
        settings.register_blueprint(host.orgkeys.blueprint, url_prefix="/keys")
        host.app.register_blueprint(settings)
        page = host.client("ada").get("/o/acme/settings/keys")
        assert page.status_code == 200
        assert 'href="/o/acme/settings/keys/new"' in page.text

    def test_below_a_script_name(self, host: Host) -> None:
        page = host.client("ada").get(LIST, base_url="http://localhost/cockpit")
        assert f'href="/cockpit{LIST}/new"' in page.text

    def test_no_pages(self, new_host: MakeHost) -> None:
        host = new_host(pages=False)
        assert host.client("ada").get(LIST).status_code == 404

    def test_other_name_of_the_url_variable(self, new_host: MakeHost) -> None:
        host = new_host(pages=False, config={"ORGKEYS_ORG_ARG": "team"})
        host.app.register_blueprint(host.orgkeys.blueprint, url_prefix="/<team>/keys")
        assert host.client("ada").get("/acme/keys").status_code == 200

    def test_other_layout(self, new_host: MakeHost) -> None:
        from jinja2 import DictLoader

        host = new_host(config={"ORGKEYS_BASE_TEMPLATE": "layout.html"})
        layout = "<title>{% block title %}{% endblock %}</title>{% block head %}{% endblock %}OURS"
        host.app.jinja_loader = DictLoader(
            {"layout.html": layout + "{% block content %}{% endblock %}"}
        )
        page = host.client("ada").get(LIST).text
        assert "OURS" in page
        assert "No API keys yet" in page


class TestTab:
    """The tab for the host's settings navigation."""

    @staticmethod
    def settings_page(host: Host, template: str | None = None) -> None:
        from flask import render_template_string

        text = template or (
            '{% from "orgkeys/_tab.html" import api_keys_tab with context %}'
            "{{ api_keys_tab(organization) }}"
        )

        @host.app.get("/o/<org_slug>/settings")
        def settings(org_slug: str) -> str:
            organization = host.db.session.scalar(
                sa.select(host.Organization).where(host.Organization.slug == org_slug)
            )
            return render_template_string(text, organization=organization)

    def test_with_permission(self, host: Host) -> None:
        self.settings_page(host)
        page = BeautifulSoup(host.client("ada").get("/o/acme/settings").text, "html.parser")
        link = page.find("a", string="API keys")
        assert link is not None
        assert link["href"] == LIST
        assert page.find(attrs={"aria-disabled": True}) is None

    @pytest.mark.parametrize(
        ("user", "slug"), [("sam", "acme"), (None, "acme"), ("ada", "beta")], ids=str
    )
    def test_without_permission(self, host: Host, user: str | None, slug: str) -> None:
        self.settings_page(host)
        page = BeautifulSoup(host.client(user).get(f"/o/{slug}/settings").text, "html.parser")
        assert page.find("a") is None
        tab = page.find(attrs={"aria-disabled": "true"})
        assert tab is not None
        assert tab.get_text(strip=True) == "API keys"
        reason = page.find(id=tab["aria-describedby"])
        assert reason is not None
        assert "permission" in reason.get_text()

    COUNTING = (
        '{% from "orgkeys/_tab.html" import api_keys_tab with context %}'
        "{{ api_keys_tab(organization, count=True) }}"
    )

    def test_number_of_keys_that_expire_soon(self, host: Host) -> None:
        self.settings_page(host, self.COUNTING)
        now = datetime.now(UTC)

        def text() -> str:
            page = BeautifulSoup(host.client("ada").get("/o/acme/settings").text, "html.parser")
            return " ".join(page.get_text().split())

        assert text() == "API keys"
        key_ids = [host.issue(expires_at=now + timedelta(days=days))[1] for days in (13, 13, 15)]
        host.issue()
        host.issue("beta", expires_at=now + timedelta(days=1))
        assert text() == "API keys 2 expire soon"
        host.revoke(key_ids[0])
        assert text() == "API keys 1 expires soon"

    @pytest.mark.parametrize(
        ("user", "template", "queries"),
        [("ada", COUNTING, 1), ("ada", None, 0), ("sam", COUNTING, 0)],
    )
    def test_a_query_for_a_number_alone(
        self, host: Host, user: str, template: str | None, queries: int
    ) -> None:
        self.settings_page(host, template)
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
            statements.append(sql)

        client = host.client(user)
        with host.app.app_context():
            sa.event.listen(host.db.engine, "before_cursor_execute", note)
        assert client.get("/o/acme/settings").status_code == 200
        assert sum("orgkeys_key" in sql for sql in statements) == queries

    def test_other_variables_in_the_prefix(self, new_host: MakeHost) -> None:
        from flask import render_template_string

        host = new_host(pages=False)
        host.app.register_blueprint(host.orgkeys.blueprint, url_prefix="/<lang>/o/<org_slug>/keys")

        @host.app.get("/<lang>/settings")
        def settings(lang: str) -> str:
            organization = host.db.session.scalar(sa.select(host.Organization))
            return render_template_string(
                '{% from "orgkeys/_tab.html" import api_keys_tab with context %}'
                "{{ api_keys_tab(organization) }}",
                organization=organization,
            )

        assert 'href="/en/o/acme/keys"' in host.client("ada").get("/en/settings").text

    def test_pages_not_mounted(self, new_host: MakeHost) -> None:
        host = new_host(pages=False)
        self.settings_page(host, "{{ orgkeys_tab_for(organization) }}")
        with pytest.raises(ConfigurationError, match=r"register_blueprint\(orgkeys.blueprint"):
            host.client("ada").get("/o/acme/settings")


class TestHeaders:
    """The pages are safe to embed."""

    @staticmethod
    def policy(response: TestResponse) -> dict[str, str]:
        directives = response.headers["Content-Security-Policy"].split(";")
        return dict(directive.strip().split(" ", 1) for directive in directives)

    @on_every_page
    @pytest.mark.parametrize("user", ["ada", "sam", None])
    def test_every_answer(self, host: Host, method: str, path: str, user: str | None) -> None:
        response = ask(host, user, method, path)
        policy = self.policy(response)
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["base-uri"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"

    @pytest.mark.parametrize(
        ("url", "is_sent"),
        [
            ("https://host.test", True),
            ("http://127.0.0.1:5000", True),
            ("http://[::1]:5000", True),
            ("http://host.test", False),
            ("http://localhost.host.test", False),
        ],
    )
    def test_no_opener_policy_that_a_browser_complains_of(
        self, host: Host, url: str, is_sent: bool
    ) -> None:
        """On plain http to a name that is not this machine, it has no effect but a warning."""
        headers = host.client().get(LIST, base_url=url).headers
        assert ("Cross-Origin-Opener-Policy" in headers) is is_sent
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"

    @on_every_page
    def test_nothing_inline(self, host: Host, method: str, path: str) -> None:
        """What the policy would keep a browser from doing is not on the pages."""
        page = BeautifulSoup(ask(host, "ada", method, path).text, "html.parser")
        assert page.select("style, script:not([src]), [style], base, iframe, object") == []
        names = [name for tag in page.find_all(True) for name in tag.attrs]
        assert not [name for name in names if name.startswith("on")]
        assert not page.select('[href^="javascript:"], [action^="http"], [src^="http"]')

    def test_headers_of_the_host_win(self, host: Host) -> None:
        @host.app.after_request
        def harden(response: Any) -> Any:
            response.headers["Content-Security-Policy"] = "default-src 'self'"
            response.headers["Referrer-Policy"] = "strict-origin"
            return response

        headers = host.client("ada").get(LIST).headers
        assert headers.getlist("Content-Security-Policy") == ["default-src 'self'"]
        assert headers.getlist("Referrer-Policy") == ["strict-origin"]
        assert headers["Cache-Control"] == "no-store"

    @on_every_page
    def test_no_page_is_kept_by_a_cache(self, host: Host, method: str, path: str) -> None:
        """The back button would bring a new key back."""

        @host.app.after_request
        def cache(response: Any) -> Any:
            response.headers["Cache-Control"] = "private, no-cache"
            return response

        answer = ask(host, "ada", method, path)
        assert answer.headers.getlist("Cache-Control") == ["no-store"]

    def test_defaults_of_the_host_do_not(self, host: Host) -> None:
        @host.app.after_request
        def harden(response: Any) -> Any:
            response.headers.setdefault("Content-Security-Policy", "default-src *")
            return response

        assert self.policy(host.client("ada").get(LIST))["default-src"] == "'none'"

    def test_nothing_added_to_other_answers_of_the_host(self, host: Host) -> None:
        headers = host.client("ada").get("/open").headers
        assert "Content-Security-Policy" not in headers
        assert "Cache-Control" not in headers

    @pytest.mark.parametrize("name", ["orgkeys.css", "orgkeys.js"])
    def test_assets(self, host: Host, name: str) -> None:
        response = host.client().get(f"{LIST}/assets/{name}")
        assert response.status_code == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "no-store" not in response.headers["Cache-Control"]
        response.close()

    @pytest.mark.parametrize(
        "name", ["nothing.css", "../views.py", "..%2fviews.py", "orgkeys.css/x", "."]
    )
    def test_nothing_else_among_the_assets(self, host: Host, name: str) -> None:
        assert host.client("ada").get(f"{LIST}/assets/{name}").status_code == 404


class TestCSRF:
    """Every change takes a CSRF token, whether or not the host runs ``CSRFProtect``."""

    @pytest.fixture(params=[False, True], ids=["forms-alone", "CSRFProtect"])
    def is_global(self, request: pytest.FixtureRequest) -> bool:
        return bool(request.param)

    @pytest.fixture
    def guarded(self, new_host: MakeHost, is_global: bool) -> Host:
        def protect(app: Flask, _db: SQLAlchemy) -> None:
            app.config["WTF_CSRF_ENABLED"] = True
            if is_global:
                CSRFProtect(app).exempt("tests.host.test_login")

        return new_host(before_init=protect)

    @staticmethod
    def sent(host: Host, path: str, *, without: tuple[str, ...] = (), **other: str) -> Any:
        """Open a form as ada and send it, without some fields or with others. Gives the client and
        the answer.
        """
        client = host.client("ada")
        page = client.get(path)
        fields = {**FORM, **form_fields(page.text), **other}
        action = path.removesuffix("/new")
        data = {name: value for name, value in fields.items() if name not in without}
        return client, client.post(action, data=data)

    def test_form_with_its_token(self, guarded: Host) -> None:
        _, response = self.sent(guarded, f"{LIST}/new")
        assert response.status_code == 200
        (key,) = guarded.keys()
        _, response = self.sent(guarded, f"{LIST}/{key.id}/revoke")
        assert response.status_code == 303

    @pytest.mark.parametrize("wrong", ["", "wrong", "a.b.c"])
    def test_wrong_token(self, guarded: Host, is_global: bool, wrong: str) -> None:
        _, key_id = guarded.issue()
        for path in (f"{LIST}/new", f"{LIST}/{key_id}/revoke"):
            _, response = self.sent(guarded, path, csrf_token=wrong)
            assert response.status_code == (400 if is_global else 422)
            assert untouched(guarded)

    def test_missing_token(self, guarded: Host, is_global: bool) -> None:
        _, key_id = guarded.issue()
        for path in (f"{LIST}/new", f"{LIST}/{key_id}/revoke"):
            _, response = self.sent(guarded, path, without=("csrf_token",))
            assert response.status_code == (400 if is_global else 422)
            assert untouched(guarded)

    def test_token_of_another_session(self, guarded: Host, is_global: bool) -> None:
        foreign = form_fields(guarded.client("ada").get(f"{LIST}/new").text)["csrf_token"]
        _, key_id = guarded.issue()
        for path in (f"{LIST}/new", f"{LIST}/{key_id}/revoke"):
            _, response = self.sent(guarded, path, csrf_token=foreign)
            assert response.status_code == (400 if is_global else 422)
            assert untouched(guarded)

    def test_json(self, guarded: Host, is_global: bool) -> None:
        client = guarded.client("ada")
        token = form_fields(client.get(f"{LIST}/new").text)["csrf_token"]
        response = client.post(LIST, json={**FORM, "csrf_token": token})
        assert response.status_code == (400 if is_global else 422)
        assert guarded.keys() == []

    @pytest.mark.parametrize("is_global", [False], indirect=True)
    def test_expired_token(self, guarded: Host) -> None:
        """The form comes back with what was in it, says why, and works when it is sent again."""
        with time_machine.travel("2026-01-01T12:00Z", tick=False) as clock:
            client = guarded.client("ada")
            fields = form_fields(client.get(f"{LIST}/new").text)
            clock.shift(3601)
            values = {"name": "Nightly", "scopes": ["app:publish"], "expires_in": "365"}
            response = client.post(LIST, data={**values, **fields})
            assert response.status_code == 422
            assert guarded.keys() == []
            page = BeautifulSoup(response.text, "html.parser")
            alert = page.find(role="alert")
            assert alert is not None
            assert "out of date" in alert.get_text()
            assert page.select_one("[name=name]")["value"] == "Nightly"  # type: ignore[index]
            assert [box["value"] for box in page.select("[name=scopes][checked]")] == [
                "app:publish"
            ]
            assert page.select_one("[name=expires_in] [selected]")["value"] == "365"  # type: ignore[index]
            again = client.post(LIST, data={**values, **form_fields(response.text)})
            assert again.status_code == 200

    @pytest.mark.parametrize("is_global", [False], indirect=True)
    def test_expired_token_of_a_revocation(self, guarded: Host) -> None:
        with time_machine.travel("2026-01-01T12:00Z", tick=False) as clock:
            _, key_id = guarded.issue()
            client = guarded.client("ada")
            path = f"{LIST}/{key_id}/revoke"
            fields = form_fields(client.get(path).text)
            clock.shift(3601)
            response = client.post(path, data=fields)
            assert response.status_code == 422
            assert "out of date" in response.text
            assert untouched(guarded)
            assert client.post(path, data=form_fields(response.text)).status_code == 303

    def test_other_name_of_the_field(self, guarded: Host) -> None:
        guarded.app.config["WTF_CSRF_FIELD_NAME"] = "_token"
        _, response = self.sent(guarded, f"{LIST}/new")
        assert response.status_code == 200
        _, response = self.sent(guarded, f"{LIST}/new", without=("_token",))
        assert response.status_code in (400, 422)
        assert len(guarded.keys()) == 1

    @pytest.mark.parametrize("is_global", [True], indirect=True)
    def test_https(self, guarded: Host) -> None:
        """The pages' Referrer-Policy lets a browser send what ``CSRFProtect`` asks for on https."""
        https = "https://cockpit.example"
        client = guarded.client()
        client.post("/test-login/ada", base_url=https)
        page = client.get(f"{LIST}/new", base_url=https)
        assert page.headers["Referrer-Policy"] == "same-origin"
        data = {**FORM, **form_fields(page.text)}
        assert client.post(LIST, data=data, base_url=https).status_code == 400
        referer = {"Referer": f"{https}{LIST}/new"}
        response = client.post(LIST, data=data, base_url=https, headers=referer)
        assert response.status_code == 200
        assert shown_key(response.text)


class TestOutage:
    """A database that cannot be asked is a 503 with Retry-After."""

    ERRORS = (
        sa.exc.OperationalError("SELECT", {"name": "in-the-statement"}, Exception("gone")),
        sa.exc.InterfaceError("SELECT", {"name": "in-the-statement"}, Exception("closed")),
        sa.exc.InternalError("UPDATE", {"name": "in-the-statement"}, Exception("read-only")),
        sa.exc.ProgrammingError("SELECT", {"name": "in-the-statement"}, Exception("no table")),
        sa.exc.TimeoutError("QueuePool limit reached"),
        sa.exc.PendingRollbackError("invalid transaction"),
    )

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("from_statement", [1, 2])
    def test_statement_that_fails(
        self, host: Host, error: Exception, from_statement: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, key_id = host.issue()
        client = host.client("ada")
        for method, path in PAGES:
            caplog.clear()
            with failing(host, error, from_statement):
                data = FORM if method == "POST" else None
                response = client.open(path.format(id=key_id), method=method, data=data)
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) > 0
            assert response.headers["Cache-Control"] == "no-store"
            assert "Traceback" not in response.text
            assert "SELECT" not in response.text
            (record,) = [
                record for record in caplog.records if record.name.startswith("flask_orgkeys")
            ]
            assert "in-the-statement" not in record.getMessage()
        assert untouched(host)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql+psycopg://nobody@127.0.0.1:9/nothing",
            "postgresql+psycopg2://nobody@127.0.0.1:9/nothing",
            "mysql+pymysql://nobody@127.0.0.1:9/nothing",
            "sqlite:////nowhere/nothing.sqlite",
        ],
    )
    def test_database_that_is_not_there(self, host: Host, url: str) -> None:
        _, key_id = host.issue()
        client = host.client("ada")
        with host.app.app_context():
            host.db.session.remove()
            host.db.engine.dispose()
            host.db.engines[None] = sa.create_engine(url)
            for method, path in PAGES:
                data = FORM if method == "POST" else None
                response = client.open(path.format(id=key_id), method=method, data=data)
                assert response.status_code == 503
                assert int(response.headers["Retry-After"]) > 0
            host.db.engines[None] = sa.create_engine(host.app.config["SQLALCHEMY_DATABASE_URI"])

    def test_missing_table(self, any_host: Host) -> None:
        client = any_host.client("ada")
        with any_host.app.app_context():
            any_host.drop_key_table(any_host.db.engine)
        response = client.get(LIST)
        assert response.status_code == 503
        assert response.headers["Retry-After"]

    def test_page_of_the_host(self, host: Host) -> None:
        host.app.register_error_handler(503, lambda error: ("Back soon", 503))
        client = host.client("ada")
        with failing(host, self.ERRORS[0]):
            response = client.get(LIST)
        assert response.status_code == 503
        assert response.text == "Back soon"
        assert response.headers["Retry-After"]

    def test_page_of_the_host_that_needs_the_database(self, host: Host) -> None:
        @host.app.errorhandler(503)
        def sorry(error: Exception) -> Any:
            return str(host.db.session.scalar(sa.select(host.Note))), 503

        client = host.client("ada")
        with failing(host, self.ERRORS[0]):
            response = client.get(LIST)
        assert response.status_code == 503
        assert response.headers["Retry-After"]


class TestScopesOfTheForm:
    def test_few_are_one_group(self, host: Host) -> None:
        soup = BeautifulSoup(host.client("ada").get(f"{LIST}/new").text, "html.parser")
        assert soup.select("fieldset [role=group], [data-orgkeys-all]") == []

    def test_many_are_grouped_by_what_stands_before_the_colon(self, new_host: MakeHost) -> None:
        scopes = {
            **SCOPES,
            "admin": "All",
            **{f"{a}:{b}": "-" for a in ("app", "db") for b in "wxyz"},
        }
        soup = BeautifulSoup(
            new_host(config={"ORGKEYS_SCOPES": scopes}).client("ada").get(f"{LIST}/new").text,
            "html.parser",
        )
        groups = {
            str(group["aria-label"]): [box["value"] for box in group.select("input")]
            for group in soup.select("fieldset [role=group]")
        }
        assert groups == {
            "app": ["app:publish", *(f"app:{b}" for b in "wxyz")],
            "project": ["project:read-rc", "project:deploy"],
            "db": [f"db:{b}" for b in "wxyz"],
            "Other": ["admin"],
        }
        assert {box["value"] for box in soup.select("fieldset input")} == set(scopes)
        assert len(soup.select("[data-orgkeys-all]")) == 4
