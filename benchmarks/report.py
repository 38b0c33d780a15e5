"""The table of a run: Markdown that reads well in a terminal, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import apps
from .peers import peers
from .results import Row
from .subjects import HOT, NO_HEADER, RANDOM, VALID

BEGIN = "<!-- make bench-peers writes from here -->"
END = "<!-- to here -->"


def text(results: dict[str, Any]) -> str:
    """Return everything a run has found."""
    parts = [
        _machine(results),
        _timing(results["timing"]),
        _peers(results["timing"]),
        _instructions(results["instructions"]),
        _round_trips(results["round_trips"]),
        _load(results["load"]),
        _targets(results["targets"]),
        _absent(results["absent"]),
    ]
    return "\n\n".join(part for part in parts if part)


def put_into_page(found: str, page: Path) -> None:
    """Put the table in the place of the one on a page of the documentation."""
    head, _, rest = page.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n\n{found}\n\n{END}{tail}")


def _machine(results: dict[str, Any]) -> str:
    facts = dict(results["machine"])
    head = f"{facts.pop('processor')}, {facts.pop('cores')} cores, {facts.pop('system')}"
    versions = ", ".join(f"{name} {version}" for name, version in facts.items())
    before, after = results["load_average"]
    return f"{head}; {versions}. Load average {before:.1f} at the start, {after:.1f} at the end."


def _timing(rows: Sequence[Row]) -> str:
    """Return one line for each kind of request, with every app's added cost."""
    of = {_identity(row): row for row in rows}
    kinds = dict.fromkeys(
        _identity(row)[:-1] for row in rows if row["app"] in (apps.RAW, apps.ORGKEYS, apps.NAIVE)
    )
    lines = []
    for kind in kinds:
        raw, ours, naive = (of.get((*kind, app)) for app in (apps.RAW, apps.ORGKEYS, apps.NAIVE))
        bare = of[kind[0], kind[1], NO_HEADER, RANDOM, 0, apps.BARE]
        lines.append(
            [
                kind[0],
                f"{kind[4]:,}",
                _request(*kind[1:4]),
                _number(bare, "microseconds"),
                _number(raw, "added", "+"),
                _number(ours, "added", "+"),
                _number(naive, "added", "+"),
                _number(ours, "over_raw"),
                _number(naive, "over_raw"),
            ]
        )
    if not lines:
        return ""
    heads = (
        *("database", "keys", "request", "bare µs", "raw", "flask-orgkeys", "naive ORM"),
        *("flask-orgkeys ÷ raw", "naive ÷ raw"),
    )
    return _table(heads, lines)


def _identity(row: Row) -> tuple[str, str, str, str, int, str]:
    return row["database"], row["route"], row["case"], row["keys"], row["size"], row["app"]


def _request(route: str, case: str, keys: str) -> str:
    words = [case]
    if case == VALID:
        words.append("one hot key" if keys == HOT else "random keys")
    if route == apps.OPEN:
        words.append("unguarded route")
    elif route != apps.GUARDED:
        words.append("with the organisation, by `current_organization`")
    return ", ".join(words)


def _peers(rows: Iterable[Row]) -> str:
    lines = [
        [
            row["database"],
            row["app"],
            _number(row, "added", "+"),
            f"{row['over_raw']:,.1f}",
            row["bare_app"],
            f"{row['microseconds'] - row['added']:,.0f}",
        ]
        for row in rows
        if row["app"] in peers.APPS
    ]
    heads = ("database", "package", "adds µs", "÷ raw", "to bare", "of µs")
    return _table(heads, lines) if lines else ""


def _instructions(rows: Sequence[Row]) -> str:
    lines = [
        [
            row["app"],
            _request(row["route"], row["case"], row["keys"]),
            f"{row['instructions']:,}",
            f"{row['added']:+,}",
        ]
        for row in rows
    ]
    heads = ("app", "request, on sqlite", "instructions", "added")
    return _table(heads, lines) if lines else ""


def _round_trips(rows: Sequence[Row]) -> str:
    lines = [[row["app"], row["route"], f"{row['round_trips']:g}"] for row in rows]
    return _table(("app", "route", "round trips to postgresql"), lines) if lines else ""


def _load(rows: Sequence[Row]) -> str:
    lines = [
        [
            row["database"],
            row["app"],
            f"{row['per_second']:,}",
            f"{row['over_bare']:.2f}",
            f"{row['p50_milliseconds']:.2f}",
            f"{row['p99_milliseconds']:.2f}",
        ]
        for row in rows
    ]
    heads = ("database", "app", "requests/s under gunicorn", "÷ bare", "p50 ms", "p99 ms")
    return _table(heads, lines) if lines else ""


def _targets(rows: Sequence[Row]) -> str:
    lines = [
        [
            row["name"],
            f"{row['figure']:,g}",
            f"{row['sense']} {row['limit']:,g}",
            "yes" if row["is_met"] else "NO",
        ]
        for row in rows
    ]
    return _table(("figure", "measured", "goal", "met"), lines) if lines else ""


def _absent(reasons: dict[str, str]) -> str:
    return "\n".join(f"Left out: {what}: {why}." for what, why in reasons.items())


def _number(row: Row | None, name: str, sign: str = "") -> str:
    if row is None:
        return ""
    return format(row[name], f"{sign},.1f" if name != "over_raw" else ".2f")


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [list(heads), *map(list, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
