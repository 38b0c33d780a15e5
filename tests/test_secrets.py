"""Shown once, and nowhere else: the secret is looked for wherever something could be kept or told
(promise 1).
"""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, render_template_string, session
from flask_sqlalchemy import SQLAlchemy
from itsdangerous import URLSafeTimedSerializer
from werkzeug.test import TestResponse

from flask_orgkeys import tokens

from .conftest import MakeHost
from .host import Host, bearer, form_fields, listed_names, shown_key

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}


@pytest.fixture
def telling_host(any_database_url: str, new_host: MakeHost) -> Host:
    """A host that shows flashed messages and its whole session, and logs every statement."""

    def tell(app: Flask, _db: SQLAlchemy) -> None:
        @app.get("/tell")
        def everything() -> str:
            return render_template_string("{{ get_flashed_messages() }} {{ it }}", it=dict(session))

    config = {
        "WTF_CSRF_ENABLED": True,
        "SQLALCHEMY_ECHO": "debug",
        "SQLALCHEMY_RECORD_QUERIES": True,
    }
    return new_host(any_database_url, config=config, before_init=tell)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every record of every logger, at its most talkative."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


def said_in(response: TestResponse) -> str:
    """All that an answer holds: status, headers, body, and what is in the session's cookie."""
    cookies = [
        URLSafeTimedSerializer("").loads_unsafe(value.removeprefix("session=").partition(";")[0])
        for value in response.headers.getlist("Set-Cookie")
    ]
    return f"{response.status} {response.headers} {response.text} {cookies}"


def stored_in(host: Host) -> str:
    """Every row of every table."""
    with host.app.app_context():
        return repr(
            [
                list(host.db.session.execute(sa.select(table)))
                for table in host.db.metadata.tables.values()
            ]
        )


def logged_in(log: pytest.LogCaptureFixture) -> str:
    return log.text + repr([vars(record) for record in log.records])


def test_one_response(telling_host: Host, log: pytest.LogCaptureFixture) -> None:
    """A key's whole life, through every page: it is in one body, and in that once as a value."""
    host = telling_host
    client = host.client("ada")
    before = [client.get(LIST), client.get(f"{LIST}/new")]
    form = {**FORM, **form_fields(before[1].text)}
    page = client.post(LIST, data=form)
    token = shown_key(page.text)
    key_id, secret = token.split("_")[1:]
    host.client().get("/api/whoami", headers=bearer(token))
    bare = host.client()
    responses = [
        client.post(LIST, data=form),
        client.post(LIST, data=form, follow_redirects=True),
        *(client.get(f"{LIST}{path}") for path in ("", "/", "/new", f"/{key_id}/revoke")),
        *(client.get(LIST, query_string={"status": status}) for status in ("all", "revoked")),
        client.get(LIST, query_string={"existing": key_id, "revoked": key_id}),
        client.get("/tell"),
        *(bare.get(path, headers=bearer(token)) for path in ("/open", "/api/whoami", LIST)),
        bare.post("/api/publish-and-deploy", headers=bearer(token)),
        bare.post("/api/o/beta/deployments", headers=bearer(token)),
        client.post(
            f"{LIST}/{key_id}/revoke",
            data=form_fields(client.get(f"{LIST}/{key_id}/revoke").text),
            follow_redirects=True,
        ),
        client.get("/tell"),
        bare.get("/api/whoami", headers=bearer(token)),
    ]
    assert {response.status_code for response in responses} == {200, 303, 401, 403, 404}
    assert said_in(page).count(secret) == 1
    for response in (*before, *responses):
        assert secret not in said_in(response)
        for earlier in response.history:
            assert secret not in said_in(earlier)
    assert key_id in logged_in(log)
    assert secret not in logged_in(log)
    assert key_id in stored_in(host)
    assert secret not in stored_in(host)


