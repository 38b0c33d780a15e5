"""The keys of a benchmark: made from their number, so that none has to be kept to be presented."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask_orgkeys import tokens

PREFIX = "orgk"
SCOPE = "project:deploy"
OTHER_SCOPE = "app:publish"
ORGANIZATIONS = 100

ACTIVE = 500
REVOKED = 500
LIMITED = 500
STALE = 5_000
UNSEEN = 5_000
_UNKNOWN_FROM = 100_000_000


@dataclass(frozen=True)
class KeySet:
    """The keys of one database, by number.

    :param size: valid keys of a fresh last use. Behind them come some revoked, some that lack the
        scope, some that were never used, and some more valid ones.
    """

    size: int

    @property
    def valid(self) -> range:
        return range(self.size)

    @property
    def active(self) -> range:
        """The valid keys that are in use: some from everywhere in the table."""
        # An odd step leads through every organisation.
        return self.valid[:: self.size // ACTIVE | 1]

    @property
    def revoked(self) -> range:
        return range(self.size, self.size + REVOKED)

    @property
    def limited(self) -> range:
        """Keys that lack :data:`SCOPE`."""
        return range(self.revoked.stop, self.revoked.stop + LIMITED)

    @property
    def stale(self) -> range:
        return range(self.limited.stop, self.limited.stop + STALE)

    @property
    def unseen(self) -> range:
        """Valid keys of a fresh last use, for a first use in a process."""
        return range(self.stale.stop, self.stale.stop + UNSEEN)

    @property
    def unknown(self) -> range:
        return range(_UNKNOWN_FROM, _UNKNOWN_FROM + self.size)

    def rows(self, now: datetime) -> Iterator[dict[str, Any]]:
        """Give every row of the table of keys."""
        for number in range(self.unseen.stop):
            token = token_of(number)
            yield {
                "id": token.id,
                "organization_id": organization_of(number),
                "name": f"Pipeline {number}",
                "folded_name": f"pipeline {number}",
                "scopes": [OTHER_SCOPE] if number in self.limited else [SCOPE],
                "digest": tokens.digest(token.secret),
                "created_at": now,
                "created_by": "ada@acme.example",
                "expires_at": now + timedelta(days=90),
                "last_used_at": None if number in self.stale else now,
                "revoked_at": now if number in self.revoked else None,
            }


def now() -> datetime:
    return datetime.now(UTC)


def organization_of(number: int) -> int:
    return number % ORGANIZATIONS + 1


def token_of(number: int) -> tokens.Token:
    text = hashlib.sha256(f"benchmark key {number}".encode()).hexdigest()
    return _token(text[: tokens.ID_LENGTH], text[tokens.ID_LENGTH :])


def with_wrong_secret(number: int) -> tokens.Token:
    """The key of a number with the secret of the next, and a right checksum."""
    following = token_of(number + 1)
    return _token(token_of(number).id, following.secret)


def with_bad_checksum(number: int) -> str:
    text = str(token_of(number))
    return text[:-1] + ("1" if text[-1] == "0" else "0")


def _token(key_id: str, random_part: str) -> tokens.Token:
    random_part = random_part[: tokens.SECRET_LENGTH - tokens.CHECKSUM_LENGTH]
    checksum = tokens.checksum(f"{PREFIX}_{key_id}_{random_part}")
    return tokens.Token(PREFIX, key_id, random_part + checksum)
