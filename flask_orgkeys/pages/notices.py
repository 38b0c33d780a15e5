"""The notice of the change that led to the list.

It is in the URL rather than flashed: a host's layout may show flashed messages, too.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from flask import current_app, request

from ..management import management
from .access import Visit, actor

REVOKED = "revoked"
EXISTING = "existing"


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice about a key.

    :param kind: :data:`REVOKED` or :data:`EXISTING`: the form has created it before.
    """

    kind: str
    name: str


def url_with_existing(visit: Visit, key_id: str) -> str:
    """Return the URL of the list that says that a form has created a key before."""
    return visit.url("index", existing=key_id, signed=_signature(visit, key_id))


def notice_of(visit: Visit) -> Notice | None:
    """Return the notice that the request asks for.

    It advises to revoke an existing key. That is signed for the user, so that a link from somebody
    else cannot say it.
    """
    for kind in (REVOKED, EXISTING):
        key = management.get_key(visit.organization.id, request.args.get(kind, ""))
        if key is None:
            continue
        signed = request.args.get("signed", "")
        if key.revoked_at is not None if kind == REVOKED else _is_signed(visit, key.id, signed):
            return Notice(kind, key.name)
    return None


def _is_signed(visit: Visit, key_id: str, signed: str) -> bool:
    return hmac.compare_digest(_signature(visit, key_id).encode(), signed.encode(errors="replace"))


def _signature(visit: Visit, key_id: str) -> str:
    secret_key = current_app.secret_key or ""
    secret = secret_key.encode() if isinstance(secret_key, str) else secret_key
    text = f"orgkeys.existing {visit.organization.id} {key_id} {actor()}"
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