def test_one_response_of_a_rotation(telling_host: Host, log: pytest.LogCaptureFixture) -> None:
    """A new secret is in the body of its rotation alone, whichever page is opened after it."""
    host = telling_host
    client = host.client("ada")
    old, key_id = host.issue()
    key_page = f"{LIST}/{key_id}"
    before = client.get(f"{key_page}/rotate")
    form = {"overlap_hours": "24", "expires_in": "90", **form_fields(before.text)}
    page = client.post(f"{key_page}/rotate", data=form)
    token = shown_key(page.text)
    secrets = [text.rpartition("_")[2] for text in (old, token)]
    bare = host.client()
    pages = ("", "/revoke", "/rotate", "/edit")
    responses = [
        client.post(f"{key_page}/rotate", data=form),
        *(bare.get("/api/whoami", headers=bearer(each)) for each in (old, token)),
        *(client.get(f"{key_page}{path}") for path in pages),
        *(client.get(f"{LIST}{path}") for path in ("", "/new", "/activity")),
        client.get(f"{LIST}/activity.csv", buffered=True),
        client.post(f"{LIST}/check", data={**form_fields(before.text), "text": token}),
        client.post(f"{key_page}/end-previous", data=form_fields(client.get(key_page).text)),
        *(client.get(f"{key_page}{path}") for path in pages),
        client.get("/tell"),
    ]
    assert [response.status_code for response in responses] == [303, *[200] * 11, 303, *[200] * 5]
    assert said_in(page).count(secrets[1]) == 1
    assert secrets[0] not in said_in(page)
    for secret in secrets:
        for response in (before, *responses):
            assert secret not in said_in(response)
        assert secret not in logged_in(log)
        assert secret not in stored_in(host)


def test_random_part_and_digest(any_host: Host) -> None:
    """Neither the secret without its checksum nor anything the pages tell is its digest."""
    token, _ = any_host.issue()
    secret = token.rpartition("_")[2]
    digest = tokens.digest(secret)
    assert secret[: -tokens.CHECKSUM_LENGTH] not in stored_in(any_host)
    assert digest in stored_in(any_host)
    client = any_host.client("ada")
    (key,) = any_host.keys()
    for path in ("", "?status=all", "/new", f"/{key.id}/revoke"):
        assert digest.partition("$")[2] not in client.get(f"{LIST}{path}").text


@pytest.mark.parametrize("pepper", [None, "p" * 32])
def test_peppers(new_host: MakeHost, pepper: str | None) -> None:
    """The stored digest is another with a pepper, and the pepper is in no row and no repr."""
    host = new_host(config={"ORGKEYS_PEPPERS": [pepper] if pepper else []})
    token, key_id = host.issue()
    plain = tokens.digest(token.rpartition("_")[2])
    assert (host.key(key_id).digest == plain) is (pepper is None)
    assert "p" * 32 not in stored_in(host)
    assert "p" * 32 not in repr(host.app.extensions["orgkeys"])


def is_ours(kind: type[Any]) -> bool:
    return str(kind.__module__).startswith("flask_orgkeys")


def test_memory(host: Host, log: pytest.LogCaptureFixture) -> None:
    """Nothing of ours holds the key after its page: no cache, session, signal or state."""
    client = host.client("ada")
    token = shown_key(client.post(LIST, data=FORM).text)
    host.client().get("/api/whoami", headers=bearer(token))
    secret = token.rpartition("_")[2]
    gc.collect()
    held = [thing for thing in gc.get_objects() if is_ours(type(thing))]
    assert held
    assert not [thing for thing in held if secret in repr(getattr(thing, "__dict__", ""))]
    kept = [thing for thing in held if isinstance(thing, tokens.Token)]
    assert not [thing for thing in kept if thing.secret == secret]


