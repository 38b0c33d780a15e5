"""The mapped classes and their tables, on whatever a host brings along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_orgkeys import OrgKeys, errors
from flask_orgkeys.keys.models import ACTIVE, EXPIRED, REVOKED
from flask_orgkeys.keys.times import as_utc, is_past

from .. import databases
from ..conftest import MakeHost
from ..host import SCOPES, Host, bearer

SCOPE = ["project:deploy"]
NEARLY_ACME = ("ACME", "Acme", "äcme", "acme ", " acme", "acm", "acme\t", "")


def make_db(**arguments: Any) -> SQLAlchemy:
    return SQLAlchemy(model_class=type("Base", (orm.DeclarativeBase,), {}), **arguments)


@contextmanager
def running(db: SQLAlchemy, orgkeys: OrgKeys, url: str, **config: Any) -> Iterator[Flask]:
    """A small app with the tables made, dropped again at the end."""
    app = Flask("app")
    app.config.update(SQLALCHEMY_DATABASE_URI=url, ORGKEYS_SCOPES=SCOPES, **config)
    db.init_app(app)
    orgkeys.init_app(app)
    with app.app_context():
        db.create_all()
        try:
            yield app
        finally:
            db.session.remove()
            db.drop_all()
            for engine in db.engines.values():
                engine.dispose()


class TestOrganisationIds:
    """The column takes the type of what it refers to."""

    @pytest.mark.parametrize(
        ("id_type", "ids"),
        [
            (sa.Integer, {"acme": 1, "beta": 2}),
            (sa.BigInteger, {"acme": 2**62, "beta": 2**62 + 1}),
            (sa.String(64), {"acme": "org_acme", "beta": "org_beta"}),
            (sa.Uuid, {"acme": UUID(int=1), "beta": UUID(int=2**128 - 1)}),
            (sa.Uuid(as_uuid=False), {"acme": str(UUID(int=1)), "beta": str(UUID(int=2))}),
        ],
        ids=["integer", "big integer", "string", "uuid", "uuid as text"],
    )
    @pytest.mark.parametrize("has_foreign_key", [True, False], ids=["fk", "type"])
    def test_types(
        self,
        any_database_url: str,
        new_host: MakeHost,
        id_type: Any,
        ids: dict[str, Any],
        has_foreign_key: bool,
    ) -> None:
        host = new_host(
            any_database_url,
            organization="organization.id" if has_foreign_key else id_type,
            organization_id_type=id_type,
            organization_ids=ids,
        )
        token, key_id = host.issue()
        assert host.key(key_id).organization_id == ids["acme"]
        assert host.events()[0]["organization_id"] == ids["acme"]
        for slug, status in (("acme", 201), ("beta", 404)):
            answer = host.client().post(f"/api/o/{slug}/deployments", headers=bearer(token))
            assert answer.status_code == status
        for user, status in (("ada", 200), ("bea", 404)):
            slug = "acme" if user == "ada" else "beta"
            page = host.client(user).get(f"/o/{slug}/api-keys/{key_id}/revoke")
            assert page.status_code == status
        assert host.client("ada").post(f"/o/acme/api-keys/{key_id}/revoke").status_code == 303

    def test_foreign_key(self, host: Host) -> None:
        for name in ("orgkeys_key", "orgkeys_event"):
            column = host.db.metadata.tables[name].c.organization_id
            (foreign_key,) = column.foreign_keys
            assert foreign_key.column.table.name == "organization"
            assert foreign_key.ondelete == "CASCADE"
            assert not column.nullable

    def test_no_foreign_key(self) -> None:
        db = make_db()
        OrgKeys(db, organization=sa.String(64))
        for name in ("orgkeys_key", "orgkeys_event"):
            assert db.metadata.tables[name].c.organization_id.foreign_keys == set()

    def test_text_that_is_nearly_another(self, any_database_url: str) -> None:
        """Organisations that live elsewhere are told apart to the letter."""
        db = make_db()
        orgkeys = OrgKeys(db, organization=sa.String(64))
        with running(db, orgkeys, any_database_url):
            issued = orgkeys.create_key("acme", name="CI", scopes=SCOPE)
            db.session.commit()
            for stranger in NEARLY_ACME:
                assert orgkeys.get_key(stranger, issued.key.id) is None
                assert orgkeys.list_keys(stranger, status="all") == []
                assert orgkeys.count_keys(stranger, status="all") == 0
                with pytest.raises(errors.KeyNotFound):
                    orgkeys.revoke_key(stranger, issued.key.id)
            assert issued.key.revoked_at is None

    @pytest.mark.parametrize("unfit", ["acme ", "a\0b", "x" * 65, "\ud800"])
    def test_text_that_does_not_fit(self, any_database_url: str, unfit: str) -> None:
        db = make_db()
        orgkeys = OrgKeys(db, organization=sa.String(64))
        with running(db, orgkeys, any_database_url):
            with pytest.raises(ValueError, match="does not fit its column"):
                orgkeys.create_key(unfit, name="CI", scopes=SCOPE)
            orgkeys.create_key("x" * 64, name="CI", scopes=SCOPE)
            db.session.commit()

    @pytest.mark.parametrize(
        ("id_type", "own", "unfit"),
        [
            (sa.Integer(), 1, ["1", "1abc", b"1", 1.5, True, None, 10**10, 10**30, -(10**30)]),
            (sa.String(64), "acme", [0, False, 1, b"acme", None, ["acme"]]),
            (sa.Uuid(), UUID(int=7), [str(UUID(int=7)), UUID(int=7).bytes, 7, "acme", None]),
            (sa.Uuid(as_uuid=False), str(UUID(int=7)), [UUID(int=7), 7, "acme", "", None]),
        ],
        ids=["integer", "string", "uuid", "uuid as text"],
    )
    def test_an_id_of_another_type(
        self, any_database_url: str, id_type: Any, own: Any, unfit: list[Any]
    ) -> None:
        """Databases differ in what they would make of it: MariaDB takes 0 for any text."""
        db = make_db()
        orgkeys = OrgKeys(db, organization=id_type)
        with running(db, orgkeys, any_database_url):
            issued = orgkeys.create_key(own, name="CI", scopes=SCOPE)
            db.session.commit()
            for stranger in unfit:
                for call in (
                    lambda id_: orgkeys.get_key(id_, issued.key.id),
                    lambda id_: orgkeys.list_keys(id_, status="all"),
                    lambda id_: orgkeys.count_keys(id_, status="all"),
                    lambda id_: orgkeys.revoke_key(id_, issued.key.id),
                    lambda id_: orgkeys.create_key(id_, name="CI", scopes=SCOPE),
                ):
                    # 10**10 fits an integer of SQLite's.
                    if stranger != 10**10:
                        with pytest.raises(ValueError, match="organization_id"):
                            call(stranger)
            # Nor was the transaction spoilt.
            assert orgkeys.get_key(own, issued.key.id) is not None
            assert orgkeys.count_keys(own, status="all") == 1

    def test_ids_that_differ_in_case(self, any_host: Host) -> None:
        """As primary keys: MariaDB's default would take them for one."""
        Key = any_host.orgkeys.ApiKey  # noqa: N806
        common = {"organization_id": any_host.organization_ids["acme"], "scopes": SCOPE}
        common |= {"created_at": datetime.now(UTC), "digest": "sha256$0"}
        with any_host.app.app_context():
            for key_id in ("abcdefghijkl", "ABCDEFGHIJKL"):
                texts = dict.fromkeys(("id", "name", "folded_name", "idempotency_key"), key_id)
                any_host.db.session.add(Key(**texts, **common))
            any_host.db.session.commit()
            for key_id in ("abcdefghijkl", "ABCDEFGHIJKL"):
                key = any_host.orgkeys.get_key(any_host.organization_ids["acme"], key_id)
                assert key is not None
                assert key.name == key_id


