"""The pictures of the page on theming: the list in each of its layouts, light beside dark."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import camera
import keys
from playwright.sync_api import Browser, Page

from tests.browser.layouts import LAYOUTS, host_in_layout
from tests.browser.server import serving

STYLE_SHEETS = {
    "bootstrap@5": "bootstrap/dist/css/bootstrap.min.css",
    "@picocss/pico@2": "@picocss/pico/css/pico.min.css",
}
STEPS = ("", "/new", "/{id}/revoke")
MOUNT = "<!doctype html><style>body { margin: 0 } img { display: block; width: 100% }</style>"


def take_pictures(folder: Path) -> None:
    """Take a picture in each layout, and check the steps there, too."""
    static = folder / "static"
    fetch_style_sheets(folder, static)
    for layout in LAYOUTS:
        with host_in_layout(layout, folder, static) as host:
            with host.app.app_context():
                keys.issue(host.orgkeys, host.organization_ids["acme"])
            with serving(host.app) as port, camera.browser(port) as browser:
                pages = [open_list(browser, scheme) for scheme in ("light", "dark")]
                take_together(pages, f"theming-{layout}")
                for page in pages:
                    check_steps(page, host.keys()[0].id)


def fetch_style_sheets(folder: Path, static: Path) -> None:
    """Have npm fetch the style sheets, and put them where the layouts look for them."""
    static.mkdir()
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder]
    subprocess.run([*command, *STYLE_SHEETS], check=True)  # noqa: S603
    for path in STYLE_SHEETS.values():
        sheet = folder / "node_modules" / path
        sheet.rename(static / sheet.name)


def open_list(browser: Browser, scheme: str) -> Page:
    page = camera.open_page(browser, scheme, scale=1)
    page.context.add_cookies([{"name": "theme", "value": scheme, "url": f"http://{camera.SITE}"}])
    page.goto("/open")
    page.evaluate("() => fetch('/test-login/ada', {method: 'POST'})")
    page.goto(keys.KEYS)
    return page


def check_steps(page: Page, key_id: str) -> None:
    for step in STEPS:
        page.goto(keys.KEYS + step.format(id=key_id))
        camera.check(page)


def take_together(pages: list[Page], name: str) -> None:
    """Keep one picture of several pages, one above the other."""
    shots = [page.screenshot(full_page=True, animations="disabled") for page in pages]
    urls = [f"data:image/png;base64,{base64.b64encode(shot).decode()}" for shot in shots]
    mount = pages[0].context.new_page()
    mount.set_content(MOUNT + "".join(f'<img src="{url}" alt="">' for url in urls))
    camera.take(mount, name)
