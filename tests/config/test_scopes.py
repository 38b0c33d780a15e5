from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_orgkeys import current_key, require_key
from flask_orgkeys.config import scopes

from ..conftest import MakeHost
from ..host import Host, bearer

DECLARED = {"b": "The second", "a": "The first", "a:write": "Writes"}

# RFC 6749, section 3.3, spelt out: printable ASCII without space, double quote and backslash.
SCOPE_CHARACTERS = "".join(
    character
    for character in string.digits + string.ascii_letters + string.punctuation
    if character not in '"\\'
)


@given(st.text(SCOPE_CHARACTERS, min_size=1, max_size=100))
def test_a_scope_token_is_a_name(name: str) -> None:
    assert scopes.is_scope_token(name)


@pytest.mark.parametrize("character", [chr(code) for code in range(0x21)] + list('"\\\x7f\x80éК😀'))
def test_a_character_outside_of_scope_token_makes_no_name(character: str) -> None:
    assert not scopes.is_scope_token(f"a{character}b")
    assert not scopes.is_scope_token(f"ab{character}")


@pytest.mark.parametrize("name", ["", "a" * 101, None, 1, b"deploy", ["deploy"]])
def test_an_empty_overlong_or_other_value_is_no_name(name: object) -> None:
    assert not scopes.is_scope_token(name)


def test_undeclared_scopes_come_in_their_order_and_once() -> None:
    assert scopes.undeclared(["z", "a", "y", "z"], DECLARED) == ["z", "y"]


@pytest.mark.parametrize("near", ["A", "a ", " a", "a:", "a:*", "*", "", "a:write:all"])
def test_a_near_match_is_undeclared(near: str) -> None:
    assert scopes.undeclared([near], DECLARED) == [near]


def test_scopes_are_ordered_as_declared_and_the_forgotten_come_last() -> None:
    held = ["old:z", "a:write", "b", "old:a", "b"]

    assert scopes.in_declared_order(held, DECLARED) == ["b", "a:write", "old:a", "old:z"]


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ("project:deploy", 201),
        ("project", 403),
        ("project:deploy:all", 403),
        ("project:*", 403),
        ("*", 403),
        ("Project:Deploy", 403),
        ("project:deplo", 403),
    ],
)
def test_only_the_exact_scope_opens_an_endpoint(new_host: MakeHost, held: str, status: int) -> None:
    declared = dict.fromkeys([held, "project:deploy", "project:read-rc", "app:publish"], "x")
    host = new_host(config={"ORGKEYS_SCOPES": declared})
    token, _ = host.issue(scopes=[held])

    assert host.client().post("/api/deploy", headers=bearer(token)).status_code == status


@pytest.mark.parametrize(
    ("held", "status"),
    [
        (["app:publish", "project:deploy"], 201),
        (["app:publish", "project:deploy", "project:read-rc"], 201),
        (["app:publish"], 403),
        (["project:deploy", "project:read-rc"], 403),
    ],
)
def test_several_scopes_are_all_needed(new_host: MakeHost, held: list[str], status: int) -> None:
    host = new_host()
    token, _ = host.issue(scopes=held)

    answer = host.client().post("/api/publish-and-deploy", headers=bearer(token))
    assert answer.status_code == status


def test_has_scope_goes_by_the_exact_name(host: Host) -> None:
    near = ["project", "project:", "project:deplo", "project:deploy:all", "Project:Deploy", "*", ""]

    @host.app.get("/scopes")
    @require_key
    def which() -> list[str]:
        return [scope for scope in ["project:deploy", *near] if current_key.has_scope(scope)]

    token, _ = host.issue(scopes=["project:deploy"])
    assert host.client().get("/scopes", headers=bearer(token)).json == ["project:deploy"]


def test_a_key_that_is_left_without_scopes_opens_no_endpoint_that_needs_one(any_host: Host) -> None:
    token, key_id = any_host.issue()
    with any_host.app.app_context():
        any_host.db.session.get_one(any_host.orgkeys.ApiKey, key_id).scopes = []
        any_host.db.session.commit()

    client = any_host.client()
    assert client.post("/api/deploy", headers=bearer(token)).status_code == 403
    assert client.post("/api/o/acme/deployments", headers=bearer(token)).status_code == 403


def test_a_scope_that_is_no_longer_declared_grants_what_it_says_and_no_more(
    new_host: MakeHost,
) -> None:
    host = new_host(
        config={"ORGKEYS_SCOPES": {**dict.fromkeys(["old"], "x"), **_endpoint_scopes()}}
    )
    token, _ = host.issue(scopes=["old"])

    with host.sibling(ORGKEYS_SCOPES=_endpoint_scopes()) as later:
        client = later.client()
        assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
        assert client.post("/api/deploy", headers=bearer(token)).status_code == 403


def _endpoint_scopes() -> dict[str, str]:
    return dict.fromkeys(["project:deploy", "project:read-rc", "app:publish"], "x")