class TestCascade:
    @pytest.fixture
    def cascading(self, any_database_url: str, new_host: MakeHost) -> Host:
        def enforce_on_sqlite(app: Flask, db: SQLAlchemy) -> None:
            with app.app_context():
                if db.engine.dialect.name == "sqlite":
                    sa.event.listen(
                        db.engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON")
                    )

        return new_host(any_database_url, before_init=enforce_on_sqlite)

    def test_deleted_organisation(self, cascading: Host) -> None:
        token, _ = cascading.issue("acme")
        kept, kept_id = cascading.issue("beta")
        with cascading.app.app_context():
            cascading.db.session.execute(
                sa.delete(cascading.Organization).where(cascading.Organization.slug == "acme")
            )
            cascading.db.session.commit()
        (key,) = cascading.keys()
        assert key.id == kept_id
        assert [event["key_id"] for event in cascading.events()] == [kept_id]
        for each, status in ((token, 401), (kept, 200)):
            assert cascading.client().get("/api/whoami", headers=bearer(each)).status_code == status

    def test_unknown_organisation(self, cascading: Host) -> None:
        with cascading.app.app_context(), pytest.raises(sa.exc.IntegrityError):
            cascading.orgkeys.create_key(999_999, name="CI", scopes=SCOPE)


