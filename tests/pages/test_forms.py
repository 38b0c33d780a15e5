"""The create form: its fields and their limits, and what a refused one keeps."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from time import process_time
from typing import Any

import pytest
import time_machine
from bs4 import BeautifulSoup, Tag
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_orgkeys.keys.cleaning import LONGEST_SEARCH, clean_name
from flask_orgkeys.keys.models import NAME_LENGTH
from flask_orgkeys.keys.redaction import without_secret
from flask_orgkeys.keys.texts import fold

from ..conftest import MakeHost
from ..host import SCOPES, Host, listed_names

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}

LONGEST = "n" * 100
NINES = "9" * 5000
NOON = "2026-01-01T12:00Z"


def send(host: Host, **fields: Any) -> TestResponse:
    return host.client("ada").post(LIST, data={**FORM, **fields})


def control(response: TestResponse, name: str) -> Tag:
    """The form's control of that name, the first of several."""
    tag = BeautifulSoup(response.text, "html.parser").select_one(f"dialog [name={name}]")
    assert tag is not None
    return tag


def error_of(response: TestResponse, name: str) -> str:
    """The error that assistive technology finds on a field."""
    tag = control(response, name)
    assert tag["aria-invalid"] == "true"
    soup = BeautifulSoup(response.text, "html.parser")
    described = [soup.find(id=identity) for identity in str(tag["aria-describedby"]).split()]
    assert all(described)
    return " ".join(part.get_text() for part in described if part)


def chosen_scopes(response: TestResponse) -> list[str]:
    boxes = BeautifulSoup(response.text, "html.parser").select("[name=scopes][checked]")
    return [str(box["value"]) for box in boxes]


ACCEPTED_NAMES = (
    ("n", "n"),
    (LONGEST, LONGEST),
    (f" \t\n{LONGEST}\r\n ", LONGEST),
    ("\u00a0\u2003CI\u3000", "CI"),
    ("🔑" * 100, "🔑" * 100),
    ("🏳️\u200d🌈 deploys", "🏳️\u200d🌈 deploys"),
    ("ångström", "ångström"),
    ("e\u0301" * 100, "é" * 100),
    ("한" * 100, "한" * 100),
    ("<b>&amp;'\"</b> {{ 7 * 7 }} %s ${x}", "<b>&amp;'\"</b> {{ 7 * 7 }} %s ${x}"),
    ("שלום עולם", "שלום עולם"),
    ("'; DROP TABLE orgkeys_key; --", "'; DROP TABLE orgkeys_key; --"),
)
# With words of the error beside the field.
REFUSED_NAMES = (
    ("", "Enter a name"),
    (" \t\u3000\n", "Enter a name"),
    ("\u200b\u2060\ufeff", "Enter a name"),
    (LONGEST + "n", "at most 100 characters; this has 101"),
    ("🔑" * 101, "at most 100 characters; this has 101"),
    ("x" * 10_000, "at most 100 characters; this has 10000"),
    ("a\0b", "control characters"),
    ("a\nb", "control characters"),
    ("a\x1b[31mb", "control characters"),
    ("a\x7fb", "control characters"),
    ("a\u0085b", "control characters"),
    ("a\u2028b", "control characters"),
    ("שלום \u202e txet", "control characters"),
    ("a\u200bb", "control characters"),
)


