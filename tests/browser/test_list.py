"""The list: its rows, and the ways through many of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Site
from .pages import (
    KEYS,
    ROWS_ON_A_PAGE,
    create_link,
    issue_many,
    issue_one_of_each,
    revoke_link,
    row,
    set_times,
    tab_to,
)


def names(page: Page) -> list[str]:
    return page.get_by_role("rowheader").get_by_role("link").all_inner_texts()


def header(page: Page, name: str) -> Locator:
    return page.get_by_role("columnheader", name=name, exact=True)


def cell(page: Page, key_name: str, column: str) -> Locator:
    columns = ["Name", "Key", "Scopes", "Last used", "Expires"]
    return row(page, key_name).get_by_role("cell").nth(columns.index(column) - 1)


def search_box(page: Page) -> Locator:
    return page.get_by_role("searchbox", name="Search", exact=True)


def status_filter(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Status", exact=True)


class TestAnEmptyList:
    def test_its_words(self, page: Page) -> None:
        """It says what keys are for, with one action."""
        page.goto(KEYS)
        empty = page.get_by_role("heading", name="No API keys yet").locator("..")
        expect(empty).to_contain_text("CI pipeline")
        expect(create_link(page)).to_have_count(1)
        expect(page.get_by_role("table")).to_have_count(0)
        expect(empty.get_by_role("link")).to_have_count(1)

    def test_where_all_are_revoked(self, site: Site, page: Page) -> None:
        site.host.revoke(site.host.issue(name="Old laptop")[1])
        page.goto(KEYS)
        page.get_by_role("link", name="Show revoked keys").click()
        expect(row(page, "Old laptop")).to_be_visible()

    def test_a_search_without_a_result(self, site: Site, page: Page) -> None:
        site.host.issue(name="GitHub")
        page.goto(f"{KEYS}?q=nothing+like+it")
        expect(page.get_by_text("No key matches “nothing like it”.")).to_be_visible()
        page.get_by_role("link", name="Show all current keys").click()
        assert names(page) == ["GitHub"]


class TestARow:
    def test_the_columns(self, site: Site, page: Page) -> None:
        site.host.issue()
        page.goto(KEYS)
        expect(page.get_by_role("table", name="API keys of Acme", exact=True)).to_be_visible()
        assert [
            re.sub(r"\W+$", "", text) for text in page.get_by_role("columnheader").all_inner_texts()
        ] == ["Name", "Key", "Scopes", "Last used", "Expires"]

    def test_a_key_in_use(self, site: Site, page: Page) -> None:
        key_id = issue_one_of_each(site.host)["Production"]
        page.goto(KEYS)
        expect(cell(page, "Production", "Key")).to_have_text(f"orgk_{key_id}…")
        expect(cell(page, "Production", "Scopes").get_by_role("listitem")).to_have_text(
            ["project:deploy"]
        )
        expect(cell(page, "Production", "Last used")).to_contain_text("3 minutes ago")
        expect(cell(page, "Production", "Expires")).to_have_text(re.compile(r"\d+ \w{3} 20\d\d"))

    def test_a_key_without_use_or_expiry(self, site: Site, page: Page) -> None:
        issue_one_of_each(site.host)
        page.goto(KEYS)
        expect(cell(page, "Nightly", "Last used")).to_have_text("Never")
        expect(cell(page, "Nightly", "Expires")).to_have_text("Never")

    def test_an_expired_key(self, site: Site, page: Page) -> None:
        issue_one_of_each(site.host)
        page.goto(KEYS)
        expired = cell(page, "Migration", "Expires").get_by_text("Expired", exact=True)
        expect(expired).to_be_visible()
        colours = [
            row(page, name).get_by_role("rowheader").evaluate("it => getComputedStyle(it).color")
            for name in ("Migration", "Production")
        ]
        assert colours[0] != colours[1]

    def test_a_key_that_expires_soon(self, site: Site, page: Page) -> None:
        issue_one_of_each(site.host)
        page.goto(KEYS)
        expect(cell(page, "Release", "Expires")).to_contain_text("in 4 days")

    def test_buttons_side_by_side(self, site: Site, page: Page) -> None:
        """On a wide page; on a narrower one, one above the other."""
        issue_one_of_each(site.host)
        page.goto(KEYS)
        rotate = page.get_by_role("row").get_by_role("link", name="Rotate Release", exact=True)
        for width, are_beside in ((1280, True), (1000, False)):
            page.set_viewport_size({"width": width, "height": 900})
            boxes = [link.bounding_box() for link in (rotate, revoke_link(page, "Release"))]
            tops = {round(box["y"]) for box in boxes if box is not None}
            assert (len(tops) == 1) is are_beside

    def test_a_revoked_key(self, site: Site, page: Page) -> None:
        issue_one_of_each(site.host)
        page.goto(f"{KEYS}?status=revoked")
        expect(cell(page, "Old laptop", "Expires")).to_contain_text("Revoked")
        expect(revoke_link(page, "Old laptop")).to_have_count(0)

    def test_an_exact_time(self, site: Site, page: Page) -> None:
        _, key_id = site.host.issue(name="GitHub")
        used = datetime.now(UTC) - timedelta(hours=30)
        set_times(site.host, key_id, last_used_at=used)
        page.goto(KEYS)
        time = cell(page, "GitHub", "Last used").locator("time")
        expect(time).to_have_attribute("datetime", used.isoformat())
        expect(time).to_have_attribute("title", f"{used.day} {used:%b %Y, %H:%M:%S} UTC")

    def test_the_stops_of_the_keyboard(self, site: Site, page: Page) -> None:
        """The name and the buttons, however many scopes."""
        issue_one_of_each(site.host)
        page.goto(KEYS)
        stops = row(page, "Release").locator("a, button, [tabindex]")
        assert [stop.inner_text() for stop in stops.all()] == ["Release", "Rotate", "Revoke"]


class TestSearching:
    @pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
    def test_by_name(self, site: Site, open_page: OpenPage, scripts: bool) -> None:
        issue_one_of_each(site.host)
        page = open_page(java_script_enabled=scripts)
        page.goto(KEYS)
        search_box(page).fill("PRODUCT")
        search_box(page).press("Enter")
        page.wait_for_url("**q=PRODUCT**")
        assert names(page) == ["Production"]
        expect(search_box(page)).to_have_value("PRODUCT")

    def test_by_the_start_of_a_key(self, site: Site, page: Page) -> None:
        key_id = issue_one_of_each(site.host)["Nightly"]
        page.goto(KEYS)
        search_box(page).fill(f"orgk_{key_id[:8]}")
        page.get_by_role("button", name="Apply", exact=True).click()
        page.wait_for_url("**q=orgk_**")
        assert names(page) == ["Nightly"]


class TestTheStatus:
    def test_its_words(self, site: Site, page: Page) -> None:
        site.host.issue()
        page.goto(KEYS)
        expect(status_filter(page).get_by_role("option")).to_have_text(
            ["Current", "Active", "Expired", "Revoked", "All"]
        )
        expect(status_filter(page)).to_have_value("current")

    @pytest.mark.parametrize(
        ("choice", "shown", "not_shown"),
        [
            ("Active", {"Production", "Nightly"}, {"Migration", "Old laptop"}),
            ("Expired", {"Migration"}, {"Production", "Old laptop"}),
            ("Revoked", {"Old laptop"}, {"Production", "Migration"}),
            ("All", {"Production", "Migration", "Old laptop"}, set()),
        ],
        ids=["active", "expired", "revoked", "all"],
    )
    def test_a_choice(
        self, site: Site, page: Page, choice: str, shown: set[str], not_shown: set[str]
    ) -> None:
        issue_one_of_each(site.host)
        page.goto(KEYS)
        status_filter(page).select_option(choice)
        assert page.url.endswith(KEYS)
        page.get_by_role("button", name="Apply", exact=True).click()
        page.wait_for_url(f"**status={choice.lower()}**")
        expect(status_filter(page)).to_have_value(choice.lower())
        assert shown <= set(names(page))
        assert not not_shown & set(names(page))

    def test_by_keyboard(self, site: Site, page: Page) -> None:
        """Passing by a choice does not apply it: the arrow keys make many a choice on the way."""
        issue_one_of_each(site.host)
        page.goto(KEYS)
        tab_to(page, status_filter(page))
        for choice in ("active", "expired"):
            page.keyboard.press("ArrowDown")
            expect(status_filter(page)).to_have_value(choice)
        assert page.url.endswith(KEYS)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**status=expired**")
        assert names(page) == ["Migration"]

    def test_without_scripts(self, site: Site, open_page: OpenPage) -> None:
        issue_one_of_each(site.host)
        page = open_page(java_script_enabled=False)
        page.goto(KEYS)
        status_filter(page).select_option("Revoked")
        page.get_by_role("button", name="Apply", exact=True).click()
        page.wait_for_url("**status=revoked**")
        assert names(page) == ["Old laptop"]


class TestSorting:
    @pytest.mark.parametrize(
        ("column", "first", "then"),
        [
            ("Name", "ascending", "descending"),
            ("Last used", "descending", "ascending"),
            ("Expires", "ascending", "descending"),
        ],
    )
    def test_a_column(self, site: Site, page: Page, column: str, first: str, then: str) -> None:
        issue_one_of_each(site.host)
        page.goto(KEYS)
        expect(header(page, column)).to_have_attribute("aria-sort", "none")
        orders = []
        for direction in (first, then):
            header(page, column).get_by_role("link").click()
            expect(header(page, column)).to_have_attribute("aria-sort", direction)
            orders.append(names(page))
        assert orders[0] != orders[1]
        sorted_columns = page.locator("th[aria-sort=ascending], th[aria-sort=descending]")
        expect(sorted_columns).to_have_count(1)

    def test_the_names(self, site: Site, page: Page) -> None:
        for name in ("b", "A", "c"):
            site.host.issue(name=name)
        page.goto(KEYS)
        header(page, "Name").get_by_role("link").click()
        expect(header(page, "Name")).to_have_attribute("aria-sort", "ascending")
        assert names(page) == ["A", "b", "c"]

    def test_on_a_small_screen(self, site: Site, page: Page) -> None:
        """The rows are cards there, and can be sorted still."""
        for name in ("b", "A", "c"):
            site.host.issue(name=name)
        page.set_viewport_size({"width": 320, "height": 640})
        page.goto(KEYS)
        header(page, "Name").get_by_role("link").click()
        expect(header(page, "Name")).to_have_attribute("aria-sort", "ascending")
        assert names(page) == ["A", "b", "c"]
        expect(header(page, "Expires").get_by_role("link")).to_be_in_viewport()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
class TestPages:
    def test_next_and_previous(self, site: Site, open_page: OpenPage, scripts: bool) -> None:
        issue_many(site.host, ROWS_ON_A_PAGE + 3)
        page = open_page(java_script_enabled=scripts)
        page.goto(KEYS)
        newest_first = [f"Runner {number:02}" for number in range(28, 0, -1)]
        assert names(page) == newest_first[:25]
        expect(page.get_by_text("1–25 of 28")).to_be_visible()
        expect(page.get_by_role("link", name="Previous", exact=True)).to_have_count(0)
        page.get_by_role("link", name="Next", exact=True).click()
        expect(page.get_by_text("26–28 of 28")).to_be_visible()
        assert names(page) == newest_first[25:]
        expect(page.get_by_role("link", name="Next", exact=True)).to_have_count(0)
        page.get_by_role("link", name="Previous", exact=True).click()
        expect(page.get_by_text("1–25 of 28")).to_be_visible()

    def test_what_they_keep(self, site: Site, open_page: OpenPage, scripts: bool) -> None:
        """The search, the status and the order hold from page to page."""
        issue_many(site.host, ROWS_ON_A_PAGE + 1)
        site.host.issue(name="Another")
        page = open_page(java_script_enabled=scripts)
        page.goto(f"{KEYS}?q=runner&status=active")
        header(page, "Name").get_by_role("link").click()
        expect(header(page, "Name")).to_have_attribute("aria-sort", "ascending")
        page.get_by_role("link", name="Next", exact=True).click()
        expect(page.get_by_text("26–26 of 26")).to_be_visible()
        assert names(page) == ["Runner 26"]
        expect(search_box(page)).to_have_value("runner")
        expect(status_filter(page)).to_have_value("active")
