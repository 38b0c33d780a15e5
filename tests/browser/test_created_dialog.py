"""The dialog that shows a key, once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Site
from .pages import (
    KEYS,
    assert_shows_nowhere,
    create_dialog,
    create_key,
    create_link,
    created_dialog,
    fill_in,
    row,
    status,
    submit,
    token_field,
)

SETTINGS = "/o/acme/settings"


def copy_button(page: Page) -> Locator:
    return created_dialog(page).get_by_role("button", name="Copy", exact=True)


def done(page: Page) -> Locator:
    return created_dialog(page).get_by_role("link", name="Done", exact=True)


def use_the_page(page: Page) -> None:
    """Browsers ask before leaving only where somebody has used the page."""
    created_dialog(page).get_by_role("heading", name="API key created").click()


def test_its_words(page: Page) -> None:
    create_key(page, "GitHub")
    expect(created_dialog(page)).to_have_accessible_description(re.compile("not be shown again"))
    expect(token_field(page)).to_have_attribute("readonly", "")
    expect(token_field(page)).to_have_value(re.compile(r"^orgk_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}$"))
    expect(copy_button(page)).to_be_focused()
    expect(created_dialog(page)).to_contain_text("GitHub · project:deploy · expires")
    expect(page.get_by_text("Your browser may not ask")).to_be_hidden()


def test_its_words_on_a_phone(open_page: OpenPage) -> None:
    """Phones leave a page without a question: that is said before."""
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    create_key(page)
    expect(page.get_by_text("Your browser may not ask")).to_be_visible()
    expect(created_dialog(page)).to_have_accessible_description(re.compile("may not ask"))


@pytest.mark.parametrize("tool", ["curl", "GitHub Actions", "GitLab CI", "Python"])
def test_a_snippet(page: Page, clipboard: Callable[[], str], tool: str) -> None:
    """It is ready to use, holds no secret, and copying it is not copying the key."""
    token = create_key(page)
    created_dialog(page).get_by_text(tool, exact=True).click()
    shown = created_dialog(page).locator("details[open] pre")
    expect(shown).to_be_visible()
    created_dialog(page).get_by_role("button", name=f"Copy {tool} example").click()
    expect(status(page)).to_have_text(f"{tool} example copied.")
    assert clipboard() == shown.inner_text()
    assert "ORG_API_KEY" in clipboard()
    assert "/o/acme/deployments" in clipboard()
    assert token not in clipboard()


class TestCopying:
    def test_by_the_button(self, page: Page, clipboard: Callable[[], str]) -> None:
        token = create_key(page)
        copy_button(page).click()
        expect(created_dialog(page).get_by_role("status")).to_have_text("Key copied.")
        assert clipboard() == token

    def test_twice(self, page: Page, clipboard: Callable[[], str]) -> None:
        """The second time is said, too: the words go, and come again."""
        create_key(page)
        copy_button(page).click()
        expect(status(page)).to_have_text("Key copied.")
        page.evaluate(
            """() => {
                const status = document.querySelector('dialog [role=status]');
                const note = () => { status.dataset.said += `${status.textContent};`; };
                status.dataset.said = '';
                new MutationObserver(note).observe(status, { childList: true });
            }"""
        )
        copy_button(page).click()
        expect(status(page)).to_have_attribute("data-said", ";Key copied.;")

    def test_by_hand(self, page: Page, clipboard: Callable[[], str]) -> None:
        token = create_key(page)
        token_field(page).press("ControlOrMeta+a")
        page.keyboard.press("ControlOrMeta+c")
        expect(status(page)).to_have_text("Key copied.")
        assert clipboard() == token

    def test_on_plain_http(self, open_page: OpenPage, site: Site) -> None:
        """Without a clipboard the key is selected, ready for the keys that copy it."""
        page = open_page(base_url=site.insecure_url)
        token = create_key(page)
        assert page.evaluate("() => navigator.clipboard === undefined")
        copy_button(page).click()
        expect(status(page)).to_contain_text("Press Ctrl+C")
        expect(token_field(page)).to_be_focused()
        selected = "field => field.value.slice(field.selectionStart, field.selectionEnd)"
        assert token_field(page).evaluate(selected) == token
        page.keyboard.press("ControlOrMeta+c")
        expect(status(page)).to_have_text("Key copied.")

    def test_a_snippet_on_plain_http(self, open_page: OpenPage, site: Site) -> None:
        page = open_page(base_url=site.insecure_url)
        create_key(page)
        created_dialog(page).get_by_text("curl", exact=True).click()
        created_dialog(page).get_by_role("button", name="Copy curl example").click()
        expect(status(page)).to_contain_text("Press Ctrl+C")
        text = created_dialog(page).locator("details[open] pre").inner_text()
        assert page.evaluate("() => String(getSelection())").strip() == text.strip()


class TestStaying:
    def test_on_escape(self, page: Page) -> None:
        token = create_key(page)
        for _ in range(5):
            page.keyboard.press("Escape")
        expect(token_field(page)).to_have_value(token)

    def test_on_escape_after_using_it(self, page: Page) -> None:
        """Browsers close a dialog on the second Escape even where the first was prevented."""
        token = create_key(page)
        for _ in range(3):
            use_the_page(page)
            page.keyboard.press("Escape")
            page.keyboard.press("Escape")
        expect(token_field(page)).to_have_value(token)

    def test_on_escape_where_closedby_is_unknown(self, page: Page) -> None:
        token = create_key(page)
        created_dialog(page).evaluate("dialog => dialog.removeAttribute('closedby')")
        for _ in range(3):
            use_the_page(page)
            page.keyboard.press("Escape")
            page.keyboard.press("Escape")
        expect(token_field(page)).to_have_value(token)

    def test_on_a_click_beside_it(self, page: Page) -> None:
        token = create_key(page)
        for _ in range(3):
            page.mouse.click(4, 4)
            page.keyboard.press("Escape")
        expect(token_field(page)).to_have_value(token)


class TestAPageThatAHostRendersAnew:
    """Scripts of hosts do so: elements are others then, and nothing listens to the old ones."""

    ANEW = "() => { document.body.innerHTML = document.body.innerHTML }"

    def test_with_the_key(self, page: Page, clipboard: Callable[[], str]) -> None:
        page.goto(KEYS)
        page.evaluate(self.ANEW)
        create_link(page).click()
        fill_in(create_dialog(page))
        page.evaluate(self.ANEW)
        expect(page.locator("dialog:modal")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)

        create_link(page).click()
        fill_in(create_dialog(page))
        submit(create_dialog(page))
        token = token_field(page).input_value()
        page.evaluate(self.ANEW)
        expect(page.locator("dialog:modal")).to_have_count(1)
        page.keyboard.press("Escape")
        copy_button(page).click()
        expect(created_dialog(page).get_by_role("status")).to_have_text("Key copied.")
        assert clipboard() == token
        done(page).click()
        expect(create_link(page)).to_be_focused()

    def test_before_copying(self, page: Page, questions: list[str]) -> None:
        token = create_key(page)
        page.evaluate(self.ANEW)
        use_the_page(page)
        page.evaluate("() => { location.href = '/open' }")
        expect(token_field(page)).to_have_value(token)
        assert questions == ["beforeunload"]


class TestLeaving:
    def test_before_copying(self, page: Page, questions: list[str]) -> None:
        token = create_key(page)
        use_the_page(page)
        page.evaluate("() => { location.href = '/open' }")
        expect(token_field(page)).to_have_value(token)
        assert questions == ["beforeunload"]

    def test_after_copying_a_snippet_alone(
        self, page: Page, questions: list[str], clipboard: Callable[[], str]
    ) -> None:
        token = create_key(page)
        created_dialog(page).get_by_text("curl", exact=True).click()
        created_dialog(page).get_by_role("button", name="Copy curl example").click()
        expect(status(page)).to_have_text("curl example copied.")
        page.evaluate("() => { location.href = '/open' }")
        expect(token_field(page)).to_have_value(token)
        assert questions == ["beforeunload"]

    def test_after_copying(
        self, page: Page, questions: list[str], clipboard: Callable[[], str]
    ) -> None:
        create_key(page)
        copy_button(page).click()
        expect(status(page)).to_have_text("Key copied.")
        page.goto(SETTINGS)
        assert questions == []

    def test_by_done(self, page: Page, questions: list[str]) -> None:
        """Done closes at once, copied or not."""
        token = create_key(page)
        use_the_page(page)
        done(page).click()
        expect(created_dialog(page)).to_have_count(0)
        expect(create_link(page)).to_be_focused()
        assert_shows_nowhere(page, token)
        expect(row(page, "CI")).to_be_visible()
        assert questions == []


class TestWhatBringsTheKeyBack:
    """Nothing."""

    def test_back_after_done(self, page: Page) -> None:
        token = create_key(page)
        done(page).click()
        expect(create_link(page)).to_be_focused()
        for step in (page.go_back, page.go_back, page.go_forward, page.go_forward):
            step()
            assert_shows_nowhere(page, token)
            expect(created_dialog(page)).to_have_count(0)

    def test_back_after_leaving(self, site: Site, page: Page, clipboard: Callable[[], str]) -> None:
        token = create_key(page)
        copy_button(page).click()
        expect(status(page)).to_have_text("Key copied.")
        page.goto(SETTINGS)
        go_back_to_a_sent_form(page)
        assert_shows_nowhere(page, token)
        assert len(site.host.keys()) == 1

    def test_back_without_scripts(self, site: Site, open_page: OpenPage) -> None:
        page = open_page(java_script_enabled=False)
        page.goto(f"{KEYS}/new")
        fill_in(page.locator("form"))
        submit(page.locator("form"))
        token = page.get_by_role("textbox", name="API key", exact=True).input_value()
        page.get_by_role("link", name="Done", exact=True).click()
        expect(page.get_by_role("heading", name="API keys", exact=True)).to_be_visible()
        go_back_to_a_sent_form(page)
        assert_shows_nowhere(page, token)
        assert len(site.host.keys()) == 1

    def test_a_refresh(self, site: Site, page: Page, clipboard: Callable[[], str]) -> None:
        token = create_key(page, "GitHub")
        copy_button(page).click()
        expect(status(page)).to_have_text("Key copied.")
        page.reload()
        expect(status(page)).to_contain_text("GitHub already exists")
        assert_shows_nowhere(page, token)
        assert len(site.host.keys()) == 1

    def test_a_page_that_the_browser_kept_whole(self, page: Page) -> None:
        """Some browsers keep a page as it was left, and show that again on Back."""
        token = create_key(page)
        page.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide'))")
        assert (
            page.locator("input").evaluate_all("all => all.map(one => one.value)").count(token) == 0
        )
        page.evaluate(
            "() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"
        )
        expect(created_dialog(page)).to_have_count(0)
        assert_shows_nowhere(page, token)


def go_back_to_a_sent_form(page: Page) -> None:
    """Go back to what a form was answered with, which browsers refuse or ask for again."""
    try:
        page.go_back()
    except PlaywrightError as refusal:
        if "ERR_CACHE_MISS" not in str(refusal):
            raise
        page.wait_for_url("chrome-error://**")
