"""``python -m example_app.demo``: serve Cockpit on this machine, with a key ready to use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from sqlalchemy import select
from werkzeug.serving import make_server

from .app import create_app
from .extensions import db, orgkeys
from .models import Organization
from .seed import PASSWORD, USERS, seed_example_keys

HOST = "127.0.0.1"
KEY_NAME = "Demo pipeline"
ACTOR = "make demo"


@click.command()
@click.option("--port", envvar="PORT", type=click.IntRange(0, 65535), default=5000)
def main(port: int) -> None:
    """Serve until interrupted."""
    app = create_app()
    # Bound first: where the port is taken, the key of the demo that runs there stays alive.
    server = make_server(HOST, port, app, threaded=True)
    with app.app_context():
        seed_example_keys()
        token = issue_demo_key()
    click.echo(welcome(f"http://{HOST}:{server.port}", token))
    server.serve_forever()


def issue_demo_key() -> str:
    """Create the key of this start, and revoke those of earlier ones. Returns its text."""
    organization = Organization.by_slug("acme")
    if organization is None:
        raise click.ClickException("the database has no organisation acme: start with an empty one")
    key = orgkeys.ApiKey
    earlier = db.session.scalars(
        select(key.id).where(
            key.organization_id == organization.id,
            key.created_by == ACTOR,
            key.revoked_at.is_(None),
        )
    )
    for key_id in earlier.all():
        orgkeys.revoke_key(organization.id, key_id, revoked_by=ACTOR)
    issued = orgkeys.create_key(
        organization.id,
        name=KEY_NAME,
        scopes=["project:deploy"],
        expires_at=datetime.now(UTC) + timedelta(days=30),
        created_by=ACTOR,
    )
    db.session.commit()
    return issued.token


def welcome(url: str, token: str) -> str:
    """Return what the terminal shows before serving."""
    sign_ins = "\n".join(
        f"  {email}  {PASSWORD}  {slug}, {'manages its keys' if admin else 'may not manage keys'}"
        for email, (slug, admin) in USERS.items()
    )
    return f"""
Cockpit is on {url}

Sign in as
{sign_ins}

A key for acme that may deploy, until the demo is started again:
  {token}

Deploy with it, then look at {url}/o/acme/
  curl -X POST -H "Authorization: Bearer {token}" {url}/api/o/acme/projects/storefront/deployments

Its administrators get mail about keys that end soon: see {url}/o/acme/settings/mailbox after
  .venv/bin/flask --app example_app orgkeys notify

Ctrl-C stops it.
"""


if __name__ == "__main__":
    main()
