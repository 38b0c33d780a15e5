"""The command that brings digests without a pepper behind one."""

from __future__ import annotations

import sys
from functools import partial

import click

from ..keys import peppers
from ..state import state_of
from .group import as_json, commands, commit
from .output import counted, print_json


@commands.command("rehash")
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=500,
    show_default=True,
    help="Keys per transaction.",
)
@click.option("--dry-run", is_flag=True, help="Count the keys, and change none.")
@as_json
def rehash(batch: int, dry_run: bool, as_json: bool) -> None:
    """Wrap the digests that were made without a pepper.

    In every organisation, with the newest of ORGKEYS_PEPPERS. No key has to be used for it, and
    every key stays valid. Each batch is a transaction of its own, so you can stop this at any time,
    and run it again.
    """
    state = state_of()
    pepper = next(iter(state.settings.peppers), None)
    if pepper is None:
        raise click.ClickException("ORGKEYS_PEPPERS is empty: configure a pepper first.")
    plain = peppers.count_plain(state.keys)
    wrapped = 0 if dry_run else _wrap_all(pepper, batch, plain)
    if as_json:
        print_json({"plain": plain, "wrapped": wrapped})
    elif dry_run:
        click.echo(f"Would rehash {counted(plain)}.")
    else:
        click.echo(f"Rehashed {counted(wrapped)}.")


def _wrap_all(pepper: bytes, batch: int, plain: int) -> int:
    keys = state_of().keys
    is_shown = bool(plain) and sys.stderr.isatty()
    wrapped, after = 0, ""
    with click.progressbar(
        length=plain, label="Rehashing", file=sys.stderr, hidden=not is_shown
    ) as bar:
        while True:
            wrap = partial(peppers.wrap_plain, keys, pepper, after=after, limit=batch)
            count, last = commit(wrap)
            if last is None:
                break
            wrapped, after = wrapped + count, last
            bar.update(count)
    return wrapped
