"""How a key is put into words for a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from .. import tokens
from ..config.scopes import in_declared_order
from ..keys.models import EXPIRED, REVOKED, ApiKey
from ..keys.rotation import ends_oldest, has_living_previous, marker_of
from . import language

if TYPE_CHECKING:
    from ..config.settings import Settings


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in words.

    :param relative: as seen from now, like "3 minutes ago".
    :param exact: date, time and zone.
    :param day: the date.
    :param iso: for ``<time datetime>``.
    """

    relative: str
    exact: str
    day: str
    iso: str

    @classmethod
    def at(cls, moment: datetime, now: datetime) -> Self:
        iso = moment.astimezone(UTC).isoformat()
        return cls(
            language.relative(moment, now), language.exact(moment), language.day(moment), iso
        )


@dataclass(frozen=True, slots=True)
class RotationRow:
    """Both secrets of a key, while both live.

    :param confirmed: the first use of the new one.
    :param records_uses: whether the uses of the old one are recorded. The first one of the new one
        always is.
    :param previous_used: the last use of the old one since the rotation.
    :param previous_until: the end of the old one.
    :param is_urgent: whether the new one was never used, and the old one ends within a day.
    :param ends_oldest: whether another rotation would end the old one at once.
    :param marker: names the last rotation.
    """

    confirmed: Moment | None
    records_uses: bool
    previous_used: Moment | None
    previous_until: Moment
    is_urgent: bool
    ends_oldest: bool
    marker: str

    @classmethod
    def of(cls, key: ApiKey, settings: Settings, now: datetime) -> Self | None:
        """Return both secrets of a key, or ``None`` if it has one."""
        until = key.previous_until
        if until is None or not has_living_previous(key, now):
            return None
        return cls(
            confirmed=_moment(key.confirmed_at, now),
            records_uses=settings.last_used_step is not None,
            previous_used=_moment(key.previous_used_at, now),
            previous_until=Moment.at(until, now),
            is_urgent=key.confirmed_at is None and until - now <= timedelta(days=1),
            ends_oldest=ends_oldest(key, now),
            marker=marker_of(key.rotated_at),
        )


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as a row of the table.

    :param start: the visible part of the key itself.
    :param scopes: pairs of scope and description; an empty one if it is no longer declared.
    :param created_by: the creator's name, as the host gives it.
    :param records_uses: whether the host has last uses recorded.
    :param expires_soon: the time that is left, if the key expires soon.
    :param revoked_by: as ``created_by``.
    """

    id: str
    name: str
    start: str
    note: str | None
    scopes: Sequence[tuple[str, str]]
    created: Moment
    created_by: str | None
    records_uses: bool
    last_used: Moment | None
    expires: Moment | None
    expires_soon: str | None
    revoked: Moment | None
    revoked_by: str | None
    is_expired: bool
    is_revoked: bool
    rotation: RotationRow | None

    @classmethod
    def of(
        cls, key: ApiKey, settings: Settings, now: datetime, names: Mapping[str, str] | None = None
    ) -> Self:
        """Describe a key.

        :param names: of its actors; as they are recorded without.
        """
        status, names = key.status(now), names or {}
        held = in_declared_order(key.scopes, settings.scopes)
        return cls(
            id=key.id,
            name=key.name,
            start=tokens.start_of(settings.prefix, key.id),
            note=key.note,
            scopes=[(scope, str(settings.scopes.get(scope, ""))) for scope in held],
            created=Moment.at(key.created_at, now),
            created_by=_named(key.created_by, names),
            records_uses=settings.last_used_step is not None,
            last_used=_moment(key.last_used_at, now),
            expires=_moment(key.expires_at, now),
            expires_soon=_expires_soon(key, settings, now),
            revoked=_moment(key.revoked_at, now),
            revoked_by=_named(key.revoked_by, names),
            is_expired=status == EXPIRED,
            is_revoked=status == REVOKED,
            rotation=RotationRow.of(key, settings, now),
        )


def _named(actor: str | None, names: Mapping[str, str]) -> str | None:
    return None if actor is None else names.get(actor, actor)


def _moment(value: datetime | None, now: datetime) -> Moment | None:
    return None if value is None else Moment.at(value, now)


def _expires_soon(key: ApiKey, settings: Settings, now: datetime) -> str | None:
    if key.revoked_at is not None or key.expires_at is None:
        return None
    if not now < key.expires_at <= now + settings.expires_soon:
        return None
    return language.left(key.expires_at - now)
