"""The usual way: load the key by the ORM, compare, set its last use, commit."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import sqlalchemy as sa
from flask import abort, request
from flask_sqlalchemy import SQLAlchemy

from . import keys


def make_guard(db: SQLAlchemy) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    class Key(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "orgkeys_key"
        id = sa.Column(sa.String(12), primary_key=True)
        organization_id = sa.Column(sa.Integer, nullable=False)
        name = sa.Column(sa.String(100), nullable=False)
        scopes = sa.Column(sa.JSON, nullable=False)
        digest = sa.Column(sa.String(128), nullable=False)
        created_at = sa.Column(sa.DateTime(timezone=True), nullable=False)
        created_by = sa.Column(sa.String(255))
        expires_at = sa.Column(sa.DateTime(timezone=True))
        last_used_at = sa.Column(sa.DateTime(timezone=True))
        revoked_at = sa.Column(sa.DateTime(timezone=True))

    def check(header: str) -> None:
        prefix, _, rest = header.removeprefix("Bearer ").partition("_")
        key_id, _, secret = rest.partition("_")
        key: Any = db.session.scalar(sa.select(Key).where(Key.id == key_id))
        digest = "sha256$" + hashlib.sha256(secret.encode()).hexdigest()
        if prefix != keys.PREFIX or key is None or not hmac.compare_digest(key.digest, digest):
            abort(401)
        now = datetime.now(UTC)
        if key.revoked_at is not None or _as_utc(key.expires_at) <= now:
            abort(401)
        if keys.SCOPE not in key.scopes:
            abort(403)
        key.last_used_at = now
        db.session.commit()

    def guard(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            check(request.headers.get("Authorization", ""))
            return view(*args, **kwargs)

        return guarded

    return guard


def _as_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value
