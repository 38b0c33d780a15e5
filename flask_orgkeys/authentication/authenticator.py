"""Authentication: whose key an ``Authorization`` header carries, and whether it is valid."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
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
from .writes import CONFIRMED, PREVIOUS_USED, Mark, Use

if TYPE_CHECKING:
    from flask import Flask

logger: logging.Logger = logging.getLogger(__name__)


_NO_KEY = Rejected(errors.MissingKey)
"""The outcome of every request without the header."""


def _always() -> bool:
    return True


class Authenticator:
    """Decides about credentials for one app."""

    __slots__ = ("__weakref__", "_granted", "_starts_of_digests", "app", "lookup", "settings")

    def __init__(self, app: Flask, settings: Settings, lookup: Lookup) -> None:
        self.app: Flask = app
        self.settings: Settings = settings
        self.lookup: Lookup = lookup
        current = [settings.peppers]
        if settings.next_pepper is not None:
            # Others make digests with it already: these two would replace each other's for ever.
            current.append((settings.next_pepper,))
        self._starts_of_digests = tuple(map(tokens.start_of_digest, current))
        # Few are the sets of scopes.
        self._granted = lru_cache(partial(granted, declared=settings.scopes))

    def is_ours(self, header: str) -> bool:
        """Tell whether an ``Authorization`` value can hold a key of ours. Asks no database."""
        return f"{self.settings.prefix}_" in header

    def authenticate(
        self, header: str | None, waits: Callable[[], bool] = _always
    ) -> Accepted | Rejected:
        """Decide about an ``Authorization`` value, and keep the use of an accepted key to be
        written.

        :param waits: tells whether a use that is due waits for a guard's note of it. If not, it is
            written on the connection of the look-up, as that goes back.

        The raw text is in no local variable by the time the database is asked, for error trackers
        send those of every frame.
        """
        if header is None:
            return _NO_KEY
        credential = read_credential(header, self.settings.prefix)
        del header
        if not isinstance(credential, tokens.Token):
            return Rejected(credential)
        return self.authenticate_token(credential, waits)

    def authenticate_token(
        self, token: tokens.Token, waits: Callable[[], bool] = _always
    ) -> Accepted | Rejected:
        """Decide about a key whose shape is right, as :meth:`authenticate` does."""
        try:
            with self.lookup.reader() as reader:
                stored = reader.find(token.id)
                # Not before: it may have waited for the pool or the database.
                now = datetime.now(UTC)
                digest = self.digest_of(token, stored)
                reason = self.reason_to_reject(stored, digest, now)
                if stored is None or digest is None or reason is not None:
                    return Rejected(reason or errors.InvalidKey, token.id, now)
                use = self._use(token, stored, digest, now)
                is_kept = use is None or waits()
                if use is not None and not is_kept:
                    self.lookup.record(use)
        except DatabaseUnavailable as unavailable:
            logger.error("API keys cannot be checked: %s", unavailable)
            return Rejected(errors.Unavailable, token.id)
        if use is not None and is_kept:
            self.lookup.record(use)
        return Accepted(
            token.id,
            stored,
            now,
            scopes=self._granted(stored.scopes),
            has_use=use is not None,
            is_previous=digest is not stored.digest,
        )

    def digest_of(self, token: tokens.Token, stored: StoredKey | ApiKey | None) -> str | None:
        """Return the digest that a presented secret has: the current one, the one before the last
        rotation, or ``None`` if the secret is wrong.

        :param stored: the row of its id.
        """
        if stored is None:
            return None
        peppers = self.settings.peppers
        return tokens.matching(token.secret, stored.digest, stored.previous_digest, peppers)

    def reason_to_reject(
        self, stored: StoredKey | ApiKey | None, digest: str | None, now: datetime
    ) -> type[errors.RequestRefused] | None:
        """Return the refusal of a presented key, or ``None`` if it is valid.

        :param stored: the row of its id.
        :param digest: as :meth:`digest_of` returned it.
        """
        if stored is None or digest is None:
            return errors.InvalidKey
        if stored.revoked_at is not None:
            return errors.RevokedKey
        if is_past(stored.expires_at, now):
            return errors.ExpiredKey
        if digest is not stored.digest:
            until = stored.previous_until
            if until is None or is_past(as_utc(until), now):
                return errors.RotatedKey
        return None

    def _use(
        self, token: tokens.Token, stored: StoredKey, digest: str, now: datetime
    ) -> Use | None:
        step = self.settings.last_used_step
        is_due = step is not None and _is_stale(stored.last_used_at, now, step)
        is_outdated = not digest.startswith(self._starts_of_digests)
        mark: Mark | None = None
        if digest is not stored.digest:
            is_due_again = step is not None and _is_stale(stored.previous_used_at, now, step)
            mark = PREVIOUS_USED if is_due_again else None
        elif stored.unconfirmed_since is not None:
            # However often uses are written.
            mark = CONFIRMED
        if not is_due and not is_outdated and mark is None:
            return None
        return Use(
            key_id=token.id,
            digest=digest,
            used_at=now,
            unused_since=now - step if step is not None and (is_due or mark) else None,
            mark=mark,
            new_digest=tokens.digest(token.secret, self.settings.peppers) if is_outdated else None,
        )


def _is_stale(used_at: datetime | None, now: datetime, step: timedelta) -> bool:
    return used_at is None or now - as_utc(used_at) >= step
