"""An engine that reads the tables of another schema, by ``schema_translate_map``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from .. import databases
from ..commands.test_commands import run
from ..conftest import MakeHost
from ..host import Host, bearer

pytestmark = pytest.mark.parametrize(
    "any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True
)

TENANT = {"execution_options": {"schema_translate_map": {None: "tenant"}}}


@pytest.fixture
def in_schema(new_host: MakeHost, any_database_url: str) -> Iterator[Host]:
    """A host in a schema, beside another with the same tables in ``public``."""
    engine = sa.create_engine(any_database_url)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("tenant", if_not_exists=True))
    new_host(any_database_url, has_own_models=True)
    config = {"SQLALCHEMY_ENGINE_OPTIONS": TENANT}
    yield new_host(any_database_url, config=config, has_own_models=True)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema("tenant", cascade=True))
    engine.dispose()


def test_look_up_and_pages_agree(in_schema: Host) -> None:
    token, key_id = in_schema.issue(name="storefront")
    assert in_schema.client().get("/api/whoami", headers=bearer(token)).status_code == 200
    assert in_schema.key(key_id).last_used_at is not None
    with in_schema.app.app_context():
        (use,) = in_schema.orgkeys.list_uses(in_schema.organization_ids["acme"], key_id)
    assert (use.endpoint, use.uses) == ("whoami", 1)
    in_schema.revoke(key_id)
    refused = in_schema.client().get("/api/whoami", headers=bearer(token))
    assert refused.json["code"] == "revoked_key"
    assert "no-table" not in run(in_schema, "check").output


def test_key_of_another_schema(in_schema: Host) -> None:
    with in_schema.sibling(SQLALCHEMY_ENGINE_OPTIONS={}) as in_public:
        token, _ = in_public.issue()
        assert in_public.client().get("/api/whoami", headers=bearer(token)).status_code == 200
    refused = in_schema.client().get("/api/whoami", headers=bearer(token))
    assert refused.json["code"] == "invalid_key"
