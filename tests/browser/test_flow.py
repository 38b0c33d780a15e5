"""From no key to a used and a revoked one, in the three ways people use a page."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.host import bearer

from .conftest import OpenPage, Site
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
    tab_to,
    token_field,
)


def answer_to(site: Site, token: str) -> int:
    return site.host.client().post("/api/deploy", headers=bearer(token)).status_code


def test_a_key_by_mouse(site: Site, page: Page, clipboard: Callable[[], str]) -> None:
    page.goto(KEYS)
    expect(page).to_have_title("API keys · Acme")
    expect(page.get_by_role("heading", name="No API keys yet")).to_be_visible()

    create_link(page).click()
    fill_in(create_dialog(page), name="GitHub, storefront")
    submit(create_dialog(page))
    expect(created_dialog(page)).to_be_visible()
    expect(page).to_have_title("API key created · Acme")
    token = token_field(page).input_value()
    created_dialog(page).get_by_role("button", name="Copy", exact=True).click()
    expect(status(page)).to_have_text("Key copied.")
    assert clipboard() == token
    created_dialog(page).get_by_role("link", name="Done", exact=True).click()

    expect(created_dialog(page)).to_be_hidden()
    expect(page).to_have_url(site.url + KEYS)
    expect(create_link(page)).to_be_focused()
    assert_shows_nowhere(page, token)
    expect(row(page, "GitHub, storefront").get_by_text("Never")).to_be_visible()
    assert answer_to(site, token) == 201
    page.reload()
    expect(row(page, "GitHub, storefront").get_by_text("now")).to_be_visible()

    revoke_link(page, "GitHub, storefront").click()
    confirmation = dialog(page, "Revoke GitHub, storefront?")
    confirmation.get_by_role("button", name="Revoke key", exact=True).click()
    expect(status(page)).to_contain_text("GitHub, storefront is revoked")
    expect(status(page)).to_be_focused()
    expect(row(page, "GitHub, storefront")).to_have_count(0)
    assert answer_to(site, token) == 401


def test_a_key_by_keyboard(site: Site, page: Page, clipboard: Callable[[], str]) -> None:
    page.goto(KEYS)
    tab_to(page, create_link(page))
    page.keyboard.press("Enter")
    expect(create_dialog(page).get_by_role("textbox", name="Name", exact=True)).to_be_focused()
    page.keyboard.type("GitHub")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    tab_to(page, create_dialog(page).get_by_role("combobox", name="Expiration"))
    page.keyboard.press("Home")
    tab_to(page, create_dialog(page).get_by_role("button", name="Create key"))
    page.keyboard.press("Enter")

    expect(created_dialog(page).get_by_role("button", name="Copy", exact=True)).to_be_focused()
    token = token_field(page).input_value()
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("Key copied.")
    assert clipboard() == token
    tab_to(page, created_dialog(page).get_by_role("link", name="Done", exact=True))
    page.keyboard.press("Enter")
    expect(created_dialog(page)).to_be_hidden()

    expect(create_link(page)).to_be_focused()
    (key,) = site.host.keys()
    assert (key.name, key.scopes, key.expires_at) == ("GitHub", ["app:publish"], None)
    tab_to(page, revoke_link(page, "GitHub"))
    page.keyboard.press("Enter")
    confirmation = dialog(page, "Revoke GitHub?")
    expect(confirmation.get_by_role("link", name="Cancel", exact=True)).to_be_focused()
    tab_to(page, confirmation.get_by_role("button", name="Revoke key"))
    page.keyboard.press("Enter")
    expect(status(page)).to_be_focused()
    assert site.host.key(key.id).revoked_at is not None


def test_a_key_without_scripts(site: Site, open_page: OpenPage) -> None:
    """Every step is a page of its own, and its heading is what elsewhere names the dialog."""
    page = open_page(java_script_enabled=False)

    def heading() -> str:
        (text,) = page.get_by_role("heading", level=1).all_inner_texts()
        return text

    page.goto(KEYS)
    assert heading() == "API keys"
    create_link(page).click()
    page.wait_for_url(f"**{KEYS}/new")
    assert heading() == "Create API key"
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_be_focused()
    page.get_by_role("link", name="Cancel", exact=True).click()
    assert heading() == "API keys"
    create_link(page).click()

    submit(page.locator("form"))
    assert heading() == "Create API key"
    expect(page.get_by_text("Choose at least one scope.")).to_be_visible()
    fill_in(page.locator("form"), name="GitHub")
    submit(page.locator("form"))
    assert heading() == "API key created"
    token = page.get_by_role("textbox", name="API key", exact=True).input_value()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    page.get_by_text("GitLab CI", exact=True).click()
    expect(page.locator("details[open] pre")).to_contain_text("$ORG_API_KEY")
    page.get_by_role("link", name="Done", exact=True).click()

    assert heading() == "API keys"
    assert_shows_nowhere(page, token)
    assert answer_to(site, token) == 201
    revoke_link(page, "GitHub").click()
    assert heading() == "Revoke GitHub?"
    page.get_by_role("link", name="Cancel", exact=True).click()
    assert heading() == "API keys"
    revoke_link(page, "GitHub").click()
    page.get_by_role("button", name="Revoke key", exact=True).click()
    assert heading() == "API keys"
    expect(status(page)).to_contain_text("GitHub is revoked")
    assert answer_to(site, token) == 401
