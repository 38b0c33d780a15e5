"""The pages in German, whose words are longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import request
from flask_babel import Babel
from playwright.sync_api import Page, expect

from tests.host import disposing, make_host

from .conftest import OpenPage, Site
from .looks import sideways, violations
from .pages import KEYS, issue_one_of_each
from .server import serving
from .test_looks import SMALL


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    def set_babel_up(app: object, _db: object) -> None:
        Babel(app, locale_selector=lambda: request.accept_languages.best_match(["en", "de"]))

    url = f"sqlite:///{tmp_path_factory.mktemp('german') / 'host.sqlite'}"
    config = {"WTF_CSRF_ENABLED": True}
    host = make_host(url, config=config, before_init=set_babel_up)
    with disposing(host), serving(host.app) as port:
        yield Site(host, port)


@pytest.fixture
def german_page(open_page: OpenPage) -> Page:
    return open_page("ada", locale="de-DE", viewport=SMALL)


def test_a_small_screen(german_page: Page, site: Site) -> None:
    ids = issue_one_of_each(site.host)
    key_id = ids["Release"]
    steps = [f"/{key_id}{step}" for step in ("", "/revoke", "/rotate", "/edit")]
    notice = f"?revoked={ids['Old laptop']}"
    for path in ("?status=all", notice, "/new", "/activity", "/check", *steps):
        german_page.goto(KEYS + path)
        expect(german_page.locator("html")).to_have_attribute("lang", "de")
        assert sideways(german_page) <= 0, path
        assert violations(german_page) == []


def test_what_the_script_says(german_page: Page) -> None:
    german_page.goto(f"{KEYS}/new")
    german_page.get_by_role("textbox", name="Name").fill("CI")
    german_page.get_by_role("checkbox", name="project:deploy").check()
    german_page.get_by_role("button", name="Schlüssel erstellen").click()
    german_page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    german_page.get_by_role("button", name="Kopieren", exact=True).click()
    expect(german_page.get_by_role("status")).to_have_text("Schlüssel kopiert.")
    assert sideways(german_page) <= 0


def test_a_rotation(german_page: Page, site: Site) -> None:
    _, key_id = site.host.issue(name="CI")
    page = german_page
    page.goto(f"{KEYS}/{key_id}")
    page.get_by_role("link", name="Erneuern: CI", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Schlüssel erneuern").click()
    shown = page.get_by_role("dialog", name="Neues Geheimnis erstellt")
    expect(shown).to_be_visible()
    assert violations(page) == []
    with page.expect_event("load"):
        shown.get_by_role("link", name="Fertig", exact=True).click()
    expect(page.get_by_text("Neues Geheimnis: noch nicht verwendet.")).to_be_visible()
    assert violations(page) == []
    assert sideways(page) <= 0
