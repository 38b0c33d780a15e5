"""The pages in layouts and environments that other applications have."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import flask
import jinja2
import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from ..conftest import MakeHost
from ..host import Host, shown_key
from .test_pages import FORM, LIST

NAMES = re.findall(
    r"\w+",
    """
    alert base_template boxes choice dialog example expires first_error form group groups heading
    id issued key key_id kind label list_url listing name names notice organization_name page place
    query row rows scopes settings soon state status statuses tab text title ui url visit
    """,
)
HEAD = "<title>{% block title %}{% endblock %}</title>{% block head %}{% endblock %}"
LAYOUT = HEAD + "{% block content %}{% endblock %}"


def see_everything(host: Host) -> list[str]:
    """Open each page, with a row in every condition."""
    now = datetime.now(UTC)
    for expires_at in (None, now + timedelta(3), now + timedelta(90)):
        _, key_id = host.issue(name="storefront", expires_at=expires_at)
    _, revoked = host.issue(name="gone")
    host.revoke(revoked)
    client = host.client("ada")
    answers = [
        client.get(f"{LIST}?status=all&revoked={revoked}"),
        client.get(f"{LIST}?q=nothing"),
        client.get(f"{LIST}?q=store&page=2"),
        client.get(f"{LIST}/new"),
        client.post(LIST, data={"name": ""}),
        client.post(LIST, data=FORM),
        client.get(f"{LIST}/{key_id}/revoke"),
        host.client("bea").get(LIST.replace("acme", "beta")),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 422, 200, 200, 200]
    return [answer.text for answer in answers]


def with_layout(host: Host, **templates: str) -> Host:
    host.app.jinja_loader = jinja2.DictLoader(
        {f"{name}.html": text for name, text in templates.items()}
    )
    return host


@pytest.mark.parametrize(
    "options",
    [
        {"undefined": jinja2.StrictUndefined},
        {"line_statement_prefix": "#"},
        {"line_statement_prefix": "%"},
        {"line_comment_prefix": "##"},
        {"trim_blocks": True, "lstrip_blocks": True},
    ],
    ids=str,
)
def test_options_of_the_environment(new_host: MakeHost, options: dict[str, Any]) -> None:
    def configure(app: Flask, _db: SQLAlchemy) -> None:
        app.jinja_options = {**app.jinja_options, **options}

    pages = see_everything(new_host(before_init=configure))

    assert shown_key(pages[5]).startswith("orgk_")


class TestNames:
    """A layout, or a context processor, that has the names of our own variables."""

    @staticmethod
    def outline(host: Host) -> list[list[str]]:
        """Return the tags of each page with their classes."""
        with host.app.app_context():
            host.db.session.execute(sa.delete(host.orgkeys.ApiKey))
            host.db.session.commit()
        soups = [BeautifulSoup(page, "html.parser") for page in see_everything(host)]
        return [[f"{tag.name} {tag.get('class')}" for tag in soup.find_all(True)] for soup in soups]

    def test_of_the_layout(self, new_host: MakeHost) -> None:
        assignments = "".join(f"{{% set {name} = 'theirs' %}}" for name in NAMES)
        host = new_host(config={"ORGKEYS_BASE_TEMPLATE": "layout.html"})
        expected = self.outline(with_layout(host, layout=LAYOUT))
        with_layout(host, layout=assignments + LAYOUT)
        host.app.jinja_env.cache.clear()  # type: ignore[union-attr]

        assert self.outline(host) == expected

    def test_of_a_context_processor(self, host: Host) -> None:
        names: dict[str, str] = {}
        host.app.context_processor(lambda: names)
        expected = self.outline(host)
        names.update(dict.fromkeys(NAMES, "theirs"))

        assert self.outline(host) == expected

    def test_ours(self, new_host: MakeHost) -> None:
        """None but the documented ones reach the host's layout."""
        host = new_host(config={"ORGKEYS_BASE_TEMPLATE": "layout.html"})
        seen: set[str] = set()

        @jinja2.pass_context
        def note(context: jinja2.runtime.Context) -> str:
            seen.update(context.get_all())
            return ""

        host.app.jinja_env.globals["note"] = note
        with_layout(host, layout="{% set theirs = 1 %}{{ note() }}" + LAYOUT)
        with host.app.test_request_context():
            flask.render_template("layout.html")
        of_the_host = set(seen)
        see_everything(host)

        ours = {name for name in seen - of_the_host if not name.startswith("orgkeys_")}
        assert ours == {"organization"}


class TestBody:
    """A layout of the settings that fills ``content`` itself."""

    SETTINGS = (
        '{% extends "layout.html" %}{% block content %}<nav>Settings</nav>'
        '{% include "orgkeys/_page.html" %}{% endblock %}'
    )

    @pytest.mark.parametrize("name", ["settings", "below"])
    def test_included_by_the_layout(self, new_host: MakeHost, name: str) -> None:
        host = new_host(config={"ORGKEYS_BASE_TEMPLATE": f"{name}.html"})
        below = '{% extends "settings.html" %}'
        with_layout(host, layout=LAYOUT, settings=self.SETTINGS, below=below)
        host.issue(name="storefront")

        page = BeautifulSoup(host.client("ada").get(LIST).text, "html.parser")

        assert page.find("nav", string="Settings") is not None
        assert len(page.select("[data-orgkeys]")) == 1
        assert len(page.select("link[rel=stylesheet]")) == 1
        assert page.title is not None
        assert page.title.get_text() == "API keys · Acme"


@pytest.mark.parametrize("name", ["orgkeys.css", "orgkeys.js"])
def test_an_asset_is_kept_under_the_url_of_its_version(host: Host, name: str) -> None:
    client = host.client("ada")
    page = BeautifulSoup(client.get(LIST).text, "html.parser")
    (url,) = (
        str(value)
        for tag in page.select("link, script")
        for value in (tag.get("href"), tag.get("src"))
        if name in str(value)
    )
    assert "?v=" in url
    with client.get(url) as versioned, client.get(url.partition("?")[0]) as plain:
        assert versioned.cache_control.max_age == 365 * 24 * 3600
        assert plain.cache_control.max_age == 3600


@pytest.mark.parametrize("name", ["q", "status", "sort", "page", "revoked", "v"])
def test_a_mount_variable_may_have_the_name_of_a_query_parameter(
    new_host: MakeHost, name: str
) -> None:
    host = new_host(pages=False)
    host.app.register_blueprint(host.orgkeys.blueprint, url_prefix=f"/<{name}>/<org_slug>/keys")
    _, key_id = host.issue(name="storefront")
    client = host.client("ada")
    url = "/en/acme/keys"

    assert client.get(f"{url}?q=store&status=all").status_code == 200
    assert client.get(f"{url}/{key_id}/revoke?q=store").status_code == 200
    answer = client.post(f"{url}/{key_id}/revoke?q=store&status=all")
    assert answer.location.startswith(f"{url}?revoked={key_id}&q=store&status=all")
    assert client.get(answer.location).status_code == 200
