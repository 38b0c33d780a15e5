"""Output of the commands: tables, JSON documents, times, numbers, and new keys."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

output: Callable[[Command], Command] = click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the key to FILE, a new file for you alone, not to standard output.",
)
"""The option of a command that prints a new key, for :func:`secret_output`."""


def minute(moment: datetime | None) -> str:
    """Return a time in UTC for people."""
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"


def counted(number: int) -> str:
    """Return the number of keys in words."""
    return f"{number} key" if number == 1 else f"{number} keys"


def print_json(value: Any) -> None:
    """Print a JSON document on standard output."""
    click.echo(as_json_text(value))


def as_json_text(value: Any) -> str:
    """Return a value as the text of a JSON document."""
    return json.dumps(value, indent=2)


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


def escape_unencodable(*streams: Any) -> None:
    """Have text streams escape the characters that their encoding does not have, like cp1252 on
    Windows: a key's name may hold any.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def secret_output(path: Path | None, *, unless: str) -> Iterator[Callable[[str], None]]:
    """Give a function that writes a new key, to be called before the change is committed: without
    it, nobody would have the key.

    A retried change calls it again, with the same text: it writes once. If the change fails, the
    file is deleted; on standard output, a message says that the key is void.

    :param path: a file that must not exist; ``None`` for standard output.
    :param unless: the consequence if the key cannot be written, for the error.
    """
    written: list[str] = []
    try:
        with _opened(path, unless) as stream:
            yield lambda text: _write_once(stream, text, written, unless)
    except BaseException:
        if path is None and written:
            click.echo(f"The key on standard output is void: {unless}.", err=True)
        raise


@contextmanager
def _opened(path: Path | None, unless: str) -> Iterator[TextIO]:
    if path is None:
        if sys.stdout is None:
            raise click.ClickException(f"standard output is closed, so that {unless}")
        yield sys.stdout
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"--output {path}: {error.strerror}, so that {unless}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_once(stream: TextIO, text: str, written: list[str], unless: str) -> None:
    if written:
        return
    try:
        click.echo(text, file=stream)
        stream.flush()
    except OSError as error:
        raise click.ClickException(
            f"the key cannot be written, so that {unless}: {error}"
        ) from None
    written.append(text)
