"""The same create form sent again: one key, one page with it (promise 12)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from bs4 import BeautifulSoup
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_orgkeys import errors

from .. import databases
from ..conftest import MakeHost
from ..host import Host, form_fields, shown_key

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}

# What tells one form from another, and with it whether CSRF is on.
IDENTITIES = {"nonce": (False, "nonce"), "CSRF token": (True, "csrf_token"), "both": (True, None)}


@pytest.fixture(params=IDENTITIES.values(), ids=list(IDENTITIES))
def identity(request: pytest.FixtureRequest) -> tuple[bool, str | None]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def replayable(
    any_database_url: str, identity: tuple[bool, str | None], new_host: MakeHost
) -> Host:
    return new_host(any_database_url, config={"WTF_CSRF_ENABLED": identity[0]})


def open_form(client: FlaskClient, only: str | None = None) -> dict[str, Any]:
    """A create form as a browser would send it, filled in; with only one of its hidden fields."""
    hidden = form_fields(client.get(f"{LIST}/new").text)
    return {**FORM, **({only: hidden[only]} if only else hidden)}


def says_that_it_exists(host: Host, client: FlaskClient, response: TestResponse) -> bool:
    """Whether an answer leads to the list that says so, and keeps the secret."""
    assert response.status_code == 303
    assert response.location.partition("?")[0] == LIST
    page = client.get(response.location)
    status = BeautifulSoup(page.text, "html.parser").find(role="status")
    assert status is not None
    text = " ".join(status.get_text().split())
    return "already exists" in text and "cannot be shown again" in text


def is_made_once(host: Host) -> bool:
    return len(host.keys()) == len(host.events()) == 1


def test_one_after_the_other(replayable: Host, identity: tuple[bool, str | None]) -> None:
    client = replayable.client("ada")
    form = open_form(client, identity[1])
    first = client.post(LIST, data=form)
    assert first.status_code == 200
    token = shown_key(first.text)
    for _ in range(3):
        again = client.post(LIST, data=form)
        assert says_that_it_exists(replayable, client, again)
        assert token not in again.text
    assert is_made_once(replayable)


@pytest.mark.parametrize("end", ["time", "session"])
def test_after_the_csrf_token_has_died(new_host: MakeHost, end: str) -> None:
    host = new_host(config={"WTF_CSRF_ENABLED": True})
    client = host.client("ada")
    form = open_form(client)
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        assert client.post(LIST, data=form).status_code == 200
        if end == "time":
            clock.shift(timedelta(hours=2))
        else:
            client = host.client("ada")
        assert says_that_it_exists(host, client, client.post(LIST, data=form))
        assert is_made_once(host)


def test_a_form_shown_again_because_it_was_out_of_date(new_host: MakeHost) -> None:
    """It is the same form, with a new token."""
    host = new_host(config={"WTF_CSRF_ENABLED": True})
    form = open_form(host.client("ada"))
    client = host.client("ada")
    refused = client.post(LIST, data=form)
    assert refused.status_code == 422
    shown_again = {**FORM, **form_fields(refused.text)}
    assert client.post(LIST, data=shown_again).status_code == 200
    assert says_that_it_exists(host, client, client.post(LIST, data=form))
    assert is_made_once(host)


def test_order_of_fields(host: Host) -> None:
    client = host.client("ada")
    form = {**open_form(client), "scopes": ["project:deploy", "app:publish"]}
    assert client.post(LIST, data=form).status_code == 200
    again = client.post(LIST, data=dict(reversed(form.items())))
    assert says_that_it_exists(host, client, again)
    assert is_made_once(host)


@pytest.mark.parametrize("slash", ["", "/"])
def test_path(host: Host, slash: str) -> None:
    client = host.client("ada")
    form = open_form(client)
    assert client.post(LIST, data=form).status_code == 200
    assert client.post(f"{LIST}{slash}?page=2", data=form).status_code == 303
    assert is_made_once(host)


@pytest.mark.parametrize(
    "edit",
    [{"name": "CI 2"}, {"scopes": ["app:publish"]}, {"expires_in": "30"}],
    ids=lambda edit: next(iter(edit)),
)
def test_after_an_edit(replayable: Host, identity: tuple[bool, str | None], edit: Any) -> None:
    """Back, another value, sent: a different form."""
    client = replayable.client("ada")
    form = open_form(client, identity[1])
    assert client.post(LIST, data=form).status_code == 200
    assert client.post(LIST, data={**form, **edit}).status_code == 200
    assert len(replayable.keys()) == 2
    for each in (form, {**form, **edit}):
        assert client.post(LIST, data=each).status_code == 303
    assert len(replayable.keys()) == 2


def test_corrected_form(host: Host) -> None:
    """A refused form makes no key; corrected, it makes one."""
    client = host.client("ada")
    refused = client.post(LIST, data={**open_form(client), "name": ""})
    assert refused.status_code == 422
    form = {**FORM, **form_fields(refused.text)}
    assert client.post(LIST, data=form).status_code == 200
    assert client.post(LIST, data=form).status_code == 303
    assert is_made_once(host)


def test_two_forms(replayable: Host) -> None:
    """Alike in all that was entered, and yet two."""
    client = replayable.client("ada")
    forms = [open_form(client) for _ in range(2)]
    assert [client.post(LIST, data=form).status_code for form in forms] == [200, 200]
    assert len(replayable.keys()) == 2


def test_two_sessions(host: Host) -> None:
    """Each with a form of its own; and the one's form, sent by the other."""
    ada, again = host.client("ada"), host.client("ada")
    forms = [open_form(ada), open_form(again)]
    assert ada.post(LIST, data=forms[0]).status_code == 200
    assert again.post(LIST, data=forms[1]).status_code == 200
    assert says_that_it_exists(host, again, again.post(LIST, data=forms[0]))
    assert len(host.keys()) == 2


