"""The command ``flask orgkeys notify``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from .. import signals
from ..keys import notices
from ..keys.document import plain_id, timestamp
from ..keys.notices import EXPIRED_STILL_CALLED, Notice
from ..state import AppState, state_of
from .group import as_json, commands
from .output import minute, printing_json_list

logger: logging.Logger = logging.getLogger(__name__)


@commands.command("notify")
@click.option("--dry-run", is_flag=True, help="Print the notices that are due, and send none.")
@as_json
def notify(dry_run: bool, as_json: bool) -> None:
    """Tell the app's receivers which keys end soon. For cron, once a day or more often.

    Sends the signal notices_due once for each organisation with something due. Each notice is told
    once: a key that expires within a threshold of ORGKEYS_NOTICE_DAYS, a secret that a rotation
    has replaced and that ends so soon, and an expired key that is still called. Exits with 1 if
    there is no receiver, or if one fails: its organisation is told again by the next run.
    """
    state = state_of()
    if not dry_run and not signals.notices_due.has_receivers_for(state.authenticator.app):
        raise click.ClickException(
            "nobody receives the signal notices_due, so that no notice was sent. Connect a "
            "receiver: @signals.notices_due.connect."
        )
    failed = 0
    with _printing(as_json) as print_notice:
        for organization_id, found in _told(state, dry_run):
            failed += found is None
            for notice in found or ():
                print_notice(organization_id, notice)
    if failed:
        raise click.ClickException(f"{_organizations(failed)} could not be told")


def _told(state: AppState, dry_run: bool) -> Iterator[tuple[Any, Sequence[Notice] | None]]:
    """Tell every organisation with something due, and give its notices; ``None`` if that failed."""
    now = datetime.now(UTC)
    if not dry_run:
        notices.forget_deleted(state.keys)
        state.host.session.commit()
    due = notices.organizations(state.keys, now, state.settings.notice_days)
    with _progress(due) as organization_ids:
        for organization_id in organization_ids:
            try:
                found = _tell(state, organization_id, now, dry_run)
            except Exception:
                state.host.session.rollback()
                logger.exception("the notices of organisation %r are not sent", organization_id)
                yield organization_id, None
            else:
                yield organization_id, found


def _tell(state: AppState, organization_id: Any, now: datetime, dry_run: bool) -> Sequence[Notice]:
    store, thresholds = state.keys, state.settings.notice_days
    if dry_run:
        return notices.due_in(store, organization_id, now, thresholds)
    found = notices.claim_due(store, organization_id, now, thresholds)
    if found:
        app = state.authenticator.app
        signals.notices_due.send(
            app, _async_wrapper=app.ensure_sync, organization_id=organization_id, notices=found
        )
    state.host.session.commit()
    return found


@contextmanager
def _progress(organization_ids: Sequence[Any]) -> Iterator[Iterator[Any]]:
    # Elsewhere than at a terminal click prints a line for it: cron would send a mail with it.
    if not organization_ids or not sys.stderr.isatty():
        yield iter(organization_ids)
        return
    with click.progressbar(organization_ids, label="Notifying", file=sys.stderr) as bar:
        yield iter(bar)


@contextmanager
def _printing(as_json: bool) -> Iterator[Callable[[Any, Notice], None]]:
    """Print notices one after another: the list of all of them may be long."""
    if as_json:
        with printing_json_list() as print_element:
            yield lambda organization_id, notice: print_element(_document(organization_id, notice))
        return
    yield _print_line


def _print_line(organization_id: Any, notice: Notice) -> None:
    if sys.stderr.isatty():
        # The line of the progress bar.
        click.echo("\r\x1b[K", nl=False, err=True)
    click.echo(f"{organization_id}  {notice.key_id}  {_line(notice)}  {notice.name}")


def _line(notice: Notice) -> str:
    if notice.kind == EXPIRED_STILL_CALLED:
        return f"expired {minute(notice.ends_at)}, last called {minute(notice.last_used_at)}"
    subject = "expires" if notice.kind == notices.EXPIRING else "old secret ends"
    return f"{subject} {minute(notice.ends_at)}, last used {minute(notice.last_used_at)}"


def _document(organization_id: Any, notice: Notice) -> dict[str, Any]:
    return {
        "organization_id": plain_id(organization_id),
        "kind": notice.kind,
        "key_id": notice.key_id,
        "name": notice.name,
        "ends_at": timestamp(notice.ends_at),
        "days": notice.days,
        "created_by": notice.created_by,
        "last_used_at": timestamp(notice.last_used_at),
        "last_used_from": notice.last_used_from,
    }


def _organizations(number: int) -> str:
    return "1 organisation" if number == 1 else f"{number} organisations"
