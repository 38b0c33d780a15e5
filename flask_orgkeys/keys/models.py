"""The mapped classes, made on the host's ``db``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask_sqlalchemy.model import Model
from sqlalchemy import event
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import LoaderCallableStatus
from sqlalchemy.orm.attributes import set_committed_value

from ..errors import ConfigurationError
from ..tokens import ID_LENGTH
from .organization_ids import check_type
from .texts import fold
from .time_type import TIME
from .times import as_utc, is_past

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import Mapped
    from sqlalchemy.sql.type_api import TypeEngine

NAME_LENGTH = 100
NOTE_LENGTH = 500
ACTOR_LENGTH = 255
ADDRESS_LENGTH = 45
IDEMPOTENCY_KEY_LENGTH = 64
DIGEST_LENGTH = 128
ENDPOINT_LENGTH = 200
AGENT_LENGTH = 200

ACTIVE = "active"
EXPIRED = "expired"
REVOKED = "revoked"

KEY_CREATED = "created"
KEY_UPDATED = "updated"
KEY_ROTATED = "rotated"
PREVIOUS_ENDED = "previous_ended"
KEY_REVOKED = "revoked"
KEY_PRUNED = "pruned"

IDEMPOTENCY_KEY = "idempotency_key"
"""The name of a pruned key's idempotency key in the details of its event."""
ACTIONS = (KEY_CREATED, KEY_UPDATED, KEY_ROTATED, PREVIOUS_ENDED, KEY_REVOKED, KEY_PRUNED)


class _Row:
    def __init__(self, **columns: Any) -> None:
        for name, value in columns.items():
            if name not in sa.inspect(type(self)).columns:
                raise TypeError(f"{type(self).__name__} has no column {name!r}")
            setattr(self, name, value)


class ApiKey(_Row):
    """A stored key: the mapped class is ``orgkeys.ApiKey``, on the table ``orgkeys_key``.

    Times are aware and in UTC. The secret is not among the columns, only its digest.

    .. versionadded:: 0.1.0
    """

    if TYPE_CHECKING:
        id: Mapped[str]
        """The public id, 12 characters; primary key."""
        organization_id: Mapped[Any]
        """The host's id of the organisation."""
        name: Mapped[str]
        scopes: Mapped[list[str]]
        digest: Mapped[str]
        created_at: Mapped[datetime]
        created_by: Mapped[str | None]
        expires_at: Mapped[datetime | None]
        last_used_at: Mapped[datetime | None]
        revoked_at: Mapped[datetime | None]
        revoked_by: Mapped[str | None]
        note: Mapped[str | None]
        """Up to 500 characters for the people who manage the key."""
        may_rotate_itself: Mapped[bool | None]
        """Whether the key may replace its own secret."""
        previous_digest: Mapped[str | None]
        previous_until: Mapped[datetime | None]
        """The end of the secret before; half-open, like an expiry."""
        previous_used_at: Mapped[datetime | None]
        """The last use of the secret before, after the rotation."""
        rotated_at: Mapped[datetime | None]
        confirmed_at: Mapped[datetime | None]
        """The first use of the new secret."""
        uses_recorded_since: Mapped[datetime | None]
        """The time from which every use was recorded; ``None`` for a key from before."""
        folded_name: Mapped[str]
        idempotency_key: Mapped[str | None]

    def status(self, now: datetime) -> str:
        """Return ``"active"``, ``"expired"`` or ``"revoked"``.

        :param now: an aware time. At the very instant of its expiry a key is expired.
        """
        if self.revoked_at is not None:
            return REVOKED
        return EXPIRED if is_past(self.expires_at, now) else ACTIVE


class KeyEvent(_Row):
    """A row of the audit record: the mapped class is ``orgkeys.KeyEvent``, on the table
    ``orgkeys_event``. Rows are only ever added.

    .. versionadded:: 0.1.0
    """

    if TYPE_CHECKING:
        id: Mapped[int]
        organization_id: Mapped[Any]
        key_id: Mapped[str]
        """The key's public id; no foreign key, so that the record outlives the key's row."""
        action: Mapped[str]
        """``"created"``, ``"updated"``, ``"rotated"``, ``"previous_ended"``, ``"revoked"``, or
        ``"pruned"`` if the key's row was deleted."""
        occurred_at: Mapped[datetime]
        actor: Mapped[str | None]
        address: Mapped[str | None]
        """Network address of the client, if the change came in a request."""
        details: Mapped[dict[str, Any]]
        """Particulars of the change, or an empty dict; never a secret."""


