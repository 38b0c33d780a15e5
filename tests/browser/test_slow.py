"""The pages on a slow network, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Request, Route, expect

from .conftest import Site
from .pages import (
    KEYS,
    create_dialog,
    create_link,
    dialog,
    fill_in,
    issue_many,
    revoke_link,
)

COUNT_THE_SENT = """() => {
    window.sent = 0;
    addEventListener('submit', event => {
        if (!event.defaultPrevented) sent += 1;
        event.preventDefault();
    });
}"""


class Held:
    """The requests that a page waits for, as they come in."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.routes: list[Route] = []

    def wait(self, count: int) -> None:
        """Wait until so many requests are held."""
        while len(self.routes) < count:
            self._page.wait_for_timeout(10)

    def let_go(self, count: int = 1) -> None:
        """Let the requests go on, when so many are held."""
        self.wait(count)
        while self.routes:
            self.routes.pop(0).continue_()


Hold = Callable[[Callable[[Request], bool]], Held]


@pytest.fixture
def hold(page: Page, site: Site) -> Hold:
    """Open the list of two keys, and hold the requests that a function chooses."""
    issue_many(site.host, 2)
    page.clock.install(time=0)
    page.goto(KEYS)
    page.clock.pause_at(60_000)

    def hold_requests(is_held: Callable[[Request], bool]) -> Held:
        held = Held(page)

        def handle(route: Route) -> None:
            held.routes.append(route) if is_held(route.request) else route.fallback()

        page.route("**/api-keys**", handle)
        return held

    return hold_requests


def is_fetch(request: Request) -> bool:
    return request.resource_type == "fetch"


def test_a_step_says_that_it_is_on_its_way(page: Page, hold: Hold) -> None:
    """After 200 ms, so that a fast answer does not flicker."""
    held = hold(is_fetch)
    create_link(page).click()
    page.clock.run_for(150)
    expect(create_link(page)).not_to_have_attribute("aria-busy", "true")
    page.clock.run_for(100)
    expect(create_link(page)).to_have_attribute("aria-busy", "true")
    held.let_go()
    expect(create_dialog(page)).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def test_the_last_click_wins(page: Page, hold: Hold) -> None:
    """An answer that comes too late does not ask about the other key."""
    held = hold(is_fetch)
    revoke_link(page, "Runner 01").click()
    revoke_link(page, "Runner 02").click()
    held.let_go(2)
    expect(dialog(page, "Revoke Runner 02?")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(1)


def test_a_step_becomes_a_page_after_three_seconds(page: Page, hold: Hold) -> None:
    hold(is_fetch)
    revoke_link(page, "Runner 01").click()
    page.clock.run_for(3000)
    page.wait_for_url("**/revoke")
    expect(dialog(page, "Revoke Runner 01?")).to_be_visible()


def test_a_step_after_one_that_never_came(page: Page, hold: Hold) -> None:
    held = hold(is_fetch)
    revoke_link(page, "Runner 01").click()
    page.clock.run_for(1000)
    held.wait(1)
    held.routes.clear()
    revoke_link(page, "Runner 02").click()
    held.let_go()
    expect(dialog(page, "Revoke Runner 02?")).to_be_visible()


def test_nothing_opens_for_somebody_who_went_on(page: Page, hold: Hold) -> None:
    """Neither a dialog nor a page takes the focus from where it is by then."""
    held = hold(is_fetch)
    search = page.get_by_role("searchbox", name="Search", exact=True)
    create_link(page).click()
    search.fill("Runner")
    with page.expect_event("requestfinished", is_fetch):
        held.let_go()
    create_link(page).click()
    search.focus()
    page.clock.run_for(4000)
    expect(search).to_be_focused()
    expect(search).to_have_value("Runner")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.endswith(KEYS)


def test_a_form_says_that_it_is_sent(page: Page, hold: Hold, site: Site) -> None:
    """It is sent once, and again after Stop."""
    create_link(page).click()
    form = create_dialog(page)
    fill_in(form)
    # Locators would wait for the next page, so none comes: each time that one would is counted.
    page.evaluate(COUNT_THE_SENT)
    button = form.get_by_role("button", name="Create key", exact=True)
    said = form.get_by_text("Sending…")
    button.click()
    expect(said).to_have_count(0)
    page.clock.run_for(250)
    expect(said).to_be_visible()
    expect(button).to_have_attribute("aria-busy", "true")
    # Assistive technology keeps quiet about a part of the page that is busy.
    expect(page.locator("[aria-busy=true]")).to_have_count(1)
    button.click()
    assert page.evaluate("() => sent") == 1

    page.evaluate("() => navigation.dispatchEvent(new Event('navigateerror'))")
    expect(said).to_have_count(0)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    button.click()
    assert page.evaluate("() => sent") == 2


def test_a_page_is_not_seen_before_it_is_a_dialog(page: Page, hold: Hold) -> None:
    """Unless its script does not come: then it is a page after all."""
    page.route("**/orgkeys.js?*", lambda route: route.fulfill(content_type="text/javascript"))
    shown = "() => getComputedStyle(document.querySelector('dialog')).visibility"
    page.goto(f"{KEYS}/new")
    assert page.evaluate(shown) == "hidden"
    page.clock.run_for(3000)
    assert page.evaluate(shown) == "visible"
    page.unroute("**/orgkeys.js?*")
    page.goto(f"{KEYS}/new")
    assert page.evaluate(shown) == "visible"
    expect(page.locator("dialog:modal")).to_have_count(1)
