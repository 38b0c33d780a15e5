"""Commands that look back: ``flask orgkeys events`` and ``review``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from ..keys.activity import EventFilter, each_event
from ..keys.document import event_document, plain_id
from ..keys.event_csv import csv_lines
from ..keys.models import KeyEvent
from ..keys.organization_ids import EVERY_ORGANIZATION
from ..keys.reviewing import SCOPES_NEVER_NEEDED, Review
from ..keys.reviewing import review as reviewed
from ..keys.times import to_utc
from ..state import AppState, state_of
from .group import as_json, commands, organization_id_of
from .output import minute, print_table, printing_json_list


@commands.command("events")
@click.argument("organization", required=False)
@click.option("--since", metavar="TIME", help="Only those from TIME on: ISO 8601, in UTC.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@as_json
def events(organization: str | None, since: str | None, as_csv: bool, as_json: bool) -> None:
    """Print the audit record, newest first.

    Of ORGANIZATION, its name in URLs, or of every organisation.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    state = state_of()
    selected = EventFilter(since=_time(since))
    found = each_event(state.keys, _organization_id(state, organization), selected)
    if as_csv:
        for line in csv_lines(found):
            click.echo(line, nl=False)
    elif as_json:
        with printing_json_list() as print_element:
            for event in found:
                print_element(event_document(event))
    else:
        print_table([_HEADING, *_rows(found)])


@commands.command("review")
@click.argument("organization", required=False)
@as_json
def review(organization: str | None, as_json: bool) -> None:
    """List the keys that deserve a look.

    Of ORGANIZATION, its name in URLs, or of every organisation: those that are unused for 90 days,
    do not expire, hold scopes that they never needed, have ended but are still called, or are still
    called with their old secret.
    """
    state, now = state_of(), datetime.now(UTC)
    found = reviewed(state.keys, _organization_id(state, organization), now)
    if as_json:
        with printing_json_list() as print_element:
            for each in found:
                print_element(_document(each))
    else:
        _print_reviews(list(found))


_HEADING = ("WHEN", "ORGANIZATION", "KEY", "ACTION", "ACTOR", "ADDRESS")


def _rows(found: Iterator[KeyEvent]) -> Iterator[tuple[str, ...]]:
    for event in found:
        yield (
            minute(event.occurred_at),
            str(event.organization_id),
            event.key_id,
            event.action,
            event.actor or "-",
            event.address or "-",
        )


def _print_reviews(found: list[Review]) -> None:
    if not found:
        click.echo("No key needs a look.")
        return
    rows = [("ID", "ORGANIZATION", "FINDINGS", "NAME")]
    rows += [
        (each.key.id, str(each.key.organization_id), ", ".join(_worded(each)), each.key.name)
        for each in found
    ]
    print_table(rows)


def _worded(each: Review) -> Iterator[str]:
    for finding in each.findings:
        words = finding.replace("_", " ")
        yield (
            f"{words} ({' '.join(each.never_needed)})" if finding == SCOPES_NEVER_NEEDED else words
        )


def _document(each: Review) -> dict[str, Any]:
    return {
        "key_id": each.key.id,
        "name": each.key.name,
        "organization_id": plain_id(each.key.organization_id),
        "findings": list(each.findings),
    }


def _organization_id(state: AppState, slug: str | None) -> Any:
    return EVERY_ORGANIZATION if slug is None else organization_id_of(state, slug)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return to_utc(moment.replace(tzinfo=moment.tzinfo or UTC), "since")
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: write a time such as 2026-01-31 or 2026-01-31T12:00Z.",
            param_hint="'--since'",
        ) from None
