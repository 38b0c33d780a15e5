"""The group of commands, their common options, and their errors."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import sqlalchemy as sa
from flask.cli import AppGroup, ScriptInfo

from ..config.settings import DEFAULTS, MAX_EXPIRY_DAYS
from ..host import LoaderFailed
from ..keys.database import UNANSWERED, committed, reason_of
from ..keys.redaction import redacted, without_secret
from ..state import AppState, state_of
from .output import escape_unencodable

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Unanswered(click.ClickException):
    """The database cannot be asked."""

    exit_code = 3


class Commands(AppGroup):
    """The group: it reports an error of the database in one line, and repeats no key."""

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
        escape_unencodable(sys.stdout, sys.stderr)
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _without_keys(error, ctx) from None
        except UNANSWERED as error:
            raise Unanswered(f"the database cannot be asked: {reason_of(error)}") from error
        except LoaderFailed as error:
            raise click.ClickException(str(error)) from error
        except sa.exc.IntegrityError as error:
            raise click.ClickException(f"the database refuses it: {reason_of(error)}") from error


commands: AppGroup = Commands("orgkeys", help="Manage the API keys of an organisation.")

DAYS = click.IntRange(1, MAX_EXPIRY_DAYS)

as_json: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)
by: Callable[[Command], Command] = click.option(
    "--by", metavar="WHO", help="Your name for the audit record. [default: cli:<your login name>]"
)


def organization_id_of(state: AppState, slug: str) -> Any:
    """Return the id of an organisation, as its URL names it."""
    if state.host.organization_loader is None:
        raise click.ClickException("the app has no @orgkeys.organization_loader")
    organization = state.host.load_organization(slug)
    if organization is None:
        # Redacted: a whole key may have been given instead.
        raise click.ClickException(
            f"no organisation {without_secret(slug, state.settings.prefix)!r}"
        )
    return organization.id


def commit(change: Callable[[], T]) -> T:
    """Make a change and commit it; a wrong argument ends the command with a message."""
    try:
        return committed(state_of().host.session, change)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def login_name() -> str:
    """Return the name of the operating system's user, for the record."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _without_keys(error: click.ClickException, ctx: click.Context | None) -> click.ClickException:
    """Redact keys in an error's message: a key may have been given in the wrong place, and a
    pipeline keeps its standard error.
    """
    prefix = DEFAULTS["PREFIX"]
    if ctx is not None:
        prefix = state_of(ctx.ensure_object(ScriptInfo).load_app()).settings.prefix
    text = redacted(error.format_message(), prefix)
    vars(error)["format_message"] = lambda: text
    return error
