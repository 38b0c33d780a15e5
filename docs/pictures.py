"""Take the README's pictures: the example application's pages, with the same keys each time.

    python docs/pictures.py

Needs the dependency group "tests", a Chromium (``ORGKEYS_TEST_CHROMIUM`` names another than the one
on the path), and pngquant, which makes the pictures small.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import sqlalchemy as sa
import time_machine
from flask import Flask
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

sys.path.insert(0, str(Path(__file__).parent.parent))

import example_app
from example_app.seed import PASSWORD
from flask_orgkeys import tokens

IMAGES = Path(__file__).parent / "images"
KEYS = "/o/acme/api-keys"
SITE = "cockpit.example"
NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
WIDTH = 1280
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# name, scopes, days until it expires, time since it was used last
ISSUED = [
    ("Mobile release train", ["app:publish", "project:read-rc"], -2, timedelta(days=3)),
    ("Terraform", ["project:read-rc"], None, timedelta(hours=9)),
    ("Local development", ["project:read-rc", "project:deploy"], 21, None),
    ("GitLab CI, checkout", ["project:deploy"], 9, timedelta(hours=2)),
    ("GitHub Actions, storefront", ["project:deploy"], 84, timedelta(minutes=4)),
]


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    numbers = random.Random(11)  # noqa: S311

    def same_text(length: int) -> str:
        return "".join(numbers.choices(tokens.ALPHABET, k=length))

    with (
        mock.patch.object(tokens, "_random_text", same_text),
        time_machine.travel(NOW, tick=True),
        serving() as port,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("ORGKEYS_TEST_CHROMIUM") or shutil.which("chromium"),
            args=[*CHROMIUM_ARGUMENTS, f"--host-resolver-rules=MAP {SITE} 127.0.0.1:{port}"],
        )
        for scheme in ("light", "dark"):
            page = signed_in(browser, scheme)
            page.goto(KEYS)
            save(page, f"api-keys-{scheme}")
        page = signed_in(browser, "light")
        create_key(page)
        save(page, "key-created-light")
        browser.close()


@contextmanager
def serving() -> Iterator[int]:
    """Serve an example application with the keys; give its port."""
    with tempfile.TemporaryDirectory() as folder:
        app = example_app.create_app(
            {
                "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/cockpit.sqlite",
                "SECRET_KEY": "for the pictures alone, and nowhere else",
            }
        )
        issue_keys(app)
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.port
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            with app.app_context():
                example_app.db.engine.dispose()


def issue_keys(app: Flask) -> None:
    key = example_app.orgkeys.ApiKey
    with app.app_context():
        organization = example_app.Organization.by_slug("acme")
        for number, (name, scopes, days, unused_for) in enumerate(ISSUED):
            issued = example_app.orgkeys.create_key(
                organization.id, name=name, scopes=scopes, created_by="ada@acme.example"
            )
            times = {
                "created_at": NOW - timedelta(days=6 - number),
                "expires_at": None if days is None else NOW + timedelta(days=days, hours=1),
                "last_used_at": None if unused_for is None else NOW - unused_for,
            }
            # Times in the past, which no call would take.
            example_app.db.session.execute(
                sa.update(key).where(key.id == issued.key.id).values(times)
            )
        example_app.db.session.commit()


def signed_in(browser: Browser, scheme: str) -> Page:
    context = browser.new_context(
        base_url=f"http://{SITE}",
        color_scheme=scheme,
        viewport={"width": WIDTH, "height": 400},
        device_scale_factor=2,
    )
    page = context.new_page()
    page.goto(f"/login?next={KEYS}")
    page.get_by_label("Email").fill("ada@acme.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    return page


def create_key(page: Page) -> None:
    page.set_viewport_size({"width": WIDTH, "height": 760})
    page.get_by_role("link", name="Create key").click()
    page.get_by_role("textbox", name="Name").fill("GitHub Actions, payments")
    page.get_by_role("checkbox", name="project:deploy").check()
    page.get_by_role("button", name="Create key").click()
    page.get_by_text("GitHub Actions", exact=True).click()
    expect(page.locator("details[open] pre")).to_be_visible()
    page.get_by_role("heading", name="API key created").click()


def save(page: Page, name: str) -> None:
    path = IMAGES / f"{name}.png"
    is_list = page.locator("dialog").count() == 0
    page.screenshot(path=path, full_page=is_list, animations="disabled")
    subprocess.run(  # noqa: S603
        ["pngquant", "--force", "--strip", "--speed=1", f"--output={path}", "--", path],  # noqa: S607
        check=True,
    )
    print(f"{path.name}: {path.stat().st_size // 1024} KB")  # noqa: T201


class QuietHandler(WSGIRequestHandler):
    def log_request(self, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    main()
