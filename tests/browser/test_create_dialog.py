"""The dialog in which a key is asked for."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Site
from .pages import (
    KEYS,
    assert_shows_nowhere,
    create_dialog,
    create_link,
    created_dialog,
    fill_in,
    open_create_dialog,
    press_twice,
    status,
    submit,
    tab_to,
    token_field,
)


def name_field(page: Page) -> Locator:
    return create_dialog(page).get_by_role("textbox", name="Name", exact=True)


def test_its_words(page: Page) -> None:
    """Every name of the contract, and native fields behind them."""
    form = open_create_dialog(page)

    expect(name_field(page)).to_have_attribute("name", "name")
    boxes = form.get_by_role("group", name="Scopes", exact=True).get_by_role("checkbox")
    assert boxes.evaluate_all("boxes => boxes.map(box => [box.type, box.name, box.value])") == [
        ["checkbox", "scopes", "app:publish"],
        ["checkbox", "scopes", "project:read-rc"],
        ["checkbox", "scopes", "project:deploy"],
    ]
    expect(boxes.nth(2)).to_have_accessible_name("project:deploy Trigger and manage deployments")
    choice = form.get_by_role("combobox", name="Expiration", exact=True)
    expect(choice).to_have_attribute("name", "expires_in")
    values = choice.get_by_role("option").evaluate_all("all => all.map(one => one.value)")
    assert values == ["never", "30", "60", "90", "365"]
    expect(choice).to_have_value("90")
    expect(form.get_by_role("button", name="Create key", exact=True)).to_be_visible()
    expect(form.get_by_role("link", name="Cancel", exact=True)).to_be_visible()


def test_the_resulting_date(page: Page) -> None:
    form = open_create_dialog(page)
    choice = form.get_by_role("combobox", name="Expiration", exact=True)
    texts = choice.get_by_role("option").all_inner_texts()
    assert texts[0] == "No expiration"
    assert re.fullmatch(r"30 days \(until \d{1,2} [A-Z][a-z]{2} \d{4}\)", texts[1])


def test_nothing_is_invalid_at_first(site: Site, page: Page) -> None:
    """Firefox tells assistive technology so of a field that is required and empty."""
    _, key_id = site.host.issue()
    for step in ("new", "check", f"{key_id}/edit", f"{key_id}/rotate"):
        page.goto(f"{KEYS}/{step}")
        expect(page.locator("form[method=post]")).to_have_count(1)
        expect(page.locator(":invalid")).to_have_count(0)
    page.goto(f"{KEYS}/new")
    expect(name_field(page)).to_have_attribute("aria-required", "true")


def test_its_hints(page: Page) -> None:
    form = open_create_dialog(page)
    expect(name_field(page)).to_have_accessible_description(re.compile("Up to 100 characters"))
    scopes = form.get_by_role("group", name="Scopes", exact=True)
    expect(scopes).to_have_accessible_description(re.compile("no more than it needs"))
    choice = form.get_by_role("combobox", name="Expiration", exact=True)
    expect(choice).to_have_accessible_description(re.compile("until somebody revokes it"))


def test_the_warning_beside_no_expiration(page: Page) -> None:
    form = open_create_dialog(page)
    warning = form.get_by_text("A key without expiration")
    choice = form.get_by_role("combobox", name="Expiration", exact=True)
    colours = set()
    for value in ("90", "never"):
        choice.select_option(value)
        colours.add(warning.evaluate("element => getComputedStyle(element).color"))
    assert len(colours) == 2


@pytest.mark.parametrize("way", ["Escape", "Cancel"])
class TestLeavingIt:
    def test_over_the_list(self, page: Page, way: str) -> None:
        open_create_dialog(page)
        expect(name_field(page)).to_be_focused()
        self.leave(page, way)
        expect(create_dialog(page)).to_have_count(0)
        expect(create_link(page)).to_be_focused()
        assert page.url.endswith(KEYS)

    def test_on_its_own_page(self, page: Page, way: str) -> None:
        page.goto(f"{KEYS}/new")
        expect(name_field(page)).to_be_focused()
        self.leave(page, way)
        expect(create_link(page)).to_be_focused()
        assert page.url.endswith(KEYS)

    def test_after_a_refusal(self, page: Page, way: str) -> None:
        submit(open_create_dialog(page))
        expect(create_dialog(page).get_by_text("Enter a name.")).to_be_visible()
        self.leave(page, way)
        expect(create_link(page)).to_be_focused()
        expect(create_dialog(page)).to_have_count(0)
        assert page.url.endswith(KEYS)

    def leave(self, page: Page, way: str) -> None:
        if way == "Escape":
            page.keyboard.press("Escape")
        else:
            create_dialog(page).get_by_role("link", name="Cancel", exact=True).click()


def test_what_lies_behind_it(page: Page) -> None:
    """The keyboard cannot leave the dialog for the list."""
    open_create_dialog(page)
    behind = page.locator(".orgkeys-list")
    expect(behind).to_be_visible()
    for _ in range(15):
        page.keyboard.press("Tab")
        assert not behind.evaluate("list => list.contains(document.activeElement)")


def test_a_second_visit(page: Page) -> None:
    """What was typed and left is not there the next time."""
    open_create_dialog(page)
    name_field(page).fill("half a thought")
    page.keyboard.press("Escape")
    create_link(page).click()
    expect(name_field(page)).to_have_value("")
    expect(name_field(page)).to_be_focused()


def test_a_double_click_on_its_link(page: Page) -> None:
    page.goto(KEYS)
    create_link(page).dblclick()
    expect(create_dialog(page)).to_have_count(1)


@pytest.mark.parametrize("modifier", ["ControlOrMeta", "Shift"])
def test_a_click_for_another_tab(page: Page, modifier: str) -> None:
    """A modified click stays the browser's own."""
    page.goto(KEYS)
    with page.context.expect_page() as opened:
        create_link(page).click(modifiers=[modifier])
    expect(create_dialog(opened.value)).to_be_visible()
    expect(create_dialog(page)).to_have_count(0)


