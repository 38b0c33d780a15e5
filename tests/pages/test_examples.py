"""The snippets beside a new key name a request that this very key may make."""

from __future__ import annotations

import html
import re
import subprocess

import pytest

from flask_orgkeys import require_key
from flask_orgkeys.pages.example_request import Example, example_request, trial_request

from ..host import Host, bearer, shown_key


def example(host: Host, *scopes: str) -> Example:
    known = {"org_slug": "acme"}
    with host.app.app_context():
        return example_request(host.app, scopes, "https://cockpit.example/", known)


def test_endpoint_that_demands_most_of_the_scopes_is_chosen(host: Host) -> None:
    assert example(host, "app:publish", "project:deploy") == Example(
        "POST", "https://cockpit.example/api/publish-and-deploy"
    )


def test_key_that_opens_no_scoped_endpoint_is_shown_one_for_any_key(host: Host) -> None:
    assert example(host, "project:read-rc") == Example("GET", "https://cockpit.example/api/whoami")


def test_organisation_is_filled_in_and_other_variables_stand_in_capitals(host: Host) -> None:
    host.app.add_url_rule(
        "/api/o/<org_slug>/apps/<path:app_name>/<int:number>",
        "first",
        require_key(lambda **_: ""),
        methods=["PUT"],
    )
    assert example(host) == Example(
        "PUT", "https://cockpit.example/api/o/acme/apps/APP_NAME/NUMBER"
    )


def test_app_without_guarded_endpoints_gets_its_root(host: Host) -> None:
    host.app.view_functions = {
        name: view for name, view in host.app.view_functions.items() if name == "open_view"
    }
    assert example(host, "project:deploy") == Example("GET", "https://cockpit.example/")


@pytest.fixture
def snippets(host: Host) -> tuple[str, dict[str, str]]:
    """The new key, and each snippet by name."""
    answer = host.client("ada").post(
        "/o/acme/api-keys",
        data={"name": "CI", "scopes": ["app:publish", "project:deploy"], "expires_in": "30"},
    )
    found = re.findall(r'<code id="orgkeys-snippet-(\w+)">(.*?)</code>', answer.text, re.DOTALL)
    return shown_key(answer.text), {name: html.unescape(text) for name, text in found}


def test_snippets_take_the_secret_from_the_environment(
    snippets: tuple[str, dict[str, str]],
) -> None:
    token, texts = snippets
    assert texts.keys() == {"curl", "github", "gitlab", "python"}
    for text in texts.values():
        assert "ORG_API_KEY" in text
        assert token not in text
        assert "/api/publish-and-deploy" in text


def test_snippets_have_no_needless_lines(snippets: tuple[str, dict[str, str]]) -> None:
    _, texts = snippets
    assert "# Changes nothing:" in texts["curl"]
    for text in texts.values():
        assert text == text.strip()
        assert "\n\n\n" not in text


def test_shell_and_python_snippets_are_valid(snippets: tuple[str, dict[str, str]]) -> None:
    _, texts = snippets
    compile(texts["python"], "snippet", "exec")
    checked = subprocess.run(["bash", "-n"], input=texts["curl"], text=True, check=False)
    assert checked.returncode == 0


def test_example_can_be_made_with_the_key(host: Host) -> None:
    token, _ = host.issue(scopes=["app:publish", "project:deploy"])
    method, url = example(host, "app:publish", "project:deploy")
    path = url.removeprefix("https://cockpit.example")
    assert host.client().open(path, method=method, headers=bearer(token)).status_code == 201


def test_a_trial_changes_nothing(host: Host) -> None:
    with host.app.app_context():
        scopes = ["app:publish", "project:deploy"]
        trial = trial_request(host.app, scopes, "https://cockpit.example/", {})

    assert trial == Example("GET", "https://cockpit.example/api/whoami")


def test_the_url_has_the_script_root_and_the_scheme_of_the_sessions(host: Host) -> None:
    host.app.config["SESSION_COOKIE_SECURE"] = True
    with host.app.app_context():
        found = example_request(host.app, [], "http://cockpit.example/root/", {})

    assert found.url == "https://cockpit.example/root/api/whoami"


def test_the_url_has_the_subdomain_of_its_rule(host: Host) -> None:
    host.app.config["SERVER_NAME"] = "cockpit.example"
    view = require_key(lambda **_: "")
    host.app.add_url_rule("/<org_slug>", "first", view, subdomain="api")

    assert example(host) == Example("GET", "https://api.cockpit.example/acme")
