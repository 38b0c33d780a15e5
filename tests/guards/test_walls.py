"""Every way from one organisation to another's keys: each ends as if there were no such key."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from flask_orgkeys import errors

from ..host import Host, bearer, form_fields, listed_names

ACME = "/o/acme/api-keys"
BETA = "/o/beta/api-keys"
ABSENT = "0" * 12


@pytest.fixture
def walled(any_host: Host) -> Host:
    """One user who may manage both organisations: only the wall is between them."""
    any_host.orgkeys.permission_checker(lambda *_: True)
    return any_host


class TestPages:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_key_of_another(self, walled: Host, method: str) -> None:
        """The answer to a foreign key's URL is that to an absent one's, to the letter."""
        _, key_id = walled.issue("beta")
        client = walled.client("ada")
        foreign = client.open(f"{ACME}/{key_id}/revoke", method=method)
        absent = client.open(f"{ACME}/{ABSENT}/revoke", method=method)
        assert foreign.status_code == 404
        assert foreign.data == absent.data
        assert foreign.headers == absent.headers
        assert walled.key(key_id).revoked_at is None
        assert len(walled.events()) == 1

    def test_list(self, walled: Host) -> None:
        token, key_id = walled.issue("beta", name="of beta")
        walled.issue("acme", name="of acme")
        client = walled.client("ada")
        for search in ("", "of", "of beta", key_id, f"orgk_{key_id}…", token):
            query = {"q": search, "status": "all"}
            page = client.get(ACME, query_string=query, follow_redirects=True)
            assert "of beta" not in listed_names(page.text)

    def test_notice_of_a_revocation(self, walled: Host) -> None:
        """The list tells the name of a key that its URL names, if it is one of its own."""
        _, key_id = walled.issue("beta", name="of beta")
        walled.revoke(key_id, "beta")
        client = walled.client("ada")
        assert "of beta" in client.get(BETA, query_string={"revoked": key_id}).text
        foreign = client.get(ACME, query_string={"revoked": key_id})
        absent = client.get(ACME, query_string={"revoked": ABSENT})
        assert foreign.data == absent.data

    def test_notice_of_a_form_sent_twice(self, walled: Host) -> None:
        client = walled.client("ada")
        form = {"name": "of beta", "scopes": "project:deploy", "expires_in": "90", "nonce": "n"}
        assert client.post(BETA, data=form).status_code == 200
        again = client.post(BETA, data=form).location
        query = urlsplit(again).query
        (key,) = walled.keys()
        assert "already exists" in client.get(again).text
        foreign = client.get(f"{ACME}?{query}")
        absent = client.get(f"{ACME}?{query.replace(key.id, ABSENT)}")
        assert "already exists" not in foreign.text
        assert foreign.data == absent.data

    def test_form_of_another(self, walled: Host) -> None:
        """Where a form is sent says for whom the key is, and nothing in the form."""
        client = walled.client("ada")
        form = form_fields(client.get(f"{BETA}/new").text)
        beta_id = str(walled.organization_ids["beta"])
        form |= {"name": "CI", "scopes": "project:deploy", "expires_in": "90"}
        form |= {"organization_id": beta_id, "org_slug": "beta"}
        assert client.post(ACME, data=form, query_string=form).status_code == 200
        (key,) = walled.keys()
        assert key.organization_id == walled.organization_ids["acme"]

    def test_administrator_of_another(self, any_host: Host) -> None:
        """Whom the host hides an organisation from finds the same as where there is none."""
        _, key_id = any_host.issue("acme")
        client = any_host.client("bea")
        for path in ("", "/", "/new", f"/{key_id}/revoke"):
            foreign = client.get(f"{ACME}{path}")
            absent = client.get(f"/o/nowhere/api-keys{path}")
            assert foreign.status_code == absent.status_code == 404
            assert foreign.data == absent.data
        for path in ("", f"/{key_id}/revoke"):
            assert client.post(f"{ACME}{path}", data={"name": "CI"}).status_code == 404
        assert any_host.key(key_id).revoked_at is None


class TestPython:
    def test_every_method(self, walled: Host) -> None:
        _, key_id = walled.issue("beta", name="of beta")
        acme = walled.organization_ids["acme"]
        with walled.app.app_context():
            assert walled.orgkeys.get_key(acme, key_id) is None
            assert walled.orgkeys.list_keys(acme, status="all") == []
            assert walled.orgkeys.list_keys(acme, status="all", search=key_id) == []
            assert walled.orgkeys.count_keys(acme, status="all") == 0
            with pytest.raises(errors.KeyNotFound):
                walled.orgkeys.revoke_key(acme, key_id)

    def test_an_organisation_that_is_none(self, walled: Host) -> None:
        _, key_id = walled.issue()
        with walled.app.app_context(), pytest.raises(ValueError, match="organization_id"):
            walled.orgkeys.get_key(None, key_id)

    @pytest.mark.parametrize("organization_id", [0, -1, 10**6])
    def test_no_organisation(self, walled: Host, organization_id: Any) -> None:
        _, key_id = walled.issue()
        with walled.app.app_context():
            assert walled.orgkeys.get_key(organization_id, key_id) is None
            assert walled.orgkeys.list_keys(organization_id, status="all") == []
            with pytest.raises(errors.KeyNotFound):
                walled.orgkeys.revoke_key(organization_id, key_id)


class TestGuardedRoutes:
    def test_key_of_another(self, walled: Host) -> None:
        token, _ = walled.issue("beta")
        client = walled.client("ada")
        foreign = client.post("/api/o/acme/deployments", headers=bearer(token))
        absent = client.post("/api/o/nowhere/deployments", headers=bearer(token))
        assert foreign.status_code == 404
        assert foreign.data == absent.data
        own = client.post("/api/o/beta/deployments", headers=bearer(token))
        assert own.status_code == 201

    def test_key_whose_row_is_moved(self, walled: Host) -> None:
        """The organisation is read with the key at each request, and never kept."""
        token, key_id = walled.issue("acme")
        client = walled.client()
        assert client.post("/api/o/acme/deployments", headers=bearer(token)).status_code == 201
        with walled.app.app_context():
            key = walled.db.session.get_one(walled.orgkeys.ApiKey, key_id)
            key.organization_id = walled.organization_ids["beta"]
            walled.db.session.commit()
        assert client.post("/api/o/acme/deployments", headers=bearer(token)).status_code == 404
        assert client.post("/api/o/beta/deployments", headers=bearer(token)).status_code == 201


class TestCommands:
    @pytest.mark.parametrize("command", [("revoke", "acme", "{id}", "--yes")])
    def test_key_of_another(self, walled: Host, command: tuple[str, ...]) -> None:
        _, key_id = walled.issue("beta")
        runner = walled.app.test_cli_runner()
        results = [
            runner.invoke(args=["orgkeys", *(part.format(id=each) for part in command)])
            for each in (key_id, ABSENT)
        ]
        assert [result.exit_code for result in results] == [1, 1]
        assert results[0].output == results[1].output
        assert walled.key(key_id).revoked_at is None

    def test_list(self, walled: Host) -> None:
        walled.issue("beta", name="of beta")
        result = walled.app.test_cli_runner().invoke(
            args=["orgkeys", "list", "acme", "--status", "all"]
        )
        assert result.exit_code == 0
        assert "of beta" not in result.output
