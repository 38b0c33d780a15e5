"""The create form of a host with many scopes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.host import SCOPES

from .conftest import OpenPage, Site, serving_scopes
from .looks import sideways, violations
from .pages import KEYS, open_create_dialog
from .test_looks import LARGE, SMALL

MANY = {
    **SCOPES,
    **{f"billing:{verb}": f"May {verb} invoices" for verb in ("read", "write", "send", "void")},
    "metrics": "Read metrics",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_scopes(tmp_path_factory.mktemp("many"), MANY) as site:
        yield site


def group(form: Locator, name: str) -> Locator:
    scopes = form.get_by_role("group", name="Scopes", exact=True)
    return scopes.get_by_role("group", name=name, exact=True)


def ticked(form: Locator) -> list[str]:
    boxes = form.get_by_role("checkbox", checked=True)
    return [str(value) for value in boxes.evaluate_all("boxes => boxes.map(box => box.value)")]


def test_a_button_ticks_its_group(page: Page) -> None:
    form = open_create_dialog(page)
    button = group(form, "billing").get_by_role("button", name="Select all of billing", exact=True)
    group(form, "billing").get_by_role("checkbox").first.check()
    button.click()
    assert ticked(form) == [f"billing:{verb}" for verb in ("read", "write", "send", "void")]
    expect(form.get_by_text(f"4 of {len(MANY)} selected")).to_be_visible()
    button = group(form, "billing").get_by_role("button", name="Clear billing", exact=True)
    button.press("Enter")
    assert ticked(form) == []
    expect(form).to_be_visible()


def test_scopes_without_a_group_come_with_a_button_of_their_own(page: Page) -> None:
    form = open_create_dialog(page)
    expect(form.get_by_role("button", name="Select all of")).to_have_count(4)
    group(form, "Other").get_by_role("button", name="Select all of Other", exact=True).click()
    assert ticked(form) == ["metrics"]


def test_without_a_script_there_is_no_button(open_page: OpenPage) -> None:
    page = open_page("ada", java_script_enabled=False)
    page.goto(f"{KEYS}/new")
    expect(page.locator("[name=scopes]")).to_have_count(len(MANY))
    expect(page.get_by_role("button", name="Select all")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(open_page: OpenPage, scheme: str) -> None:
    page = open_page("ada", color_scheme=scheme, viewport=LARGE)
    open_create_dialog(page)
    assert violations(page) == []
    page.set_viewport_size(SMALL)
    assert violations(page) == []
    assert sideways(page) <= 0
