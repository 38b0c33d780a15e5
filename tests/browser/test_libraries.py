"""The pages in layouts with Turbo, htmx, Vue and Alpine, which change a page by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage, Site
from .libraries import COOKIE, LIBRARIES, host_with_libraries, install
from .pages import (
    KEYS,
    assert_shows_nowhere,
    create_dialog,
    create_link,
    created_dialog,
    dialog,
    fill_in,
    revoke_link,
    row,
    status,
    submit,
    token_field,
)
from .server import serving
from .test_flow import answer_to

MEMBERS = "/o/acme/members"
NAME = "CI [[7*7]] {{7*7}} ${7*7}"

OpenIn = Callable[[str], Page]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    packages = install(tmp_path_factory.mktemp("packages"))
    folder = tmp_path_factory.mktemp("libraries")
    with host_with_libraries(folder, packages) as host, serving(host.app) as port:
        yield Site(host, port)


@pytest.fixture
def open_in(open_page: OpenPage, site: Site) -> OpenIn:
    """Open the host's own page with a library in its layout, once that runs."""

    def open_one(library: str) -> Page:
        page = open_page()
        page.context.add_cookies([{"name": COOKIE, "value": library, "url": site.url}])
        page.goto(MEMBERS)
        page.wait_for_function(LIBRARIES[library].ready)
        return page

    return open_one


@pytest.mark.parametrize("library", ["turbo", "htmx-1", "htmx-2", "htmx-4"])
def test_links_and_forms_as_pages(open_in: OpenIn, site: Site, library: str) -> None:
    """A library that loads links and forms by itself loses no key, and keeps none."""
    page = open_in(library)
    go_to_the_keys(page, "Keys")
    token = create_the_key(page)
    assert answer_to(site, token) == 201
    leave(page)
    come_back(page, token)
    go_to_the_keys(page, "API keys")
    edit_the_key(page)
    token = rotate_the_key(page)
    assert answer_to(site, token) == 201
    find_the_key(page)
    check_the_key(page, token)
    revoke_the_key(page)
    assert answer_to(site, token) == 401
    leave(page)


@pytest.mark.parametrize("library", ["vue", "vue-late", "alpine"])
def test_names_as_text(open_in: OpenIn, site: Site, library: str) -> None:
    """A library that takes the page for a template leaves ours alone: in text and in listeners."""
    page = open_in(library)
    page.get_by_role("link", name="Keys", exact=True).click()
    page.wait_for_function(LIBRARIES[library].ready)
    token = create_the_key(page)
    assert answer_to(site, token) == 201
    page.wait_for_function(LIBRARIES[library].ready)
    expect(row(page, NAME)).to_be_visible()
    elements = page.locator("[data-orgkeys] *")
    assert not elements.evaluate_all("all => all.some(one => '_x_marker' in one)")
    leaves = elements.evaluate_all(
        "all => all.filter(one => !one.children.length).map(one => one.textContent.trim())"
    )
    assert {text for text in leaves if text.startswith("CI")} == {NAME}
    revoke_link(page, NAME).click()
    expect(dialog(page, f"Revoke {NAME}?")).to_be_visible()


def go_to_the_keys(page: Page, link: str) -> None:
    """Follow a link to the list, which is loaded whole, with its style sheet and script."""
    page.evaluate("() => { window.isTheSame = true }")
    page.get_by_role("link", name=link, exact=True).click()
    expect(page).to_have_url(KEYS)
    expect(create_link(page).or_(row(page, NAME)).first).to_be_visible()
    expect(page.locator("head script[src*='orgkeys.js']")).to_have_count(1)
    assert page.evaluate("() => window.isTheSame") is None


def create_the_key(page: Page) -> str:
    create_link(page).click()
    fill_in(create_dialog(page), name=NAME)
    assert_is_modal(page)
    submit(create_dialog(page))
    expect(token_field(page)).to_be_visible()
    assert_is_modal(page)
    token = token_field(page).input_value()
    assert_keeps_nothing(page)
    page.keyboard.press("Escape")
    # The page with the key has the address of the list, and the list behind it.
    with page.expect_event("load"):
        created_dialog(page).get_by_role("link", name="Done", exact=True).click()
    expect(created_dialog(page)).to_have_count(0)
    expect(page).to_have_url(KEYS)
    expect(row(page, NAME)).to_be_visible()
    assert_keeps_nothing(page)
    return token


def leave(page: Page) -> None:
    page.get_by_role("link", name="Members", exact=True).click()
    expect(page.get_by_role("heading", name="Members", exact=True)).to_be_visible()
    expect(page).to_have_url(MEMBERS)
    assert_keeps_nothing(page)


def come_back(page: Page, token: str) -> None:
    """Go back to where the key was shown, and beyond."""
    for _ in range(2):
        page.go_back(wait_until="load")
        page.wait_for_load_state("networkidle")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert_shows_nowhere(page, token)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def edit_the_key(page: Page) -> None:
    page.get_by_role("link", name=NAME, exact=True).click()
    page.get_by_role("link", name="Edit", exact=True).click()
    form = dialog(page, f"Edit {NAME}")
    form.get_by_role("textbox", name="Note").fill("of the storefront")
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_text("of the storefront", exact=True)).to_be_visible()


def rotate_the_key(page: Page) -> str:
    page.get_by_role("link", name=f"Rotate {NAME}", exact=True).click()
    dialog(page, f"Rotate {NAME}?").get_by_role("button", name="Rotate key").click()
    shown = dialog(page, "New secret created")
    expect(shown).to_be_visible()
    token = shown.get_by_role("textbox", name="API key", exact=True).input_value()
    assert_is_modal(page)
    assert_keeps_nothing(page)
    shown.get_by_role("link", name="Done", exact=True).click()
    expect(page).to_have_url(re.compile(r"/api-keys/\w+$"))
    expect(page.get_by_role("heading", name="Rotation under way")).to_be_visible()
    assert_keeps_nothing(page)
    return token


def find_the_key(page: Page) -> None:
    go_to_the_keys(page, "Keys")
    page.get_by_role("link", name="Never used").click()
    page.wait_for_url("**use=never**")
    page.get_by_role("searchbox", name="Search", exact=True).fill("ci")
    page.get_by_role("button", name="Apply", exact=True).click()
    page.get_by_role("link", name="Show them under All").click()
    expect(row(page, NAME)).to_be_visible()


def check_the_key(page: Page, token: str) -> None:
    page.get_by_role("link", name="Check a key", exact=True).click()
    page.get_by_role("textbox", name="Text").fill(f"key: {token}")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(status(page)).to_contain_text("The secret is right.")
    assert_shows_nowhere(page, token)


def revoke_the_key(page: Page) -> None:
    revoke_link(page, NAME).click()
    question = dialog(page, f"Revoke {NAME}?")
    question.get_by_role("button", name="Revoke key", exact=True).click()
    expect(status(page)).to_contain_text(f"{NAME} is revoked")


def assert_is_modal(page: Page) -> None:
    expect(page.locator("dialog:modal")).to_have_count(1)


def assert_keeps_nothing(page: Page) -> None:
    """Nothing of our pages is in what the browser keeps for the library."""
    kept = page.evaluate(
        """() => JSON.stringify([
            {...localStorage},
            {...sessionStorage},
            Object.values(window.Turbo?.session.view.snapshotCache.snapshots ?? {})
                .map(snapshot => snapshot.element.outerHTML),
        ])"""
    )
    assert "data-orgkeys" not in kept
    assert "orgk_" not in kept
