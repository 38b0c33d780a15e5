"""Authentication: whose key an ``Authorization`` header carries, and whether it is valid."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .. import errors, tokens
from ..config.scopes import granted
from ..config.settings import Settings
from ..keys.models import ApiKey
from ..keys.times import as_utc, is_past
from .header import read_credential
from .key_table import StoredKey
from .lookup import DatabaseUnavailable, Lookup
from .outcome import Accepted, Rejected
from .writes import Use

if TYPE_CHECKING:
    from flask import Flask

logger: logging.Logger = logging.getLogger(__name__)


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
        credential = read_credential(header, self.settings.prefix)
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
        scopes = granted(stored.scopes, self.settings.scopes)
        return Accepted(token.id, stored, scopes=scopes, has_use=use is not None)

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
