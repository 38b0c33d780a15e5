"""Arguments of the functions in Python: ids of organisations, actors and texts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import flask_login
import pytest
import sqlalchemy as sa

from flask_orgkeys import OrgKeys, errors
from flask_orgkeys.keys.cleaning import clean_name, clean_note

from .. import databases
from ..conftest import MakeHost
from ..host import Host, form_fields, make_host, shown_key

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}

SECRET = "0aB" + "cD3eF5gH7iJ9kL1mN3oP5qR7sT9uV1wX3yZ"
KEY = "orgk_" + "aaaaaaaaaaaa_" + SECRET

BY_ORGANIZATION: dict[str, Callable[[OrgKeys, Any], Any]] = {
    "create_key": lambda keys, id_: keys.create_key(id_, name="CI", scopes=["project:deploy"]),
    "find_replayed": lambda keys, id_: keys.find_replayed(id_, "form"),
    "get_key": lambda keys, id_: keys.get_key(id_, "0" * 12),
    "get_key of no id": lambda keys, id_: keys.get_key(id_, ""),
    "list_keys": lambda keys, id_: keys.list_keys(id_),
    "count_keys": lambda keys, id_: keys.count_keys(id_),
    "update_key": lambda keys, id_: keys.update_key(id_, "0" * 12, name="CI"),
    "revoke_key": lambda keys, id_: keys.revoke_key(id_, "0" * 12),
    "revoke_keys": lambda keys, id_: keys.revoke_keys(id_),
    "rotate_key": lambda keys, id_: keys.rotate_key(
        id_, "0" * 12, overlap=timedelta(0), expires_at=None
    ),
    "rotate_key of no id": lambda keys, id_: keys.rotate_key(
        id_, "", overlap=timedelta(0), expires_at=None
    ),
    "end_previous_secret": lambda keys, id_: keys.end_previous_secret(id_, "0" * 12),
    "list_uses": lambda keys, id_: keys.list_uses(id_, "0" * 12),
    "list_events": lambda keys, id_: keys.list_events(id_),
    "count_events": lambda keys, id_: keys.count_events(id_),
}

ANYWHERE = [None, True, 1.0, b"1", object(), [1], "acme\0", "\ud800"]


@pytest.mark.parametrize("name", BY_ORGANIZATION)
def test_id_of_another_kind(any_host: Host, name: str) -> None:
    """A number is expected: the error names the argument, and no answer looks like success."""
    call = BY_ORGANIZATION[name]
    with any_host.app.app_context():
        for wrong in (*ANYWHERE, "1", "acme", uuid.uuid4(), 2**63, -(2**63) - 1):
            with pytest.raises(ValueError, match="organization_id"):
                call(any_host.orgkeys, wrong)


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_number_beyond_the_range(any_host: Host) -> None:
    with any_host.app.app_context():
        with pytest.raises(ValueError, match="organization_id"):
            any_host.orgkeys.list_keys(2**31)
        assert any_host.orgkeys.list_keys(2**31 - 1) == []


@pytest.mark.parametrize("organization", ["organization.id", sa.String(8)], ids=["fk", "no-fk"])
def test_texts(any_database_url: str, organization: Any, new_host: MakeHost) -> None:
    host = new_host(
        any_database_url,
        organization=organization,
        organization_id_type=sa.String(8),
        organization_ids={"acme": "acme", "beta": "beta"},
    )
    with host.app.app_context():
        for wrong in (*ANYWHERE, 1, "x" * 9):
            with pytest.raises(ValueError, match="organization_id"):
                host.orgkeys.list_keys(wrong)
        assert host.orgkeys.list_keys("x" * 8) == []


def test_uuids(any_database_url: str, new_host: MakeHost) -> None:
    ids = {"acme": uuid.UUID(int=1), "beta": uuid.UUID(int=2)}
    host = new_host(any_database_url, organization_id_type=sa.Uuid, organization_ids=ids)
    with host.app.app_context():
        for wrong in (*ANYWHERE, 1, str(ids["acme"])):
            with pytest.raises(ValueError, match="organization_id"):
                host.orgkeys.list_keys(wrong)
        assert host.orgkeys.list_keys(uuid.uuid4()) == []


class OwnUuid(sa.types.TypeDecorator[uuid.UUID]):
    """A type as hosts write it themselves."""

    impl = sa.CHAR(32)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value if value is None else value.hex

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value if value is None else uuid.UUID(value)


def test_type_of_the_host(new_host: MakeHost) -> None:
    ids = {"acme": uuid.UUID(int=1), "beta": uuid.UUID(int=2)}
    host = new_host(organization_id_type=OwnUuid, organization_ids=ids)
    _, key_id = host.issue()
    with host.app.app_context():
        assert [key.id for key in host.orgkeys.list_keys(ids["acme"])] == [key_id]
        for wrong in (*ANYWHERE, 1, "x"):
            with pytest.raises(ValueError, match="organization_id"):
                host.orgkeys.list_keys(wrong)


@pytest.mark.parametrize("kind", [sa.Numeric(10, 0), sa.Float(), sa.Date(), sa.LargeBinary(16)])
@pytest.mark.parametrize("organization", ["organization.id", None], ids=["fk", "no-fk"])
def test_unsupported_type(kind: Any, organization: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="integers, texts or UUIDs"):
        make_host(
            "sqlite://",
            organization=organization or kind,
            organization_id_type=kind,
            tables=False,
        )


BY_ACTOR: dict[str, Callable[[Host, str, Any], Any]] = {
    "created_by": lambda host, _, actor: host.issue(created_by=actor),
    "updated_by": lambda host, key, actor: host.orgkeys.update_key(
        host.organization_ids["acme"], key, name="CI 2", updated_by=actor
    ),
    "rotated_by": lambda host, key, actor: host.orgkeys.rotate_key(
        host.organization_ids["acme"],
        key,
        overlap=timedelta(0),
        expires_at=None,
        rotated_by=actor,
    ),
    "ended_by": lambda host, key, actor: host.orgkeys.end_previous_secret(
        host.organization_ids["acme"], key, ended_by=actor
    ),
    "revoked_by": lambda host, key, actor: host.orgkeys.revoke_key(
        host.organization_ids["acme"], key, revoked_by=actor
    ),
    "pruned_by": lambda host, _, actor: host.orgkeys.prune_keys(
        datetime(2020, 1, 1, tzinfo=UTC), pruned_by=actor
    ),
}


@pytest.mark.parametrize("argument", BY_ACTOR)
@pytest.mark.parametrize(
    "actor", [7, object(), b"ada", "x" * 256, "a\nb", "a\u2028b", "a\x85b", KEY, f"x{KEY}x", SECRET]
)
def test_actor(host: Host, argument: str, actor: Any) -> None:
    _, key_id = host.issue()
    before = host.events()
    with host.app.app_context():
        with pytest.raises(ValueError, match=f"^{argument} must "):
            BY_ACTOR[argument](host, key_id, actor)
        host.db.session.rollback()
    assert host.events() == before


@pytest.mark.parametrize("name", ["list_keys", "count_keys", "revoke_keys"])
def test_creator_to_look_for(host: Host, name: str) -> None:
    with host.app.app_context(), pytest.raises(ValueError, match=r"^created_by must be text"):
        getattr(host.orgkeys, name)(host.organization_ids["acme"], created_by=7)


@pytest.mark.parametrize(
    ("user_id", "recorded"),
    [
        ("x" * 256, "x" * 255),
        ("a\r\nb", "a  b"),
        ("a\u2028b", "a b"),
        (f"u{KEY}", "uorgk_" + "a" * 12),
    ],
)
def test_user_of_any_id_creates_and_revokes(
    host: Host, monkeypatch: pytest.MonkeyPatch, user_id: str, recorded: str
) -> None:
    client = host.client("ada")
    monkeypatch.setattr(flask_login.UserMixin, "get_id", lambda _user: user_id)
    assert client.post(LIST, data=FORM).status_code == 200
    (key,) = host.keys()
    assert client.post(f"{LIST}/{key.id}/revoke").status_code == 303
    assert host.key(key.id).revoked_at is not None
    assert all(event["actor"].startswith(recorded) for event in host.events())
    assert all(SECRET not in event["actor"] for event in host.events())


INVISIBLE = [
    "\u3164",
    "\u115f",
    "\u1160",
    "\uffa0",
    "\u2800",
    "\u034f",
    "\u180b",
    "\ufe0f",
    "\u200d",
]
DECEPTIVE = [
    "\u202e",
    "\u200b",
    "\u2066",
    "\u2069",
    "\u200e",
    "\u061c",
    "\ufeff",
    "\u00ad",
    "\u2060",
]


@pytest.mark.parametrize("character", INVISIBLE)
def test_name_without_anything_to_see(character: str) -> None:
    for name in (character, f" {character}\u00a0{character} "):
        with pytest.raises(ValueError, match="Enter a name"):
            clean_name(name)


@pytest.mark.parametrize("character", [*DECEPTIVE, "\u200d", "\u200c", "\U000e0041"])
def test_name_that_hides_something(character: str) -> None:
    for name in (f"ad{character}min", f"{character}admin", f"admin{character}"):
        with pytest.raises(ValueError, match="control characters"):
            clean_name(name)


@pytest.mark.parametrize("name", ["🏳️\u200d🌈", "👩\u200d💻 CI", "می\u200cخواهم", "❤️", "क्\u200dष"])
def test_name_with_joiners_of_its_script(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize("text", [KEY, f"x{KEY}", f"{KEY}x", f"CI {KEY}.", SECRET, f"key={SECRET}"])
def test_text_with_a_key(text: str) -> None:
    for clean in (clean_name, clean_note):
        with pytest.raises(ValueError, match="Leave out the API key"):
            clean(text)


@pytest.mark.parametrize(
    "name",
    [
        "deploymentbot_" + "0123456789abcdef" * 2 + "01234567",
        "0123456789abcdef" * 4,
        "A" * 38,
        "0123456789" * 4,
    ],
)
def test_name_with_a_hash(name: str) -> None:
    assert clean_name(name) == name


def test_filters_of_list_and_count(any_host: Host) -> None:
    import inspect

    filters = set(inspect.signature(any_host.orgkeys.list_keys).parameters)
    assert filters - {"sort", "limit", "offset"} == set(
        inspect.signature(any_host.orgkeys.count_keys).parameters
    )
    acme = any_host.organization_ids["acme"]
    any_host.issue(created_by="ada", scopes=["app:publish"])
    any_host.issue(created_by="bea")
    later = datetime.now(UTC) + timedelta(days=1)
    with any_host.app.app_context():
        for chosen in ({"created_by": "ada"}, {"scope": "app:publish"}, {"unused_since": later}):
            count = any_host.orgkeys.count_keys(acme, **chosen)
            assert count == len(any_host.orgkeys.list_keys(acme, **chosen))
        assert any_host.orgkeys.count_keys(acme, created_by="ada") == 1


@pytest.mark.parametrize("wrong", ["yes", "", 1, None])
def test_permission_that_is_no_bool(host: Host, wrong: Any) -> None:
    with pytest.raises(ValueError, match="may_rotate_itself"):
        host.issue(may_rotate_itself=wrong)
    assert host.keys() == []


def test_form_of_a_pruned_key(any_host: Host) -> None:
    client = any_host.client("ada")
    form = {**FORM, **form_fields(client.get(f"{LIST}/new").text)}
    assert shown_key(client.post(LIST, data=form).text)
    (key,) = any_host.keys()
    any_host.revoke(key.id)
    with any_host.app.app_context():
        assert any_host.orgkeys.prune_keys(datetime.now(UTC)) == 1
        any_host.db.session.commit()
    assert client.post(LIST, data=form).status_code == 303
    assert any_host.keys() == []


class TestModel:
    """``orgkeys.ApiKey`` as a model of the host's."""

    def test_name_set_through_it(self, any_host: Host) -> None:
        _, key_id = any_host.issue(name="old")
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context():
            key = any_host.orgkeys.get_key(acme, key_id)
            assert key is not None
            key.name = "New Name"
            any_host.db.session.commit()
            assert any_host.orgkeys.count_keys(acme, search="new name") == 1
            assert any_host.orgkeys.count_keys(acme, search="old") == 0

    def test_query_and_metadata(self, host: Host) -> None:
        _, key_id = host.issue()
        model: Any = host.orgkeys.ApiKey
        with host.app.app_context():
            assert model.query.filter_by(id=key_id).one().name == "CI"
        assert model.metadata is host.db.metadata
        assert model.metadata is model.__table__.metadata
