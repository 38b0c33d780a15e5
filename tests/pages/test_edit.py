"""A key's name and note, and who is said to have changed them."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup
from flask_login import UserMixin

from ..conftest import MakeHost
from ..host import Host
from .test_pages import FORM, LIST, heading_of_dialog


def test_the_form_has_what_the_key_has(host: Host) -> None:
    client = host.client("ada")
    client.post(LIST, data={**FORM, "note": "Ask Bea\nfirst."})
    (key,) = host.keys()

    page = client.get(f"{LIST}/{key.id}/edit")

    soup = BeautifulSoup(page.text, "html.parser")
    assert heading_of_dialog(page.text) == "Edit CI"
    assert soup.select_one("[name=name]")["value"] == "CI"  # type: ignore[index]
    assert soup.select_one("[name=note]").text == "\nAsk Bea\nfirst."  # type: ignore[union-attr]


def test_a_change(any_host: Host) -> None:
    _, key_id = any_host.issue(name="storefront")
    client = any_host.client("ada")

    answer = client.post(f"{LIST}/{key_id}/edit", data={"name": " New ", "note": "Ask Bea"})

    assert (answer.status_code, answer.location) == (303, f"{LIST}/{key_id}")
    key = any_host.key(key_id)
    assert (key.name, key.note) == ("New", "Ask Bea")
    assert any_host.events()[-1]["actor"] == "ada"
    assert "Ask Bea" in client.get(f"{LIST}/{key_id}").text


@pytest.mark.parametrize(
    ("field", "value"), [("name", ""), ("name", "x" * 101), ("note", "x" * 501), ("note", "a\0b")]
)
def test_a_refused_change(host: Host, field: str, value: str) -> None:
    _, key_id = host.issue(name="storefront")
    data = {"name": "storefront", "note": "", field: value}

    answer = host.client("ada").post(f"{LIST}/{key_id}/edit", data=data)

    soup = BeautifulSoup(answer.text, "html.parser")
    (wrong,) = soup.select("[aria-invalid=true]")
    error = soup.find(id=str(wrong["aria-describedby"]).split()[0])
    assert answer.status_code == 422
    assert wrong["name"] == field
    assert wrong.has_attr("autofocus")
    assert error is not None
    assert error.get_text(strip=True)
    assert host.key(key_id).name == "storefront"


def test_a_note_that_is_too_long_for_a_new_key(host: Host) -> None:
    answer = host.client("ada").post(LIST, data={**FORM, "note": "x" * 501})

    assert answer.status_code == 422
    assert host.keys() == []


@pytest.mark.parametrize(
    ("user_id", "recorded"),
    [
        ("x" * 256, "x" * 255),
        ("ada\nlovelace", "ada lovelace"),
        ("ada\u2028lovelace", "ada lovelace"),
        ("a\0b", "a b"),
    ],
    ids=["long", "line break", "line separator", "NUL"],
)
def test_a_user_whose_id_no_record_holds(new_host: MakeHost, user_id: str, recorded: str) -> None:
    """Creates and revokes keys like any other."""

    class Odd(UserMixin):  # type: ignore[misc]
        def get_id(self) -> str:
            return user_id

    host = new_host()
    host.app.login_manager.user_loader(lambda _: Odd())  # type: ignore[attr-defined]
    host.orgkeys.permission_checker(lambda *_: True)
    client = host.client("ada")

    assert client.post(LIST, data=FORM).status_code == 200
    (key,) = host.keys()
    assert client.post(f"{LIST}/{key.id}/revoke").status_code == 303
    key = host.key(key.id)
    assert (key.created_by, key.revoked_by) == (recorded, recorded)


@pytest.mark.parametrize("path", ["", "/new", "/{id}", "/{id}/edit", "/{id}/revoke"])
def test_scripts_of_the_host_leave_the_pages_alone(host: Host, path: str) -> None:
    _, key_id = host.issue()
    page = host.client("ada").get(LIST + path.format(id=key_id)).text

    (root,) = BeautifulSoup(page, "html.parser").select("[data-orgkeys]")

    for name in ("data-turbo", "hx-boost", "hx-boost:inherited", "hx-history"):
        assert root[name] == "false"
    assert root.has_attr("v-pre")
    assert root.has_attr("x-ignore")
