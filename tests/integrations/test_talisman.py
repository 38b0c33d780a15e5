"""Under Flask-Talisman's default policy the pages work, and so do the answers to automation."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup, Tag
from flask import Flask
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman
from werkzeug.test import TestResponse

from ..conftest import MakeHost
from ..host import Host, bearer, form_fields, shown_key

DEFAULT_POLICY = "default-src 'self'; object-src 'none'"
HTTPS = "https://localhost"
PAGE = "/o/acme/api-keys"


def harden(app: Flask, _db: SQLAlchemy | None = None) -> None:
    Talisman(app)


@pytest.fixture(params=["before us", "after us"])
def hardened_host(request: pytest.FixtureRequest, new_host: MakeHost) -> Host:
    """A host with Flask-Talisman as it comes, set up before us or after us."""
    config = {"WTF_CSRF_ENABLED": True}
    if request.param == "before us":
        return new_host(config=config, before_init=harden)
    host = new_host(config=config)
    harden(host.app)
    return host


@pytest.fixture
def client(hardened_host: Host) -> FlaskClient:
    """A browser on https, signed in as an administrator."""
    client = hardened_host.app.test_client()
    client.environ_base["wsgi.url_scheme"] = "https"
    assert client.post("/test-login/ada", base_url=HTTPS).status_code == 204
    return client


def create(client: FlaskClient) -> TestResponse:
    """Send the create form as a browser does that heeds the policy of its page."""
    form = client.get(f"{PAGE}/new", base_url=HTTPS)
    return client.post(
        PAGE,
        base_url=HTTPS,
        data={
            **form_fields(form.text),
            "name": "CI",
            "scopes": "project:deploy",
            "expires_in": "30",
        },
        headers={"Referer": f"{HTTPS}{PAGE}/new"},
    )


def test_a_key_is_made_shown_and_revoked(hardened_host: Host, client: FlaskClient) -> None:
    created = create(client)
    assert created.status_code == 200
    token = shown_key(created.text)
    assert client.get("/api/whoami", base_url=HTTPS, headers=bearer(token)).status_code == 200

    (key,) = hardened_host.keys()
    confirmation = client.get(f"{PAGE}/{key.id}/revoke", base_url=HTTPS)
    revoked = client.post(
        f"{PAGE}/{key.id}/revoke",
        base_url=HTTPS,
        data=form_fields(confirmation.text),
        headers={"Referer": f"{HTTPS}{PAGE}"},
    )
    assert revoked.status_code == 303
    assert hardened_host.key(key.id).revoked_at is not None


def test_nothing_on_the_pages_goes_against_the_policy(client: FlaskClient) -> None:
    pages = [client.get(f"{PAGE}{path}", base_url=HTTPS) for path in ("", "/new")]
    for page in [*pages, create(client)]:
        assert page.headers.getlist("Content-Security-Policy") == [DEFAULT_POLICY]
        soup = BeautifulSoup(page.text, "html.parser")
        assert soup.find_all("style") == []
        assert soup.find_all(["object", "embed", "applet"]) == []
        for tag in soup.find_all(True):
            assert isinstance(tag, Tag)
            assert [name for name in tag.attrs if name == "style" or name.startswith("on")] == []
            assert tag.name != "script" or not tag.get_text().strip()
        assets = [
            str(tag.get("src") or tag.get("href"))
            for tag in soup.select("script, link[rel=stylesheet], img, iframe")
        ]
        assert len(assets) >= 2
        for asset in assets:
            assert asset.startswith("/o/acme/api-keys/assets/")
            with client.get(asset, base_url=HTTPS) as answer:
                assert answer.status_code == 200
                assert re.findall(r"\b(?:data|blob|https?):", answer.text) == []
                assert re.findall(r"\beval\(|new Function|setAttribute\(.style", answer.text) == []


def test_the_page_with_the_key_is_kept_by_no_cache_and_in_no_foreign_frame(
    client: FlaskClient,
) -> None:
    headers = create(client).headers

    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] in ("DENY", "SAMEORIGIN")


def test_a_refusal_keeps_its_challenge(client: FlaskClient) -> None:
    answer = client.get("/api/whoami", base_url=HTTPS)

    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="host"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Authorization" in answer.headers["Vary"]


def test_plain_http_is_sent_to_https_and_opens_nothing(hardened_host: Host) -> None:
    token, _ = hardened_host.issue()

    answer = hardened_host.client().post("/api/deploy", headers=bearer(token))

    assert answer.status_code == 302
    assert answer.location == "https://localhost/api/deploy"
