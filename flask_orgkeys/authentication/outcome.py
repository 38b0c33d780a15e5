"""The outcome of authentication: a key accepted, or the reason to reject the request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ..keys.times import as_utc

if TYPE_CHECKING:
    from .. import errors
    from .key_table import StoredKey


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """The key a request was authenticated with: a value, bound to no session.

    :param id: the public id.
    :param name: the name that the administrator gave it.
    :param organization_id: the host's id of the organisation it belongs to.
    :param scopes: those of its scopes that the app declares.
    :param created_by: who created it, as the host names its users.
    :param created_at: aware, in UTC.
    :param expires_at: aware, in UTC, or ``None`` if it does not expire.

    .. versionadded:: 0.1.0
    """

    id: str
    name: str
    organization_id: Any
    scopes: frozenset[str]
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None

    def has_scope(self, scope: str) -> bool:
        """Tell whether the key holds ``scope``, by exact match."""
        return scope in self.scopes


class Accepted:
    """The request carries a valid key.

    :param key_id: its public id.
    :param stored: its row.
    :param at: the time of the decision.
    :param scopes: the stored scopes that the app declares.
    :param has_use: whether its use is yet to be written.
    :param is_previous: whether the secret is the one before the last rotation.

    ``demanded`` are the scopes of the guards that have let it pass so far, ``is_noted`` whether
    the request is counted as a use, accepted or refused, ``noted_at`` the endpoint, method and
    guarded view of the guard that has counted it as accepted.
    """

    __slots__ = (
        "_key",
        "at",
        "demanded",
        "has_use",
        "is_noted",
        "is_previous",
        "key_id",
        "noted_at",
        "scopes",
        "stored",
    )

    def __init__(
        self,
        key_id: str,
        stored: StoredKey,
        at: datetime,
        *,
        scopes: frozenset[str],
        has_use: bool,
        is_previous: bool = False,
    ) -> None:
        self.key_id: str = key_id
        self.stored: StoredKey = stored
        self.at: datetime = at
        self.scopes: frozenset[str] = scopes
        self.demanded: tuple[str, ...] = ()
        self.is_noted: bool = False
        self.noted_at: tuple[str, str, Any] | None = None
        self.has_use: bool = has_use
        self.is_previous: bool = is_previous
        self._key: AuthenticatedKey | None = None

    @property
    def key(self) -> AuthenticatedKey:
        """The key as a view sees it, made when the first one asks."""
        if self._key is None:
            stored = self.stored
            self._key = AuthenticatedKey(
                id=self.key_id,
                name=stored.name,
                organization_id=stored.organization_id,
                scopes=self.scopes,
                created_by=stored.created_by,
                created_at=as_utc(stored.created_at),
                expires_at=stored.expires_at,
            )
        return self._key


class Rejected:
    """The request carries no valid key.

    :param reason: the exception that a guard raises.
    :param key_id: the presented public id, if the checksum was right.
    :param at: the time of the decision, if the database was asked.
    """

    __slots__ = ("at", "key_id", "reason")

    has_use: ClassVar[bool] = False

    def __init__(
        self,
        reason: type[errors.RequestRefused],
        key_id: str | None = None,
        at: datetime | None = None,
    ) -> None:
        self.reason: type[errors.RequestRefused] = reason
        self.key_id: str | None = key_id
        self.at: datetime | None = at
