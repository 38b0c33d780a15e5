"""From one secret of a key to the next, by keyboard on a small screen, and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Site
from .looks import sideways, violations
from .pages import KEYS, assert_shows_nowhere, dialog, status, tab_to
from .test_flow import answer_to
from .test_looks import SMALL


def shown(page: Page) -> Locator:
    return dialog(page, "New secret created")


def test_by_keyboard(site: Site, page: Page, clipboard: Callable[[], str]) -> None:
    """From the row of a key that expires soon to the end of its old secret."""
    old, key_id = site.host.issue(name="CI", expires_at=datetime.now(UTC) + timedelta(days=5))
    page.set_viewport_size(SMALL)
    page.goto(KEYS)
    tab_to(page, page.get_by_role("table").get_by_role("link", name="Rotate CI", exact=True))
    page.keyboard.press("Enter")
    question = dialog(page, "Rotate CI?")
    expect(question).to_have_accessible_description(re.compile(f"keeps its name.+orgk_{key_id}"))
    overlap = question.get_by_role("combobox", name="Old secret works for")
    expect(overlap).to_be_focused()
    expect(overlap).to_have_value("168")
    page.keyboard.press("ArrowUp")
    expect(overlap).to_have_value("24")
    assert_looks_right(page)
    tab_to(page, question.get_by_role("button", name="Rotate key", exact=True))
    page.keyboard.press("Enter")

    expect(shown(page).get_by_role("button", name="Copy", exact=True)).to_be_focused()
    assert_looks_right(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("Key copied.")
    new = clipboard()
    assert answer_to(site, new) == answer_to(site, old) == 201
    tab_to(page, shown(page).get_by_role("link", name="Done", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Rotate CI", exact=True)).to_be_focused()
    expect(page).to_have_url(f"{KEYS}/{key_id}")

    assert_shows_nowhere(page, new)
    assert_looks_right(page)
    expect(page.get_by_text("New secret: first used now.")).to_be_visible()
    tab_to(page, page.get_by_role("button", name="End the old secret now"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="End the old secret now")).to_have_count(0)
    assert (answer_to(site, new), answer_to(site, old)) == (201, 401)


def test_leaving_it(site: Site, page: Page) -> None:
    """The focus comes back, from the list and from the key's page."""
    token, key_id = site.host.issue(name="CI")
    page.goto(f"{KEYS}/{key_id}")
    link = page.get_by_role("link", name="Rotate CI", exact=True)
    link.click()
    expect(dialog(page, "Rotate CI?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(link).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.goto(f"{KEYS}/{key_id}/rotate")
    dialog(page, "Rotate CI?").get_by_role("link", name="Cancel", exact=True).click()
    expect(link).to_be_focused()
    expect(page).to_have_url(f"{KEYS}/{key_id}")
    assert answer_to(site, token) == 201


def test_without_scripts(site: Site, open_page: OpenPage) -> None:
    old, key_id = site.host.issue(name="CI")
    page = open_page(java_script_enabled=False, viewport=SMALL)
    page.goto(f"{KEYS}/{key_id}")
    page.get_by_role("link", name="Rotate CI", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rotate CI?")
    assert sideways(page) <= 0
    page.get_by_role("combobox", name="Old secret works for").select_option("0")
    page.get_by_role("button", name="Rotate key", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New secret created")
    assert sideways(page) <= 0
    new = page.get_by_role("textbox", name="API key", exact=True).input_value()
    assert (answer_to(site, new), answer_to(site, old)) == (201, 401)
    page.get_by_role("link", name="Done", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("CI")
    expect(page.get_by_role("button", name="End the old secret now")).to_have_count(0)
    assert_shows_nowhere(page, new)


def assert_looks_right(page: Page) -> None:
    assert violations(page) == []
    assert sideways(page) <= 0
