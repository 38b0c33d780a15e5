"""Nothing scrolls sideways, at any width: with the longest words, keys and people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from flask import request
from flask_babel import Babel
from playwright.sync_api import Page, expect

from tests.host import Host, disposing, make_host

from .conftest import OpenPage, Site
from .looks import sideways
from .pages import KEYS, issue_one_of_each
from .server import serving

# What sticks out of a dialog. To the left of it, nobody can scroll.
OUTSIDE = """dialog => [...dialog.querySelectorAll('a, button, input, select, textarea, p')]
    .filter(one => one.checkVisibility())
    .filter(one => one.getBoundingClientRect().right > dialog.getBoundingClientRect().right
        || one.getBoundingClientRect().left < dialog.getBoundingClientRect().left)
    .map(one => one.outerHTML)"""
# From a phone to a desk; closer together where a table takes the place of cards.
WIDTHS = (320, 360, 480, 640, 700, 768, 880, *range(920, 1200, 10), 1280)
PATHS = ("", "?status=all", "?status=revoked", "/{}", "/activity", "/check")
LONGEST_PREFIX = "p" * 20
ADDRESS = "ben.longer-name@customer-platform.acme.example"
# The characters after which the text of an element goes on in another line.
BREAKS = """element => {
    const range = document.createRange();
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const places = [];
    while (walker.nextNode()) {
        const node = walker.currentNode;
        for (let at = 0; at < node.length; at += 1) {
            range.setStart(node, at);
            range.setEnd(node, at + 1);
            places.push([node.data[at], range.getBoundingClientRect().top]);
        }
    }
    return places.filter(([, top], at) => at + 1 < places.length && places[at + 1][1] > top)
        .map(([character]) => character);
}"""
LONG_ACTORS = ("0123456789abcdef" * 3, "a" * 60 + "@acme.example.organisation")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    def set_babel_up(app: object, _db: object) -> None:
        Babel(app, locale_selector=lambda: request.accept_languages.best_match(["en", "de"]))

    url = f"sqlite:///{tmp_path_factory.mktemp('widths') / 'host.sqlite'}"
    config = {"WTF_CSRF_ENABLED": True, "ORGKEYS_PREFIX": LONGEST_PREFIX}
    host = make_host(url, config=config, before_init=set_babel_up)
    with disposing(host), serving(host.app) as port:
        yield Site(host, port)


def revoke_as(host: Host, key_id: str, actor: str) -> None:
    with host.app.app_context():
        host.orgkeys.revoke_key(host.organization_ids["acme"], key_id, revoked_by=actor)
        host.db.session.commit()


def widths_that_scroll(page: Page) -> dict[int, int]:
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        if sideways(page) > 0:
            found[width] = sideways(page)
    return found


def spoken(page: Page) -> str:
    """The text for assistive technology."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    return " ".join(
        node["name"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in ("cell", "rowheader")
    )


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("width", [1280, 1024, 960])
def test_an_event_breaks_at_no_letter(
    open_page: OpenPage, site: Site, width: int, language: str
) -> None:
    _, key_id = site.host.issue(name="GitHub Actions, storefront", created_by=ADDRESS)
    revoke_as(site.host, key_id, ADDRESS)
    page = open_page(viewport={"width": width, "height": 800}, locale=language)
    page.goto(f"{KEYS}/activity")
    cells = page.get_by_role("row").locator("td:nth-child(2)")
    assert cells.count() == 2
    assert {each for cell in cells.all() for each in cell.evaluate(BREAKS)} <= {" "}


def enlarge_the_text(page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 800})
    page.evaluate("() => { document.documentElement.style.fontSize = '200%' }")


@pytest.mark.parametrize(("language", "paths"), [("en", PATHS[1:2]), ("de", PATHS)])
def test_nothing_scrolls_sideways(
    open_page: OpenPage, site: Site, language: str, paths: Sequence[str]
) -> None:
    key_id = issue_one_of_each(site.host)["Release"]
    for actor in LONG_ACTORS:
        revoke_as(site.host, site.host.issue(name="CI", created_by=actor)[1], actor)
        site.host.issue(name="CI", created_by=actor)
    page = open_page(locale=language)
    for path in paths:
        page.goto(KEYS + path.format(key_id))
        expect(page.locator("html")).to_have_attribute("lang", language)
        assert widths_that_scroll(page) == {}, path
        enlarge_the_text(page)
        assert sideways(page) <= 0, path


@pytest.mark.parametrize("width", [1280, 1024, 320])
def test_an_address_breaks_at_its_parts(open_page: OpenPage, site: Site, width: int) -> None:
    issue_one_of_each(site.host)
    _, key_id = site.host.issue(name="CI", created_by=ADDRESS)
    revoke_as(site.host, key_id, ADDRESS)
    page = open_page(viewport={"width": width, "height": 800})
    for path in ("?status=all", "?status=revoked", "/activity"):
        page.goto(KEYS + path)
        addresses = page.locator("bdi").filter(has_text=ADDRESS)
        assert addresses.count() == 2
        assert ADDRESS in spoken(page), path
        breaks = {each for address in addresses.all() for each in address.evaluate(BREAKS)}
        assert breaks <= {"@", ".", "-"}, path


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_dialog_in_large_text(open_page: OpenPage, site: Site, language: str) -> None:
    _, key_id = site.host.issue(name="CI", created_by=LONG_ACTORS[0])
    page = open_page(locale=language)
    for path in ("/new", f"/{key_id}/edit", f"/{key_id}/revoke", f"/{key_id}/rotate"):
        page.goto(KEYS + path)
        enlarge_the_text(page)
        assert page.locator("dialog").evaluate(OUTSIDE) == [], path
