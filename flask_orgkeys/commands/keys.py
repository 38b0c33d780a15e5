"""Commands on the keys of an organisation: ``flask orgkeys create``, ``list``, ``show`` and
``revoke``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from .. import tokens
from ..config.settings import NEVER
from ..keys.document import document, use_document
from ..keys.events import Actor
from ..keys.models import ACTIVE, ApiKey, KeyUse
from ..keys.redaction import public_id
from ..keys.selection import CURRENT, EXPIRIES, STATUSES, USES
from ..keys.store import IssuedKey
from ..management import management
from ..state import AppState, state_of
from .group import DAYS, Command, as_json, by, commands, commit, login_name, organization_id_of
from .output import as_json_text, counted, minute, output, print_json, print_table, secret_output

expires_in: Callable[[Command], Command] = click.option(
    "--expires-in", metavar="DAYS|never", help="Lifetime. [default: as on the page]"
)


@commands.command("create")
@click.argument("organization")
@click.option("--name", required=True, help="The purpose of the key.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, help="A scope of the key; repeatable."
)
@expires_in
@click.option("--note", help="A note for the people who manage the key.")
@click.option("--may-rotate-itself", is_flag=True, help="Let the key replace its own secret.")
@output
@by
@as_json
def create(
    organization: str,
    name: str,
    scopes: tuple[str, ...],
    expires_in: str | None,
    note: str | None,
    output: Path | None,
    may_rotate_itself: bool,
    by: str | None,
    as_json: bool,
) -> None:
    """Create a key for ORGANIZATION, and print it once.

    ORGANIZATION is the organisation's name in URLs. The key stands alone on standard output, for a
    pipe into a secret store. An app that prints at its start would add to that: use --output.
    """
    state = state_of()
    organization_id = organization_id_of(state, organization)
    expires_at = expires_at_of(state, expires_in)
    actor = by or login_name()
    # Once for all retries: the first has printed it.
    token = tokens.generate(state.settings.prefix)
    now = datetime.now(UTC)

    def create_and_write() -> ApiKey:
        issued = state.keys.create(
            organization_id,
            name=name,
            scopes=scopes,
            expires_at=expires_at,
            actor=Actor.of(actor),
            note=note,
            may_rotate_itself=may_rotate_itself,
            token=token,
            now=now,
        )
        write(issued_text(issued, state, as_json))
        return issued.key

    with secret_output(output, unless="no key was created") as write:
        key = commit(create_and_write)
    expires = "never expires" if key.expires_at is None else f"expires {key.expires_at:%Y-%m-%d}"
    click.echo(f"Created {key.id} {key.name!r}: {' '.join(key.scopes)}; {expires}.", err=True)


def issued_text(issued: IssuedKey, state: AppState, as_json: bool) -> str:
    """Return a new key as a command prints it."""
    if not as_json:
        return issued.token
    return as_json_text({**document(issued.key, state.settings), "token": issued.token})


@commands.command("list")
@click.argument("organization")
@click.option(
    "--status",
    type=click.Choice(STATUSES),
    help=f"[default: {CURRENT}; with --expiring-within: {ACTIVE}]",
)
@click.option("--search", metavar="TEXT", help="Only keys with TEXT in the name, or id TEXT….")
@click.option("--scope", metavar="SCOPE", help="Only keys with SCOPE.")
@click.option("--created-by", metavar="WHO", help="Only keys that WHO created.")
@click.option("--use", type=click.Choice(USES), help="As the page's filters by use.")
@click.option("--expires", type=click.Choice(EXPIRIES), help="As the page's filters by expiry.")
@click.option("--unused-for", type=DAYS, metavar="DAYS", help="Only keys not used for DAYS.")
@click.option("--expiring-within", type=DAYS, metavar="DAYS", help="Only keys that expire in DAYS.")
@as_json
def list_(
    organization: str,
    status: str | None,
    search: str | None,
    scope: str | None,
    created_by: str | None,
    use: str | None,
    expires: str | None,
    unused_for: int | None,
    expiring_within: int | None,
    as_json: bool,
) -> None:
    """List the keys of ORGANIZATION, newest first.

    ORGANIZATION is the organisation's name in URLs. A key that was never used counts as unused
    since its creation.
    """
    state, now = state_of(), datetime.now(UTC)
    if (unused_for is not None or use is not None) and state.settings.last_used_step is None:
        raise click.UsageError("ORGKEYS_LAST_USED_SECONDS is None: last uses are not kept.")
    organization_id = organization_id_of(state, organization)
    try:
        keys = management.list_keys(
            organization_id,
            status=status or (CURRENT if expiring_within is None else ACTIVE),
            search=search or "",
            scope=scope,
            created_by=created_by,
            use=use,
            expires=expires,
            unused_since=None if unused_for is None else now - timedelta(unused_for),
            expires_before=None if expiring_within is None else now + timedelta(expiring_within),
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json([document(key, state.settings) for key in keys])
    else:
        _print_list(keys, state, now)


@commands.command("show")
@click.argument("organization")
@click.argument("key_id")
@as_json
def show(organization: str, key_id: str, as_json: bool) -> None:
    """Show a key of ORGANIZATION, and its uses.

    ORGANIZATION is the organisation's name in URLs. KEY_ID is the key's id, or its start as the
    pages show it.
    """
    state = state_of()
    organization_id = organization_id_of(state, organization)
    key = key_of(state, organization, organization_id, key_id)
    uses = management.list_uses(organization_id, key.id)
    if as_json:
        found = [use_document(use) for use in uses]
        print_json({**document(key, state.settings), "uses": found})
    else:
        print_key(key, state)
        _print_uses(uses)


@commands.command("revoke")
@click.argument("organization", required=False)
@click.argument("key_id", required=False)
@click.option("--all", "every", is_flag=True, help="All keys of ORGANIZATION.")
@click.option(
    "--created-by",
    metavar="WHO",
    help="All keys that WHO created, of ORGANIZATION or of every organisation.",
)
@by
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def revoke(
    organization: str | None,
    key_id: str | None,
    every: bool,
    created_by: str | None,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Revoke one key, or several. This cannot be undone.

    ORGANIZATION is the organisation's name in URLs. KEY_ID is the key's id, or its start as the
    pages show it. Instead of it, --all or --created-by name several keys.
    """
    if sum((key_id is not None, every, created_by is not None)) != 1:
        raise click.UsageError("Name a KEY_ID, or --all, or --created-by.")
    if organization is None and created_by is None:
        raise click.UsageError("Missing argument 'ORGANIZATION'.")
    state, actor = state_of(), by or login_name()
    if key_id is not None:
        revoked = _revoke_one(state, str(organization), key_id, actor, yes)
    else:
        revoked = _revoke_several(state, organization, created_by, actor, yes)
    if as_json:
        print_json(revoked)


