"""The tables, and what an empty database starts with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from werkzeug.security import generate_password_hash

from .extensions import db, orgkeys
from .models import Membership, Organization, Project, User

PASSWORD = "cockpit-demo"  # noqa: S105
ORGANIZATIONS = {"acme": "Acme", "beta": "Beta"}
# email: (organisation, is an administrator)
USERS = {
    "ada@acme.example": ("acme", True),
    "sam@acme.example": ("acme", False),
    "bea@beta.example": ("beta", True),
}


@dataclass(frozen=True)
class ExampleUse:
    """A use of an example key, some time ago."""

    endpoint: str
    scope: str
    ago: timedelta
    number: int
    outcome: str = "accepted"
    address: str = "203.0.113.7"
    agent: str = "curl/8.5.0"

    @property
    def is_accepted(self) -> bool:
        return self.outcome == "accepted"


@dataclass(frozen=True)
class ExampleKey:
    """A key for the demo. Its secret is known to nobody.

    :param age: the time since its creation.
    :param ends: the time until its expiry, ``None`` for a key that does not expire.
    :param rotated: the time since its rotation, if it was rotated.
    """

    name: str
    scopes: tuple[str, ...]
    age: timedelta
    ends: timedelta | None
    uses: tuple[ExampleUse, ...]
    rotated: timedelta | None = None
    creator: str = "ada@acme.example"


_DAY = timedelta(days=1)
_READ = ("api.read_runtime_config", "project:read-rc")
_DEPLOY = ("api.deploy", "project:deploy")
_PUBLISH = ("api.publish", "app:publish")

EXAMPLE_KEYS = (
    ExampleKey(
        "GitHub Actions, storefront",
        ("project:read-rc", "project:deploy"),
        age=14 * _DAY,
        ends=76 * _DAY,
        uses=(
            ExampleUse(*_DEPLOY, timedelta(minutes=15), 212, agent="GitHub-Hookshot"),
            ExampleUse(*_READ, timedelta(minutes=16), 340, agent="GitHub-Hookshot"),
            ExampleUse(*_PUBLISH, timedelta(hours=2), 3, outcome="insufficient_scope"),
        ),
    ),
    ExampleKey(
        "Grafana dashboard",
        ("project:read-rc", "project:deploy"),
        age=82 * _DAY,
        ends=8 * _DAY,
        uses=(ExampleUse(*_READ, 20 * _DAY, 61, agent="Grafana/11.2"),),
    ),
    ExampleKey(
        "Ben's laptop",
        ("app:publish", "project:read-rc", "project:deploy"),
        age=400 * _DAY,
        ends=None,
        uses=(ExampleUse(*_PUBLISH, 210 * _DAY, 9, address="198.51.100.24"),),
        creator="ben@acme.example",
    ),
    ExampleKey(
        "Nightly import",
        ("project:read-rc",),
        age=93 * _DAY,
        ends=-3 * _DAY,
        uses=(
            ExampleUse(*_READ, 3 * _DAY, 90),
            ExampleUse(*_READ, timedelta(minutes=40), 14, outcome="expired_key"),
        ),
    ),
    ExampleKey(
        "Terraform, shop-de",
        ("project:deploy",),
        age=88 * _DAY,
        ends=90 * _DAY,
        uses=(ExampleUse(*_DEPLOY, timedelta(minutes=3), 402, agent="Terraform/1.9"),),
        rotated=5 * _DAY,
    ),
)

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


def seed_example_keys() -> None:
    """Give acme a key of each kind that an administrator wonders about, unless it has keys.

    Needs an app context. One is in use, one quiet, one unused, one expired and still called, and
    one rotated, with its old secret still in use.
    """
    acme = Organization.by_slug("acme")
    if acme is None or orgkeys.count_keys(acme.id, status="all"):
        return
    now = datetime.now(UTC)
    for example in EXAMPLE_KEYS:
        _add_example(acme, example, now)
    db.session.commit()


def _add_example(organization: Organization, example: ExampleKey, now: datetime) -> None:
    key = orgkeys.create_key(
        organization.id,
        name=example.name,
        scopes=example.scopes,
        expires_at=None if example.ends is None else now + example.ends,
        created_by=example.creator,
    ).key
    key.created_at = key.uses_recorded_since = now - example.age
    key.last_used_at = max((now - use.ago for use in example.uses if use.is_accepted), default=None)
    _date_event(key.id, "created", key.created_at)
    db.session.add_all(
        orgkeys.KeyUse(
            key_id=key.id,
            endpoint=use.endpoint,
            outcome=use.outcome,
            scopes=[use.scope],
            first_at=key.created_at,
            last_at=now - use.ago,
            address=use.address,
            agent=use.agent,
            uses=use.number,
        )
        for use in example.uses
    )
    if example.rotated is not None:
        _rotate_example(key, example.rotated, now)


def _rotate_example(key: Any, ago: timedelta, now: datetime) -> None:
    overlap = timedelta(days=7)
    orgkeys.rotate_key(
        key.organization_id,
        key.id,
        overlap=overlap,
        expires_at=key.expires_at,
        rotated_by=key.created_by,
    )
    key.rotated_at = now - ago
    key.previous_until = key.rotated_at + overlap
    key.confirmed_at = key.rotated_at + timedelta(hours=2)
    key.previous_used_at = now - timedelta(minutes=3)
    _date_event(key.id, "rotated", key.rotated_at)


def _date_event(key_id: str, action: str, occurred_at: datetime) -> None:
    event = orgkeys.KeyEvent
    added = db.session.scalars(select(event).where(event.key_id == key_id, event.action == action))
    added.one().occurred_at = occurred_at


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