def test_a_session_that_ended(page: Page) -> None:
    """The link then leads where the server says, instead of into a dialog."""
    page.goto(KEYS)
    page.context.clear_cookies()
    with page.expect_navigation() as answer:
        create_link(page).click()
    assert answer.value.status == 401


@pytest.mark.parametrize("scripts", [True, False], ids=["dialog", "page"])
class TestARefusedForm:
    def test_its_values(self, open_page: OpenPage, scripts: bool) -> None:
        page = open_page(java_script_enabled=scripts)
        page.goto(f"{KEYS}/new")
        form = page.locator("form[method=post]")
        fill_in(form, name="n" * 101, scope="app:publish", expires_in="365")
        submit(form)

        expect(page.get_by_text("100 characters").first).to_be_visible()
        expect(form.get_by_role("textbox", name="Name", exact=True)).to_have_value("n" * 101)
        expect(form.get_by_role("checkbox", name="app:publish")).to_be_checked()
        expect(form.get_by_role("checkbox", name="project:deploy")).not_to_be_checked()
        expect(form.get_by_role("combobox", name="Expiration")).to_have_value("365")

    def test_its_errors(self, open_page: OpenPage, scripts: bool) -> None:
        page = open_page(java_script_enabled=scripts)
        page.goto(f"{KEYS}/new")
        form = page.locator("form[method=post]")
        submit(form)

        name = form.get_by_role("textbox", name="Name", exact=True)
        expect(name).to_have_attribute("aria-invalid", "true")
        expect(name).to_have_accessible_description(re.compile("^Enter a name"))
        expect(name).to_be_focused()
        scope = form.get_by_role("checkbox").first
        expect(scope).to_have_attribute("aria-invalid", "true")
        expect(scope).to_have_accessible_description("Choose at least one scope.")
        choice = form.get_by_role("combobox", name="Expiration")
        assert choice.get_attribute("aria-invalid") is None

    def test_the_focus_where_the_name_is_right(self, open_page: OpenPage, scripts: bool) -> None:
        page = open_page(java_script_enabled=scripts)
        page.goto(f"{KEYS}/new")
        form = page.locator("form[method=post]")
        form.get_by_role("textbox", name="Name", exact=True).fill("CI")
        submit(form)
        expect(form.get_by_role("checkbox").first).to_be_focused()

    def test_the_key_after_it(self, open_page: OpenPage, scripts: bool, site: Site) -> None:
        page = open_page(java_script_enabled=scripts)
        page.goto(f"{KEYS}/new")
        form = page.locator("form[method=post]")
        submit(form)
        expect(page.get_by_text("Enter a name.")).to_be_visible()
        fill_in(form)
        submit(form)
        expect(page.get_by_role("heading", name="API key created")).to_be_visible()
        assert len(site.host.keys()) == 1


def test_a_double_click_on_its_button(site: Site, page: Page) -> None:
    form = open_create_dialog(page)
    fill_in(form)
    form.get_by_role("button", name="Create key", exact=True).dblclick()
    expect(token_field(page)).to_have_value(re.compile(r"^orgk_"))
    assert len(site.host.keys()) == 1


def test_two_clicks_on_its_button_at_once(site: Site, page: Page) -> None:
    form = open_create_dialog(page)
    fill_in(form)
    button = form.get_by_role("button", name="Create key", exact=True)
    assert press_twice(button) == [True, False]
    expect(token_field(page)).to_have_value(re.compile(r"^orgk_"))
    assert len(site.host.keys()) == 1


def test_the_same_form_in_two_tabs(site: Site, page: Page) -> None:
    """A form that one tab has sent shows nothing secret when another sends it, too."""
    page.goto(f"{KEYS}/new")
    other = page.context.new_page()
    other.goto(f"{KEYS}/new")
    hidden = "form[method=post] input[type=hidden]"
    fields = page.locator(hidden).evaluate_all("all => all.map(one => [one.name, one.value])")
    for name, value in fields:
        other.locator(f"{hidden}[name={name}]").evaluate("(one, v) => { one.value = v }", value)
    for tab in (page, other):
        fill_in(create_dialog(tab), name="Twice")

    submit(create_dialog(page))
    expect(created_dialog(page)).to_be_visible()
    token = token_field(page).input_value()
    submit(create_dialog(other))
    expect(status(other)).to_contain_text("Twice already exists")
    expect(status(other)).to_be_focused()
    assert_shows_nowhere(other, token)
    assert len(site.host.keys()) == 1


def test_its_button_by_keyboard(page: Page) -> None:
    """Enter in a text field sends the form, as in every form."""
    form = open_create_dialog(page)
    fill_in(form)
    tab_to(page, name_field(page), key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(created_dialog(page)).to_be_visible()
