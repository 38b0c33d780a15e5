"""The pages at home in the example application's layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

import example_app
from example_app.seed import PASSWORD, seed_example_keys
from tests.host import bearer

from .conftest import OpenPage
from .looks import sideways, violations
from .pages import KEYS, create_dialog, create_key, create_link, created_dialog, row
from .server import serving

DEPLOYMENTS = "/api/o/acme/projects/storefront/deployments"


@pytest.fixture
def cockpit(tmp_path: Path) -> Iterator[Flask]:
    app = example_app.create_app(
        {
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'cockpit.sqlite'}",
            "SECRET_KEY": "cockpit-secret-" + "key-of-the-tests-0123456789",
        }
    )
    yield app
    with app.app_context():
        example_app.db.engine.dispose()


@pytest.fixture
def cockpit_url(cockpit: Flask) -> Iterator[str]:
    with serving(cockpit) as port:
        yield f"http://127.0.0.1:{port}"


def sign_in(page: Page, email: str, then: str) -> None:
    page.goto(then)
    page.get_by_role("textbox", name="Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**{then}")


def test_a_key_that_deploys(cockpit: Flask, cockpit_url: str, open_page: OpenPage) -> None:
    page = open_page(None, base_url=cockpit_url)
    sign_in(page, "ada@acme.example", "/o/acme/settings/")
    page.get_by_role("link", name="API keys", exact=True).click()
    expect(page.get_by_role("heading", name="No API keys yet")).to_be_visible()
    token = create_key(page, "GitHub, storefront")
    created_dialog(page).get_by_role("link", name="Done", exact=True).click()
    # The list stands behind the dialog, too: the one without it is another page.
    expect(create_link(page)).to_be_focused()
    expect(row(page, "GitHub, storefront")).to_be_visible()
    tab = page.get_by_role("link", name="API keys", exact=True)
    expect(tab).to_have_attribute("aria-current", "page")

    answer = cockpit.test_client().post(DEPLOYMENTS, headers=bearer(token))
    assert answer.status_code == 201
    page.goto("/o/acme/")
    expect(page.get_by_text("GitHub, storefront").first).to_be_visible()


def test_a_member_without_the_permission(cockpit_url: str, open_page: OpenPage) -> None:
    page = open_page(None, base_url=cockpit_url)
    sign_in(page, "sam@acme.example", "/o/acme/settings/")
    tab = page.get_by_role("button", name="API keys", exact=True)
    expect(tab).to_have_attribute("aria-disabled", "true")
    tab.hover()
    expect(page.get_by_role("tooltip")).to_be_visible()
    assert violations(page) == []
    answer = page.goto(KEYS)
    assert answer is not None
    assert answer.status == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_colours(cockpit_url: str, open_page: OpenPage, scheme: str) -> None:
    """The plugin's pages take the host's colours, and stay readable in them."""
    page = open_page(None, base_url=cockpit_url, color_scheme=scheme)
    sign_in(page, "ada@acme.example", KEYS)
    create_key(page)
    assert violations(page) == []
    page.goto(f"{KEYS}/new")
    expect(create_dialog(page)).to_be_visible()
    assert violations(page) == []
    page.goto(KEYS)
    assert violations(page) == []
    page.set_viewport_size({"width": 320, "height": 640})
    assert sideways(page) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_mailbox(
    cockpit: Flask, cockpit_url: str, open_page: OpenPage, tmp_path: Path, scheme: str
) -> None:
    cockpit.config["COCKPIT_MAILBOX"] = str(tmp_path / "mailbox.jsonl")
    page = open_page(None, base_url=cockpit_url, color_scheme=scheme)
    sign_in(page, "ada@acme.example", "/o/acme/settings/mailbox")
    assert violations(page) == []
    with cockpit.app_context():
        seed_example_keys()
    assert cockpit.test_cli_runner().invoke(args=["orgkeys", "notify"]).exit_code == 0
    page.get_by_role("link", name="Mailbox", exact=True).click()
    expect(page.get_by_text("Grafana dashboard expires on")).to_be_visible()
    assert violations(page) == []
    page.set_viewport_size({"width": 320, "height": 640})
    assert sideways(page) <= 0
