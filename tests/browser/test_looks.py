"""Every state of the pages, as it looks: alone, in both schemes, on a small screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage, Site
from .looks import brightness, change_style_sheet, sideways, violations
from .pages import (
    KEYS,
    LONGEST_NAME,
    create_key,
    create_link,
    created_dialog,
    fill_in,
    issue_many,
    issue_one_of_each,
    revoke_link,
    row,
    status,
    submit,
)

SMALL = {"width": 320, "height": 640}
MIDDLE = {"width": 700, "height": 800}
LARGE = {"width": 1280, "height": 800}


@dataclass(frozen=True)
class Visitor:
    """Somebody who brings the page into a state, with scripts or without."""

    page: Page
    site: Site

    def list(self, query: str = "") -> None:
        ids = issue_one_of_each(self.site.host)
        self.page.goto(KEYS + query.format(**ids))

    def empty(self) -> None:
        self.page.goto(KEYS)

    def all(self) -> None:
        self.list("?status=all&sort=expires")

    def second_page(self) -> None:
        issue_many(self.site.host, 27)
        self.page.goto(f"{KEYS}?page=2")

    def nothing_found(self) -> None:
        self.list(f"?q={LONGEST_NAME}-{LONGEST_NAME}")

    def revoked(self) -> None:
        self.list("?revoked={Old laptop}")
        expect(status(self.page)).to_be_focused()

    def existing(self) -> None:
        create_key(self.page, LONGEST_NAME)
        self.page.on("dialog", lambda question: question.accept())
        self.page.reload()
        expect(status(self.page)).to_be_focused()

    def create(self) -> None:
        self.list()
        create_link(self.page).click()
        expect(self.page.get_by_role("heading", name="Create API key")).to_be_visible()

    def refused(self) -> None:
        self.page.goto(f"{KEYS}/new")
        submit(self.page.locator("form[method=post]"))
        expect(self.page.get_by_text("Choose at least one scope.")).to_be_visible()

    def created(self) -> None:
        self.page.goto(f"{KEYS}/new")
        form = self.page.locator("form[method=post]")
        fill_in(form, name=LONGEST_NAME, expires_in="never")
        submit(form)
        expect(self.page.get_by_role("heading", name="API key created")).to_be_visible()
        self.page.get_by_text("Python", exact=True).click()
        expect(self.page.locator("details[open] pre")).to_be_visible()

    def revoke(self) -> None:
        self.list()
        revoke_link(self.page, LONGEST_NAME).click()
        expect(self.page.get_by_role("heading", name=f"Revoke {LONGEST_NAME}?")).to_be_visible()


State = Callable[[Visitor], None]
LISTS = (
    Visitor.empty,
    Visitor.list,
    Visitor.all,
    Visitor.second_page,
    Visitor.nothing_found,
    Visitor.revoked,
    Visitor.existing,
)
STEPS = (Visitor.create, Visitor.refused, Visitor.created, Visitor.revoke)
STATES = [
    *(pytest.param(state, True, id=state.__name__) for state in (*LISTS, *STEPS)),
    *(pytest.param(state, False, id=f"{state.__name__}-as-a-page") for state in STEPS),
]


@pytest.mark.parametrize(("state", "scripts"), STATES)
def test_accessibility(open_page: OpenPage, site: Site, state: State, scripts: bool) -> None:
    """WCAG 2.2 AA by axe: light on a large screen, dark on a small one."""
    page = open_page(viewport=LARGE, color_scheme="light")
    if not scripts:
        # axe itself is a script: only the pages' own is kept away.
        page.route("**/orgkeys.js?*", lambda route: route.fulfill(content_type="text/javascript"))
    state(Visitor(page, site))
    assert page.locator("dialog:modal").count() == (scripts and state in STEPS)
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(SMALL)
    assert violations(page) == []


@pytest.mark.parametrize(("state", "scripts"), STATES)
def test_nothing_scrolls_sideways(
    open_page: OpenPage, site: Site, state: State, scripts: bool
) -> None:
    page = open_page(viewport=SMALL, java_script_enabled=scripts)
    state(Visitor(page, site))
    assert sideways(page) <= 0
    inner = "all => all.map(one => one.scrollWidth - one.clientWidth)"
    assert max([0, *page.locator("dialog").evaluate_all(inner)]) <= 0
    for size in (MIDDLE, LARGE):
        page.set_viewport_size(size)
        assert sideways(page) <= 0


@pytest.mark.parametrize("state", STEPS)
def test_a_dialog_is_no_grid(open_page: OpenPage, site: Site, state: State) -> None:
    """WebKit stretches one to the window, and lets it scroll sideways."""
    page = open_page()
    state(Visitor(page, site))
    expect(page.locator("dialog")).to_have_css("display", "block")


class TestDarkMode:
    def test_alone(self, open_page: OpenPage) -> None:
        """The page is dark where the system is."""
        page = open_page(color_scheme="dark")
        page.goto(KEYS)
        assert brightness(page, "body") < 60
        page.emulate_media(color_scheme="light")
        assert brightness(page, "body") > 200

    def test_in_a_host_without_one(self, site: Site, open_page: OpenPage) -> None:
        """A light host gets light pages, whatever the system says."""
        site.host.issue(name="GitHub")
        page = open_page(color_scheme="dark")
        page.goto(KEYS)
        page.locator("meta[name=color-scheme]").evaluate("meta => meta.remove()")
        assert brightness(page, "table") > 200
        create_link(page).click()
        assert brightness(page, "dialog") > 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_older_browser(site: Site, open_page: OpenPage, scheme: str) -> None:
    """It knows no light-dark(), mixed colours, words for assistive technology alone, or anchors."""
    page = open_page(viewport=LARGE, color_scheme=scheme)
    unknown = ("light-dark(", "color-mix(", "(anchor-scope: all)")
    changes = [text for each in unknown for text in (each, each.replace("a", "unknown-a", 1))]
    change_style_sheet(page, *changes, 'content: attr(data-label) / "";', "")
    Visitor(page, site).create()
    if scheme == "light":
        assert brightness(page, "dialog") > 200
    else:
        assert brightness(page, "dialog") < 60
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.set_viewport_size(SMALL)
    assert violations(page) == []
    assert sideways(page) <= 0
    cell = row(page, "Production").get_by_role("cell").first
    assert cell.evaluate("it => getComputedStyle(it, '::before').content") == '"Key"'


def test_the_colours_of_a_host(site: Site, page: Page) -> None:
    """A host's own properties come before ours."""
    page.goto(KEYS)
    page.evaluate(
        """() => {
            document.documentElement.style.setProperty('--orgkeys-accent', 'rgb(1, 2, 3)');
            document.documentElement.style.setProperty('--bs-primary', 'rgb(4, 5, 6)');
        }"""
    )
    expect(create_link(page)).to_have_css("background-color", "rgb(1, 2, 3)")
    page.evaluate("() => document.documentElement.style.removeProperty('--orgkeys-accent')")
    expect(create_link(page)).to_have_css("background-color", "rgb(4, 5, 6)")


