"""The pictures of the example application."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import camera
import keys
from playwright.sync_api import Browser, Page, expect

import example_app
from example_app.seed import PASSWORD
from tests.browser.server import serving


def take_pictures(folder: Path) -> None:
    """Take the list, light and dark, and a new key."""
    with served(folder) as port, camera.browser(port) as browser:
        for scheme in ("light", "dark"):
            page = signed_in(browser, scheme)
            page.goto(keys.KEYS)
            camera.check(page)
            camera.take(page, f"api-keys-{scheme}")
        page = signed_in(browser, "light")
        create_key(page)
        camera.check(page)
        camera.take(page, "key-created-light", whole=False)


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve an example application with the keys; give its port."""
    app = example_app.create_app(
        {
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/cockpit.sqlite",
            "SECRET_KEY": "for the pictures alone, and nowhere else",
        }
    )
    with app.app_context():
        organization = example_app.Organization.by_slug("acme")
        keys.issue(example_app.orgkeys, organization.id)
    with serving(app) as port:
        yield port
    with app.app_context():
        example_app.db.engine.dispose()


def signed_in(browser: Browser, scheme: str) -> Page:
    page = camera.open_page(browser, scheme)
    page.goto(f"/login?next={keys.KEYS}")
    page.get_by_label("Email").fill("ada@acme.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    return page


def create_key(page: Page) -> None:
    page.set_viewport_size({"width": camera.WIDTH, "height": 760})
    page.get_by_role("link", name="Create key").click()
    page.get_by_role("textbox", name="Name").fill("GitHub Actions, payments")
    page.get_by_role("checkbox", name="project:deploy").check()
    page.get_by_role("button", name="Create key").click()
    page.get_by_text("GitHub Actions", exact=True).click()
    expect(page.locator("details[open] pre")).to_be_visible()
    page.get_by_role("heading", name="API key created").click()
