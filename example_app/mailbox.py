"""Mail to the administrators of an organisation: kept in a file, and shown on a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask, current_app
from sqlalchemy import select

from flask_orgkeys import signals

from .extensions import db
from .models import Membership, Organization, User

_LINES = {
    "expiring": "{name} expires on {end}. Last used: {used}.",
    "previous_secret_ending": "The old secret of {name} ends on {end}. Last used: {used}.",
    "expired_still_called": "{name} has expired. It was still called on {used}.",
}


@dataclass(frozen=True)
class Mail:
    """A mail.

    :param to: addresses.
    :param lines: its text, and the path of a page.
    """

    organization: str
    to: list[str]
    subject: str
    sent_at: str
    lines: list[tuple[str, str]]


def connect(app: Flask) -> None:
    """Have an app's notices sent to its mailbox."""
    app.config.setdefault("COCKPIT_MAILBOX", str(Path(app.instance_path) / "mailbox.jsonl"))
    signals.notices_due.connect(send_notices, app)


def send_notices(sender: Flask, organization_id: int, notices: Sequence[Any], **_: Any) -> None:
    """Send the notices of an organisation to those who administer it today."""
    organization = db.session.get_one(Organization, organization_id)
    administrators = db.session.scalars(
        select(User.email)
        .join(Membership)
        .where(Membership.organization_id == organization_id, Membership.is_admin)
        .order_by(User.email)
    )
    mail = Mail(
        organization=organization.slug,
        to=list(administrators),
        subject=f"API keys of {organization.name}",
        sent_at=f"{datetime.now(UTC):%d %b %Y, %H:%M} UTC",
        lines=[(_describe(notice), _path(sender, organization, notice)) for notice in notices],
    )
    path = Path(sender.config["COCKPIT_MAILBOX"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as mailbox:
        mailbox.write(json.dumps(asdict(mail)) + "\n")


def mails_of(organization: Organization) -> list[Mail]:
    """Return the mails to an organisation's administrators, newest first."""
    path = Path(current_app.config["COCKPIT_MAILBOX"])
    if not path.exists():
        return []
    mails = [Mail(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return [mail for mail in reversed(mails) if mail.organization == organization.slug]


def _describe(notice: Any) -> str:
    used_at = notice.last_used_at
    line = _LINES[notice.kind].format(
        name=notice.name,
        end=f"{notice.ends_at:%d %b %Y, %H:%M} UTC",
        used=f"{used_at:%d %b %Y, %H:%M} UTC" if used_at else "never",
    )
    return f"{line} From: {notice.last_used_from}." if notice.last_used_from else line


def _path(app: Flask, organization: Organization, notice: Any) -> str:
    values = {"org_slug": organization.slug, "key_id": notice.key_id}
    return app.url_map.bind("").build("orgkeys.key", values)