class TestFailures:
    """A creation that fails at any statement tells nobody the key that it would have made."""

    @pytest.fixture
    def generated(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        made: list[str] = []
        generate = tokens.generate

        def remember(prefix: str) -> tokens.Token:
            token = generate(prefix)
            made.append(token.secret)
            return token

        monkeypatch.setattr(tokens, "generate", remember)
        return made

    @pytest.mark.parametrize("propagates", [False, True])
    def test_each_statement(
        self,
        any_database_url: str,
        new_host: MakeHost,
        generated: list[str],
        log: pytest.LogCaptureFixture,
        propagates: bool,
    ) -> None:
        config = {"TESTING": propagates, "PROPAGATE_EXCEPTIONS": propagates}
        host = new_host(any_database_url, config=config)
        client = host.client("ada")
        with host.app.app_context():
            engine = host.db.engine
        ran = failing = 0

        def step(*_: Any) -> None:
            nonlocal ran
            ran += 1
            if ran == failing:
                raise RuntimeError("failed")

        for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
            sa.event.listen(engine, event, step)
        status = 500
        # 503 if it was a statement of the host's loader.
        while status in (500, 503):
            ran, failing = 0, failing + 1
            told = ""
            try:
                response = client.post(LIST, data=FORM)
            except RuntimeError as error:
                # But for the frame of this test, which knows the secret.
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                shown = traceback.TracebackException.from_exception(error, capture_locals=True)
                told = "".join(shown.format())
            else:
                status = response.status_code
                told = said_in(response)
            if status in (500, 503):
                assert not any(secret in told for secret in generated)
        assert ran < failing
        assert failing > 10
        assert len(generated) > 3
        failing = 0
        assert len(host.keys()) == 1
        assert not any(secret in logged_in(log) for secret in generated)


class TestSearch:
    """An administrator pastes a whole key where its start was meant."""

    def test_key(self, any_host: Host, log: pytest.LogCaptureFixture) -> None:
        """It is found, and the URL that finds it has no more than the start."""
        token, key_id = any_host.issue(name="wanted")
        any_host.issue(name="other")
        secret = token.rpartition("_")[2]
        tail = token.removeprefix("orgk_")
        client = any_host.client("ada")
        for text in (token, f" Bearer {token}\n", tail, f"{token}x", token[:-10]):
            for path in ("", "/", "/new"):
                query = {"q": text, "status": "all", "sort": "name", "page": "7"}
                response = client.get(f"{LIST}{path}", query_string=query)
                assert response.status_code == 303
                assert response.location == f"{LIST}?q=orgk_{key_id}&status=all&sort=name"
                page = client.get(response.location)
                assert listed_names(page.text) == ["wanted"]
                assert secret[:20] not in said_in(response)
                assert secret[:20] not in said_in(page)
        assert secret[:20] not in log.text

    @pytest.mark.parametrize("name", ["status", "sort", "page", "existing", "revoked", "utm"])
    def test_other_part_of_the_url(self, host: Host, name: str) -> None:
        token, _ = host.issue()
        response = host.client("ada").get(LIST, query_string={name: token})
        assert response.status_code == 303
        assert token.rpartition("_")[2] not in said_in(response)

    def test_several(self, host: Host) -> None:
        token, _ = host.issue()
        response = host.client("ada").get(f"{LIST}?q=x&q={token}&{token}=y")
        assert response.status_code == 303
        assert token.rpartition("_")[2] not in said_in(response)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_path(self, host: Host, method: str) -> None:
        token, _ = host.issue()
        for user in ("ada", None):
            response = host.client(user).open(f"{LIST}/{token}/revoke", method=method)
            assert response.status_code == 404
            assert token.rpartition("_")[2] not in said_in(response)

    def test_signed_out(self, host: Host) -> None:
        """The sign-in page is not told where somebody wanted to go, key and all."""
        host.app.login_manager.login_view = "sign_in"  # type: ignore[attr-defined]
        host.app.add_url_rule("/sign-in", "sign_in", lambda: "")
        token, _ = host.issue()
        client = host.client()
        response = client.get(LIST, query_string={"q": token}, follow_redirects=True)
        assert response.request.path == "/sign-in"
        for each in (*response.history, response):
            assert token.rpartition("_")[2] not in said_in(each)
            assert token.rpartition("_")[2] not in each.request.url or each is response.history[0]

    @pytest.mark.parametrize("path", [LIST, LIST + "/{id}/revoke"])
    def test_change(self, host: Host, path: str) -> None:
        """A form that is sent with a key in its URL changes nothing."""
        token, key_id = host.issue()
        url = path.format(id=key_id)
        response = host.client("ada").post(url, data=FORM, query_string={"q": token})
        assert response.status_code == 303
        (key,) = host.keys()
        assert key.revoked_at is None

    def test_in_python(self, any_host: Host, log: pytest.LogCaptureFixture) -> None:
        """Not in the statement either, which a host may log."""
        token, key_id = any_host.issue()
        with any_host.app.app_context():
            any_host.db.engine.echo = "debug"
            acme = any_host.organization_ids["acme"]
            for text in (token, token.swapcase()):
                any_host.orgkeys.list_keys(acme, search=text)
            any_host.orgkeys.get_key(acme, token)
        assert key_id in log.text
        assert token.rpartition("_")[2].casefold() not in log.text.casefold()