class Plain(orm.DeclarativeBase):
    pass


class NoMeta(orm.DeclarativeBaseNoMeta):
    pass


class WithColumns(orm.DeclarativeBase):
    """As many hosts have it: what every table of theirs has."""

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    updated_at: orm.Mapped[datetime] = orm.mapped_column(default=lambda: datetime.now(UTC))

    def status(self) -> str:
        return "the host's own"


class WithConstructor(orm.DeclarativeBase):
    def __init__(self, slug: str) -> None:
        self.slug = slug


def named_base() -> type[Any]:
    convention = {
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
    metadata = sa.MetaData(naming_convention=convention)
    return type("Named", (orm.DeclarativeBase,), {"metadata": metadata})


class AsDataclass(orm.MappedAsDataclass, orm.DeclarativeBase):
    pass


def is_taken_by_flask_sqlalchemy(base: type[Any]) -> bool:
    """Flask-SQLAlchemy 3.1 makes nothing of a dataclass on SQLAlchemy 2.1 (its issue 1420)."""
    try:
        SQLAlchemy(model_class=base)
    except sa.exc.InvalidRequestError:
        return False
    return True


BASES = [
    base
    for base in (Plain, NoMeta, WithColumns, WithConstructor, AsDataclass)
    if is_taken_by_flask_sqlalchemy(base)
]


class TestBaseClasses:
    """What a host's own models are based on does not matter."""

    @staticmethod
    def manage(db: SQLAlchemy, url: str) -> None:
        """Create, find, list and revoke."""
        orgkeys = OrgKeys(db, organization=sa.Integer)
        with running(db, orgkeys, url):
            issued = orgkeys.create_key(1, name="CI", scopes=SCOPE)
            db.session.commit()
            assert [key.name for key in orgkeys.list_keys(1)] == ["CI"]
            assert orgkeys.revoke_key(1, issued.key.id, revoked_by="ada")
            db.session.commit()
            assert issued.key.status(datetime.now(UTC)) == REVOKED
            assert db.session.query(orgkeys.ApiKey).one() is issued.key

    @pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
    def test_base(self, base: type[Any]) -> None:
        self.manage(SQLAlchemy(model_class=base), "sqlite://")

    def test_legacy_default(self) -> None:
        self.manage(SQLAlchemy(), "sqlite://")

    def test_customised_model(self) -> None:
        from flask_sqlalchemy.model import Model

        class Custom(Model):
            def __repr__(self) -> str:
                raise RuntimeError("of the host")

        self.manage(SQLAlchemy(model_class=Custom), "sqlite://")

    @pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)
    def test_naming_convention(self, any_database_url: str) -> None:
        self.manage(SQLAlchemy(model_class=named_base()), any_database_url)

    def test_two_dbs(self) -> None:
        """Two in one process, as two apps have them."""
        for _ in range(2):
            self.manage(make_db(), "sqlite://")

    def test_second_instance_on_one_db(self) -> None:
        db = make_db()
        OrgKeys(db, organization=sa.Integer)
        with pytest.raises(errors.ConfigurationError, match="has an OrgKeys already"):
            OrgKeys(db, organization=sa.Integer)