def test_forced_colours(site: Site, open_page: OpenPage) -> None:
    """Badges and buttons keep an outline where the system takes their colours away."""
    page = open_page(forced_colors="active")
    Visitor(page, site).list()
    for part in (
        row(page, "Migration").get_by_text("Expired", exact=True),
        row(page, "Release").get_by_role("listitem").first,
        create_link(page),
    ):
        expect(part).to_have_css("border-top-style", "solid")
    create_key(page)
    expect(created_dialog(page)).to_have_css("border-top-style", "solid")


def test_reduced_motion(site: Site, open_page: OpenPage) -> None:
    """Nothing moves for those who asked for less of it."""
    page = open_page(reduced_motion="reduce")
    for state in (Visitor.list, Visitor.created):
        state(Visitor(page, site))
        moving = page.evaluate("() => document.getAnimations().length")
        assert moving == 0
        durations = page.locator(".orgkeys, .orgkeys *").evaluate_all(
            "all => all.map(one => getComputedStyle(one).transitionDuration)"
        )
        assert set(durations) == {"0s"}


def test_rows_as_cards(site: Site, page: Page) -> None:
    """On a small screen each value stands under the other, with the name of its column."""
    issue_one_of_each(site.host)
    page.goto(KEYS)
    cells = row(page, "Production").get_by_role("cell")
    labels = cells.evaluate_all("all => all.map(it => getComputedStyle(it, '::before').content)")
    assert set(labels) == {"none"}
    page.set_viewport_size(SMALL)
    labels = cells.evaluate_all("all => all.map(it => getComputedStyle(it, '::before').content)")
    assert [label.split('"')[1] for label in labels[:-1]] == [
        "Key",
        "Scopes",
        "Last used",
        "Expires",
    ]
    boxes = [cell.bounding_box() for cell in cells.all()]
    tops = [box["y"] for box in boxes if box is not None]
    assert tops == sorted(tops)
    assert len(set(tops)) == 5
