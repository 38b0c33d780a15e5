"""Changes of a key's name and note."""

from __future__ import annotations

from typing import Any

import pytest

from flask_orgkeys import UNCHANGED, errors

from ..host import Host


def update(host: Host, key_id: str, organization: str = "acme", **arguments: Any) -> Any:
    with host.app.app_context():
        key = host.orgkeys.update_key(host.organization_ids[organization], key_id, **arguments)
        host.db.session.commit()
        return key.name, key.note


def test_name_and_note_change_with_an_event_of_what_they_were(any_host: Host) -> None:
    _, key_id = any_host.issue(name="CI", note="for the pipeline")
    assert update(any_host, key_id, name=" CD ", note=None, updated_by="ada") == ("CD", None)
    event = any_host.events()[-1]
    assert event["action"] == "updated"
    assert event["actor"] == "ada"
    assert event["details"] == {"was": {"name": "CI", "note": "for the pipeline"}}


def test_search_finds_the_new_name(any_host: Host) -> None:
    _, key_id = any_host.issue(name="CI")
    update(any_host, key_id, name="Deploy")
    with any_host.app.app_context():
        acme = any_host.organization_ids["acme"]
        assert [key.id for key in any_host.orgkeys.list_keys(acme, search="deploy")] == [key_id]
        assert not any_host.orgkeys.list_keys(acme, search="ci")


@pytest.mark.parametrize("arguments", [{}, {"name": "CI"}, {"note": UNCHANGED, "name": UNCHANGED}])
def test_without_a_change_there_is_no_event(any_host: Host, arguments: dict[str, Any]) -> None:
    _, key_id = any_host.issue(name="CI")
    update(any_host, key_id, **arguments)
    assert [event["action"] for event in any_host.events()] == ["created"]


@pytest.mark.parametrize(
    "arguments", [{"name": ""}, {"name": None}, {"note": "x" * 501}, {"note": "a\0b"}, {"note": 7}]
)
def test_unfit_texts_change_nothing(any_host: Host, arguments: dict[str, Any]) -> None:
    _, key_id = any_host.issue(name="CI", note="x" * 500)
    with pytest.raises(ValueError):
        update(any_host, key_id, **arguments)
    assert (any_host.key(key_id).name, any_host.key(key_id).note) == ("CI", "x" * 500)


def test_foreign_key_is_absent(any_host: Host) -> None:
    _, key_id = any_host.issue("acme")
    with pytest.raises(errors.KeyNotFound):
        update(any_host, key_id, "beta", name="Mine")
