"""The example application without a browser: its mailbox, and the keys of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from flask.testing import FlaskClient

import example_app
from example_app.demo import issue_demo_key, welcome
from example_app.seed import PASSWORD, seed_example_keys
from flask_orgkeys.keys.insight import ENDED, IN_USE, QUIET, UNUSED, insight
from flask_orgkeys.keys.rotation import has_living_previous
from flask_orgkeys.state import state_of

from .host import bearer, form_fields, listed_names, shown_key

MAILBOX = "/o/acme/settings/mailbox"
LIST = "/o/acme/api-keys"


@pytest.fixture
def cockpit(tmp_path: Path) -> Iterator[Flask]:
    app = example_app.create_app(
        {
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'cockpit.sqlite'}",
            "SECRET_KEY": "cockpit-secret-" + "key-of-the-tests-0123456789",
            "COCKPIT_MAILBOX": str(tmp_path / "mail" / "mailbox.jsonl"),
        }
    )
    yield app
    with app.app_context():
        example_app.db.engine.dispose()


@pytest.fixture
def demo(cockpit: Flask) -> Flask:
    with cockpit.app_context():
        seed_example_keys()
    return cockpit


def client(app: Flask, email: str) -> FlaskClient:
    client = app.test_client()
    form = form_fields(client.get("/login").text)
    sent = client.post("/login", data={**form, "email": email, "password": PASSWORD})
    assert sent.status_code == 303
    return client


def test_no_keys_but_in_the_demo(cockpit: Flask) -> None:
    ada = client(cockpit, "ada@acme.example")
    assert "No API keys yet" in ada.get(LIST).text
    with cockpit.app_context():
        seed_example_keys()
        seed_example_keys()
    assert len(listed_names(ada.get(LIST).text)) == 5


def test_notices_are_in_the_mailbox(demo: Flask) -> None:
    ada = client(demo, "ada@acme.example")
    assert "No mail yet" in ada.get(MAILBOX).text
    assert f'href="{MAILBOX}"' in ada.get("/o/acme/settings/").text
    for _ in range(2):
        assert demo.test_cli_runner().invoke(args=["orgkeys", "notify"]).exit_code == 0
    page = ada.get(MAILBOX).text
    assert page.count("ada@acme.example</p>") == 1
    assert "Grafana dashboard expires on" in page
    assert "Nightly import has expired. It was still called on" in page
    assert "From: 203.0.113.7" in page
    paths = {part.partition('"')[0] for part in page.split(f'href="{LIST}/')[1:]}
    with demo.app_context():
        ids = {
            key.id
            for key in example_app.db.session.query(example_app.orgkeys.ApiKey)
            if key.name in ("Grafana dashboard", "Nightly import")
        }
    assert paths == ids


def test_mailbox_is_for_administrators(demo: Flask) -> None:
    demo.test_cli_runner().invoke(args=["orgkeys", "notify"])
    sam, bea = client(demo, "sam@acme.example"), client(demo, "bea@beta.example")
    assert sam.get(MAILBOX).status_code == 403
    assert MAILBOX not in sam.get("/o/acme/settings/").text
    assert bea.get(MAILBOX).status_code == 404
    assert "No mail yet" in bea.get("/o/beta/settings/mailbox").text


def test_a_key_for_each_question(demo: Flask) -> None:
    with demo.app_context():
        state, now = state_of(), datetime.now(UTC)
        acme = example_app.Organization.by_slug("acme")
        assert acme is not None
        keys = example_app.orgkeys.list_keys(acme.id)
        found = {key.name: insight(state.keys, key, now) for key in keys}
        verdicts = {name: each.verdict.kind for name, each in found.items()}
        rotated = next(key for key in keys if key.rotated_at is not None)
        assert has_living_previous(rotated, now)
        assert rotated.previous_used_at is not None
        assert all(key.created_at <= (key.last_used_at or now) for key in keys)
    assert verdicts == {
        "GitHub Actions, storefront": IN_USE,
        "Grafana dashboard": QUIET,
        "Ben's laptop": UNUSED,
        "Nightly import": ENDED,
        "Terraform, shop-de": IN_USE,
    }
    assert rotated.name == "Terraform, shop-de"


def words(page: str) -> str:
    return " ".join(BeautifulSoup(page, "html.parser").get_text(" ").split())


def keys_by_name(app: Flask) -> dict[str, str]:
    """The ids of acme's keys."""
    with app.app_context():
        acme = example_app.Organization.by_slug("acme")
        assert acme is not None
        return {key.name: key.id for key in example_app.orgkeys.list_keys(acme.id)}


