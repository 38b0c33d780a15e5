"""Management of keys, as a host calls it on ``OrgKeys``, and as the pages and commands do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import has_request_context, request

from .keys import activity, ending, rotation, updating, uses
from .keys.activity import EventFilter
from .keys.events import Actor
from .keys.models import ApiKey, KeyEvent, KeyUse
from .keys.organization_ids import EVERY_ORGANIZATION
from .keys.selection import Selection
from .keys.store import IssuedKey
from .keys.updating import UNCHANGED, Unchanged
from .state import state_of


class Management:
    """The functions of ``OrgKeys`` that create, find and end keys of the current app.

    Each joins the host's ``db.session`` and flushes. None commits: the caller does.
    """

    def create_key(
        self,
        organization_id: Any,
        *,
        name: str,
        scopes: Iterable[str],
        expires_at: datetime | None = None,
        created_by: str | None = None,
        note: str | None = None,
        may_rotate_itself: bool = False,
        idempotency_key: str | None = None,
    ) -> IssuedKey:
        """Create a key in ``db.session``, and flush. The caller commits.

        :param organization_id: the host's id of the organisation.
        :param name: 1 to 100 characters after trimming, without control characters.
        :param scopes: at least one declared scope.
        :param expires_at: an aware time, or ``None`` for a key that does not expire.
        :param created_by: the creator, as the host names its users; up to 255 characters.
        :param note: up to 500 characters for the people who manage the key.
        :param may_rotate_itself: whether the key may replace its own secret.
        :param idempotency_key: 1 to 64 visible ASCII characters. A second creation with the same
            one fails.
        :return: the key and its token, which exists nowhere else.
        :raises ValueError: if an argument is not as described.
        :raises flask_orgkeys.errors.KeyLimitReached: at ``ORGKEYS_MAX_KEYS`` live keys.
        :raises flask_orgkeys.errors.ReplayedCreation: if ``idempotency_key`` has made a key.
        """
        return state_of().keys.create(
            organization_id,
            name=name,
            scopes=scopes,
            expires_at=expires_at,
            actor=_actor("created_by", created_by),
            note=note,
            may_rotate_itself=may_rotate_itself,
            idempotency_key=idempotency_key,
        )

    def find_replayed(self, organization_id: Any, idempotency_key: str) -> str | None:
        """Return the id of the key that was created with an idempotency key, or ``None``.

        :param idempotency_key: as :meth:`create_key` takes it.
        """
        return state_of().keys.find_replayed(organization_id, idempotency_key)

    def get_key(self, organization_id: Any, key_id: str) -> ApiKey | None:
        """Return a key of the organisation, or ``None``.

        :param key_id: the public id.
        """
        return state_of().keys.get(organization_id, key_id)

    def list_keys(
        self,
        organization_id: Any,
        *,
        status: str = "current",
        search: str = "",
        sort: str = "-created",
        limit: int | None = None,
        offset: int = 0,
        scope: str | None = None,
        created_by: str | None = None,
        unused_since: datetime | None = None,
        expires_before: datetime | None = None,
        use: str | None = None,
        expires: str | None = None,
    ) -> Sequence[ApiKey]:
        """Return keys of the organisation.

        :param status: ``"current"`` (all but the revoked), ``"active"``, ``"expired"``,
            ``"revoked"`` or ``"all"``.
        :param search: part of a name, or the start of an id.
        :param sort: ``"name"``, ``"last_used"``, ``"expires"`` or ``"created"``; with a leading
            ``-`` in descending order.
        :param scope: a scope that the keys hold, by exact match.
        :param created_by: the creator, as the host names its users.
        :param unused_since: an aware time; keys used or created since are left out.
        :param expires_before: an aware time; keys that expire later or never are left out.
        :param use: ``"never"``, or ``"unused"``: older than 30 days, without a use in 90.
        :param expires: ``"soon"``: alive, and to expire within ``ORGKEYS_EXPIRES_SOON_DAYS``; or
            ``"never"``.
        :raises ValueError: for another status, sort, use or expires, a text that is no scope, a
            time without a zone, or a negative limit or offset.
        """
        return state_of().keys.select(
            organization_id,
            Selection(
                status=status,
                search=search,
                sort=sort,
                scope=scope,
                created_by=created_by,
                unused_since=unused_since,
                expires_before=expires_before,
                use=use,
                expires=expires,
            ),
            now=datetime.now(UTC),
            limit=limit,
            offset=offset,
        )

    def count_keys(
        self,
        organization_id: Any,
        *,
        status: str = "current",
        search: str = "",
        scope: str | None = None,
        created_by: str | None = None,
        unused_since: datetime | None = None,
        expires_before: datetime | None = None,
        use: str | None = None,
        expires: str | None = None,
    ) -> int:
        """Return the number of keys that :meth:`list_keys` would return without a limit. The
        parameters are those of :meth:`list_keys`.

        :raises ValueError: as for :meth:`list_keys`.
        """
        selection = Selection(
            status=status,
            search=search,
            scope=scope,
            created_by=created_by,
            unused_since=unused_since,
            expires_before=expires_before,
            use=use,
            expires=expires,
        )
        return state_of().keys.count(organization_id, selection, now=datetime.now(UTC))

    def list_uses(self, organization_id: Any, key_id: str) -> Sequence[KeyUse]:
        """Return the uses of a key as far as they were recorded, newest first: a row for each
        endpoint and outcome.

        :param key_id: the public id.
        :return: instances of ``orgkeys.KeyUse``.
        :raises ValueError: if an argument is not as described.
        :raises flask_orgkeys.errors.KeyNotFound: if the organisation has no such key.

        .. versionadded:: 0.1.0
        """
        return uses.list_uses(state_of().keys, organization_id, key_id)

    def list_events(
        self,
        organization_id: Any,
        *,
        key_id: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        search: str = "",
        limit: int | None = None,
        offset: int = 0,
    ) -> Sequence[KeyEvent]:
        """Return the audit record of the organisation, newest first.

        :param key_id: only the events of this key. The events of a pruned key stay.
        :param action: only events of this action, such as ``"revoked"``.
        :param since: an aware time; earlier events are left out.
        :param search: the start of a key's id, or a part of the name of a key or of an actor.
        :return: instances of ``orgkeys.KeyEvent``. There are none for a key of another
            organisation.
        :raises ValueError: for another action, a time without a zone, or a negative limit or
            offset.

        .. versionadded:: 0.1.0
        """
        selected = EventFilter(key_id, action, since, search)
        return activity.list_events(
            state_of().keys, organization_id, selected, limit=limit, offset=offset
        )

    def count_events(
        self,
        organization_id: Any,
        *,
        key_id: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        search: str = "",
    ) -> int:
        """Return the number of events that :meth:`list_events` would return without a limit.

        .. versionadded:: 0.1.0
        """
        selected = EventFilter(key_id, action, since, search)
        return activity.count_events(state_of().keys, organization_id, selected)

    def list_keys_created_by(self, created_by: str, *, status: str = "current") -> Sequence[ApiKey]:
        """Return the keys that a user created, in every organisation, newest first.

        :param created_by: as the host names its users.
        :param status: as for :meth:`list_keys`.
        :raises ValueError: for another status, or a name that no record can hold.
        """
        selection = Selection(status=status, created_by=_named(created_by))
        return state_of().keys.select(EVERY_ORGANIZATION, selection, now=datetime.now(UTC))

    def update_key(
        self,
        organization_id: Any,
        key_id: str,
        *,
        name: str | Unchanged = UNCHANGED,
        note: str | Unchanged | None = UNCHANGED,
        updated_by: str | None = None,
    ) -> ApiKey:
        """Change the name or the note of a key in ``db.session``, and flush. The caller commits.

        :param name: as for :meth:`create_key`.
        :param note: as for :meth:`create_key`; ``None`` takes it away.
        :param updated_by: the user who changes it, as the host names its users; up to 255
            characters.
        :return: the key.
        :raises ValueError: if an argument is not as described.
        :raises flask_orgkeys.errors.KeyNotFound: if the organisation has no such key.

        .. versionadded:: 0.1.0
        """
        actor = _actor("updated_by", updated_by)
        return updating.update(
            state_of().keys, organization_id, key_id, name=name, note=note, actor=actor
        )

    def rotate_key(
        self,
        organization_id: Any,
        key_id: str,
        *,
        overlap: timedelta,
        expires_at: datetime | None,
        rotated_by: str | None = None,
        after: str | None = None,
    ) -> IssuedKey:
        """Give a key a new secret in ``db.session``, and flush. The caller commits.

        The key keeps its id, name, scopes and note. The secret before works until the end of the
        overlap, but at most until the expiry that the key had and until its new one. If the secret
        before was never used since the last rotation, it alone is replaced, and the one before it
        keeps its end.

        :param overlap: from 0 to the longest of ``ORGKEYS_ROTATION_OVERLAP_HOURS``. 0 ends the
            secret before at once.
        :param expires_at: the key's new expiry, an aware time to come; ``None`` for a key that
            does not expire.
        :param rotated_by: the user who rotates it, as the host names its users; up to 255
            characters.
        :param after: the rotation that a form was shown after, as :meth:`rotation_marker` gave it.
            If it is no longer the key's last one, the form was sent before.
        :return: the key and its token, which exists nowhere else.
        :raises ValueError: if an argument is not as described.
        :raises flask_orgkeys.errors.KeyNotFound: if the organisation has no such key.
        :raises flask_orgkeys.errors.KeyEnded: if the key was revoked or has expired.
        :raises flask_orgkeys.errors.RotationConflict: if another rotation came in between. Nothing
            is written; roll the session back.

        .. versionadded:: 0.1.0
        """
        return rotation.rotate(
            state_of().keys,
            organization_id,
            key_id,
            overlap=overlap,
            expires_at=expires_at,
            actor=_actor("rotated_by", rotated_by),
            after=after,
        )

    @staticmethod
    def rotation_marker(key: ApiKey) -> str:
        """Return the text by which a form names the rotation that it was shown after.

        .. versionadded:: 0.1.0
        """
        return rotation.marker_of(key.rotated_at)

    def end_previous_secret(
        self,
        organization_id: Any,
        key_id: str,
        *,
        ended_by: str | None = None,
        after: str | None = None,
    ) -> bool:
        """End the secret before the last rotation in ``db.session``, and flush. The caller commits.

        :param ended_by: the user who ends it, as the host names its users; up to 255 characters.
        :param after: as for :meth:`rotate_key`; after another rotation nothing is ended.
        :return: ``True`` if this ended it; ``False`` if none was alive or the key is revoked.
        :raises ValueError: if no record can hold the user's name.
        :raises flask_orgkeys.errors.KeyNotFound: if the organisation has no such key.

        .. versionadded:: 0.1.0
        """
        return rotation.end_previous(
            state_of().keys,
            organization_id,
            key_id,
            actor=_actor("ended_by", ended_by),
            after=after,
        )

    def revoke_key(
        self, organization_id: Any, key_id: str, *, revoked_by: str | None = None
    ) -> bool:
        """Revoke a key in ``db.session``, and flush. The caller commits. It cannot be undone.

        :param revoked_by: the user who revokes it, as the host names its users; up to 255
            characters.
        :return: ``True`` if this revoked it; ``False`` if it was revoked already: the first time
            and actor stay.
        :raises flask_orgkeys.errors.KeyNotFound: if the organisation has no such key.
        """
        return ending.revoke(
            state_of().keys, organization_id, key_id, actor=_actor("revoked_by", revoked_by)
        )

    def revoke_keys(
        self,
        organization_id: Any,
        *,
        created_by: str | None = None,
        revoked_by: str | None = None,
    ) -> Sequence[ApiKey]:
        """Revoke all keys of the organisation in ``db.session``, and flush. The caller commits.
        It cannot be undone.

        :param created_by: only keys that this user created, as the host names its users.
        :param revoked_by: the user who revokes them, as the host names its users; up to 255
            characters.
        :return: the keys that this revoked. Keys revoked already keep their first time and actor.
        :raises ValueError: if no record can hold a user's name.
        """
        selection = Selection(created_by=created_by)
        return ending.revoke_all(
            state_of().keys, organization_id, selection, actor=_actor("revoked_by", revoked_by)
        )

    def revoke_keys_created_by(
        self, created_by: str, *, revoked_by: str | None = None
    ) -> Sequence[ApiKey]:
        """Revoke all keys that a user created, in every organisation: for off-boarding. As
        :meth:`revoke_keys` otherwise.

        :param created_by: as the host names its users.
        """
        selection = Selection(created_by=_named(created_by))
        return ending.revoke_all(
            state_of().keys, EVERY_ORGANIZATION, selection, actor=_actor("revoked_by", revoked_by)
        )

    def count_ended_keys(self, ended_before: datetime) -> int:
        """Return the number of keys that :meth:`prune_keys` would delete without a limit."""
        return ending.count_ended(state_of().keys, ended_before)

    def prune_keys(
        self, ended_before: datetime, *, limit: int = 500, pruned_by: str | None = None
    ) -> int:
        """Delete the rows of keys that ended before a time, in every organisation, and flush. The
        caller commits. The audit record of each stays, and says that it was pruned.

        A pruned key is refused as an unknown one, no longer as revoked or expired.

        :param ended_before: an aware time in the past. A key ends when it is revoked or expires.
        :param limit: the most rows to delete, so that the transaction stays short.
        :param pruned_by: the user who deletes them, as the host names its users; up to 255
            characters.
        :return: the number of deleted rows; 0 when none is left.
        :raises ValueError: if the time has no zone or is yet to come, or the limit is under 1.
        """
        return ending.prune(
            state_of().keys, ended_before, limit=limit, actor=_actor("pruned_by", pruned_by)
        )


management: Management = Management()
"""For the pages and commands, which have no ``OrgKeys`` at hand."""


def _named(created_by: str) -> str:
    if not isinstance(created_by, str):
        raise ValueError(f"created_by must be text, not {created_by!r}")
    return created_by


def _actor(argument: str, name: str | None) -> Actor:
    address = request.remote_addr if has_request_context() else None
    return Actor.of(name, address, argument=argument)
