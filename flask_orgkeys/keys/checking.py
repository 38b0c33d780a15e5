"""The key in a pasted text: which one it is, and whether its secret is right. No use of the key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import tokens
from ..tokens import ID_PATTERN, SECRET_PATTERN, Token
from .models import ApiKey

if TYPE_CHECKING:
    from .store import Store

RIGHT_SECRET = "right_secret"  # noqa: S105 - the name of a finding
PREVIOUS_SECRET = "previous_secret"  # noqa: S105 - the name of a finding
WRONG_SECRET = "wrong_secret"  # noqa: S105 - the name of a finding
WRONG_CHECKSUM = "wrong_checksum"
NO_KEY = "no_key"

MOST_KEYS = 20
"""How many keys of one text are looked up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The key that was found in a text.

    :param kind: :data:`RIGHT_SECRET`; :data:`PREVIOUS_SECRET` if a rotation has replaced it;
        :data:`WRONG_SECRET`; :data:`WRONG_CHECKSUM`; or :data:`NO_KEY` for anything that is no key
        of the organisation.
    :param key: the key, if it is one of the organisation's.
    """

    kind: str
    key: ApiKey | None = None


def find_key(store: Store, organization_id: Any, text: str) -> Finding:
    """Find a key of the organisation in a text: the first whose secret is right, or else the first.

    Takes time linear in the length of the text.
    """
    is_mistyped = False
    found: list[Token] = []
    for shape in _shapes(text, store.settings.prefix):
        token = tokens.parse(shape, store.settings.prefix)
        if token is None:
            is_mistyped = True
        elif token not in found and len(found) < MOST_KEYS:
            found.append(token)
    findings = [*_findings(store, organization_id, found)]
    if findings:
        return min(findings, key=lambda finding: finding.kind == WRONG_SECRET)
    return Finding(WRONG_CHECKSUM if is_mistyped else NO_KEY)


def _shapes(text: str, prefix: str) -> Iterator[str]:
    """Give every part of a text that has the shape of a key."""
    pattern = rf"{prefix}_{ID_PATTERN}_{SECRET_PATTERN}(?![0-9A-Za-z])"
    return (match[0] for match in re.finditer(pattern, text))


def _findings(store: Store, organization_id: Any, found: list[Token]) -> Iterator[Finding]:
    if not found:
        return
    key = store.models.ApiKey
    ids = [token.id for token in found]
    statement = sa.select(key).where(store.is_of(organization_id), key.id.in_(ids))
    by_id = {each.id: each for each in store.session.scalars(statement)}
    for token in found:
        if token.id in by_id:
            yield Finding(_kind(store, token, by_id[token.id]), by_id[token.id])


def _kind(store: Store, token: Token, key: ApiKey) -> str:
    peppers = store.settings.peppers
    if tokens.verify(token.secret, key.digest, peppers):
        return RIGHT_SECRET
    previous = key.previous_digest
    if previous is not None and tokens.verify(token.secret, previous, peppers):
        return PREVIOUS_SECRET
    return WRONG_SECRET