def test_two_organisations(host: Host) -> None:
    """The same form for another organisation is another."""
    host.orgkeys.permission_checker(lambda *_: True)
    client = host.client("ada")
    form = open_form(client)
    for slug in ("acme", "beta"):
        assert client.post(f"/o/{slug}/api-keys", data=form).status_code == 200
        assert client.post(f"/o/{slug}/api-keys", data=form).status_code == 303
    assert len(host.keys()) == 2


def test_revoked_key(host: Host) -> None:
    """Revoking does not let the form make another."""
    client = host.client("ada")
    form = open_form(client)
    client.post(LIST, data=form)
    host.revoke(host.keys()[0].id)
    assert says_that_it_exists(host, client, client.post(LIST, data=form))
    assert len(host.keys()) == 1


def test_nothing_to_tell_forms_apart(any_host: Host) -> None:
    """Neither a nonce nor a CSRF token: a script of the host's own, perhaps."""
    client = any_host.client("ada")
    tokens = {shown_key(client.post(LIST, data=FORM).text) for _ in range(2)}
    assert len(tokens) == 2
    empty = {**FORM, "nonce": "", "csrf_token": ""}
    assert [client.post(LIST, data=empty).status_code for _ in range(2)] == [200, 200]


def test_page_that_fails(new_host: MakeHost) -> None:
    """No key that nobody has seen: the form, sent again, makes it."""
    host = new_host(config={"TESTING": False, "PROPAGATE_EXCEPTIONS": False})
    broken = []

    @host.app.context_processor
    def add_to_templates() -> dict[str, Any]:
        if broken:
            raise RuntimeError("of the host's layout")
        return {}

    client = host.client("ada")
    form = open_form(client)
    broken.append(True)
    assert client.post(LIST, data=form).status_code == 500
    assert host.keys() == []
    broken.clear()
    assert client.post(LIST, data=form).status_code == 200


@pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)
def test_at_once(replayable: Host, identity: tuple[bool, str | None]) -> None:
    """A double click, or a tab that was duplicated: one page has the key, whichever it is."""
    count = 6
    client = replayable.client("ada")
    form = open_form(client, identity[1])
    barrier = Barrier(count)
    # The same session in each, from its cookie.
    cookie = client.get_cookie("session")
    assert cookie is not None

    def post(_number: int) -> TestResponse:
        twin = replayable.client()
        twin.set_cookie("session", cookie.value)
        barrier.wait(timeout=30)
        return twin.post(LIST, data=form)

    for _ in range(2):
        with ThreadPoolExecutor(count) as threads:
            responses = list(threads.map(post, range(count)))
        assert {response.status_code for response in responses} <= {200, 303}
        pages = [response for response in responses if response.status_code == 200]
        if not pages:
            break
        (page,) = pages
        token = shown_key(page.text)
        assert sum(token in response.text for response in responses) == 1
        assert is_made_once(replayable)
    assert is_made_once(replayable)


class TestInPython:
    """``create_key(idempotency_key=...)``."""

    def test_repeated(self, any_host: Host) -> None:
        _, key_id = any_host.issue(idempotency_key="import-7")
        with pytest.raises(errors.ReplayedCreation) as raised:
            any_host.issue(idempotency_key="import-7")
        assert raised.value.key_id == key_id
        any_host.issue("beta", idempotency_key="import-7")
        any_host.issue(idempotency_key="IMPORT-7")
        assert len(any_host.keys()) == 3

    @pytest.mark.parametrize("unfit", ["", "x" * 65, "a\0b", "\ud800"])
    def test_unfit(self, any_host: Host, unfit: str) -> None:
        with pytest.raises(ValueError, match="1 to 64"):
            any_host.issue(idempotency_key=unfit)
        assert any_host.keys() == []

    def test_constraint(self, any_host: Host) -> None:
        """What a look-up misses, the table refuses."""
        any_host.issue(idempotency_key="import-7")
        with any_host.app.app_context():
            table = any_host.db.metadata.tables["orgkeys_key"]
            row = dict(any_host.db.session.execute(sa.select(table)).mappings().one())
            with pytest.raises(sa.exc.IntegrityError):
                any_host.db.session.execute(sa.insert(table).values({**row, "id": "0" * 12}))
            any_host.db.session.rollback()