VERDICTS = {
    "GitHub Actions, storefront": "In use: last used 15 minutes ago from 203.0.113.7",
    "Grafana dashboard": "Quiet: last used 20 days ago. Monthly jobs may still need it.",
    "Ben's laptop": "Unused: last used 210 days ago. Nothing is likely to notice.",
    "Nightly import": "Ended: nothing can use it.",
    "Terraform, shop-de": "In use: last used 3 minutes ago from 203.0.113.7, Terraform/1.9",
}


def test_may_i_revoke_it_and_what_breaks(demo: Flask) -> None:
    """The question before a revocation gives each key its verdict."""
    ada = client(demo, "ada@acme.example")
    called = {}
    for name, key_id in keys_by_name(demo).items():
        page = BeautifulSoup(ada.get(f"{LIST}/{key_id}/revoke").text, "html.parser")
        question = page.select_one("dialog")
        assert question is not None
        assert VERDICTS[name] in words(str(question))
        called[name] = [code.get_text() for code in question.select("li code")]
    assert {name: calls for name, calls in called.items() if calls} == {
        "GitHub Actions, storefront": ["api.deploy", "api.read_runtime_config"],
        "Terraform, shop-de": ["api.deploy"],
    }


def test_who_made_it_and_when(demo: Flask) -> None:
    page = BeautifulSoup(client(demo, "ada@acme.example").get(LIST).text, "html.parser")
    row = next(words(str(row)) for row in page.select("tbody th") if "Ben's laptop" in str(row))
    born = datetime.now(UTC) - timedelta(days=400)
    assert f"{born.day} {born:%b %Y} by ben@acme.example" in row


def test_which_are_stale(demo: Flask) -> None:
    """Each filter has its key."""
    ada = client(demo, "ada@acme.example")
    queries = ("use=unused", "expires=never", "expires=soon", "status=expired")
    assert [listed_names(ada.get(f"{LIST}?{query}").text) for query in queries] == [
        ["Ben's laptop"],
        ["Ben's laptop"],
        ["Grafana dashboard"],
        ["Nightly import"],
    ]


def test_rows_tell_of_refused_uses_and_of_the_old_secret(demo: Flask) -> None:
    page = words(client(demo, "ada@acme.example").get(LIST).text)
    assert "refused 2 hours ago" in page
    assert "still called 40 minutes ago" in page
    assert "Old secret: last used 3 minutes ago" in page


def test_is_a_leaked_key_ours(demo: Flask) -> None:
    """The key that the demo prints is found in a text."""
    with demo.app_context():
        token = issue_demo_key()
    ada = client(demo, "ada@acme.example")
    form = form_fields(ada.get(f"{LIST}/check").text)
    answer = words(ada.post(f"{LIST}/check", data={**form, "text": f"in a log: {token}"}).text)
    assert "Demo pipeline" in answer
    assert "The secret is right." in answer


def test_how_do_i_replace_it_before_it_expires(demo: Flask) -> None:
    """The key that expires soon has a way to a new secret above the list, and on its row."""
    ada = client(demo, "ada@acme.example")
    path = f"{LIST}/{keys_by_name(demo)['Grafana dashboard']}/rotate"
    assert ada.get(LIST).text.count(f'href="{path}"') == 2
    form = {**form_fields(ada.get(path).text), "overlap_hours": "168", "expires_in": "90"}
    token = shown_key(ada.post(path, data=form).text)
    reading = "/api/o/acme/projects/storefront/rc"
    assert demo.test_client().get(reading, headers=bearer(token)).status_code == 200


def test_demo_tells_of_the_mailbox() -> None:
    """The command that fills it stands beside its address."""
    shown = welcome("http://127.0.0.1:5000", "a key")
    assert "http://127.0.0.1:5000/o/acme/settings/mailbox" in shown
    assert ".venv/bin/flask --app example_app orgkeys notify" in shown


def test_holder_replaces_its_own_secret(cockpit: Flask) -> None:
    with cockpit.app_context():
        acme = example_app.Organization.by_slug("acme")
        assert acme is not None
        issued = example_app.orgkeys.create_key(
            acme.id, name="CI", scopes=["project:deploy"], may_rotate_itself=True
        )
        example_app.db.session.commit()
        token, key_id = issued.token, issued.key.id
    visitor = cockpit.test_client()
    assert visitor.get("/api/key", headers=bearer(token)).json["id"] == key_id
    rotated = visitor.post("/api/key/rotate", headers=bearer(token), json={})
    assert rotated.status_code == 200
    assert visitor.get("/api/whoami", headers=bearer(rotated.json["key"])).status_code == 200
