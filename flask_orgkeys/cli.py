"""The commands ``flask orgkeys ...``."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from .doctor import UNSAFE, examine
from .forms import NEVER
from .guards import load_organization
from .leaks import FORMATS, scan_rule
from .selection import CURRENT, STATUSES
from .state import AppState, state_of
from .texts import public_id

commands: AppGroup = AppGroup("orgkeys", help="Manage the API keys of an organisation.")


@commands.command("create")
@click.argument("organization")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--scope", "scopes", multiple=True, required=True, help="May be repeated.")
@click.option("--expires-in", metavar="DAYS|never", help="Lifetime. [default: as on the page]")
@click.option("--by", metavar="WHO", help="For the record. [default: cli:<your login name>]")
def create(
    organization: str, name: str, scopes: tuple[str, ...], expires_in: str | None, by: str | None
) -> None:
    """Create a key for ORGANIZATION, as its URL names it.

    Prints the key alone on standard output, so that it can be piped into a secret store. It is
    not shown again.
    """
    state = state_of()
    organization_id = _organization_id(state, organization)
    try:
        issued = state.orgkeys.create_key(
            organization_id,
            name=name,
            scopes=scopes,
            expires_at=_expires_at(state, expires_in),
            created_by=by or _login_name(),
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    state.orgkeys.db.session.commit()
    key = issued.key
    expires = "never expires" if key.expires_at is None else f"expires {key.expires_at:%Y-%m-%d}"
    click.echo(f"Created {key.id} {key.name!r}: {' '.join(key.scopes)}; {expires}.", err=True)
    click.echo(issued.token)


@commands.command("list")
@click.argument("organization")
@click.option("--status", type=click.Choice(STATUSES), default=CURRENT, show_default=True)
def list_(organization: str, status: str) -> None:
    """List the keys of ORGANIZATION, as its URL names it, newest first."""
    state = state_of()
    organization_id = _organization_id(state, organization)
    now = datetime.now(UTC)
    keys = state.orgkeys.list_keys(organization_id, status=status)
    rows = [("ID", "STATUS", "LAST USED", "EXPIRES", "SCOPES", "NAME")]
    rows += [
        (
            key.id,
            key.status(now),
            _minute(key.last_used_at),
            _minute(key.expires_at),
            " ".join(key.scopes),
            key.name,
        )
        for key in keys
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


@commands.command("revoke")
@click.argument("organization")
@click.argument("key_id")
@click.option("--by", metavar="WHO", help="For the record. [default: cli:<your login name>]")
@click.option("--yes", is_flag=True, help="Do not ask.")
def revoke(organization: str, key_id: str, by: str | None, yes: bool) -> None:
    """Revoke a key of ORGANIZATION, as its URL names it. This cannot be undone.

    KEY_ID is the key's id, or its start as the pages show it.
    """
    state = state_of()
    organization_id = _organization_id(state, organization)
    key_id = public_id(key_id, state.settings.prefix)
    key = state.orgkeys.get_key(organization_id, key_id)
    if key is None:
        raise click.ClickException(f"organisation {organization!r} has no such API key")
    if not yes:
        last_used = f"last used {_minute(key.last_used_at)}"
        click.confirm(f"Revoke {key.name!r}, {last_used}?", abort=True, err=True)
    try:
        revoked = state.orgkeys.revoke_key(organization_id, key_id, revoked_by=by or _login_name())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    state.orgkeys.db.session.commit()
    click.echo(f"{'Revoked' if revoked else 'Was revoked already:'} {key_id}", err=True)


@commands.command("scan-rule")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(tuple(FORMATS)),
    default="gitleaks",
    show_default=True,
)
def print_scan_rule(format_name: str) -> None:
    """Print the rule by which a secret scanner finds this app's keys."""
    click.echo(scan_rule(format_name, state_of().settings.prefix), nl=False)


@commands.command("check")
def check() -> None:
    """Name what is weak or missing in the app's set-up, with the remedy.

    Exits with 1 where something is unsafe.
    """
    findings = list(examine(current_app._get_current_object()))  # type: ignore[attr-defined]
    for finding in findings:
        click.echo(f"{finding.severity}: {finding.problem}\n  {finding.remedy}")
    if any(finding.severity == UNSAFE for finding in findings):
        raise SystemExit(1)
    click.echo("Nothing unsafe found.")


def _organization_id(state: AppState, slug: str) -> Any:
    if state.orgkeys.load_organization is None:
        raise click.ClickException("the app has no @orgkeys.organization_loader")
    organization = load_organization(state, slug)
    if organization is None:
        raise click.ClickException(f"no organisation {slug!r}")
    return organization.id


def _expires_at(state: AppState, expires_in: str | None) -> datetime | None:
    settings = state.settings
    if expires_in == NEVER or (expires_in is None and settings.default_expiry_days is None):
        if not settings.allow_no_expiry:
            raise click.UsageError("ORGKEYS_ALLOW_NO_EXPIRY is off: give --expires-in DAYS.")
        return None
    text = str(settings.default_expiry_days) if expires_in is None else expires_in
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 5 and int(text)):
        raise click.BadParameter(f"{text!r}: write a number of days, or 'never'.")
    return datetime.now(UTC) + timedelta(days=int(text))


def _login_name() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _minute(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"
