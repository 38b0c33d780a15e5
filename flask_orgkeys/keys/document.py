"""A key as a JSON document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .. import tokens
from ..config.settings import Settings
from .models import ApiKey, KeyEvent, KeyUse


def document(key: ApiKey, settings: Settings) -> dict[str, Any]:
    """Return a key as every command gives it with ``--json``."""
    return {
        "id": key.id,
        "name": key.name,
        "note": key.note,
        "start": tokens.start_of(settings.prefix, key.id),
        "scopes": list(key.scopes),
        "status": key.status(datetime.now(UTC)),
        "organization_id": plain_id(key.organization_id),
        "created_at": timestamp(key.created_at),
        "created_by": key.created_by,
        "expires_at": timestamp(key.expires_at),
        "last_used_at": timestamp(key.last_used_at),
        "revoked_at": timestamp(key.revoked_at),
        "revoked_by": key.revoked_by,
        "may_rotate_itself": bool(key.may_rotate_itself),
        "rotated_at": timestamp(key.rotated_at),
        "confirmed_at": timestamp(key.confirmed_at),
        "previous_until": timestamp(key.previous_until),
        "previous_used_at": timestamp(key.previous_used_at),
    }


def event_document(event: KeyEvent) -> dict[str, Any]:
    """Return an event of the audit record, under the names of its attributes."""
    return {
        "organization_id": plain_id(event.organization_id),
        "key_id": event.key_id,
        "action": event.action,
        "occurred_at": timestamp(event.occurred_at),
        "actor": event.actor,
        "address": event.address,
        "details": event.details,
    }


def use_document(use: KeyUse) -> dict[str, Any]:
    """Return a row of the record of uses, under the names of its attributes."""
    return {
        "key_id": use.key_id,
        "endpoint": use.endpoint,
        "outcome": use.outcome,
        "scopes": list(use.scopes),
        "first_at": timestamp(use.first_at),
        "last_at": timestamp(use.last_at),
        "address": use.address,
        "agent": use.agent,
        "uses": use.uses,
    }


def plain_id(organization_id: Any) -> int | str:
    """Return the id of an organisation as JSON can hold it."""
    return organization_id if isinstance(organization_id, int | str) else str(organization_id)


def timestamp(moment: datetime | None) -> str | None:
    """Return a time in UTC as ISO 8601 has it, always of the same length."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