class TestBinds:
    def test_bind_key(self, tmp_path: Any) -> None:
        db = make_db()
        orgkeys = OrgKeys(db, organization=sa.Integer, bind_key="keys")
        binds = {"keys": f"sqlite:///{tmp_path / 'keys.sqlite'}"}
        main = f"sqlite:///{tmp_path / 'main.sqlite'}"
        with running(db, orgkeys, main, SQLALCHEMY_BINDS=binds) as app:
            issued = orgkeys.create_key(1, name="CI", scopes=SCOPE)
            db.session.commit()
            assert orgkeys.get_key(1, issued.key.id) is issued.key
            assert sa.inspect(db.engines["keys"]).get_table_names() == [
                "orgkeys_event",
                "orgkeys_key",
                "orgkeys_limit",
                "orgkeys_notice",
                "orgkeys_use",
            ]
            assert sa.inspect(db.engine).get_table_names() == []
            with app.test_request_context(headers=bearer(issued.token)):
                from flask_orgkeys import current_key

                assert current_key.id == issued.key.id

    def test_organisation_in_the_same_bind(self) -> None:
        db = make_db()
        orgkeys = OrgKeys(db, organization="organization.id", bind_key="keys")
        db.Table("organization", sa.Column("id", sa.Integer, primary_key=True), bind_key="keys")
        with running(db, orgkeys, "sqlite://", SQLALCHEMY_BINDS={"keys": "sqlite://"}):
            orgkeys.create_key(1, name="CI", scopes=SCOPE)

    def test_limit_on_a_bind(self) -> None:
        db = make_db()
        orgkeys = OrgKeys(db, organization=sa.Integer, bind_key="keys")
        binds = {"keys": "sqlite://"}
        with running(db, orgkeys, "sqlite://", SQLALCHEMY_BINDS=binds, ORGKEYS_MAX_KEYS=1):
            orgkeys.create_key(1, name="CI", scopes=SCOPE)
            with pytest.raises(errors.KeyLimitReached):
                orgkeys.create_key(1, name="CI", scopes=SCOPE)


class TestTables:
    @pytest.mark.parametrize("name", ["orgkeys_key", "orgkeys_event"])
    def test_stock_column_types(self, host: Host, name: str) -> None:
        """A type of our own would have to be imported by the host's migrations."""
        for column in host.db.metadata.tables[name].c:
            for dialect in (sqlite.dialect(), postgresql.dialect(), mysql.dialect()):
                implementation = column.type.dialect_impl(dialect)
                for variant in (column.type, implementation):
                    assert type(variant).__module__.startswith("sqlalchemy."), column

    def test_columns(self, host: Host) -> None:
        columns = set(host.db.metadata.tables["orgkeys_key"].c.keys())
        assert columns >= {
            *("id", "organization_id", "name", "scopes", "created_at", "created_by"),
            *("expires_at", "last_used_at", "revoked_at", "revoked_by"),
        }
        assert [column.name for column in sa.inspect(host.orgkeys.ApiKey).primary_key] == ["id"]

    def test_uniqueness(self, any_host: Host) -> None:
        """One key for each form, whatever code comes to insert it."""
        table = any_host.db.metadata.tables["orgkeys_key"]
        row = {
            "organization_id": any_host.organization_ids["acme"],
            "name": "n",
            "folded_name": "n",
            "scopes": [],
            "digest": "sha256$0",
            "created_at": datetime.now(UTC),
            "idempotency_key": "form",
        }
        with any_host.app.app_context():
            any_host.db.session.execute(sa.insert(table).values(id="a" * 12, **row))
            with pytest.raises(sa.exc.IntegrityError):
                any_host.db.session.execute(sa.insert(table).values(id="b" * 12, **row))
            any_host.db.session.rollback()

    def test_event_numbers(self, any_host: Host) -> None:
        """A record has room for more rows than 32 bits count."""
        table = any_host.db.metadata.tables["orgkeys_event"]
        with any_host.app.app_context():
            for number in (2**40, None):
                any_host.db.session.execute(
                    sa.insert(table).values(
                        **({"id": number} if number else {}),
                        organization_id=any_host.organization_ids["acme"],
                        key_id="a" * 12,
                        action="created",
                        occurred_at=datetime.now(UTC),
                    )
                )
            if any_host.db.engine.dialect.name != "postgresql":
                assert any_host.db.session.scalar(sa.func.max(table.c.id)) == 2**40 + 1
            any_host.db.session.commit()


