"""The pages in the layouts of the documentation, as they look there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Site
from .layouts import host_in_layout
from .looks import brightness, sideways, violations
from .pages import KEYS, create_link, issue_one_of_each
from .server import serving
from .test_looks import LARGE, SMALL, State, Visitor

MEMBERS = "/o/acme/members"
STATES = (Visitor.empty, Visitor.list, Visitor.refused, Visitor.created, Visitor.revoke)
in_bootstrap = pytest.mark.parametrize("served", ["bootstrap"], indirect=True)

OpenInScheme = Callable[..., Page]


@pytest.fixture(scope="module", params=["plain", "bootstrap"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A host in each layout whose style sheet is at hand; that of Pico is in no Python package."""
    folder = tmp_path_factory.mktemp("layouts")
    bootstrap = find_spec("flask_bootstrap")
    assert bootstrap is not None
    assert bootstrap.origin is not None
    shutil.copy(Path(bootstrap.origin).parent / "static/bootstrap5/css/bootstrap.min.css", folder)
    with host_in_layout(request.param, folder, folder) as host, serving(host.app) as port:
        yield Site(host, port)


@pytest.fixture
def open_in(open_page: OpenPage, site: Site) -> OpenInScheme:
    """Open pages in a colour scheme, whether the layout takes it from the system or a cookie."""

    def open_one(scheme: str, user: str = "ada") -> Page:
        page = open_page(user, color_scheme=scheme, viewport=LARGE)
        page.context.add_cookies([{"name": "theme", "value": scheme, "url": site.url}])
        return page

    return open_one


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(open_in: OpenInScheme, site: Site, scheme: str, state: State) -> None:
    page = open_in(scheme)
    state(Visitor(page, site))
    assert violations(page) == []
    page.set_viewport_size(SMALL)
    assert violations(page) == []
    assert sideways(page) <= 0


def test_dark_mode(open_in: OpenInScheme, site: Site) -> None:
    """What lies over the host's own background has its brightness."""
    issue_one_of_each(site.host)
    for scheme, least, most in (("light", 200, 255), ("dark", 0, 60)):
        page = open_in(scheme)
        page.goto(KEYS)
        assert least <= brightness(page, "table") <= most
        create_link(page).click()
        assert least <= brightness(page, "dialog") <= most


@in_bootstrap
def test_dark_mode_of_a_part_of_the_page(open_in: OpenInScheme, site: Site) -> None:
    site.host.issue(name="GitHub")
    page = open_in("light")
    page.goto(KEYS)
    page.get_by_role("main").evaluate("main => { main.dataset.bsTheme = 'dark'; }")
    assert brightness(page, "table") < 60


@in_bootstrap
def test_colours_of_bootstrap(open_in: OpenInScheme, site: Site) -> None:
    page = open_in("light")
    page.goto(KEYS)
    expect(create_link(page)).to_have_css("background-color", "rgb(13, 110, 253)")
    expect(create_link(page)).to_have_css("border-radius", "6px")


def disabled_tab(page: Page) -> Locator:
    return page.get_by_role("button", name="API keys", exact=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tab_without_the_permission(open_in: OpenInScheme, scheme: str) -> None:
    """It looks disabled under the pointer too, where the host's tabs light up."""
    page = open_in(scheme, "sam")
    page.goto(MEMBERS)
    colours = "tab => ['color', 'borderColor'].map(name => getComputedStyle(tab)[name])"
    before = disabled_tab(page).evaluate(colours)
    disabled_tab(page).hover()
    expect(page.get_by_role("tooltip")).to_be_visible()
    assert disabled_tab(page).evaluate(colours) == before
    assert violations(page) == []


def test_room_for_an_arrow_of_the_host(open_in: OpenInScheme) -> None:
    """Hosts draw one into their selects, Pico for one."""
    page = open_in("light")
    page.goto(f"{KEYS}/new")
    expect(page.get_by_label("Expiration")).to_have_css("padding-right", "32px")


def test_a_placeholder_can_be_read(open_in: OpenInScheme, site: Site) -> None:
    """axe does not look at it: it has the colour of hints, at which axe does."""
    site.host.issue(name="GitHub")
    page = open_in("dark")
    page.goto(KEYS)
    hint = page.get_by_text("Keys let pipelines").evaluate("it => getComputedStyle(it).color")
    placeholder = page.get_by_label("Search").evaluate(
        "it => getComputedStyle(it, '::placeholder').color"
    )
    assert placeholder == hint
