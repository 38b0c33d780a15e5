"""What can be measured of how a page looks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route

import flask_orgkeys

STYLE_SHEET = Path(flask_orgkeys.__file__).parent / "pages" / "static" / "orgkeys.css"
WCAG_2_2_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA: rule by rule, with the elements."""
    results = _axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG_2_2_AA}})
    return [
        f"{violation['id']}: {[node['html'][:200] for node in violation['nodes']]}"
        for violation in results.response["violations"]
    ]


def sideways(page: Page) -> int:
    """How far the page scrolls sideways, in pixels."""
    return int(
        page.evaluate(
            "() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
        )
    )


def brightness(page: Page, selector: str) -> float:
    """How bright the background of an element is, from 0 to 255."""
    colour = page.locator(selector).evaluate("it => getComputedStyle(it).backgroundColor")
    red, green, blue = (int(part) for part in colour[4:-1].split(", "))
    return (red + green + blue) / 3


def change_style_sheet(page: Page, *changes: str) -> None:
    """Replace texts in our style sheet from the next page on: what an old browser makes of it.

    :param changes: each text, and after it the one in its place.
    """

    def change(route: Route) -> None:
        text = STYLE_SHEET.read_text()
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        route.fulfill(body=text, content_type="text/css")

    page.route("**/orgkeys.css?*", change)


@cache
def _axe() -> Axe:
    return Axe()
