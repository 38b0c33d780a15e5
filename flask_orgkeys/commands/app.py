"""Commands on a key at hand, on all keys, and on the app."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from flask import current_app

from .. import tokens
from ..config.scopes import undeclared
from ..guards.access_rule import ANY
from ..guards.dry_run import dry_run
from ..guards.endpoints import Route, is_by_possession, routes_of, unused_scopes
from ..keys.document import document, timestamp
from ..leaks import FORMATS, scan_rule
from ..management import management
from ..state import AppState, state_of
from .doctor import KINDS, UNSAFE, examine
from .group import DAYS, as_json, by, commands, commit, login_name, organization_id_of
from .keys import print_key
from .output import counted, print_json, print_table

LONGEST_INPUT_BYTES = 4096


@commands.command("verify")
@click.argument("refused", metavar="", nargs=-1)
@click.option("--scope", "scopes", multiple=True, help="A scope that the key must hold.")
@click.option("--organization", help="The organisation that the key must belong to.")
@as_json
def verify(
    refused: tuple[str, ...], scopes: tuple[str, ...], organization: str | None, as_json: bool
) -> None:
    """Tell whether a key on standard input is valid.

    Shows the key's organisation, name and state. The key is no argument, because arguments stay in
    the shell's history. It is not printed, and this is no use of it. The exit code is 1 if the key
    is refused.
    """
    if refused:
        # Without what it was, which click would repeat.
        raise click.UsageError(
            "Give the key on standard input. Was it an argument just now? Then it is in the "
            "shell's history: revoke it."
        )
    state = state_of()
    unknown = undeclared(scopes, state.settings.scopes)
    if unknown:
        declared = ", ".join(map(repr, state.settings.scopes))
        raise click.BadParameter(f"no such scope: {unknown[0]!r}; there is {declared}.")
    wanted = ANY if organization is None else organization_id_of(state, organization)
    verdict = dry_run(state, _token_from_input(state), scopes=scopes, organization_id=wanted)
    code = None if verdict.refusal is None else verdict.refusal.problem_code
    if as_json:
        key = None if verdict.key is None else document(verdict.key, state.settings)
        print_json({"passes": code is None, "code": code, "key": key})
    else:
        click.echo("It would pass." if code is None else f"It would be refused: {code}.")
        if verdict.key is not None:
            print_key(verdict.key, state)
    if code is not None:
        raise SystemExit(1)


@commands.command("prune")
@click.option(
    "--older-than",
    type=DAYS,
    metavar="DAYS",
    required=True,
    help="Only keys that were revoked or expired longer ago.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=500,
    show_default=True,
    help="Keys per transaction.",
)
@click.option("--dry-run", is_flag=True, help="Count the keys, and delete none.")
@by
@as_json
def prune(older_than: int, batch: int, dry_run: bool, by: str | None, as_json: bool) -> None:
    """Delete the rows of keys that ended long ago.

    In every organisation. The audit record of each key stays. Each batch is a transaction of its
    own, so you can stop this at any time, and run it again.
    """
    actor = by or login_name()
    ended_before = datetime.now(UTC) - timedelta(days=older_than)
    total = management.count_ended_keys(ended_before)
    pruned = 0
    with _progress(0 if dry_run else total) as advance:
        while not dry_run:
            count = commit(
                lambda: management.prune_keys(ended_before, limit=batch, pruned_by=actor)
            )
            if not count:
                break
            pruned += count
            advance(count)
    if as_json:
        print_json({"ended_before": timestamp(ended_before), "ended": total, "pruned": pruned})
    elif dry_run:
        click.echo(f"Would prune {counted(total)}.")
    else:
        click.echo(f"Pruned {counted(pruned)}.")


@commands.command("routes")
@click.option("--under", metavar="PATH", multiple=True, help="A path of the API.")
@click.option(
    "--open",
    "open_",
    metavar="ENDPOINT",
    multiple=True,
    help="An endpoint that is open on purpose; repeatable.",
)
@as_json
def routes(under: tuple[str, ...], open_: tuple[str, ...], as_json: bool) -> None:
    """List the endpoints with the scopes that they require.

    Also lists the scopes that no endpoint requires. With --under, shows only endpoints of the API:
    PATH itself and the URL rules below it, as "/api/o/<org_slug>" is below "/api". The exit code is
    1 if one of them needs no key and is not named by --open, or if there is none.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    every, unused = routes_of(app), unused_scopes(app)
    _check_options(every, under, open_)
    by_possession = {
        endpoint for endpoint, view in app.view_functions.items() if is_by_possession(view)
    }
    shown = [route for route in every if not under or any(map(route.is_under, under))]
    unguarded = [
        route
        for route in shown
        if under and route.scopes is None and route.endpoint not in {*open_, *by_possession}
    ]
    if as_json:
        documents = [[asdict(route) for route in some] for some in (shown, unguarded)]
        print_json({"routes": documents[0], "unguarded": documents[1], "unused_scopes": unused})
    else:
        _print_routes(shown)
        if unused:
            click.echo(f"\nNo endpoint demands {', '.join(unused)}.")
    if under and not shown:
        raise click.ClickException(f"there is no endpoint under {' or '.join(under)}")
    if unguarded:
        names = ", ".join(dict.fromkeys(route.endpoint for route in unguarded))
        raise click.ClickException(f"no key is needed for {names}")


