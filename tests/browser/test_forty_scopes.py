"""The create form of a host with so many scopes that their groups are folded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.host import SCOPES

from .conftest import OpenPage, Site, serving_scopes
from .looks import sideways, violations
from .pages import KEYS, open_create_dialog
from .test_looks import LARGE, SMALL
from .test_many_scopes import group, ticked

VERBS = (
    *("read", "list", "create", "update", "delete", "archive", "restore", "approve"),
    *("send", "void", "export", "import", "audit"),
)
MANY = {
    **SCOPES,
    **{
        f"{things}:{verb}": f"May {verb} {things}"
        for things in ("bills", "members", "reports")
        for verb in VERBS
    },
    "metrics": "Read Prometheus metrics",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_scopes(tmp_path_factory.mktemp("forty"), MANY) as site:
        yield site


def visible(form: Locator) -> list[str]:
    boxes = form.get_by_role("checkbox").and_(form.locator("[name=scopes]:visible"))
    return [str(value) for value in boxes.evaluate_all("boxes => boxes.map(box => box.value)")]


def test_the_search(page: Page) -> None:
    """It finds a scope by its name and by its meaning, and unfolds its group."""
    form = open_create_dialog(page)
    assert len(MANY) == 43
    assert visible(form) == ["app:publish"]
    search = form.get_by_role("searchbox", name="Search the scopes")
    for text, found in (
        ("reports:ARCH", ["reports:archive"]),
        ("  prometheus ", ["metrics"]),
        ("approve", ["bills:approve", "members:approve", "reports:approve"]),
        ("nothing like it", []),
    ):
        search.fill(text)
        assert visible(form) == found
    search.fill("members")
    button = group(form, "members").get_by_role("button", name="Select all of members")
    expect(form.get_by_role("button", name="Select all of")).to_have_count(1)
    button.click()
    assert ticked(form) == [f"members:{verb}" for verb in VERBS]
    expect(form.get_by_text("13 of 43 selected")).to_be_visible()


def test_a_button_ticks_no_scope_that_the_search_hides(page: Page) -> None:
    form = open_create_dialog(page)
    form.get_by_role("searchbox", name="Search the scopes").fill("members:re")
    group(form, "members").get_by_role("button", name="Select all of members").click()
    chosen = form.locator("[name=scopes]:checked")
    assert chosen.evaluate_all("all => all.map(one => one.value)") == [
        "members:read",
        "members:restore",
    ]
    group(form, "members").get_by_role("button", name="Clear members").click()
    expect(chosen).to_have_count(0)
    group(form, "members").get_by_role("button", name="Select all of members").click()
    expect(chosen).to_have_count(2)


def test_enter_in_the_search_sends_nothing(page: Page) -> None:
    form = open_create_dialog(page)
    page.evaluate("() => addEventListener('submit', event => { window.isSent = true })")
    form.get_by_role("searchbox", name="Search the scopes").fill("metrics")
    page.keyboard.press("Enter")
    assert page.evaluate("() => window.isSent") is None


def test_nothing_scrolls_within_the_dialog(open_page: OpenPage) -> None:
    """A scroller within a scroller hides its last scope."""
    page = open_page(viewport=LARGE)
    form = open_create_dialog(page)
    form.locator("summary").last.click()
    for size in (LARGE, SMALL):
        page.set_viewport_size(size)
        scrollers = form.locator("*").evaluate_all(
            "all => all.filter(one => one.scrollHeight > one.clientHeight + 1"
            " && getComputedStyle(one).overflowY === 'auto').length"
        )
        assert scrollers == 0
        assert violations(page) == []
        assert sideways(page) <= 0
    form.get_by_role("checkbox", name="metrics").check()


def test_without_scripts(open_page: OpenPage) -> None:
    """All scopes can be reached, and nothing stands there that would not work."""
    page = open_page(java_script_enabled=False)
    page.goto(f"{KEYS}/new")
    expect(page.get_by_role("searchbox", name="Search the scopes")).to_have_count(0)
    expect(page.get_by_role("button", name="Select all")).to_have_count(0)
    page.locator("summary").last.click()
    page.get_by_role("checkbox", name="metrics").check()
    assert ticked(page.locator("form[method=post]")) == ["metrics"]
