"""The secret reaches no error tracker, debugger page or log, whatever fails (promise 1)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
import sqlalchemy as sa
from sentry_sdk.transport import Transport

from flask_orgkeys import require_key, signals

from ..conftest import MakeHost
from ..host import Host, bearer

# These hold the key because they send it.
SENDERS = ("tests.", "werkzeug.test", "flask.testing")

Event = dict[str, Any]


class CapturingTransport(Transport):
    """Keeps what would be sent."""

    events: list[Event] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.events += filter(None, (item.get_event() for item in envelope.items))


@pytest.fixture
def sent_events() -> Iterator[list[Event]]:
    """What Sentry's SDK sends at its most talkative."""
    CapturingTransport.events = []
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=CapturingTransport,
        attach_stacktrace=True,
        include_local_variables=True,
        include_source_context=True,
    )
    yield CapturingTransport.events
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def production_host(new_host: MakeHost) -> Host:
    return new_host(config={"TESTING": False, "PROPAGATE_EXCEPTIONS": False})


def holders(event: Event, secret: str) -> list[str]:
    """The places in an event that hold the secret, but for the frames that send it."""

    def walk(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            if str(value.get("module", "")).startswith(SENDERS):
                return
            for name, inner in value.items():
                yield from walk(inner, f"{path}.{name}")
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                yield from walk(inner, f"{path}[{number}]")
        elif secret in str(value):
            yield path

    return list(walk(event, ""))


def frames(event: Event) -> list[Event]:
    values = [
        *event.get("exception", {}).get("values", []),
        *event.get("threads", {}).get("values", []),
    ]
    return [frame for value in values for frame in value["stacktrace"]["frames"]]


def break_tables(host: Host) -> None:
    with host.app.app_context():
        host.db.session.execute(sa.text("DROP TABLE orgkeys_key"))
        host.db.session.commit()


def test_failing_view_sends_no_secret(production_host: Host, sent_events: list[Event]) -> None:
    @production_host.app.get("/failing")
    @require_key
    def failing() -> str:
        raise RuntimeError("the view failed")

    token, _ = production_host.issue()
    assert production_host.client().get("/failing", headers=bearer(token)).status_code == 500
    (event,) = sent_events
    assert any(frame["function"] == "guarded" and frame["vars"] for frame in frames(event))
    assert holders(event, token.split("_")[-1]) == []


def test_outage_sends_no_secret(production_host: Host, sent_events: list[Event]) -> None:
    token, _ = production_host.issue()
    break_tables(production_host)
    answer = production_host.client().get("/api/whoami", headers=bearer(token))
    assert answer.status_code == 503
    assert sent_events
    for event in sent_events:
        modules = {frame["module"] for frame in frames(event)}
        assert "flask_orgkeys.authentication.authenticator" in modules
        assert holders(event, token.split("_")[-1]) == []


def test_failing_signal_receiver_sends_no_secret(
    production_host: Host, sent_events: list[Event]
) -> None:
    def receiver(_sender: Any, **_: Any) -> None:
        raise RuntimeError("the receiver failed")

    token, _ = production_host.issue()
    with signals.key_authenticated.connected_to(receiver, production_host.app):
        answer = production_host.client().get("/api/whoami", headers=bearer(token))
    assert answer.status_code == 500
    (event,) = sent_events
    assert holders(event, token.split("_")[-1]) == []


@pytest.mark.parametrize("table", ["orgkeys_key", "orgkeys_event"])
def test_failing_creation_sends_no_secret(
    production_host: Host,
    sent_events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
    table: str,
) -> None:
    generated = remember_generated(monkeypatch)
    client = production_host.client("ada")
    with production_host.app.app_context():
        engine = production_host.db.engine

    @sa.event.listens_for(engine, "before_cursor_execute")
    def fail(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(f"INSERT INTO {table}"):
            raise RuntimeError("the statement failed")

    answer = client.post(
        "/o/acme/api-keys", data={"name": "CI", "scopes": "project:deploy", "expires_in": "30"}
    )
    assert answer.status_code == 500
    (secret,) = generated
    assert secret not in answer.text
    assert sent_events
    assert [holders(event, secret) for event in sent_events] == [[]] * len(sent_events)


def test_failing_page_sends_no_secret(
    production_host: Host, sent_events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that shows the key fails while it is rendered."""
    generated = remember_generated(monkeypatch)
    client = production_host.client("ada")

    def fail_beside_the_key(message: str, **_: Any) -> str:
        if message == "API key":
            raise RuntimeError("the page failed")
        return message

    processors = production_host.app.template_context_processors[None]
    processors.append(lambda: {"orgkeys_text": fail_beside_the_key})
    answer = client.post(
        "/o/acme/api-keys", data={"name": "CI", "scopes": "project:deploy", "expires_in": "30"}
    )
    assert answer.status_code == 500
    (secret,) = generated
    assert sent_events
    assert [holders(event, secret) for event in sent_events] == [[]] * len(sent_events)
    assert production_host.keys() == []


def test_debugger_page_shows_no_secret(new_host: MakeHost) -> None:
    from werkzeug.debug import DebuggedApplication
    from werkzeug.test import Client

    host = new_host(config={"TESTING": False, "PROPAGATE_EXCEPTIONS": True})

    @host.app.get("/failing")
    @require_key
    def failing() -> str:
        raise RuntimeError("the view failed")

    token, _ = host.issue()
    client = Client(DebuggedApplication(host.app, evalex=False))
    answer = client.get("/failing", headers=bearer(token))
    assert answer.status_code == 500
    assert "the view failed" in answer.text
    assert token.split("_")[-1] not in answer.text


def test_logs_hold_no_secret(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with host.app.app_context():
        host.db.engine.echo = "debug"
    token, key_id = host.issue()
    client = host.client()
    assert client.get("/api/whoami", headers=bearer(token)).status_code == 200
    host.revoke(key_id)
    assert client.get("/api/whoami", headers=bearer(token)).status_code == 401
    break_tables(host)
    assert client.get("/api/whoami", headers=bearer(token)).status_code == 503
    assert key_id in caplog.text
    assert token.split("_")[-1] not in caplog.text


def remember_generated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the secrets of the keys generated from now on."""
    from flask_orgkeys import tokens

    secrets: list[str] = []
    generate = tokens.generate

    def remember(prefix: str) -> tokens.Token:
        token = generate(prefix)
        secrets.append(token.secret)
        return token

    monkeypatch.setattr(tokens, "generate", remember)
    return secrets
