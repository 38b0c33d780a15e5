"""The form for a new key as it opens: filled in by its URL, with hints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bs4 import BeautifulSoup

from ..conftest import MakeHost
from ..host import Host, form_fields
from .test_pages import FORM, LIST, description_of_dialog


def form_of(host: Host, query: str = "") -> BeautifulSoup:
    answer = host.client("ada").get(f"{LIST}/new?{query}")
    assert answer.status_code == 200
    return BeautifulSoup(answer.text, "html.parser").select_one("dialog form")  # type: ignore[return-value]


def values_of(form: BeautifulSoup) -> tuple[str, list[str], str, str]:
    """The name, the scopes, the lifetime and the note."""
    (name,) = form.select("[name=name]")
    (lifetime,) = form.select("[name=expires_in] option[selected]")
    (note,) = form.select("[name=note]")
    scopes = [str(box["value"]) for box in form.select("[name=scopes][checked]")]
    return str(name["value"]), scopes, str(lifetime["value"]), note.text.strip()


def test_by_values(host: Host) -> None:
    query = "name=CI&scopes=app:publish&scopes=project:deploy&expires_in=never&note=For+us"
    expected = ("CI", ["app:publish", "project:deploy"], "never", "For us")
    assert values_of(form_of(host, query)) == expected


@pytest.mark.parametrize(
    "query",
    ["name=%00", f"name={'n' * 101}", "scopes=app:destroy", "expires_in=31", f"note={'n' * 501}"],
)
def test_without_values_that_it_would_refuse(host: Host, query: str) -> None:
    form = form_of(host, query)
    assert values_of(form) == ("", [], "90", "")
    assert form.select("[aria-invalid]") == []


def test_like_another_key(host: Host) -> None:
    _, key_id = host.issue(
        name="Storefront",
        scopes=["project:read-rc", "app:publish"],
        note="Nightly",
        expires_at=datetime.now(UTC) + timedelta(days=30, seconds=60),
    )
    expected = ("", ["app:publish", "project:read-rc"], "30", "Nightly")
    assert values_of(form_of(host, f"like={key_id}")) == expected
    values = values_of(form_of(host, f"like={key_id}&name=New&scopes=app:publish&expires_in=60"))
    assert values == ("New", ["app:publish"], "60", "Nightly")


def test_like_a_key_without_expiration(host: Host) -> None:
    _, key_id = host.issue()
    assert values_of(form_of(host, f"like={key_id}"))[2] == "never"


@pytest.mark.parametrize("like", ["nothing", "%00", "{other}"])
def test_like_no_key_of_the_organisation(host: Host, like: str) -> None:
    _, key_id = host.issue("beta", note="secret of theirs")
    answer = host.client("ada").get(f"{LIST}/new?like={like.format(other=key_id)}")
    assert answer.status_code in (200, 404)
    assert "secret of theirs" not in answer.text


class TestTheLimit:
    def test_is_told_before_the_form_is_filled_in(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_MAX_KEYS": 3})
        warning = "3 of 3 keys. Revoke one before you create another."
        for _ in range(3):
            assert warning not in form_of(host).get_text()
            host.issue()
        page = host.client("ada").get(f"{LIST}/new").text
        assert description_of_dialog(page) == warning

    def test_counts_no_ended_key(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_MAX_KEYS": 1})
        host.revoke(host.issue()[1])
        assert "Revoke one before" not in form_of(host).get_text()


class TestATakenName:
    @pytest.mark.parametrize("name", ["storefront", "STOREFRONT", " Storefront "])
    def test_is_told(self, host: Host, name: str) -> None:
        host.issue(name="Storefront")
        (hint,) = form_of(host, f"name={name}").select("#orgkeys-name-taken")
        assert not hint.has_attr("hidden")
        assert hint.text == "There is already a key of that name."

    @pytest.mark.parametrize("name", ["", "Store", "Storefront 2"])
    def test_is_no_other(self, host: Host, name: str) -> None:
        host.issue(name="Storefront")
        (hint,) = form_of(host, f"name={name}").select("#orgkeys-name-taken")
        assert hint.has_attr("hidden")

    def test_does_not_hinder(self, host: Host) -> None:
        host.issue(name="CI")
        client = host.client("ada")
        page = client.get(f"{LIST}/new?name=CI").text
        assert client.post(LIST, data={**FORM, **form_fields(page)}).status_code == 200
        assert len(host.keys()) == 2
