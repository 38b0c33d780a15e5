"""The keys on the pictures, and the time at which these are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from flask_orgkeys import OrgKeys

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
KEYS = "/o/acme/api-keys"

# name, scopes, days until it expires, time since it was used last
ISSUED = [
    ("Mobile release train", ["app:publish", "project:read-rc"], -2, timedelta(days=3)),
    ("Terraform", ["project:read-rc"], None, timedelta(hours=9)),
    ("Local development", ["project:read-rc", "project:deploy"], 21, None),
    ("GitLab CI, checkout", ["project:deploy"], 9, timedelta(hours=2)),
    ("GitHub Actions, storefront", ["project:deploy"], 84, timedelta(minutes=4)),
]


def issue(orgkeys: OrgKeys, organization_id: Any) -> None:
    """Create and commit the keys, within an app context."""
    session, key, now = orgkeys.db.session, orgkeys.ApiKey, datetime.now(UTC)
    for number, (name, scopes, days, unused_for) in enumerate(ISSUED):
        issued = orgkeys.create_key(
            organization_id, name=name, scopes=scopes, created_by="ada@acme.example"
        )
        times = {
            "created_at": now - timedelta(days=6 - number),
            "expires_at": None if days is None else now + timedelta(days=days, hours=1),
            "last_used_at": None if unused_for is None else now - unused_for,
        }
        # Times in the past, which no call would take.
        session.execute(sa.update(key).where(key.id == issued.key.id).values(times))
    session.commit()
