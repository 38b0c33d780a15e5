"""The pictures of the example application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import camera
import keys
from playwright.sync_api import Browser, Page, expect

import example_app
from example_app.seed import PASSWORD, seed_example_keys
from tests.browser.server import serving


def take_pictures(folder: Path) -> None:
    """Take the list, light and dark, a new key, and the page and the rotation of a used one."""
    with served(folder / "list.sqlite", issue_keys) as port, camera.browser(port) as browser:
        for scheme in ("light", "dark"):
            page = signed_in(browser, scheme)
            page.goto(keys.KEYS)
            camera.check(page)
            camera.take(page, f"api-keys-{scheme}")
        page = signed_in(browser, "light")
        create_key(page)
        camera.check(page)
        camera.take(page, "key-created-light", whole=False)
    with served(folder / "demo.sqlite", seed_example_keys) as port, camera.browser(port) as browser:
        page = signed_in(browser, "light")
        page.get_by_role("link", name="GitHub Actions, storefront", exact=True).click()
        expect(page.get_by_role("heading", name="What it may do")).to_be_visible()
        camera.check(page)
        camera.take(page, "key-page-light")
        ask_for_rotation(page)
        camera.check(page)
        camera.take(page, "rotate-key-light", whole=False)


@contextmanager
def served(database: Path, add_keys: Callable[[], None]) -> Iterator[int]:
    """Serve an example application with keys; give its port."""
    app = example_app.create_app(
        {
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}",
            "SECRET_KEY": "for the pictures alone, and nowhere else",
        }
    )
    with app.app_context():
        add_keys()
    with serving(app) as port:
        yield port
    with app.app_context():
        example_app.db.engine.dispose()


def issue_keys() -> None:
    organization = example_app.Organization.by_slug("acme")
    keys.issue(example_app.orgkeys, organization.id)


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


def ask_for_rotation(page: Page) -> None:
    page.set_viewport_size({"width": camera.WIDTH, "height": 640})
    page.get_by_role("link", name="API keys", exact=True).first.click()
    page.get_by_role("link", name="Grafana dashboard", exact=True).first.click()
    page.get_by_role("link", name="Rotate Grafana dashboard").click()
    expect(page.get_by_role("dialog", name="Rotate Grafana dashboard?")).to_be_visible()
