"""The dialog that asks before a key is revoked."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.host import bearer

from .conftest import OpenPage, Site
from .pages import (
    KEYS,
    LONGEST_NAME,
    dialog,
    press_twice,
    revoke_link,
    row,
    set_times,
    status,
    tab_to,
)


def open_revoke_dialog(page: Page, name: str) -> Locator:
    page.goto(KEYS)
    revoke_link(page, name).click()
    expect(dialog(page, f"Revoke {name}?")).to_be_visible()
    return dialog(page, f"Revoke {name}?")


def cancel(confirmation: Locator) -> Locator:
    return confirmation.get_by_role("link", name="Cancel", exact=True)


def revoke_button(confirmation: Locator) -> Locator:
    return confirmation.get_by_role("button", name="Revoke key", exact=True)


def test_its_words(site: Site, page: Page) -> None:
    """It names the key, says what follows, and shows when it was used last."""
    _, key_id = site.host.issue(name="GitHub")
    set_times(site.host, key_id, last_used_at=datetime.now(UTC) - timedelta(hours=3))
    confirmation = open_revoke_dialog(page, "GitHub")
    expect(confirmation).to_have_accessible_description(re.compile("fail at once"))
    expect(confirmation).to_have_accessible_description(re.compile(r"cannot be undone\.$"))
    expect(confirmation).to_contain_text(f"orgk_{key_id}…")
    expect(confirmation).to_contain_text(re.compile(r"[Ll]ast used.+3 hours ago", re.DOTALL))
    expect(cancel(confirmation)).to_be_focused()
    expect(revoke_button(confirmation)).to_be_visible()


def test_a_key_that_was_never_used(site: Site, page: Page) -> None:
    site.host.issue(name="GitHub")
    expect(open_revoke_dialog(page, "GitHub")).to_contain_text("Never used")


@pytest.mark.parametrize("name", [LONGEST_NAME, "<b>bold</b> & \"quoted\" 'too'", "عربي (x)", "🚀"])
def test_a_name_of_any_kind(site: Site, page: Page, name: str) -> None:
    site.host.issue(name=name)
    revoke_button(open_revoke_dialog(page, name)).click()
    expect(status(page)).to_contain_text(f"{name} is revoked")


@pytest.mark.parametrize("way", ["Escape", "Cancel"])
class TestLeavingIt:
    def test_over_the_list(self, site: Site, page: Page, way: str) -> None:
        token, _ = site.host.issue(name="GitHub")
        self.leave(page, open_revoke_dialog(page, "GitHub"), way)
        expect(dialog(page, "Revoke GitHub?")).to_have_count(0)
        expect(revoke_link(page, "GitHub")).to_be_focused()
        assert page.url.endswith(KEYS)
        assert site.host.client().get("/api/whoami", headers=bearer(token)).status_code == 200

    def test_on_its_own_page(self, site: Site, page: Page, way: str) -> None:
        _, key_id = site.host.issue(name="GitHub")
        page.goto(f"{KEYS}/{key_id}/revoke")
        self.leave(page, dialog(page, "Revoke GitHub?"), way)
        expect(revoke_link(page, "GitHub")).to_be_focused()
        assert page.url.endswith(KEYS)

    def leave(self, page: Page, confirmation: Locator, way: str) -> None:
        expect(cancel(confirmation)).to_be_focused()
        if way == "Escape":
            page.keyboard.press("Escape")
        else:
            cancel(confirmation).click()


def test_one_of_several(site: Site, page: Page) -> None:
    """The focus comes back to the very link that it left."""
    for name in ("First", "Second", "Third"):
        site.host.issue(name=name)
    page.goto(KEYS)
    tab_to(page, revoke_link(page, "Second"))
    page.keyboard.press("Enter")
    expect(cancel(dialog(page, "Revoke Second?"))).to_be_focused()
    page.keyboard.press("Escape")
    expect(revoke_link(page, "Second")).to_be_focused()


def test_two_clicks_on_its_button_at_once(site: Site, page: Page) -> None:
    site.host.issue(name="GitHub")
    confirmation = open_revoke_dialog(page, "GitHub")
    assert press_twice(revoke_button(confirmation)) == [True, False]
    expect(status(page)).to_contain_text("GitHub is revoked")


def test_a_key_that_somebody_else_revoked_meanwhile(site: Site, page: Page) -> None:
    """Its link leads to the list, which says so, rather than into a dialog."""
    _, key_id = site.host.issue(name="GitHub")
    page.goto(KEYS)
    site.host.revoke(key_id)
    revoke_link(page, "GitHub").click()
    expect(status(page)).to_contain_text("GitHub is revoked")
    expect(row(page, "GitHub")).to_have_count(0)


def test_without_scripts(site: Site, open_page: OpenPage) -> None:
    site.host.issue(name="GitHub")
    page = open_page(java_script_enabled=False)
    page.goto(KEYS)
    revoke_link(page, "GitHub").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Revoke GitHub?")
    expect(page.get_by_role("link", name="Cancel", exact=True)).to_be_focused()
    expect(page.get_by_role("table")).to_have_count(0)
    page.get_by_role("button", name="Revoke key", exact=True).click()
    expect(status(page)).to_contain_text("GitHub is revoked")
    expect(status(page)).to_be_focused()
