"""Output of the commands: tables, JSON documents, times and numbers in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from textwrap import indent
from typing import Any

import click


def minute(moment: datetime | None) -> str:
    """Return a time in UTC for people."""
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"


def counted(number: int) -> str:
    """Return how many keys those are, in words."""
    return f"{number} key" if number == 1 else f"{number} keys"


def print_json(value: Any) -> None:
    """Print a JSON document on standard output."""
    click.echo(json.dumps(value, indent=2))


@contextmanager
def printing_json_list() -> Iterator[Callable[[Any], None]]:
    """Print a JSON list on standard output, an element at a time: a long one is never in memory."""
    separator = "["

    def print_element(value: Any) -> None:
        nonlocal separator
        click.echo(f"{separator}\n{indent(json.dumps(value, indent=2), '  ')}", nl=False)
        separator = ","

    yield print_element
    click.echo("[]" if separator == "[" else "\n]")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns on standard output."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
