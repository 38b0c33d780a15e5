"""The pages of a rotation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from bs4 import BeautifulSoup

from ..conftest import MakeHost
from ..host import Host, bearer, form_fields, shown_key
from .test_pages import LIST, description_of_dialog, heading_of_dialog

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHOICE = {"overlap_hours": "168", "expires_in": "90"}


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def url(key_id: str, step: str = "rotate") -> str:
    return f"{LIST}/{key_id}/{step}"


def form(host: Host, key_id: str, **values: str) -> dict[str, str]:
    page = host.client("ada").get(url(key_id))
    assert page.status_code == 200
    return {**form_fields(page.text), **CHOICE, **values}


def end_fields(page: str) -> dict[str, str]:
    """The hidden fields of the form that ends the old secret."""
    soup = BeautifulSoup(page, "html.parser")
    fields = soup.select("form[action$=end-previous] input[type=hidden]")
    return {str(field["name"]): str(field["value"]) for field in fields}


def status_of(host: Host, token: str) -> int:
    return host.client().get("/api/whoami", headers=bearer(token)).status_code


def test_the_question(host: Host) -> None:
    _, key_id = host.issue(name="Grafana")
    page = host.client("ada").get(url(key_id)).text
    soup = BeautifulSoup(page, "html.parser")
    assert heading_of_dialog(page) == "Rotate Grafana?"
    overlaps = [option["value"] for option in soup.select("[name=overlap_hours] option")]
    assert overlaps == ["0", "1", "24", "168", "720"]
    assert [option["value"] for option in soup.select("option[selected]")] == ["168", "90"]


def test_both_secrets_work_and_the_new_one_is_shown_once(any_host: Host) -> None:
    token, key_id = any_host.issue()
    answer = any_host.client("ada").post(url(key_id), data=form(any_host, key_id))
    assert answer.status_code == 200
    assert heading_of_dialog(answer.text) == "New secret created"
    new = shown_key(answer.text)
    assert new != token
    assert status_of(any_host, token) == status_of(any_host, new) == 200
    key = any_host.key(key_id)
    assert key.previous_until == NOW + timedelta(days=7)
    assert key.expires_at == NOW + timedelta(days=90)
    assert any_host.events()[-1]["actor"] == "ada"


def test_the_same_form_again_is_no_second_rotation(any_host: Host) -> None:
    token, key_id = any_host.issue()
    data = form(any_host, key_id)
    client = any_host.client("ada")
    new = shown_key(client.post(url(key_id), data=data).text)
    again = client.post(url(key_id), data=data)
    assert (again.status_code, again.location) == (303, f"{LIST}/{key_id}")
    assert status_of(any_host, token) == status_of(any_host, new) == 200
    assert [event["action"] for event in any_host.events()] == ["created", "rotated"]


def test_a_fresh_form_rotates_again(host: Host) -> None:
    token, key_id = host.issue()
    client = host.client("ada")
    first = shown_key(client.post(url(key_id), data=form(host, key_id)).text)
    second = shown_key(client.post(url(key_id), data=form(host, key_id)).text)
    assert [status_of(host, each) for each in (token, first, second)] == [200, 401, 200]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_an_ended_key_is_not_rotated(host: Host, at_noon: Any, method: str, how: str) -> None:
    _, key_id = host.issue(expires_at=NOW + timedelta(days=1))
    data = form(host, key_id)
    if how == "revoked":
        host.revoke(key_id)
    else:
        at_noon.move_to(NOW + timedelta(days=1))
    answer = getattr(host.client("ada"), method)(url(key_id), data=data)
    assert (answer.status_code, answer.location) == (303, f"{LIST}/{key_id}")
    assert host.key(key_id).rotated_at is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("overlap_hours", "2"), ("overlap_hours", ""), ("overlap_hours", "-1"), ("expires_in", "7")],
)
def test_a_refused_form_keeps_its_values(host: Host, field: str, value: str) -> None:
    _, key_id = host.issue()
    other = {"overlap_hours": "24", "expires_in": "365"}
    data = {**form(host, key_id), **other, field: value}
    answer = host.client("ada").post(url(key_id), data=data)
    soup = BeautifulSoup(answer.text, "html.parser")
    (wrong,) = soup.select("[aria-invalid=true]")
    assert answer.status_code == 422
    assert wrong["name"] == field
    assert wrong.has_attr("autofocus")
    chosen = {
        select["name"]: select.select("[selected]") for select in soup.select("dialog select")
    }
    kept = next(name for name in other if name != field)
    assert chosen[kept][0]["value"] == other[kept]
    assert host.key(key_id).rotated_at is None


def test_the_oldest_secret_is_named(host: Host) -> None:
    _, key_id = host.issue()
    client = host.client("ada")
    warning = "The oldest secret ends at once."
    new = shown_key(client.post(url(key_id), data=form(host, key_id)).text)
    assert warning not in client.get(url(key_id)).text
    assert status_of(host, new) == 200
    assert description_of_dialog(client.get(url(key_id)).text).endswith(warning)


def test_the_key_page_tells_which_secret_is_used(host: Host, at_noon: Any) -> None:
    token, key_id = host.issue()
    client = host.client("ada")
    client.post(url(key_id), data=form(host, key_id))
    page = client.get(f"{LIST}/{key_id}").text
    assert "New secret: not used yet." in page
    assert "Old secret: not used since" in page
    status_of(host, token)
    at_noon.move_to(NOW + timedelta(minutes=5))
    assert "Old secret: last used 5 minutes ago" in client.get(f"{LIST}/{key_id}").text


@pytest.mark.parametrize(("hours", "warns"), [("24", True), ("168", False)])
def test_warning_of_a_new_secret_that_nobody_uses(host: Host, hours: str, warns: bool) -> None:
    """It stands on the row and on the key's page, in the last day of the old secret."""
    _, key_id = host.issue()
    client = host.client("ada")
    client.post(url(key_id), data=form(host, key_id, overlap_hours=hours))
    for path in (LIST, f"{LIST}/{key_id}"):
        assert ("Warning:" in client.get(path).text) is warns


