"""The browser that takes the pictures, and what is done to a picture before it is kept."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import chromium
from tests.browser.looks import violations

IMAGES = Path(__file__).parents[1] / "images"
SITE = "cockpit.example"
"""The name that the pages have in their pictures."""
WIDTH = 1280


@contextmanager
def browser(port: int) -> Iterator[Browser]:
    """Launch a Chromium, for which :data:`SITE` is what is served on a port of this machine."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium.path(),
            args=chromium.arguments(SITE, f"127.0.0.1:{port}"),
        )
        yield launched
        launched.close()


def open_page(browser: Browser, scheme: str, scale: float = 2) -> Page:
    """Open a page in a browser of its own, which prefers a colour scheme."""
    context = browser.new_context(
        base_url=f"http://{SITE}",
        color_scheme=scheme,
        viewport={"width": WIDTH, "height": 400},
        device_scale_factor=scale,
    )
    return context.new_page()


def check(page: Page) -> None:
    """Refuse to take a picture of a page that not everybody can read."""
    found = violations(page)
    if found:
        raise SystemExit(f"{page.url}: {found}")


def take(page: Page, name: str, *, whole: bool = True) -> None:
    """Keep a picture of a page.

    :param whole: also what is below the window.
    """
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, full_page=whole, animations="disabled")
    subprocess.run(  # noqa: S603
        ["pngquant", "--force", "--strip", "--speed=1", f"--output={path}", "--", path],  # noqa: S607
        check=True,
    )
    print(f"{path.name}: {path.stat().st_size // 1024} KB")  # noqa: T201