class KeyUse(_Row):
    """The uses of a key at one endpoint with one outcome: the mapped class is ``orgkeys.KeyUse``,
    on the table ``orgkeys_use``.

    .. versionadded:: 0.1.0
    """

    if TYPE_CHECKING:
        key_id: Mapped[str]
        endpoint: Mapped[str]
        """Flask's name of the endpoint."""
        outcome: Mapped[str]
        """``"accepted"``, or the ``code`` of the refusal."""
        scopes: Mapped[list[str]]
        """The scopes that were demanded."""
        first_at: Mapped[datetime]
        last_at: Mapped[datetime]
        address: Mapped[str | None]
        """Network address of the last client."""
        agent: Mapped[str | None]
        """User agent of the last client."""
        uses: Mapped[int]
        """The number of uses, at least: never too high."""


class Notice(_Row):
    """The mark of a notice that was told: one row for each key and kind, on ``orgkeys_notice``."""

    if TYPE_CHECKING:
        key_id: Mapped[str]
        kind: Mapped[str]
        ends_at: Mapped[datetime | None]
        """The end that was told; another one is told anew."""
        days: Mapped[int | None]
        """The nearest threshold that was told."""
        told_at: Mapped[datetime]


@dataclass(frozen=True)
class Models:
    """The mapped classes of one host."""

    ApiKey: type[ApiKey]
    KeyEvent: type[KeyEvent]
    KeyUse: type[KeyUse]
    Notice: type[Notice]
    limit_table: sa.Table
    """One row for each organisation: with ``ORGKEYS_MAX_KEYS`` every creation writes it, so that
    creations wait for one another."""

    @property
    def key_table(self) -> sa.Table:
        return _table_of(self.ApiKey)

    @property
    def event_table(self) -> sa.Table:
        return _table_of(self.KeyEvent)

    @property
    def use_table(self) -> sa.Table:
        return _table_of(self.KeyUse)

    @property
    def notice_table(self) -> sa.Table:
        return _table_of(self.Notice)

    @property
    def tables(self) -> tuple[sa.Table, ...]:
        mapped = (self.key_table, self.event_table, self.use_table, self.notice_table)
        return (*mapped, self.limit_table)


def _table_of(mapped: type[_Row]) -> sa.Table:
    table: sa.Table = vars(mapped)["__table__"]
    return table


def make_models(
    db: SQLAlchemy,
    organization: str | TypeEngine[Any] | type[TypeEngine[Any]],
    bind_key: str | None,
) -> Models:
    """Make the mapped classes on a host's ``db``.

    :param organization: ``"table.column"`` for a foreign key, or a SQLAlchemy type.
    :param bind_key: Flask-SQLAlchemy's bind key of the database that holds the tables.
    :raises ConfigurationError: if ``organization`` is neither, or the tables exist on ``db``.
    """
    column_of = _organization_column_maker(organization)
    if "orgkeys_key" in db.metadatas.get(bind_key, sa.MetaData()).tables:
        raise ConfigurationError(
            "this db has an OrgKeys already. Make one OrgKeys for each SQLAlchemy() and call its "
            "init_app for every app."
        )
    key_class = _map(db, "OrgKeysKey", ApiKey, _key_table(db, column_of(), bind_key))
    event_class = _map(db, "OrgKeysEvent", KeyEvent, _event_table(db, column_of(), bind_key))
    use_class = _map(db, "OrgKeysUse", KeyUse, _use_table(db, bind_key))
    notice_class = _map(db, "OrgKeysNotice", Notice, _notice_table(db, bind_key))
    for mapped in (key_class, event_class, use_class, notice_class):
        _read_times_as_utc(mapped)
    _keep_revoked(key_class)
    _keep_folded(key_class)
    limit_table = _limit_table(db, column_of, bind_key)
    return Models(key_class, event_class, use_class, notice_class, limit_table)


def _exact_text(length: int) -> sa.String:
    """Return a text type that every database compares and sorts by code point.

    Left to themselves, MariaDB takes "a" for "A" and "\u00e4", and PostgreSQL sorts by its locale.
    """
    return (
        sa.String(length)
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
        .with_variant(
            mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
        )
    )