def print_key(key: ApiKey, state: AppState) -> None:
    """Print a key's values, one a line."""
    names = state.host.names_of([key.created_by, key.revoked_by])
    for name, value in document(key, state.settings).items():
        text = " ".join(value) if isinstance(value, list) else value
        if name == "last_used_at":
            text = _last_used(key, state)
        elif name.endswith("_at") or (name.endswith("_until") and text is not None):
            text = minute(getattr(key, name))
        elif name.endswith("_by") and names.get(value, value) != value:
            text = f"{value} ({names[value]})"
        click.echo(f"{name:<17}  {'-' if text is None else text}")


def _last_used(key: ApiKey, state: AppState) -> str:
    if state.settings.last_used_step is None:
        return "not recorded"
    return minute(key.last_used_at)


def _print_uses(uses: Sequence[KeyUse]) -> None:
    if not uses:
        return
    rows = [("LAST", "ENDPOINT", "OUTCOME", "SCOPES", "FROM", "AT LEAST")]
    rows += [
        (
            minute(use.last_at),
            use.endpoint,
            use.outcome,
            " ".join(use.scopes) or "-",
            use.address or "-",
            str(use.uses),
        )
        for use in uses
    ]
    click.echo()
    print_table(rows)


def _print_list(keys: Sequence[ApiKey], state: AppState, now: datetime) -> None:
    names = state.host.names_of(key.created_by for key in keys)
    rows = [("ID", "STATUS", "LAST USED", "EXPIRES", "CREATED", "BY", "SCOPES", "NAME")]
    rows += [
        (
            key.id,
            key.status(now),
            _last_used(key, state),
            minute(key.expires_at),
            minute(key.created_at),
            "-" if key.created_by is None else names[key.created_by],
            " ".join(key.scopes),
            key.name,
        )
        for key in keys
    ]
    print_table(rows)


