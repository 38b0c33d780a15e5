"""The tables, and what an empty database starts with."""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from werkzeug.security import generate_password_hash

from .extensions import db
from .models import Membership, Organization, Project, User

PASSWORD = "cockpit-demo"  # noqa: S105
ORGANIZATIONS = {"acme": "Acme", "beta": "Beta"}
# email: (organisation, is an administrator)
USERS = {
    "ada@acme.example": ("acme", True),
    "sam@acme.example": ("acme", False),
    "bea@beta.example": ("beta", True),
}

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.1


def prepare_database() -> None:
    """Create the tables that are missing, and seed a database without organisations.

    Needs an app context. Workers that start together may all call this: the loser of each race
    is refused by the database and looks again.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            db.create_all()
            _seed_if_empty()
        except DBAPIError:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            break
        finally:
            db.session.remove()
    _disconnect()


def _seed_if_empty() -> None:
    if db.session.scalar(select(Organization.id).limit(1)) is not None:
        return
    organizations = {slug: _organization(slug, name) for slug, name in ORGANIZATIONS.items()}
    db.session.add_all(organizations.values())
    for email, (slug, is_admin) in USERS.items():
        user = User(email=email, password_hash=generate_password_hash(PASSWORD))
        membership = Membership(user=user, organization=organizations[slug], is_admin=is_admin)
        db.session.add(membership)
    db.session.commit()


def _organization(slug: str, name: str) -> Organization:
    storefront = Project(
        slug="storefront",
        name="Storefront",
        runtime_config={"CURRENCY": "EUR", "LOG_LEVEL": "info", "NEW_CHECKOUT": False},
    )
    return Organization(slug=slug, name=name, projects=[storefront])


def _disconnect() -> None:
    """Leave no connection for a forked worker to share. In-memory SQLite lives in its only one."""
    for engine in db.engines.values():
        if not isinstance(engine.pool, StaticPool):
            engine.dispose()