def _organization_column_maker(organization: Any) -> Any:
    if isinstance(organization, str):
        if organization.count(".") < 1:
            raise ConfigurationError(
                f'OrgKeys(organization={organization!r}): write "table.column", the primary key of '
                'the organisation table, like "organization.id".'
            )
        return lambda **options: sa.Column(
            "organization_id",
            sa.ForeignKey(organization, ondelete="CASCADE"),
            nullable=False,
            **options,
        )
    column_type = organization() if isinstance(organization, type) else organization
    if not isinstance(column_type, sa.types.TypeEngine):
        raise ConfigurationError(
            f'OrgKeys(organization={organization!r}): write "table.column" of the organisation '
            "table, or a SQLAlchemy type such as String(64)."
        )
    check_type(column_type)
    if isinstance(column_type, sa.String) and not column_type.collation:
        if column_type.length is None:
            raise ConfigurationError(
                f"OrgKeys(organization={organization!r}): give the text a length, like String(64)."
            )
        column_type = _exact_text(column_type.length)
    return lambda **options: sa.Column("organization_id", column_type, nullable=False, **options)


def _key_table(db: SQLAlchemy, organization_id: sa.Column[Any], bind_key: str | None) -> sa.Table:
    return db.Table(
        "orgkeys_key",
        sa.Column("id", _exact_text(ID_LENGTH), primary_key=True),
        organization_id,
        sa.Column("name", _exact_text(NAME_LENGTH), nullable=False),
        # The name as searched and sorted, alike on every database: case folding may lengthen it.
        sa.Column("folded_name", _exact_text(3 * NAME_LENGTH), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("digest", _exact_text(DIGEST_LENGTH), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", _exact_text(ACTOR_LENGTH)),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("revoked_by", _exact_text(ACTOR_LENGTH)),
        sa.Column("note", _exact_text(NOTE_LENGTH)),
        sa.Column("may_rotate_itself", sa.Boolean),
        sa.Column("previous_digest", _exact_text(DIGEST_LENGTH)),
        sa.Column("previous_until", TIME),
        sa.Column("previous_used_at", TIME),
        sa.Column("rotated_at", TIME),
        sa.Column("confirmed_at", TIME),
        sa.Column("uses_recorded_since", TIME),
        sa.Column("idempotency_key", _exact_text(IDEMPOTENCY_KEY_LENGTH)),
        # Led by the organisation, so that MariaDB takes it for the foreign key's index.
        sa.UniqueConstraint("organization_id", "id", name="uq_orgkeys_key_organization_id"),
        sa.UniqueConstraint(
            "organization_id", "idempotency_key", name="uq_orgkeys_key_idempotency_key"
        ),
        sa.Index("ix_orgkeys_key_created_at", "organization_id", "created_at"),
        bind_key=bind_key,
    )


def _event_table(db: SQLAlchemy, organization_id: sa.Column[Any], bind_key: str | None) -> sa.Table:
    return db.Table(
        "orgkeys_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        organization_id,
        sa.Column("key_id", _exact_text(ID_LENGTH), nullable=False),
        sa.Column("action", _exact_text(32), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("actor", _exact_text(ACTOR_LENGTH)),
        sa.Column("address", _exact_text(ADDRESS_LENGTH)),
        sa.Column("details", sa.JSON(none_as_null=True)),
        sa.UniqueConstraint("organization_id", "id", name="uq_orgkeys_event_organization_id"),
        sa.Index("ix_orgkeys_event_key_id", "organization_id", "key_id"),
        sa.Index("ix_orgkeys_event_occurred_at", "organization_id", "occurred_at"),
        bind_key=bind_key,
    )


def _use_table(db: SQLAlchemy, bind_key: str | None) -> sa.Table:
    return db.Table(
        "orgkeys_use",
        # Leads the primary key, so that MariaDB takes that for the foreign key's index.
        sa.Column(
            "key_id",
            _exact_text(ID_LENGTH),
            sa.ForeignKey("orgkeys_key.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("endpoint", _exact_text(ENDPOINT_LENGTH), primary_key=True),
        sa.Column("outcome", _exact_text(32), primary_key=True),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.Column("address", _exact_text(ADDRESS_LENGTH)),
        sa.Column("agent", _exact_text(AGENT_LENGTH)),
        sa.Column("uses", sa.BigInteger, nullable=False),
        bind_key=bind_key,
    )


def _notice_table(db: SQLAlchemy, bind_key: str | None) -> sa.Table:
    return db.Table(
        "orgkeys_notice",
        sa.Column("key_id", _exact_text(ID_LENGTH), primary_key=True),
        sa.Column("kind", _exact_text(32), primary_key=True),
        sa.Column("ends_at", TIME),
        sa.Column("days", sa.Integer),
        sa.Column("told_at", TIME, nullable=False),
        bind_key=bind_key,
    )


def _limit_table(db: SQLAlchemy, column_of: Any, bind_key: str | None) -> sa.Table:
    return db.Table(
        "orgkeys_limit",
        column_of(primary_key=True, autoincrement=False),
        sa.Column("creations", sa.BigInteger, nullable=False),
        bind_key=bind_key,
    )


def _map(db: SQLAlchemy, name: str, base: type[Any], table: sa.Table) -> type[Any]:
    # Not a subclass of ``db.Model``: the host's base may be a dataclass, or have columns, a
    # constructor or methods of its own.
    members = {"__doc__": base.__doc__, "__table__": table, "__fsa__": db}
    mapped = type(name, (base, Model), {**members, "metadata": table.metadata})
    host_base: Any = db.Model
    host_base.registry.map_imperatively(mapped, table)
    return mapped


def _read_times_as_utc(mapped: type[Any]) -> None:
    # A column type of our own would do this too, but a host's migrations would have to import it.
    columns = _table_of(mapped).columns
    names = [column.name for column in columns if isinstance(column.type, sa.DateTime)]

    def make_aware(instance: Any, *_: object) -> None:
        loaded = sa.inspect(instance).dict
        for name in names:
            if loaded.get(name) is not None:
                set_committed_value(instance, name, as_utc(loaded[name]))

    event.listen(mapped, "load", make_aware)
    event.listen(mapped, "refresh", make_aware)


def _keep_revoked(mapped: type[Any]) -> None:
    def refuse_another(_key: Any, value: Any, before: Any, _initiator: object) -> None:
        is_known = before is not None and not isinstance(before, LoaderCallableStatus)
        if is_known and value != before:
            raise ValueError("a revocation is final: create another key")

    revoked_at: Any = mapped.revoked_at
    event.listen(revoked_at, "set", refuse_another, active_history=True)


def _keep_folded(mapped: type[Any]) -> None:
    def fold_name(key: Any, name: Any, _before: Any, _initiator: object) -> None:
        if isinstance(name, str):
            key.folded_name = fold(name)

    name: Any = mapped.name
    event.listen(name, "set", fold_name)


def _take_over_collation(table: sa.Table, connection: Any, **_: Any) -> None:
    """Give a text foreign key of ours the collation of the column that it references.

    MariaDB refuses any other (errno 150). The collation may be that of the host's table or of the
    database at its time, of which the host's model says nothing, nor a migration made of it.
    """
    column = table.c.get("organization_id") if table.name in _REFERRING else None
    # A migration that is only printed has no connection.
    is_connected = isinstance(connection, sa.Connection)
    if column is None or not is_connected or connection.dialect.name not in ("mysql", "mariadb"):
        return
    for reference in column.foreign_keys:
        kind: Any = column.type
        found = connection.execute(_COLLATION_OF, _named(reference.column)).first()
        if isinstance(kind, sa.String) and found is not None and found[0] is not None:
            exact = mysql.VARCHAR(kind.length, charset=found[0], collation=found[1])
            column.type = sa.String(kind.length).with_variant(exact, "mysql", "mariadb")


# For every table: a migration makes ours of its own script, not of the models.
event.listen(sa.Table, "before_create", _take_over_collation)

_REFERRING = ("orgkeys_key", "orgkeys_event", "orgkeys_limit")

_COLLATION_OF = sa.text(
    "SELECT character_set_name, collation_name FROM information_schema.columns WHERE "
    "table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND column_name = :column"
)


def _named(column: sa.Column[Any]) -> dict[str, Any]:
    table = column.table
    return {"schema": table.schema, "table": table.name, "column": column.name}
