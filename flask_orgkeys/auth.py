"""Authentication: whose key a request carries, found out at most once a request."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import errors, tokens
from .keytable import StoredKey, Use
from .lookup import DatabaseUnavailable
from .models import ApiKey, as_utc, is_past

if TYPE_CHECKING:
    from flask import Flask

    from .lookup import Lookup
    from .settings import Settings

logger: logging.Logger = logging.getLogger("flask_orgkeys")

# Possessive, and without an end where the quotes have none: linear, whatever is sent.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
# RFC 9110, section 11.4: what stands behind a comma is a parameter of the same credentials
# (name = value) or the beginning of others (scheme SP ...).
_FURTHER_CREDENTIALS = re.compile(
    r",[ \t]*(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+ +[^ \t,=]|(?:bearer|basic)[ \t]*(?:,|$))",
    re.IGNORECASE | re.ASCII,
)
_BEARER = re.compile(r"bearer(?![^ \t,])", re.IGNORECASE | re.ASCII)
_CARRIES_BEARER = re.compile(rf"(?:^|,)[ \t]*{_BEARER.pattern}", _BEARER.flags)


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """The key a request was authenticated with: a value, bound to no session.

    :param id: the public id.
    :param name: what the administrator called it.
    :param organization_id: the host's id of the organisation it belongs to.
    :param scopes: what it may do.
    :param created_by: who created it, as the host names its users.
    :param created_at: aware, in UTC.
    :param expires_at: aware, in UTC, or ``None`` where it does not expire.

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
    :param has_use: whether its use is yet to be written.
    """

    __slots__ = ("_key", "has_use", "key_id", "stored")

    def __init__(self, key_id: str, stored: StoredKey, *, has_use: bool) -> None:
        self.key_id: str = key_id
        self.stored: StoredKey = stored
        self.has_use: bool = has_use
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
                scopes=stored.scopes,
                created_by=stored.created_by,
                created_at=as_utc(stored.created_at),
                expires_at=None if stored.expires_at is None else as_utc(stored.expires_at),
            )
        return self._key


class Rejected:
    """The request carries no valid key.

    :param reason: what a guard raises.
    :param key_id: the presented public id, where the checksum was right.
    """

    __slots__ = ("key_id", "reason")

    def __init__(self, reason: type[errors.RequestRefused], key_id: str | None = None) -> None:
        self.reason: type[errors.RequestRefused] = reason
        self.key_id: str | None = key_id


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Authenticator:
    """Decides about credentials for one app."""

    app: Flask
    settings: Settings
    lookup: Lookup

    def is_ours(self, header: str) -> bool:
        """Tell whether an ``Authorization`` value can hold a key of ours. Asks no database."""
        return f"{self.settings.prefix}_" in header

    def authenticate(self, header: str | None) -> Accepted | Rejected:
        """Decide about an ``Authorization`` value, and record the use of an accepted key.

        The raw text is in no local variable by the time the database is asked, for error trackers
        send those of every frame.
        """
        credential = _read_credential(header, self.settings.prefix)
        del header
        if not isinstance(credential, tokens.Token):
            return Rejected(credential)
        return self._authenticate_token(credential)

    def _authenticate_token(self, token: tokens.Token) -> Accepted | Rejected:
        try:
            with self.lookup.reader() as reader:
                stored = reader.find(token.id)
                # Not before: it may have waited for the pool or the database.
                now = datetime.now(UTC)
                reason = self.reason_to_reject(token, stored, now)
                if stored is None or reason is not None:
                    return Rejected(reason or errors.InvalidKey, token.id)
                use = self._use(token, stored, now)
                if use is not None:
                    reader.record(use)
        except DatabaseUnavailable as unavailable:
            logger.error("API keys cannot be checked: %s", unavailable)
            return Rejected(errors.Unavailable, token.id)
        return Accepted(token.id, stored, has_use=use is not None)

    def reason_to_reject(
        self, token: tokens.Token, stored: StoredKey | ApiKey | None, now: datetime
    ) -> type[errors.RequestRefused] | None:
        """Return what a guard raises for a presented key, or ``None`` where it is valid.

        :param stored: what the database has under its id.
        """
        if stored is None or not tokens.verify(token.secret, stored.digest, self.settings.peppers):
            return errors.InvalidKey
        if stored.revoked_at is not None:
            return errors.RevokedKey
        if stored.expires_at is not None and is_past(as_utc(stored.expires_at), now):
            return errors.ExpiredKey
        return None

    def _use(self, token: tokens.Token, stored: StoredKey, now: datetime) -> Use | None:
        step, peppers = self.settings.last_used_step, self.settings.peppers
        last_used_at = stored.last_used_at
        is_due = step is not None and (last_used_at is None or now - as_utc(last_used_at) >= step)
        is_outdated = tokens.is_outdated(stored.digest, peppers)
        if not is_due and not is_outdated:
            return None
        return Use(
            key_id=token.id,
            used_at=now if is_due else None,
            unused_since=now - step if is_due and step is not None else None,
            digests=(
                (stored.digest, tokens.digest(token.secret, peppers)) if is_outdated else None
            ),
        )


def _read_credential(header: str | None, prefix: str) -> tokens.Token | type[errors.RequestRefused]:
    if header is None:
        return errors.MissingKey
    if "," in header and _FURTHER_CREDENTIALS.search(_QUOTED.sub('""', header)):
        return errors.InvalidRequest
    header = header.strip(" \t")
    scheme = _BEARER.match(header)
    if scheme is None:
        return errors.MissingKey
    return tokens.parse(header[scheme.end() :].lstrip(" "), prefix) or errors.InvalidKey


def carries_bearer(header: str | None) -> bool:
    """Tell whether an ``Authorization`` value holds credentials of the Bearer scheme."""
    return header is not None and _CARRIES_BEARER.search(header) is not None