def test_uses_of_the_old_secret_are_not_recorded(new_host: MakeHost) -> None:
    """Nobody can tell then whether it was used; the first use of the new one is always noted."""
    host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
    token, key_id = host.issue()
    client = host.client("ada")
    new = shown_key(client.post(url(key_id), data=form(host, key_id)).text)
    assert status_of(host, token) == status_of(host, new) == 200
    for page in (client.get(LIST).text, client.get(f"{LIST}/{key_id}").text):
        assert "Old secret: not used since" not in page
        assert "Old secret: use not recorded, works until 8 Jun 2026, 12:00:00 UTC." in page
        assert "New secret: first used now." in page


def test_the_end_of_the_old_secret(any_host: Host) -> None:
    token, key_id = any_host.issue()
    client = any_host.client("ada")
    page = client.post(url(key_id), data=form(any_host, key_id)).text
    new = shown_key(page)
    answer = client.post(url(key_id, "end-previous"))
    assert (answer.status_code, answer.location) == (303, f"{LIST}/{key_id}")
    refused = any_host.client().get("/api/whoami", headers=bearer(token))
    assert refused.json["code"] == "rotated_key"  # type: ignore[index]
    assert status_of(any_host, new) == 200
    assert "End the old secret now" not in client.get(f"{LIST}/{key_id}").text


def test_a_page_from_before_another_rotation_ends_nothing(any_host: Host) -> None:
    """The secret that it names has ended; the one that is old by now is in use."""
    _, key_id = any_host.issue()
    client = any_host.client("ada")
    client.post(url(key_id), data=form(any_host, key_id))
    fields = end_fields(client.get(f"{LIST}/{key_id}").text)
    used = shown_key(client.post(url(key_id), data=form(any_host, key_id)).text)
    assert status_of(any_host, used) == 200
    page = client.post(url(key_id), data=form(any_host, key_id)).text
    answer = client.post(url(key_id, "end-previous"), data=fields)
    assert (answer.status_code, answer.location) == (303, f"{LIST}/{key_id}")
    assert status_of(any_host, used) == 200
    # The page with the new secret is of the last rotation.
    client.post(url(key_id, "end-previous"), data=end_fields(page))
    assert status_of(any_host, used) == 401


@pytest.mark.parametrize("after", ["2026-01-01", "2026-01-01T12:00:00", "never", "\0", "x"])
def test_end_of_an_old_secret_after_no_rotation(any_host: Host, after: str) -> None:
    token, key_id = any_host.issue()
    client = any_host.client("ada")
    client.post(url(key_id), data=form(any_host, key_id))
    answer = client.post(url(key_id, "end-previous"), data={"after": after})
    assert answer.status_code == 303
    assert status_of(any_host, token) == 200


@pytest.mark.parametrize("step", ["rotate", "end-previous"])
def test_csrf_and_foreign_keys(new_host: MakeHost, step: str) -> None:
    host = new_host(config={"WTF_CSRF_ENABLED": True})
    _, key_id = host.issue("acme")
    _, foreign = host.issue("beta")
    client = host.client("ada")
    assert client.post(url(key_id, step), data=CHOICE).status_code == 422
    assert client.post(url(foreign, step), data=CHOICE).status_code == 404
    assert host.client("sam").post(url(key_id, step), data=CHOICE).status_code == 403
    assert host.key(key_id).rotated_at is None


def test_a_key_that_may_replace_its_own_secret(host: Host) -> None:
    data = {"name": "CI", "scopes": "project:deploy", "expires_in": "30"}
    client = host.client("ada")
    client.post(LIST, data={**data, "may_rotate_itself": "1", "nonce": "1"})
    client.post(LIST, data={**data, "nonce": "2"})
    keys = host.keys()
    assert sorted(bool(key.may_rotate_itself) for key in keys) == [False, True]
