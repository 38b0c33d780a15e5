"""The tab in a host's settings navigation."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Site
from .looks import change_style_sheet, sideways, violations
from .pages import KEYS, tab_to

SETTINGS = "/o/acme/settings"


def navigation(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Settings")


def test_with_the_permission(site: Site, page: Page) -> None:
    page.goto(SETTINGS)
    tab = navigation(page).get_by_role("link", name="API keys", exact=True)
    expect(tab).to_have_class("tab")
    tab.click()
    expect(page).to_have_url(site.url + KEYS)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
class TestWithoutThePermission:
    @pytest.fixture
    def page(self, open_page: OpenPage, scripts: bool) -> Page:
        page = open_page("sam", java_script_enabled=scripts)
        page.goto(SETTINGS)
        return page

    @pytest.fixture
    def tab(self, page: Page) -> Locator:
        return navigation(page).get_by_text("API keys", exact=True)

    def test_what_it_is(self, page: Page, tab: Locator) -> None:
        """Visible, disabled for assistive technology, in the host's own look, and no link."""
        expect(tab).to_be_visible()
        expect(tab).to_have_attribute("aria-disabled", "true")
        expect(tab).to_contain_class("tab")
        expect(navigation(page).get_by_role("link")).to_have_text(["General"])
        assert KEYS not in (tab.evaluate("tab => tab.outerHTML"))

    def test_its_reason(self, page: Page, tab: Locator) -> None:
        reason = page.get_by_role("tooltip")
        expect(reason).to_be_hidden()
        expect(tab).to_have_accessible_description(
            "You need the permission to manage API keys. Ask an administrator of this organisation."
        )
        tab.hover()
        expect(reason).to_be_visible()
        page.get_by_role("heading").hover()
        expect(reason).to_be_hidden()

    def test_its_reason_by_keyboard(self, page: Page, tab: Locator) -> None:
        tab_to(page, tab)
        expect(page.get_by_role("tooltip")).to_be_visible()
        page.keyboard.press("Shift+Tab")
        expect(page.get_by_role("tooltip")).to_be_hidden()

    def test_using_it(self, site: Site, page: Page, tab: Locator) -> None:
        tab_to(page, tab)
        for key in ("Enter", "Space"):
            page.keyboard.press(key)
        tab.click(force=True)
        expect(page).to_have_url(site.url + SETTINGS)
        answer = page.goto(KEYS)
        assert answer is not None
        assert answer.status == 403

    @pytest.mark.parametrize("anchors", [True, False], ids=["anchors", "no-anchors"])
    def test_its_room(self, page: Page, tab: Locator, anchors: bool) -> None:
        """The reason is whole, and makes nothing scroll sideways, on a small screen too."""
        if not anchors:
            change_style_sheet(page, "(anchor-scope: all)", "(anchor-scope: unknown)")
            page.reload()
        page.set_viewport_size({"width": 320, "height": 640})
        tab.hover()
        box = page.get_by_role("tooltip").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
        assert sideways(page) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(open_page: OpenPage, scheme: str) -> None:
    page = open_page("sam", color_scheme=scheme)
    page.goto(SETTINGS)
    navigation(page).get_by_text("API keys", exact=True).hover()
    expect(page.get_by_role("tooltip")).to_be_visible()
    assert violations(page) == []