class TestName:
    def test_accepted(self, any_host: Host) -> None:
        for sent, _ in ACCEPTED_NAMES:
            assert send(any_host, name=sent).status_code == 200
        kept = sorted(name for _, name in ACCEPTED_NAMES)
        assert sorted(map(attrgetter("name"), any_host.keys())) == kept
        assert sorted(listed_names(any_host.client("ada").get(LIST).text)) == kept

    def test_refused(self, any_host: Host) -> None:
        for sent, why in REFUSED_NAMES:
            response = send(any_host, name=sent)
            assert response.status_code == 422
            assert why in error_of(response, "name")
        assert any_host.keys() == []
        assert any_host.events() == []

    def test_missing(self, host: Host) -> None:
        response = host.client("ada").post(LIST, data={"scopes": "project:deploy"})
        assert response.status_code == 422
        assert "Enter a name" in error_of(response, "name")

    def test_key_for_a_name(self, any_host: Host) -> None:
        token, _ = any_host.issue()
        response = send(any_host, name=f"as {token}")
        assert response.status_code == 422
        assert "Leave out the API key" in error_of(response, "name")
        assert len(any_host.keys()) == 1

    def test_two_of_one_name(self, any_host: Host) -> None:
        assert [send(any_host).status_code for _ in range(2)] == [200, 200]
        assert len(any_host.keys()) == 2

    def test_text_that_takes_long_to_normalise(self, host: Host) -> None:
        """Marks in the wrong order, which take time with the square of their number."""
        # As many as fit into what Werkzeug takes of a form.
        marks = "a" + "\u0315\u0300" * 40_000
        client = host.client("ada")
        begin = process_time()
        assert client.post(LIST, data={**FORM, "name": marks}).status_code == 422
        assert client.get(LIST, query_string={"q": marks}).status_code == 200
        assert process_time() - begin < 2

    def test_other_than_text(self, host: Host) -> None:
        with pytest.raises(ValueError, match="must be text"):
            host.issue(name=5)  # type: ignore[arg-type]

    @given(st.text(min_size=1, max_size=450))
    @example("\u1f82" * 100)
    @example(unicodedata.normalize("NFD", "\u1f82" * 100))
    @example("\u0958" * 40)
    def test_what_is_kept(self, text: str) -> None:
        """The kept name is stable, short enough for its columns, and is found by itself."""
        try:
            name = clean_name(text)
        except ValueError:
            return
        assert clean_name(name) == name
        assert 1 <= len(name) <= NAME_LENGTH
        assert unicodedata.is_normalized("NFC", name)
        assert len(fold(name)) <= 3 * NAME_LENGTH
        assert len(text.strip()) <= 4 * NAME_LENGTH

    def test_longest_folded_form(self) -> None:
        """Of every character there is: three for one at most, which is what the column holds."""
        for code in range(0x110000):
            name = unicodedata.normalize("NFC", chr(code))
            assert len(fold(name)) <= 3 * len(name)


class TestScopes:
    @pytest.mark.parametrize("scopes", [[scope] for scope in SCOPES] + [list(SCOPES)])
    def test_accepted(self, host: Host, scopes: list[str]) -> None:
        assert send(host, scopes=scopes).status_code == 200
        (key,) = host.keys()
        assert key.scopes == scopes

    def test_repeated(self, any_host: Host) -> None:
        sent = ["project:deploy", "app:publish", "project:deploy", "app:publish"]
        assert send(any_host, scopes=sent).status_code == 200
        (key,) = any_host.keys()
        assert key.scopes == ["app:publish", "project:deploy"]

    @pytest.mark.parametrize(
        "scopes",
        [
            [],
            [""],
            ["*"],
            ["admin"],
            ["PROJECT:DEPLOY"],
            ["project:deploy "],
            ["project:deploy app:publish"],
            ["project:*"],
            ["project:deploy", "admin"],
            ["project:deploy\0"],
        ],
        ids=repr,
    )
    def test_refused(self, host: Host, scopes: list[str]) -> None:
        response = send(host, scopes=scopes)
        assert response.status_code == 422
        assert error_of(response, "scopes")
        assert host.keys() == []

    def test_none(self, host: Host) -> None:
        assert "Choose at least one scope." in error_of(send(host, scopes=[]), "scopes")

    def test_offer(self, host: Host) -> None:
        page = BeautifulSoup(host.client("ada").get(f"{LIST}/new").text, "html.parser")
        boxes = page.select("dialog [name=scopes]")
        assert [box["value"] for box in boxes] == list(SCOPES)
        for box, description in zip(boxes, SCOPES.values(), strict=True):
            assert description in box.find_parent("label").get_text()  # type: ignore[union-attr]


