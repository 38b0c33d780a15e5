"""What can be measured of how a page looks."""

from __future__ import annotations

from functools import cache

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

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


@cache
def _axe() -> Axe:
    return Axe()
