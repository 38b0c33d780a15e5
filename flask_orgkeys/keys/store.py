"""Management of keys, in the host's session: flushes, never commits.

Every query is by organisation, but for those that say :data:`EVERY_ORGANIZATION`, and pruning. A
key of another organisation is as absent as one that does not exist.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import signals, tokens
from ..errors import KeyLimitReached, ReplayedCreation
from .cleaning import check_idempotency_key, clean_name, clean_note, clean_scopes, fold
from .events import Actor
from .models import ACTIVE, KEY_CREATED, ApiKey, Models
from .organization_ids import LARGEST_INTEGER, can_hold, equals
from .selection import Selection
from .times import to_utc

if TYPE_CHECKING:
    from blinker import NamedSignal
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import scoped_session

    from ..config.settings import Settings

EVERY_ORGANIZATION: Any = object()
"""In the place of an organisation's id, where all are meant: no id that a host may have lost."""

_KEY_ID = re.compile(tokens.ID_PATTERN)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key just created.

    :param key: the stored key, an instance of ``orgkeys.ApiKey``.
    :param token: the full key. Kept nowhere: this is the only time it exists.

    .. versionadded:: 0.1.0
    """

    key: ApiKey
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Store:
    """The keys of one app, through its host's session."""

    app: Flask
    db: SQLAlchemy
    models: Models
    settings: Settings

    @property
    def session(self) -> scoped_session[Any]:
        # Asked for each time: a host's tests may put another in its place.
        return self.db.session

    def create(
        self,
        organization_id: Any,
        *,
        name: str,
        scopes: Iterable[str],
        expires_at: datetime | None,
        actor: Actor,
        note: str | None = None,
        may_rotate_itself: bool = False,
        idempotency_key: str | None = None,
    ) -> IssuedKey:
        """Add a key and its audit record, and flush both.

        :param expires_at: an aware time, or ``None`` for a key that does not expire.
        :param idempotency_key: 1 to 64 characters that name the form which asks for the key.
        :raises ValueError: where an argument is not as described; its text is fit for a user.
        :raises KeyLimitReached: see there.
        :raises ReplayedCreation: where the idempotency key has made a key already.
        """
        if organization_id is None:
            raise ValueError("organization_id is None: flush the organisation before its key")
        if not can_hold(self.models.key_table.c.organization_id, organization_id):
            raise ValueError(f"organization_id {organization_id!r} does not fit its column")
        name = clean_name(name)
        note = clean_note(note)
        held = clean_scopes(scopes, self.settings)
        if expires_at is not None:
            expires_at = to_utc(expires_at, "expires_at")
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
            self._refuse_replay(organization_id, idempotency_key)
        now = datetime.now(UTC)
        if self.settings.max_keys is not None:
            self._refuse_excess(organization_id, self.settings.max_keys, now)
        token = tokens.generate(self.settings.prefix)
        key = self.models.ApiKey(
            id=token.id,
            organization_id=organization_id,
            name=name,
            folded_name=fold(name),
            scopes=held,
            digest=tokens.digest(token.secret, self.settings.peppers),
            created_at=now,
            created_by=actor.name,
            expires_at=expires_at,
            note=note,
            may_rotate_itself=may_rotate_itself,
            idempotency_key=idempotency_key,
        )
        self.session.add(key)
        self.record(key.organization_id, key.id, KEY_CREATED, now, actor)
        self.session.flush()
        self.send(signals.key_created, key)
        return IssuedKey(key, str(token))

    def get(self, organization_id: Any, key_id: str) -> ApiKey | None:
        """Return a key of the organisation, or ``None``."""
        if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
            return None
        key: ApiKey | None = self.session.scalar(
            sa.select(self.models.ApiKey).where(*self.is_(organization_id, key_id))
        )
        return key

    def find_replayed(self, organization_id: Any, idempotency_key: str) -> str | None:
        """Return the id of the key that a form has made, or ``None``."""
        key = self.models.ApiKey
        key_id: str | None = self.session.scalar(
            sa.select(key.id).where(
                self._is_of(organization_id), key.idempotency_key == idempotency_key
            )
        )
        return key_id

    def select(
        self,
        organization_id: Any,
        selection: Selection,
        *,
        now: datetime,
        limit: int | None = None,
        offset: int = 0,
    ) -> Sequence[ApiKey]:
        """Return keys of the organisation.

        :param now: an aware time, to tell the expired from the active.
        :raises ValueError: for a negative limit or offset.
        """
        if offset < 0 or (limit is not None and limit < 0):
            raise ValueError("limit and offset are not negative")
        statement = (
            sa.select(self.models.ApiKey)
            .where(*self.selects(organization_id, selection, now))
            .order_by(*selection.order(self.models.ApiKey))
            .limit(None if limit is None else min(limit, LARGEST_INTEGER))
            .offset(min(offset, LARGEST_INTEGER))
        )
        return self.session.scalars(statement).all()

    def count(self, organization_id: Any, selection: Selection, *, now: datetime) -> int:
        """Return how many keys :meth:`select` has in all."""
        return self.session.scalar(self._count(organization_id, selection, now)) or 0

    def count_each(
        self,
        organization_id: Any,
        selections: Mapping[str, Selection],
        *,
        now: datetime,
        cap: int,
    ) -> dict[str, int]:
        """Return how many keys each selection has, in one statement.

        :param cap: no more are counted of each.
        """
        counts = [
            sa.select(sa.func.count())
            .select_from(
                sa.select(self.models.ApiKey.id)
                .where(*self.selects(organization_id, selection, now))
                .limit(cap)
                .subquery()
            )
            .scalar_subquery()
            .label(f"count_{name}")
            for name, selection in selections.items()
        ]
        arguments = {"mapper": self.models.ApiKey}
        row = self.session.execute(sa.select(*counts), bind_arguments=arguments).one()
        return dict(zip(selections, row, strict=True))

    def lock_if_sqlite(self) -> None:
        if self._dialect_name() == "sqlite":
            # Changes nothing, but takes the one lock there is for writing.
            self.session.execute(sa.update(self.models.ApiKey).where(sa.false()).values(name=""))

    def _dialect_name(self) -> str:
        connection = self.session.connection(bind_arguments={"mapper": self.models.ApiKey})
        return connection.dialect.name

    def is_(self, organization_id: Any, key_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return self._is_of(organization_id), self.models.ApiKey.id == key_id

    def _is_of(self, organization_id: Any) -> sa.ColumnElement[bool]:
        return equals(self.models.ApiKey.organization_id, organization_id)

    def _refuse_replay(self, organization_id: Any, idempotency_key: str) -> None:
        key_id = self.find_replayed(organization_id, idempotency_key)
        if key_id is not None:
            raise ReplayedCreation(key_id)

    def _refuse_excess(self, organization_id: Any, limit: int, now: datetime) -> None:
        live = self._count(organization_id, Selection(status=ACTIVE), now)
        # Creations wait for one another until their transactions end. Otherwise two at once would
        # each count without the other.
        dialect = self._dialect_name()
        if dialect == "postgresql":
            lock = sa.func.pg_advisory_xact_lock(_lock_number(organization_id))
            arguments = {"mapper": self.models.ApiKey}
            self.session.execute(sa.select(lock), bind_arguments=arguments)
        elif dialect == "sqlite":
            self.lock_if_sqlite()
        else:
            live = live.with_for_update()
        if (self.session.scalar(live) or 0) >= limit:
            raise KeyLimitReached(limit)

    def record(
        self,
        organization_id: Any,
        key_id: str,
        action: str,
        now: datetime,
        actor: Actor,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Add an event to the audit record.

        :param details: particulars of the change, as JSON can hold them; never a secret.
        """
        self.session.add(
            self.models.KeyEvent(
                organization_id=organization_id,
                key_id=key_id,
                action=action,
                occurred_at=now,
                actor=actor.name,
                address=actor.address,
                details=details,
            )
        )

    def send(self, signal: NamedSignal, key: ApiKey) -> None:
        signal.send(self.app, _async_wrapper=self.app.ensure_sync, key=key)

    def _count(self, organization_id: Any, selection: Selection, now: datetime) -> sa.Select[Any]:
        return (
            sa.select(sa.func.count())
            .select_from(self.models.ApiKey)
            .where(*self.selects(organization_id, selection, now))
        )

    def selects(
        self, organization_id: Any, selection: Selection, now: datetime
    ) -> list[sa.ColumnElement[bool]]:
        conditions = selection.conditions(
            self.models.ApiKey,
            now=now,
            prefix=self.settings.prefix,
            soon=self.settings.expires_soon,
        )
        if organization_id is EVERY_ORGANIZATION:
            return conditions
        return [self._is_of(organization_id), *conditions]


def _lock_number(organization_id: Any) -> int:
    digest = hashlib.sha256(f"orgkeys_key {organization_id}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
