"""The tab on the host's pages, which it never makes fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import render_template_string
from werkzeug.routing import UnicodeConverter

from ..conftest import MakeHost
from ..host import Host

TAB = '{% from "orgkeys/_tab.html" import api_keys_tab with context %}{{ api_keys_tab(given) }}'


def shown_at(host: Host, rule: str, path: str, given: Any) -> str:
    @host.app.get(rule)
    def settings(**_: Any) -> str:
        return render_template_string(TAB, given=given)

    host.orgkeys.permission_checker(lambda *_: True)
    answer = host.client("ada").get(path)
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("given", [SimpleNamespace(id=7), SimpleNamespace(slug="other"), "acme", 7])
def test_takes_the_organisation_of_the_url(host: Host, given: Any) -> None:
    page = shown_at(host, "/o/<org_slug>/settings", "/o/acme/settings", given)

    assert 'href="/o/acme/api-keys"' in page


@pytest.mark.parametrize("given", [SimpleNamespace(id=1, slug="acme"), SimpleNamespace(id=1), 1])
def test_a_numbered_mount(new_host: MakeHost, given: Any) -> None:
    host = new_host(pages=False)
    host.app.register_blueprint(host.orgkeys.blueprint, url_prefix="/o/<int:org_slug>/keys")

    assert 'href="/o/1/keys"' in shown_at(host, "/settings", "/settings", given)


@pytest.mark.parametrize("given", [None, object(), SimpleNamespace(slug=None, id=None)])
def test_nothing_that_names_the_organisation(new_host: MakeHost, given: Any) -> None:
    host = new_host(pages=False)
    host.app.register_blueprint(host.orgkeys.blueprint, url_prefix="/o/<int:org_slug>/keys")

    assert 'aria-disabled="true"' in shown_at(host, "/settings", "/settings", given)


def test_a_permission_that_cannot_be_asked(host: Host) -> None:
    @host.app.get("/o/<org_slug>/settings")
    def settings(org_slug: str) -> str:
        return render_template_string(TAB, given=SimpleNamespace(slug=org_slug))

    def may(*_: Any) -> bool:
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    host.orgkeys.permission_checker(may)

    assert 'aria-disabled="true"' in host.client("ada").get("/o/acme/settings").text


def test_on_the_host_s_page_for_an_unknown_url(host: Host) -> None:
    @host.app.errorhandler(404)
    def sorry(_: Exception) -> tuple[str, int]:
        return render_template_string(TAB, given=SimpleNamespace(slug="acme")), 404

    answer = host.client("ada").get("/nowhere")

    assert answer.status_code == 404
    assert 'href="/o/acme/api-keys"' in answer.text


@pytest.mark.parametrize("given", [SimpleNamespace(slug="acme"), SimpleNamespace(id="x" * 400), 7])
def test_keys_that_cannot_be_counted(host: Host, given: Any) -> None:
    host.orgkeys.permission_checker(lambda *_: True)

    @host.app.get("/o/<org_slug>/settings")
    def settings(org_slug: str) -> str:
        return render_template_string(TAB.replace("given", "given, count=True"), given=given)

    page = host.client("ada").get("/o/acme/settings")
    assert page.status_code == 200
    assert 'href="/o/acme/api-keys"' in page.text


def test_a_table_that_is_missing(host: Host) -> None:
    @host.app.get("/o/<org_slug>/settings")
    def settings(org_slug: str) -> str:
        given = host.orgkeys._host.load_organization(org_slug)
        return render_template_string(TAB.replace("given", "given, count=True"), given=given)

    client = host.client("ada")
    with host.app.app_context():
        host.drop_key_table(host.db.engine)
    assert client.get("/o/acme/settings").status_code == 200


def test_a_converter_that_takes_organisations_alone(new_host: MakeHost) -> None:
    class BySlug(UnicodeConverter):
        def to_url(self, value: Any) -> str:
            return str(value.slug)

    host = new_host(pages=False)
    host.app.url_map.converters["organization"] = BySlug
    prefix = "/o/<organization:org_slug>/keys"
    host.app.register_blueprint(host.orgkeys.blueprint, url_prefix=prefix)

    given = SimpleNamespace(id=1, slug="acme")
    assert 'href="/o/acme/keys"' in shown_at(host, "/settings", "/settings", given)