class TestExpiration:
    @pytest.mark.parametrize(
        ("sent", "lifetime"),
        [
            ("never", None),
            ("30", timedelta(days=30)),
            ("60", timedelta(days=60)),
            ("90", timedelta(days=90)),
            ("365", timedelta(days=365)),
        ],
    )
    def test_accepted(self, any_host: Host, sent: str, lifetime: timedelta | None) -> None:
        with time_machine.travel("2026-03-28T23:30:00.123456Z", tick=False):
            assert send(any_host, expires_in=sent).status_code == 200
            (key,) = any_host.keys()
            expected = None if lifetime is None else datetime.now(UTC) + lifetime
            assert key.expires_at == expected

    @pytest.mark.parametrize(
        "sent",
        ["", "31", "0", "-30", "030", " 30", "30 ", "30.0", "30\0", "3e1", "٣٠", "Never", NINES],
        ids=lambda sent: repr(sent[:12]),
    )
    def test_refused(self, host: Host, sent: str) -> None:
        response = send(host, expires_in=sent)
        assert response.status_code == 422
        assert error_of(response, "expires_in")
        assert host.keys() == []

    @pytest.mark.parametrize("fields", [{}, {"expires_in": "1"}], ids=["missing", "foreign"])
    def test_refused_choice_is_not_no_expiration(self, host: Host, fields: dict[str, str]) -> None:
        """A list without a selected option begins at its first, which is the weakest."""
        data = {"name": "CI", "scopes": "project:deploy", **fields}
        response = host.client("ada").post(LIST, data=data)
        assert response.status_code == 422
        selected = control(response, "expires_in").select("[selected]")
        assert [option["value"] for option in selected] == ["90"]

    def test_offer(self, host: Host) -> None:
        with time_machine.travel(NOON, tick=False):
            select = control(host.client("ada").get(f"{LIST}/new"), "expires_in")
        assert [(option["value"], option.get_text()) for option in select.select("option")] == [
            ("never", "No expiration"),
            ("30", "30 days (until 31 Jan 2026)"),
            ("60", "60 days (until 2 Mar 2026)"),
            ("90", "90 days (until 1 Apr 2026)"),
            ("365", "365 days (until 1 Jan 2027)"),
        ]
        assert [option["value"] for option in select.select("[selected]")] == ["90"]

    @pytest.mark.parametrize(
        ("config", "values", "preselected"),
        [
            ({"DEFAULT_EXPIRY_DAYS": None}, ["never", "30", "60", "90", "365"], "never"),
            ({"DEFAULT_EXPIRY_DAYS": 30}, ["never", "30", "60", "90", "365"], "30"),
            ({"ALLOW_NO_EXPIRY": False}, ["30", "60", "90", "365"], "90"),
            ({"EXPIRY_DAYS": (1, 7), "DEFAULT_EXPIRY_DAYS": 7}, ["never", "1", "7"], "7"),
        ],
    )
    def test_configured_offer(
        self, new_host: MakeHost, config: dict[str, Any], values: list[str], preselected: str
    ) -> None:
        host = new_host(config={f"ORGKEYS_{name}": value for name, value in config.items()})
        select = control(host.client("ada").get(f"{LIST}/new"), "expires_in")
        assert [option["value"] for option in select.select("option")] == values
        assert [option["value"] for option in select.select("[selected]")] == [preselected]
        for value in ("never", "1", "7", "30", "365"):
            expected = 200 if value in values else 422
            assert send(host, name=value, expires_in=value).status_code == expected


class TestRefusedForm:
    """Nothing that was entered is lost."""

    def test_values(self, host: Host) -> None:
        chosen = ["app:publish", "project:read-rc"]
        response = send(host, name="  " + "x" * 101, scopes=chosen, expires_in="365")
        assert response.status_code == 422
        assert control(response, "name")["value"] == "  " + "x" * 101
        assert chosen_scopes(response) == chosen
        select = control(response, "expires_in")
        assert [option["value"] for option in select.select("[selected]")] == ["365"]

    def test_valid_fields_are_not_marked(self, host: Host) -> None:
        response = send(host, name="")
        assert "aria-invalid" not in control(response, "scopes").attrs
        assert "aria-invalid" not in control(response, "expires_in").attrs

    def test_markup_in_a_value(self, host: Host) -> None:
        attack = '"><script>alert(1)</script>'
        response = send(host, name=attack * 5, expires_in=attack, scopes=[attack], nonce=attack)
        assert response.status_code == 422
        assert "<script>alert" not in response.text
        assert control(response, "name")["value"] == attack * 5

    def test_first_error_takes_the_focus(self, host: Host) -> None:
        soup = BeautifulSoup(send(host, scopes=[], expires_in="1").text, "html.parser")
        assert [tag.get("name") for tag in soup.select("[autofocus]")] == ["scopes"]

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            ("{}", "application/json"),
            ("[1]", "application/json"),
            ("5", "application/json"),
            ("nonsense", "application/json"),
            (json.dumps(FORM), "application/json"),
            ("name=CI&scopes=project:deploy&expires_in=90", "text/plain"),
            ("\xff\xfe", "application/octet-stream"),
            ("", "application/x-www-form-urlencoded"),
            ("name=%FF%FE&scopes=%C0%80", "application/x-www-form-urlencoded"),
            ("no boundary", "multipart/form-data"),
        ],
    )
    def test_other_body(self, host: Host, body: str, content_type: str) -> None:
        response = host.client("ada").post(LIST, data=body, content_type=content_type)
        assert response.status_code == 422
        assert host.keys() == []

    def test_file_for_a_name(self, host: Host) -> None:
        from io import BytesIO

        data = {**FORM, "name": (BytesIO(b"content"), "name.txt")}
        response = host.client("ada").post(LIST, data=data)
        assert response.status_code == 422
        assert "Enter a name" in error_of(response, "name")