@commands.command("check")
@click.option(
    "--accept",
    "accepted",
    metavar="NAME",
    multiple=True,
    help="A finding to leave out, like no-wall or no-wall:whoami. May be repeated.",
)
@as_json
def check(accepted: tuple[str, ...], as_json: bool) -> None:
    """Find weaknesses in the app's set-up, with their remedies.

    The exit code is 1 if something is unsafe.
    """
    unknown = [name for name in accepted if name.partition(":")[0] not in KINDS]
    if unknown:
        raise click.BadParameter(f"no such finding: {unknown[0]!r}; there is {', '.join(KINDS)}.")
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    findings = [
        finding
        for finding in examine(app)
        if not {finding.name, finding.name.partition(":")[0]} & set(accepted)
    ]
    is_safe = all(finding.severity != UNSAFE for finding in findings)
    if as_json:
        print_json({"safe": is_safe, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            remedy = finding.remedy.replace("\n", "\n  ")
            click.echo(f"{finding.severity}: {finding.problem} ({finding.name})\n  {remedy}")
        if is_safe:
            click.echo("Nothing unsafe found.")
    if not is_safe:
        raise SystemExit(1)


@commands.command("scan-rule")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(tuple(FORMATS)),
    default="gitleaks",
    show_default=True,
    help="The scanner.",
)
def print_scan_rule(format_name: str) -> None:
    """Print a rule for secret scanners that finds this app's keys."""
    click.echo(scan_rule(format_name, state_of().settings.prefix), nl=False)


def _token_from_input(state: AppState) -> tokens.Token | None:
    # A function of its own, so that the raw text is in no frame that can fail later on: error
    # trackers send the local variables of each.
    if sys.stdin.isatty():
        text = str(click.prompt("API key", hide_input=True, err=True))
    else:
        text = sys.stdin.buffer.read(LONGEST_INPUT_BYTES).decode("ascii", "replace")
    return tokens.parse(text.strip(), state.settings.prefix)


@contextmanager
def _progress(length: int) -> Iterator[Callable[[int], Any]]:
    # Elsewhere than at a terminal click prints a line for it: cron would send a mail with it.
    if not length or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=length, label="Pruning", file=sys.stderr) as bar:
        yield bar.update


def _check_options(every: list[Route], under: tuple[str, ...], endpoints: tuple[str, ...]) -> None:
    for path in under:
        if not path.startswith("/"):
            raise click.BadParameter(f"{path!r}: write a path, like '/api'.")
    known = {route.endpoint for route in every}
    unknown = [endpoint for endpoint in endpoints if endpoint not in known]
    if unknown:
        raise click.BadParameter(f"there is no endpoint {unknown[0]!r}.")


def _print_routes(shown: list[Route]) -> None:
    rows = [("ENDPOINT", "METHODS", "RULE", "WALL", "SCOPES")]
    for route in shown:
        scopes = "-" if route.scopes is None else " ".join(route.scopes) or "(any key)"
        methods = ", ".join(route.methods)
        rows.append((route.endpoint, methods, route.rule, route.wall or "-", scopes))
    print_table(rows)
