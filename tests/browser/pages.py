"""What the tests of the pages do again and again, by the words that a person meets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from playwright.sync_api import Locator, Page, expect

from tests.host import Host

KEYS = "/o/acme/api-keys"
ROWS_ON_A_PAGE = 25
LONGEST_NAME = "x" * 100


def create_link(page: Page) -> Locator:
    return page.get_by_role("link", name="Create key", exact=True)


def revoke_link(page: Page, name: str) -> Locator:
    return page.get_by_role("link", name=f"Revoke {name}", exact=True)


def dialog(page: Page, name: str) -> Locator:
    return page.get_by_role("dialog", name=name, exact=True)


def create_dialog(page: Page) -> Locator:
    return dialog(page, "Create API key")


def created_dialog(page: Page) -> Locator:
    return dialog(page, "API key created")


def token_field(page: Page) -> Locator:
    return created_dialog(page).get_by_role("textbox", name="API key", exact=True)


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=True))


def status(page: Page) -> Locator:
    return page.get_by_role("status")


def open_create_dialog(page: Page) -> Locator:
    page.goto(KEYS)
    create_link(page).click()
    expect(create_dialog(page)).to_be_visible()
    return create_dialog(page)


def fill_in(
    form: Locator, *, name: str = "CI", scope: str = "project:deploy", expires_in: str = "30"
) -> None:
    form.get_by_role("textbox", name="Name", exact=True).fill(name)
    scopes = form.get_by_role("group", name="Scopes", exact=True)
    scopes.get_by_role("checkbox", name=scope).check()
    form.get_by_role("combobox", name="Expiration", exact=True).select_option(expires_in)


def submit(form: Locator) -> None:
    form.get_by_role("button", name="Create key", exact=True).click()


def create_key(page: Page, name: str = "CI") -> str:
    """Create a key on the pages. Returns its text, and leaves it on the page."""
    form = open_create_dialog(page)
    fill_in(form, name=name)
    submit(form)
    expect(token_field(page)).to_be_visible()
    return token_field(page).input_value()


def press_twice(button: Locator) -> list[bool]:
    """Press a form's button twice at once. Returns for each time whether the form was sent."""
    return list(
        button.evaluate(
            """button => {
                const sent = [];
                addEventListener('submit', event => sent.push(!event.defaultPrevented));
                button.click();
                button.click();
                return sent;
            }"""
        )
    )


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press Tab until ``target`` has the focus, as somebody without a mouse would."""
    for _ in range(40):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the keyboard does not reach {target}")


def assert_shows_nowhere(page: Page, token: str) -> None:
    """The secret is in no element, attribute or field of the page."""
    values = page.locator("input, textarea").evaluate_all("fields => fields.map(f => f.value)")
    secret = token.rpartition("_")[2]
    assert secret not in page.content()
    assert not any(secret in value for value in values)


def issue_many(host: Host, count: int, name: str = "Runner") -> None:
    """Create keys ``Runner 01`` to that of ``count``, the last of them the newest."""
    with host.app.app_context():
        for number in range(1, count + 1):
            host.orgkeys.create_key(
                host.organization_ids["acme"],
                name=f"{name} {number:02}",
                scopes=["project:deploy"],
                expires_at=datetime.now(UTC) + timedelta(days=90),
            )
        host.db.session.commit()


def set_times(host: Host, key_id: str, **times: datetime) -> None:
    """Give a key times in the past, which no call would."""
    with host.app.app_context():
        table = host.orgkeys.ApiKey
        host.db.session.execute(sa.update(table).where(table.id == key_id).values(times))
        host.db.session.commit()


def issue_one_of_each(host: Host) -> dict[str, str]:
    """Create a key in each condition that a row may show. Returns their ids by name."""
    now = datetime.now(UTC)
    ids = {
        name: host.issue(name=name, scopes=scopes, expires_at=expires_at)[1]
        for name, scopes, expires_at in (
            ("Nightly", ["project:read-rc"], None),
            ("Release", ["app:publish", "project:read-rc", "project:deploy"], now + timedelta(5)),
            ("Old laptop", ["project:deploy"], now + timedelta(90)),
            ("Migration", ["project:deploy"], now + timedelta(30)),
            (LONGEST_NAME, ["project:deploy"], now + timedelta(90)),
            ("Production", ["project:deploy"], now + timedelta(90)),
        )
    }
    set_times(host, ids["Production"], last_used_at=now - timedelta(minutes=3))
    set_times(
        host,
        ids["Migration"],
        created_at=now - timedelta(days=60),
        last_used_at=now - timedelta(days=40),
        expires_at=now - timedelta(days=30),
    )
    host.revoke(ids["Old laptop"])
    return ids