class TestPublicStart:
    """A whole key in a text leaves only its public start."""

    KEY = "orgk_ABCDEFGHIJ12_" + "s" * 38

    @pytest.mark.parametrize(
        "text",
        [
            KEY,
            KEY[:-20],
            KEY[:-37],
            f"Bearer {KEY}",
            f"'{KEY}'\n",
            KEY.removeprefix("orgk_"),
            "old_prefix_" + KEY.removeprefix("orgk_"),
            f"{KEY} {KEY}",
        ],
    )
    def test_key(self, text: str) -> None:
        assert without_secret(text, "orgk") == "orgk_ABCDEFGHIJ12"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "orgk",
            "orgk_",
            "orgk_ABCDEFGHIJ12",
            "orgk_ABCDEFGHIJ12…",
            "storefront_12",
            "integrations_" + "production",
            "kubernetesdeployment_" + "x" * 38,
            "ABCDEFGHIJ12_" + "x" * 37 + " y",
        ],
    )
    def test_other_text(self, text: str) -> None:
        assert without_secret(text, "orgk") == text

    def test_prefix_of_its_own(self) -> None:
        assert without_secret("a.b_ABCDEFGHIJ12_x", "a.b") == "a.b_ABCDEFGHIJ12"
        assert without_secret("aXb_ABCDEFGHIJ12_x", "a.b") == "aXb_ABCDEFGHIJ12_x"

    def test_longest_search_is_longer_than_any_name(self) -> None:
        assert len(unicodedata.normalize("NFD", "\u1f82" * 100)) <= LONGEST_SEARCH


class TestLike:
    """The form, filled in with the values of another key."""

    def lifetime(self, host: Host, key_id: str) -> str:
        page = host.client("ada").get(f"{LIST}/new?like={key_id}")
        (option,) = control(page, "expires_in").select("[selected]")
        return str(option["value"])

    def test_lifetime_of_a_key_from_the_form(self, host: Host) -> None:
        """The key is created a moment after its expiry was reckoned."""
        assert send(host, expires_in="60").status_code == 200
        (key,) = host.keys()
        assert self.lifetime(host, key.id) == "60"

    @pytest.mark.parametrize(("hours", "offered"), [(0, "30"), (23, "30"), (24, "90"), (-1, "90")])
    def test_lifetime_in_whole_days(self, host: Host, hours: int, offered: str) -> None:
        expires_at = datetime.now(UTC) + timedelta(days=30, hours=hours)
        _, key_id = host.issue(expires_at=expires_at)
        assert self.lifetime(host, key_id) == offered

    def test_lifetime_since_the_last_rotation(self, host: Host) -> None:
        with time_machine.travel(datetime.now(UTC) - timedelta(days=50)):
            _, key_id = host.issue(expires_at=datetime.now(UTC) + timedelta(days=90))
        with host.app.app_context():
            host.orgkeys.rotate_key(
                host.organization_ids["acme"],
                key_id,
                overlap=timedelta(0),
                expires_at=datetime.now(UTC) + timedelta(days=365),
            )
            host.db.session.commit()
        assert self.lifetime(host, key_id) == "365"
