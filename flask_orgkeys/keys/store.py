"""Management of keys, in the host's session: flushes, never commits.

Every query is by organisation, but for those that say :data:`EVERY_ORGANIZATION`, and pruning. A
key of another organisation is as absent as one that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import signals, tokens
from ..errors import KeyLimitReached, ReplayedCreation
from .cleaning import (
    UnfitText,
    check_idempotency_key,
    check_permission,
    clean_name,
    clean_note,
    clean_scopes,
)
from .database import takes_text, with_sendable_characters
from .events import Actor
from .locks import Locks
from .models import ACTIVE, IDEMPOTENCY_KEY, KEY_CREATED, KEY_PRUNED, ApiKey, Models
from .organization_ids import EVERY_ORGANIZATION, LARGEST_INTEGER, check_id, check_new_id, equals
from .selection import Selection
from .times import to_utc

if TYPE_CHECKING:
    from blinker import NamedSignal
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import scoped_session

    from ..config.settings import Settings

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

    @property
    def locks(self) -> Locks:
        return Locks(self.session, self.models, self.settings)

    def check_organization(self, organization_id: Any) -> None:
        """Check the id of an organisation, in every function that takes one.

        :raises ValueError: if the column cannot hold it.
        """
        check_id(self._organization_column, organization_id, self._dialect())

    def takes(self, text: str | None) -> bool:
        """Tell whether the connection can send a text."""
        return not text or text.isascii() or takes_text(self.locks.connection(), text)

    def recorded(self, actor: Actor) -> str | None:
        """Return the name of an actor for a column: no character of it may fail a revocation."""
        name = actor.name
        if not name or name.isascii():
            return name
        return with_sendable_characters(self.locks.connection(), name)

    def checked_text(self, text: str) -> str:
        """Return a text that the connection can send.

        :raises UnfitText: if it cannot.
        """
        if not self.takes(text):
            raise UnfitText("Leave out emojis and rare characters: the database cannot hold them.")
        return text

    @property
    def _organization_column(self) -> sa.Column[Any]:
        return self.models.key_table.c.organization_id

    def _dialect(self) -> sa.Dialect:
        return self.session.get_bind(mapper=self.models.ApiKey).dialect

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
        token: tokens.Token | None = None,
        now: datetime | None = None,
    ) -> IssuedKey:
        """Add a key and its audit record, and flush both.

        :param expires_at: an aware time, or ``None`` for a key that does not expire.
        :param idempotency_key: 1 to 64 characters that name the form which asks for the key.
        :param token: the new key, so that a retry creates the one that was shown already.
        :param now: the time of creation, likewise.
        :raises ValueError: if an argument is not as described; its text is fit for a user.
        :raises KeyLimitReached: at ``ORGKEYS_MAX_KEYS`` live keys.
        :raises ReplayedCreation: if the idempotency key has made a key already.
        """
        check_new_id(self._organization_column, organization_id, self._dialect())
        name = self.checked_text(clean_name(name))
        note = self.checked_text(clean_note(note) or "") or None
        held = clean_scopes(scopes, self.settings)
        check_permission(may_rotate_itself)
        if expires_at is not None:
            expires_at = to_utc(expires_at, "expires_at")
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
            self._refuse_replay(organization_id, idempotency_key)
        now = now or datetime.now(UTC)
        if self.settings.max_keys is not None:
            self._refuse_excess(organization_id, self.settings.max_keys, now)
        token = token or tokens.generate(self.settings.prefix)
        key = self.models.ApiKey(
            id=token.id,
            organization_id=organization_id,
            name=name,
            scopes=held,
            digest=tokens.digest(token.secret, self.settings.peppers),
            created_at=now,
            created_by=self.recorded(actor),
            expires_at=expires_at,
            note=note,
            may_rotate_itself=may_rotate_itself,
            uses_recorded_since=None if self.settings.last_used_step is None else now,
            idempotency_key=idempotency_key,
        )
        self.session.add(key)
        self.record(key.organization_id, key.id, KEY_CREATED, now, actor)
        self.session.flush()
        self.send(signals.key_created, key)
        return IssuedKey(key, str(token))

    def get(self, organization_id: Any, key_id: str) -> ApiKey | None:
        """Return a key of the organisation, or ``None``."""
        self.check_organization(organization_id)
        if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
            return None
        key: ApiKey | None = self.session.scalar(
            sa.select(self.models.ApiKey).where(*self.is_(organization_id, key_id))
        )
        return key

    def find_replayed(self, organization_id: Any, idempotency_key: str) -> str | None:
        """Return the id of the key that a form has made, pruned or not, or ``None``."""
        check_idempotency_key(idempotency_key)
        key = self.models.ApiKey
        event = self.models.KeyEvent
        of_key = sa.select(key.id).where(
            self.is_of(organization_id), key.idempotency_key == idempotency_key
        )
        form = event.details[IDEMPOTENCY_KEY].as_string()
        of_pruned = sa.select(event.key_id).where(
            equals(event.organization_id, organization_id),
            event.action == KEY_PRUNED,
            form == idempotency_key,
        )
        key_id: str | None = self.session.scalar(of_key) or self.session.scalar(of_pruned)
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

    def is_(self, organization_id: Any, key_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return self.is_of(organization_id), self.models.ApiKey.id == key_id

    def is_of(self, organization_id: Any) -> sa.ColumnElement[bool]:
        self.check_organization(organization_id)
        return equals(self.models.ApiKey.organization_id, organization_id)

    def _refuse_replay(self, organization_id: Any, idempotency_key: str) -> None:
        key_id = self.find_replayed(organization_id, idempotency_key)
        if key_id is not None:
            raise ReplayedCreation(key_id)

    def _refuse_excess(self, organization_id: Any, limit: int, now: datetime) -> None:
        self.locks.hold_creations(organization_id)
        live = self._count(organization_id, Selection(status=ACTIVE), now)
        if self.locks.dialect_name() in ("mysql", "mariadb"):
            # Past the snapshot, which may be from before the wait.
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
                actor=self.recorded(actor),
                address=actor.address,
                details=details or {},
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
        if not self.takes(selection.search) or not self.takes(selection.created_by):
            return [sa.false()]
        conditions = selection.conditions(
            self.models.ApiKey,
            now=now,
            prefix=self.settings.prefix,
            soon=self.settings.expires_soon,
        )
        if organization_id is EVERY_ORGANIZATION:
            return conditions
        return [self.is_of(organization_id), *conditions]