def _revoke_one(
    state: AppState, organization: str, key_id: str, actor: str, yes: bool
) -> list[dict[str, Any]]:
    organization_id = organization_id_of(state, organization)
    key = key_of(state, organization, organization_id, key_id)
    key_id = key.id
    if not yes:
        last_used = f"last used {_last_used(key, state)}"
        click.confirm(f"Revoke {key.name!r}, {last_used}?", abort=True, err=True)
    revoked = commit(lambda: management.revoke_key(organization_id, key_id, revoked_by=actor))
    click.echo(f"{'Revoked' if revoked else 'Was revoked already:'} {key_id}", err=True)
    return [document(key, state.settings)] if revoked else []


def _revoke_several(
    state: AppState, organization: str | None, created_by: str | None, actor: str, yes: bool
) -> list[dict[str, Any]]:
    keys, revoke = _selected(state, organization, created_by)
    if not keys:
        click.echo("There is no key to revoke.", err=True)
        return []
    if not yes:
        whose = f" created by {created_by!r}" if created_by is not None else ""
        organizations = len({key.organization_id for key in keys})
        where = f"organisation {organization!r}"
        if organization is None:
            where = "1 organisation" if organizations == 1 else f"{organizations} organisations"
        click.confirm(f"Revoke {counted(len(keys))}{whose} in {where}?", abort=True, err=True)
    # Before the commit, after which each key would be read again.
    revoked = commit(lambda: [document(key, state.settings) for key in revoke(revoked_by=actor)])
    click.echo(f"Revoked {counted(len(revoked))}.", err=True)
    return revoked


def _selected(
    state: AppState, organization: str | None, created_by: str | None
) -> tuple[Sequence[ApiKey], Callable[..., Sequence[ApiKey]]]:
    """Return the keys to revoke, and the function that revokes them."""
    try:
        if organization is None:
            creator = created_by or ""
            keys = management.list_keys_created_by(creator)
            return keys, lambda **actor: management.revoke_keys_created_by(creator, **actor)
        organization_id = organization_id_of(state, organization)
        keys = management.list_keys(organization_id, created_by=created_by)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    return keys, lambda **actor: management.revoke_keys(
        organization_id, created_by=created_by, **actor
    )


def key_of(state: AppState, organization: str, organization_id: Any, text: str) -> ApiKey:
    """Return a key by its id, or by its start as the pages show it."""
    key = management.get_key(organization_id, public_id(text, state.settings.prefix))
    if key is None:
        raise click.ClickException(f"organisation {organization!r} has no such API key")
    return key


def expires_at_of(state: AppState, expires_in: str | None) -> datetime | None:
    """Return the expiry that ``--expires-in`` means, by default as on the page."""
    settings = state.settings
    if expires_in == NEVER or (expires_in is None and settings.default_expiry_days is None):
        if not settings.allow_no_expiry:
            raise click.UsageError("ORGKEYS_ALLOW_NO_EXPIRY is off: give --expires-in DAYS.")
        return None
    text = str(settings.default_expiry_days) if expires_in is None else expires_in
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 5 and int(text)):
        raise click.BadParameter(
            f"{text!r}: write a number of days, or 'never'.", param_hint="'--expires-in'"
        )
    return datetime.now(UTC) + timedelta(days=int(text))
