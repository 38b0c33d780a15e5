"""The signals: when each is sent, with what, and what becomes of a receiver that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import blinker
import pytest

from flask_orgkeys import errors, signals

from .host import Host, bearer, with_wrong_secret

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}

NAMES = (
    "key_created",
    "key_rotated",
    "previous_secret_ended",
    "key_revoked",
    "key_authenticated",
    "request_refused",
)

Sent = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture
def sent() -> Iterator[Sent]:
    """Every signal that is sent, in order: its name, sender and arguments."""
    received: Sent = []
    with ExitStack() as stack:
        for name in NAMES:

            def note(sender: Any, name: str = name, **arguments: Any) -> None:
                received.append((name, sender, arguments))

            stack.enter_context(getattr(signals, name).connected_to(note))
        yield received


def names(sent: Sent) -> list[str]:
    return [name for name, _, _ in sent]


def rotate(host: Host, key_id: str) -> str:
    """Rotate, and end the secret before."""
    with host.app.app_context():
        acme, overlap = host.organization_ids["acme"], timedelta(hours=1)
        issued = host.orgkeys.rotate_key(acme, key_id, overlap=overlap, expires_at=None)
        host.orgkeys.end_previous_secret(acme, key_id)
        host.db.session.commit()
        return issued.token


def vars_of(value: Any) -> str:
    return repr(getattr(value, "__dict__", None))


def test_all_are_covered() -> None:
    public = {name for name, value in vars(signals).items() if isinstance(value, blinker.Signal)}
    assert public - {"notices_due"} == set(NAMES)


def test_creation(host: Host, sent: Sent) -> None:
    host.client("ada").post(LIST, data=FORM)
    ((name, sender, arguments),) = sent
    assert name == "key_created"
    assert sender is host.app
    assert set(arguments) == {"key"}
    assert isinstance(arguments["key"], host.orgkeys.ApiKey)


def test_creation_within_the_transaction(host: Host) -> None:
    """A receiver's own row is saved with the key, or not at all."""

    def note(_sender: Any, key: Any) -> None:
        host.db.session.add(host.Note(text=key.id))

    with signals.key_created.connected_to(note):
        _, key_id = host.issue()
        with host.app.app_context():
            acme = host.organization_ids["acme"]
            host.orgkeys.create_key(acme, name="CI", scopes=["project:deploy"])
            host.db.session.rollback()
    with host.app.app_context():
        assert [note.text for note in host.db.session.query(host.Note)] == [key_id]


def test_refused_creation(host: Host, sent: Sent) -> None:
    host.client("ada").post(LIST, data={**FORM, "name": ""})
    assert sent == []


def test_replayed_creation(host: Host, sent: Sent) -> None:
    client = host.client("ada")
    for _ in range(3):
        client.post(LIST, data={**FORM, "nonce": "n"})
    assert names(sent) == ["key_created"]


def test_revocation(host: Host, sent: Sent) -> None:
    _, key_id = host.issue()
    sent.clear()
    client = host.client("ada")
    for _ in range(2):
        client.post(f"{LIST}/{key_id}/revoke")
    ((name, sender, arguments),) = sent
    assert name == "key_revoked"
    assert sender is host.app
    assert set(arguments) == {"key"}


def test_revoked_key(host: Host) -> None:
    """What a receiver is given already says when and by whom."""
    seen = []

    def note(_sender: Any, key: Any) -> None:
        seen.append((key.id, key.revoked_by, key.revoked_at is not None))

    _, key_id = host.issue()
    with signals.key_revoked.connected_to(note):
        host.client("ada").post(f"{LIST}/{key_id}/revoke")
    assert seen == [(key_id, "ada", True)]


def test_authentication(host: Host, sent: Sent) -> None:
    token, key_id = host.issue()
    sent.clear()
    client = host.client()
    assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
    assert client.get("/open", headers=bearer(token)).status_code == 200
    assert names(sent) == ["key_authenticated", "key_authenticated"]
    for _, sender, arguments in sent:
        assert sender is host.app
        assert set(arguments) == {"key"}
        assert arguments["key"].id == key_id
        assert arguments["key"].scopes == {"project:deploy"}


def test_request_without_a_key(host: Host, sent: Sent) -> None:
    client = host.client("ada")
    client.get("/open")
    client.get("/open", headers=bearer("a.foreign.token"))
    client.get(LIST)
    assert sent == []


@pytest.mark.parametrize(
    ("presented", "path", "error"),
    [
        (None, "/api/whoami", errors.MissingKey),
        ("not-a-key", "/api/whoami", errors.InvalidKey),
        ("wrong", "/api/whoami", errors.InvalidKey),
        ("revoked", "/api/whoami", errors.RevokedKey),
        ("valid", "/api/publish-and-deploy", errors.InsufficientScope),
        ("valid", "/api/o/beta/deployments", errors.OrganizationNotFound),
    ],
)
def test_refusal(
    host: Host, sent: Sent, presented: str | None, path: str, error: type[Exception]
) -> None:
    token, key_id = host.issue()
    if presented == "revoked":
        host.revoke(key_id)
    sent.clear()
    texts = {"valid": token, "revoked": token, "wrong": with_wrong_secret(token)}
    headers = bearer(texts.get(presented, presented)) if presented else {}
    method = "GET" if path == "/api/whoami" else "POST"
    host.client().open(path, method=method, headers=headers)
    name, sender, arguments = sent[-1]
    assert name == "request_refused"
    assert sender is host.app
    assert type(arguments["error"]) is error
    assert arguments["key_id"] == (key_id if presented in texts else None)


def test_nothing_secret(host: Host, sent: Sent) -> None:
    token, key_id = host.issue()
    client = host.client("ada")
    client.get("/api/whoami", headers=bearer(token))
    rotated = rotate(host, key_id)
    client.post(f"{LIST}/{key_id}/revoke")
    client.get("/api/whoami", headers=bearer(token))
    assert set(names(sent)) == set(NAMES)
    secrets = [text.rpartition("_")[2] for text in (token, rotated)]
    values = [value for _, _, arguments in sent for value in arguments.values()]
    for text in (f(value) for value in values for f in (repr, str, vars_of)):
        assert not [secret for secret in secrets if secret in text]


@pytest.mark.parametrize("signal", ["key_created", "key_revoked"])
def test_failing_receiver(host: Host, signal: str) -> None:
    """It stops the change, of which nothing is left."""
    _, key_id = host.issue()

    def fail(_sender: Any, **_: Any) -> None:
        raise RuntimeError("of the receiver")

    client = host.client("ada")
    path = LIST if signal == "key_created" else f"{LIST}/{key_id}/revoke"
    receiving = getattr(signals, signal).connected_to(fail)
    with receiving, pytest.raises(RuntimeError, match="of the receiver"):
        client.post(path, data=FORM)
    (key,) = host.keys()
    assert key.revoked_at is None
    assert len(host.events()) == 1


def test_async_receivers_are_run(host: Host) -> None:
    received = []

    async def receive(_sender: Any, **arguments: Any) -> None:
        received.append(sorted(arguments))

    with ExitStack() as stack:
        for name in NAMES:
            stack.enter_context(getattr(signals, name).connected_to(receive, host.app))
        token, key_id = host.issue()
        client = host.client()
        assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
        rotate(host, key_id)
        host.revoke(key_id)
        assert client.get("/api/whoami", headers=bearer(token)).status_code == 401
    assert received == [*[["key"]] * 5, ["error", "key_id"]]
