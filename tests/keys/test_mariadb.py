"""MariaDB alone: character sets of connections, and collations of columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from .. import databases
from ..conftest import MakeHost
from ..host import Host

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}

pytestmark = pytest.mark.parametrize("any_database_url", [databases.PYMYSQL], indirect=True)


class TestConnectionOfOldUtf8:
    """``charset=utf8`` in the URL: no character beyond U+FFFF."""

    @pytest.fixture
    def old(self, any_database_url: str, new_host: MakeHost) -> Host:
        return new_host(f"{any_database_url}?charset=utf8")

    @pytest.mark.parametrize("field", ["name", "note"])
    def test_creation(self, old: Host, field: str) -> None:
        response = old.client("ada").post(LIST, data={**FORM, field: "🚀"})
        assert response.status_code == 422
        assert "rare characters" in response.text
        with pytest.raises(ValueError, match="rare characters"):
            old.issue(**{"name": "CI", field: "🚀"})
        assert old.keys() == []

    def test_edit(self, old: Host) -> None:
        _, key_id = old.issue()
        response = old.client("ada").post(f"{LIST}/{key_id}/edit", data={"name": "🚀"})
        assert response.status_code == 422
        assert old.key(key_id).name == "CI"

    def test_actor(self, old: Host) -> None:
        """A revocation does not fail for the name of the user."""
        _, key_id = old.issue(created_by="ada 🚀")
        with old.app.app_context():
            acme = old.organization_ids["acme"]
            assert old.orgkeys.revoke_key(acme, key_id, revoked_by="é🚀")
            old.db.session.commit()
        key = old.key(key_id)
        assert (key.created_by, key.revoked_by) == ("ada ?", "é?")
        assert [event["actor"] for event in old.events()] == ["ada ?", "é?"]
        _, other = old.issue()
        with old.app.app_context():
            assert len(old.orgkeys.revoke_keys(acme, revoked_by="🚀")) == 1
            old.db.session.commit()
        assert old.key(other).revoked_by == "?"

    def test_search(self, old: Host) -> None:
        old.issue(name="Émile")
        client = old.client("ada")
        assert client.get(LIST, query_string={"q": "🚀"}).status_code == 200
        assert "Émile" in client.get(LIST, query_string={"q": "é"}).text
        with old.app.app_context():
            acme = old.organization_ids["acme"]
            assert old.orgkeys.list_keys(acme, created_by="🚀") == []
            assert old.orgkeys.list_events(acme, search="🚀") == []


def test_character_set_is_asked_for_once(any_database_url: str, new_host: MakeHost) -> None:
    """However many keys a person without an ASCII name revokes or prunes."""
    host = new_host(any_database_url)
    for _ in range(3):
        host.issue(created_by="Émile")
    asked: list[str] = []
    with host.app.app_context():
        host.db.engine.dispose()
        sa.event.listen(
            host.db.engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, *_: asked.append(statement),
        )
        acme = host.organization_ids["acme"]
        assert len(host.orgkeys.revoke_keys(acme, created_by="Émile", revoked_by="Émile")) == 3
        host.db.session.flush()
        later = datetime.now(UTC)
        assert host.orgkeys.prune_keys(later, pruned_by="Émile") == 3
        host.db.session.commit()
    assert sum("character_set_client" in statement for statement in asked) == 1
    assert [event["actor"] for event in host.events()[3:]] == ["Émile"] * 6


@pytest.mark.parametrize("collation", ["latin1_swedish_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"])
def test_collation_of_the_organisations(
    any_database_url: str, new_host: MakeHost, collation: str
) -> None:
    def before_init(app: Any, db: Any) -> None:
        """Make the table, with a collation that the model does not tell."""
        charset = collation.partition("_")[0]
        statement = (
            "CREATE TABLE organization (id VARCHAR(40) PRIMARY KEY, slug VARCHAR(64) NOT NULL, "
            f"name VARCHAR(100) NOT NULL) CHARACTER SET {charset} COLLATE {collation}"
        )
        engine = sa.create_engine(any_database_url)
        with engine.begin() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()

    host = new_host(
        any_database_url,
        before_init=before_init,
        organization_id_type=sa.String(40),
        organization_ids={"acme": "acme", "beta": "beta"},
    )
    _, key_id = host.issue()
    assert host.key(key_id).organization_id == "acme"
