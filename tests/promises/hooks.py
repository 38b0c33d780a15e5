"""Hooks of the host's own that run before ours, and what they do with its session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

Hook = Callable[[SQLAlchemy], None]


def leave_alone(_db: SQLAlchemy) -> None:
    """Does not use the database."""


def read(db: SQLAlchemy) -> None:
    db.session.execute(sa.select(db.metadata.tables["organization"])).all()


def write(db: SQLAlchemy) -> None:
    db.session.execute(sa.insert(db.metadata.tables["note"]).values(text="of the hook"))


ALL = (leave_alone, read, write)


def before_ours(hook: Hook) -> dict[str, Any]:
    """Arguments for ``new_host``."""

    def before_init(app: Flask, db: SQLAlchemy) -> None:
        app.before_request(lambda: hook(db))

    return {"before_init": before_init}
