"""The pages in a real Chromium, from a real server on a loopback port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import render_template_string
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    expect,
    sync_playwright,
)

from tests.databases import skip_or_fail
from tests.host import Host, disposing, make_host

from . import chromium
from .server import serving

expect.set_options(timeout=10_000)

# Plain http to a loopback address counts as secure, and to any other name does not.
INSECURE_NAME = "host.test"

SETTINGS_PAGE = """
{% extends "orgkeys/base.html" %}
{% block title %}Settings{% endblock %}
{% block content %}
{% from "orgkeys/_tab.html" import api_keys_tab with context %}
<h1>Settings</h1>
<nav aria-label="Settings">
  <a href="">General</a>
  {{ api_keys_tab(organization, class="tab") }}
</nav>
{% endblock %}
"""


SETTINGS_POLICY = "default-src 'none'; style-src 'self'; img-src data:"


@dataclass(frozen=True)
class Site:
    """A host, served."""

    host: Host
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def insecure_url(self) -> str:
        return f"http://{INSECURE_NAME}:{self.port}"


OpenPage = Callable[..., Page]


# Not of the session: while Playwright runs, its event loop keeps other tests from theirs.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = chromium.path()
    if not executable:
        skip_or_fail(
            "no Chromium: install it (Debian's package chromium-headless-shell), or name yours in "
            "ORGKEYS_TEST_CHROMIUM"
        )
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable,
            args=chromium.arguments(INSECURE_NAME, "127.0.0.1"),
            timeout=60_000,
        )
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The test host with CSRF protection and a settings page, on a port of its own."""
    url = f"sqlite:///{tmp_path_factory.mktemp('browser') / 'host.sqlite'}"
    with disposing(make_host(url, config={"WTF_CSRF_ENABLED": True})) as host:
        _add_pages(host)
        with serving(host.app) as port:
            yield Site(host, port)


@contextmanager
def serving_scopes(folder: Path, scopes: Mapping[str, str]) -> Iterator[Site]:
    """Serve a host with scopes of its own."""
    config = {"WTF_CSRF_ENABLED": True, "ORGKEYS_SCOPES": scopes}
    url = f"sqlite:///{folder / 'host.sqlite'}"
    with disposing(make_host(url, config=config)) as host, serving(host.app) as port:
        yield Site(host, port)


@pytest.fixture
def site(served: Site) -> Site:
    """The host, without a key."""
    host = served.host
    with host.app.app_context():
        for table in (host.db.metadata.tables["orgkeys_event"], host.orgkeys.ApiKey.__table__):
            host.db.session.execute(sa.delete(table))
        host.db.session.commit()
    return served


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[OpenPage]:
    """Open pages: ``open_page(user="ada", **what a browser context takes)``.

    Each is a browser of its own, signed in where a user is named. At the end none may have had
    anything to complain about in its console: errors, warnings, what the policy kept out.
    """
    consoles = []
    with ExitStack() as stack:

        def open_one(user: str | None = "ada", **options: Any) -> Page:
            context = browser.new_context(**{"base_url": site.url, **options})
            stack.callback(context.close)
            console = Console()
            consoles.append(console)
            context.on("page", console.watch)
            if user is not None:
                _sign_in(context, site, user)
            return context.new_page()

        yield open_one
    assert [complaint for console in consoles for complaint in console.complaints()] == []


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """A page of ada's, who may manage the keys of acme."""
    return open_page()


@pytest.fixture
def clipboard(page: Page) -> Callable[[], str]:
    """Let the page write to the clipboard, and read what it holds."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    def read() -> str:
        return str(page.evaluate("() => navigator.clipboard.readText()"))

    return read


@pytest.fixture
def questions(page: Page) -> list[str]:
    """The kinds of the questions that the browser itself asks; each is answered with no."""
    asked = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", answer)
    return asked


def _sign_in(context: BrowserContext, site: Site, user: str) -> None:
    assert context.request.post(f"{site.url}/test-login/{user}").status == 204
    cookies = [{"name": each["name"], "value": each["value"]} for each in context.cookies()]
    context.add_cookies([{**cookie, "url": site.insecure_url} for cookie in cookies])


def _add_pages(host: Host) -> None:
    @host.app.get("/o/<org_slug>/settings")
    def settings(org_slug: str) -> Any:
        chosen = sa.select(host.Organization).where(host.Organization.slug == org_slug)
        page = render_template_string(SETTINGS_PAGE, organization=host.db.session.scalar(chosen))
        return page, {"Content-Security-Policy": SETTINGS_POLICY}

    # Browsers ask for it on the pages that name no icon, like an error's.
    host.app.add_url_rule("/favicon.ico", "favicon", lambda: ("", 204))


class Console:
    """What a browser's pages complain about."""

    def __init__(self) -> None:
        self._errors: list[str] = []
        self._messages: list[ConsoleMessage] = []
        self._documents: set[str] = set()

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.on("console", lambda message: self._messages.append(message))
        page.on("response", self._note_document)

    def complaints(self) -> list[str]:
        return self._errors + [
            f"{message.type}: {message.text}"
            for message in self._messages
            if message.type in ("error", "warning") and not self._is_status(message)
        ]

    def _note_document(self, response: Response) -> None:
        if response.request.is_navigation_request():
            self._documents.add(response.url)

    def _is_status(self, message: ConsoleMessage) -> bool:
        """Whether it only tells that a page came with a status like 422."""
        is_load = message.text.startswith("Failed to load resource: the server responded")
        return is_load and message.location["url"] in self._documents
