"""Changes of a key's name and note. Scopes, expiry, secret and organisation never change so."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from ..errors import KeyNotFound
from .cleaning import clean_name, clean_note
from .models import KEY_UPDATED, ApiKey

if TYPE_CHECKING:
    from .events import Actor
    from .store import Store


class Unchanged(Enum):
    """The type of :data:`UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""In place of a value: leave it as it is.

.. versionadded:: 0.1.0
"""


def update(
    store: Store,
    organization_id: Any,
    key_id: str,
    *,
    name: str | Unchanged,
    note: str | Unchanged | None,
    actor: Actor,
) -> ApiKey:
    """Change a key's name or note, add the audit record, and flush both.

    :return: the key. If nothing changes, there is no event.
    :raises ValueError: if a text is not accepted.
    :raises KeyNotFound: if the organisation has no such key.
    """
    wanted: dict[str, Any] = {}
    if not isinstance(name, Unchanged):
        wanted["name"] = clean_name(name)
    if not isinstance(note, Unchanged):
        wanted["note"] = clean_note(note)
    key = store.get(organization_id, key_id)
    if key is None:
        raise KeyNotFound(key_id)
    was = {field: getattr(key, field) for field in wanted if getattr(key, field) != wanted[field]}
    if not was:
        return key
    for field in was:
        setattr(key, field, wanted[field])
    store.record(key.organization_id, key.id, KEY_UPDATED, datetime.now(UTC), actor, {"was": was})
    store.session.flush()
    return key
