"""What all commands have in common: their group, what they print, and how they end."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import sqlalchemy as sa
from flask.cli import AppGroup, ScriptInfo

from .guards import UNANSWERED
from .models import ApiKey
from .settings import DEFAULTS, MAX_EXPIRY_DAYS, Settings
from .state import AppState, state_of
from .texts import redacted, without_secret
from .transactions import committed

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Unanswered(click.ClickException):
    """The database cannot be asked."""

    exit_code = 3


class Commands(AppGroup):
    """The group, which says in one line what the database has to say, and repeats no key."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            raise _without_keys(error, parent) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _without_keys(error, ctx) from None
        except UNANSWERED as error:
            raise Unanswered(f"the database cannot be asked: {_reason(error)}") from error
        except sa.exc.IntegrityError as error:
            raise click.ClickException(f"the database refuses it: {_reason(error)}") from error


commands: AppGroup = Commands("orgkeys", help="Manage the API keys of an organisation.")

DAYS = click.IntRange(1, MAX_EXPIRY_DAYS)

as_json: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)
by: Callable[[Command], Command] = click.option(
    "--by", metavar="WHO", help="For the record. [default: cli:<your login name>]"
)


def organization_id_of(state: AppState, slug: str) -> Any:
    """Return the id of an organisation, as its URL names it."""
    if state.host.organization_loader is None:
        raise click.ClickException("the app has no @orgkeys.organization_loader")
    organization = state.host.load_organization(slug)
    if organization is None:
        # Somebody may have given a whole key for one.
        raise click.ClickException(
            f"no organisation {without_secret(slug, state.settings.prefix)!r}"
        )
    return organization.id


def commit(change: Callable[[], T]) -> T:
    """Make a change and commit it; what is wrong with its arguments ends the command."""
    try:
        return committed(state_of().host.session, change)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def login_name() -> str:
    """Return who types, for the record."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def document(key: ApiKey, settings: Settings) -> dict[str, Any]:
    """Return a key as every command gives it with ``--json``."""
    organization_id = key.organization_id
    is_plain = isinstance(organization_id, int | str)
    return {
        "id": key.id,
        "name": key.name,
        "start": f"{settings.prefix}_{key.id}…",
        "scopes": list(key.scopes),
        "status": key.status(datetime.now(UTC)),
        "organization_id": organization_id if is_plain else str(organization_id),
        "created_at": timestamp(key.created_at),
        "created_by": key.created_by,
        "expires_at": timestamp(key.expires_at),
        "last_used_at": timestamp(key.last_used_at),
        "revoked_at": timestamp(key.revoked_at),
        "revoked_by": key.revoked_by,
    }


def timestamp(moment: datetime | None) -> str | None:
    """Return a time in UTC as ISO 8601 has it, always of the same length."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def minute(moment: datetime | None) -> str:
    """Return a time in UTC for people."""
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"


def counted(number: int) -> str:
    """Return how many keys those are, in words."""
    return f"{number} key" if number == 1 else f"{number} keys"


def print_json(value: Any) -> None:
    """Print a JSON document on standard output."""
    click.echo(json.dumps(value, indent=2))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns on standard output."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _without_keys(error: click.ClickException, ctx: click.Context | None) -> click.ClickException:
    """Have an error repeat of a key that was given in the wrong place its public start alone: what
    a pipeline writes to standard error is kept.
    """
    prefix = DEFAULTS["PREFIX"]
    if ctx is not None:
        prefix = state_of(ctx.ensure_object(ScriptInfo).load_app()).settings.prefix
    vars(error)["message"] = redacted(error.message, prefix)
    return error


def _reason(error: BaseException) -> str:
    # Without the statement and its values, which SQLAlchemy's own text has.
    cause = getattr(error, "orig", None) or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())