class TestMappedClass:
    def test_query(self, any_host: Host) -> None:
        _, key_id = any_host.issue(name="storefront", expires_at=datetime.now(UTC))
        Key = any_host.orgkeys.ApiKey  # noqa: N806
        with any_host.app.app_context():
            found = any_host.db.session.scalars(sa.select(Key).where(Key.name == "storefront"))
            assert [key.id for key in found] == [key_id]
            (paged,) = any_host.db.paginate(sa.select(Key))
            assert paged.expires_at.tzinfo is UTC

    def test_relationship(self, new_host: MakeHost) -> None:
        host = new_host(has_own_models=True)
        _, key_id = host.issue()
        host.Organization.keys = orm.relationship(host.orgkeys.ApiKey, backref="organization")
        with host.app.app_context():
            organization = host.db.session.scalar(
                sa.select(host.Organization).where(host.Organization.slug == "acme")
            )
            assert [key.id for key in organization.keys] == [key_id]
            assert organization.keys[0].organization is organization

    def test_repr(self, host: Host) -> None:
        _, key_id = host.issue()
        with host.app.app_context():
            key = host.db.session.get_one(host.orgkeys.ApiKey, key_id)
            assert repr(key) == f"<OrgKeysKey {key_id}>"
            host.db.session.expire(key)
        assert repr(key) == f"<OrgKeysKey {key_id}>"

    def test_constructor(self, host: Host) -> None:
        key = host.orgkeys.ApiKey(id="a" * 12, name="CI")
        assert (key.id, key.name) == ("a" * 12, "CI")
        with pytest.raises(TypeError, match="has no column 'nmae'"):
            host.orgkeys.ApiKey(nmae="CI")

    def test_times_after_a_commit(self, any_host: Host) -> None:
        """Of an instance that was made, refreshed, or merged: always aware and in UTC."""
        with any_host.app.app_context():
            key = any_host.orgkeys.create_key(
                any_host.organization_ids["acme"],
                name="CI",
                scopes=SCOPE,
                expires_at=datetime(2030, 1, 1, tzinfo=UTC),
            ).key
            any_host.db.session.commit()
            assert key.created_at.tzinfo is UTC
            any_host.db.session.refresh(key, ["expires_at"])
            assert key.expires_at is not None
            assert key.expires_at.tzinfo is UTC
            assert not sa.inspect(key).modified
            any_host.db.session.expunge_all()
            merged = any_host.db.session.merge(key)
            assert merged.expires_at.tzinfo is UTC

    def test_scopes_cannot_be_taken_away(self, any_host: Host) -> None:
        _, key_id = any_host.issue()
        with any_host.app.app_context():
            any_host.db.session.get_one(any_host.orgkeys.ApiKey, key_id).scopes = None
            with pytest.raises(sa.exc.DBAPIError, match=r"(?i)null"):
                any_host.db.session.commit()

    def test_status(self, host: Host) -> None:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        key = host.orgkeys.ApiKey(expires_at=moment, revoked_at=None)
        step = datetime.resolution
        assert [key.status(now) for now in (moment - step, moment, moment + step)] == [
            ACTIVE,
            EXPIRED,
            EXPIRED,
        ]
        key.revoked_at = moment
        assert key.status(moment - step) == REVOKED
        assert host.orgkeys.ApiKey(expires_at=None, revoked_at=None).status(moment) == ACTIVE


def test_is_past() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert is_past(moment, moment)
    assert not is_past(moment + datetime.resolution, moment)
    assert not is_past(None, moment)


def test_as_utc() -> None:
    from datetime import timedelta, timezone

    naive = datetime(2026, 1, 1, 12)  # noqa: DTZ001
    assert as_utc(naive) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    assert as_utc(there) == there
    assert as_utc(there).tzinfo is UTC


class TestArgument:
    """``organization=`` of another kind is an error that says what to write."""

    @pytest.mark.parametrize("organization", ["organization", 5, object, sa.Column("id"), None])
    def test_other_kind(self, organization: Any) -> None:
        with pytest.raises(errors.ConfigurationError, match=r'"table\.column"'):
            OrgKeys(make_db(), organization=organization)

    @pytest.mark.parametrize("organization", [sa.String, sa.String(), sa.Text()])
    def test_text_without_a_length(self, organization: Any) -> None:
        with pytest.raises(errors.ConfigurationError, match=r"like String\(64\)"):
            OrgKeys(make_db(), organization=organization)
