"""An engine that reads the tables of another schema, by ``schema_translate_map``."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import flask_sqlalchemy.session
import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm

from .. import databases
from ..commands.test_commands import run
from ..conftest import MakeHost
from ..host import Host, bearer

pytestmark = pytest.mark.parametrize(
    "any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True
)

TENANT = {"execution_options": {"schema_translate_map": {None: "tenant"}}}


# Since SQLAlchemy 2.1 a session has options of its own.
WAYS: dict[str, dict[str, Any]] = {
    "engine": {"config": {"SQLALCHEMY_ENGINE_OPTIONS": TENANT}},
    **(
        {"session": {"session_options": TENANT}}
        if hasattr(orm.Session, "execution_options")
        else {}
    ),
}


@pytest.fixture
def in_public(new_host: MakeHost, any_database_url: str) -> Iterator[Host]:
    """A host in the schema ``public``, beside an empty one, ``tenant``."""
    engine = sa.create_engine(any_database_url)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema("tenant", cascade=True, if_exists=True))
        connection.execute(sa.schema.CreateSchema("tenant"))
    yield new_host(any_database_url, has_own_models=True)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema("tenant", cascade=True))
    engine.dispose()


@pytest.fixture
def by_engine(in_public: Host, new_host: MakeHost, any_database_url: str) -> Host:
    """A host in ``tenant``, with the same tables as the one in ``public``."""
    return new_host(any_database_url, **deepcopy(WAYS["engine"]))


@pytest.fixture(params=WAYS)
def in_schema(
    request: pytest.FixtureRequest, by_engine: Host, new_host: MakeHost, any_database_url: str
) -> Host:
    """A host in ``tenant``, each in its way."""
    if request.param == "engine":
        return by_engine
    ids = by_engine.organization_ids
    return new_host(
        any_database_url, **deepcopy(WAYS[request.param]), organization_ids=ids, tables=False
    )


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


def test_key_of_another_schema(in_public: Host, in_schema: Host) -> None:
    token, _ = in_public.issue()
    assert in_public.client().get("/api/whoami", headers=bearer(token)).status_code == 200
    refused = in_schema.client().get("/api/whoami", headers=bearer(token))
    assert refused.json["code"] == "invalid_key"


class TestConnectionWithItsOwn:
    """A hook of the host's gives it to the connection of the session."""

    @pytest.fixture
    def with_hook(self, new_host: MakeHost, any_database_url: str, by_engine: Host) -> Host:
        def before_init(app: Flask, db: SQLAlchemy) -> None:
            @app.before_request
            def choose_schema() -> None:
                names = app.config["SCHEMAS"]
                db.session.connection(execution_options={"schema_translate_map": names})

        ids = by_engine.organization_ids
        return new_host(
            any_database_url, organization_ids=ids, tables=False, before_init=before_init
        )

    def test_another_schema_for_our_tables(
        self, in_public: Host, with_hook: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A key of the engine's schema is not let into the other."""
        with_hook.app.config["SCHEMAS"] = {None: "tenant"}
        token, _ = in_public.issue()
        refused = with_hook.client().get("/api/whoami", headers=bearer(token))
        assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
        assert "schema_translate_map" in caplog.text
        assert "SQLALCHEMY_ENGINE_OPTIONS" in caplog.text

    def test_another_schema_for_other_tables(self, in_public: Host, with_hook: Host) -> None:
        with_hook.app.config["SCHEMAS"] = {"per_tenant": "tenant"}
        token, key_id = in_public.issue()
        assert with_hook.client().get("/api/whoami", headers=bearer(token)).status_code == 200
        assert in_public.key(key_id).last_used_at is not None


def test_session_that_chooses_an_engine(
    in_public: Host, by_engine: Host, new_host: MakeHost, any_database_url: str
) -> None:
    class OfTenant(flask_sqlalchemy.session.Session):
        def get_bind(self, *arguments: Any, **options: Any) -> Any:
            bind: Any = super().get_bind(*arguments, **options)
            return bind.execution_options(schema_translate_map={None: "tenant"})

    host = new_host(
        any_database_url,
        session_options={"class_": OfTenant},
        organization_ids=by_engine.organization_ids,
        tables=False,
    )
    token, key_id = host.issue()
    foreign, _ = in_public.issue()
    assert host.client().get("/api/whoami", headers=bearer(token)).status_code == 200
    assert host.client().get("/api/whoami", headers=bearer(foreign)).status_code == 401
    assert by_engine.key(key_id).last_used_at is not None
