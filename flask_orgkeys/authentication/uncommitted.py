"""Keys that the host's own transaction has written, and has not committed yet.

Beside that transaction such a key is absent, or as it was before. So if the transaction sees the
past, it alone knows how the key is now: nobody else can have changed it since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from ..keys.models import ApiKey

_WRITTEN = "flask_orgkeys.written"
_EVENTS = ("after_insert", "after_update")


def note_writes(key_class: type[ApiKey]) -> None:
    """Have the keys noted that a session inserts or updates."""
    for name in _EVENTS:
        if not event.contains(key_class, name, _note):
            event.listen(key_class, name, _note)


def is_written(connection: Connection, key_id: str) -> bool:
    """Tell whether the transaction on a connection has inserted or updated a key."""
    transaction, written = connection.info.get(_WRITTEN, (None, ()))
    return transaction is not None and (
        transaction is connection.get_transaction() and key_id in written
    )


def _note(_mapper: Any, connection: Connection, key: ApiKey) -> None:
    transaction = connection.get_transaction()
    known, written = connection.info.get(_WRITTEN, (None, None))
    if known is not transaction or written is None:
        written = set()
        connection.info[_WRITTEN] = (transaction, written)
    written.add(key.id)
