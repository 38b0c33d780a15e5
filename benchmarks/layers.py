"""Where the cost of a request is: ``python -m benchmarks.layers``.

Each layer is the difference between two kinds of requests of which one goes a step further than
the other, so that nothing has to be instrumented and nothing depends on how the step is written.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from . import apps, instructions, subjects, timing
from .databases import KINDS, Database, filled
from .subjects import HOT, IN_ORGANIZATION, NO_HEADER, VALID, Label, Subject
from .work import DRIVER, POOL, work_of


@dataclass(frozen=True)
class Layer:
    """What one kind of request does beyond another.

    :param without: ``None`` where ``label`` is all of it.
    """

    name: str
    label: Label
    without: Label | None


def _ours(route: str, case: str) -> Label:
    return Label(apps.ORGKEYS, route, case, HOT)


def _bare(route: str) -> Label:
    return Label(apps.BARE, route, NO_HEADER)


OPEN, GUARDED = apps.OPEN, apps.GUARDED

LAYERS = (
    Layer("hooks, without a header", _ours(OPEN, NO_HEADER), _bare(OPEN)),
    Layer("+ a foreign header", _ours(OPEN, subjects.FOREIGN), _ours(OPEN, NO_HEADER)),
    Layer("+ reading a key of ours", _ours(OPEN, subjects.BAD_CHECKSUM), _ours(OPEN, NO_HEADER)),
    Layer(
        "+ connection, statement, no row",
        _ours(OPEN, subjects.UNKNOWN),
        _ours(OPEN, subjects.BAD_CHECKSUM),
    ),
    Layer("    of which the pool, alone", Label(POOL, ""), None),
    Layer("    of which the driver, alone", Label(DRIVER, ""), None),
    Layer(
        "+ row, digest, comparison (refused)",
        _ours(OPEN, subjects.WRONG_SECRET),
        _ours(OPEN, subjects.UNKNOWN),
    ),
    Layer(
        "+ last use, value, signal (accepted)",
        _ours(OPEN, VALID),
        _ours(OPEN, subjects.WRONG_SECRET),
    ),
    Layer("+ guard", _ours(GUARDED, VALID), _ours(OPEN, VALID)),
    Layer("= valid key with require_scope", _ours(GUARDED, VALID), _bare(GUARDED)),
    Layer("the wall: with <org_slug>", _ours(IN_ORGANIZATION, VALID), _bare(IN_ORGANIZATION)),
    Layer("the same by hand: raw", Label(apps.RAW, GUARDED, VALID, HOT), _bare(GUARDED)),
    Layer("a refusal: no header", _ours(GUARDED, NO_HEADER), _ours(OPEN, NO_HEADER)),
    Layer(
        "a refusal: wrong secret",
        _ours(GUARDED, subjects.WRONG_SECRET),
        _ours(OPEN, subjects.WRONG_SECRET),
    ),
)


def labels() -> list[Label]:
    """Return every label the layers need, once."""
    needed = [label for layer in LAYERS for label in (layer.label, layer.without) if label]
    return list(dict.fromkeys(needed))


def time_layers(database: Database, rounds: int) -> dict[Label, float]:
    """Return the microseconds of each label: medians of one interleaved run."""
    timed = [Subject(label, work_of(label, database)) for label in labels()]
    extent = timing.Extent(rounds, passes=5, block=25)
    samples = timing.interleave(timed, extent, lambda text: click.echo(text, err=True))
    return {label: timing.cost(samples, label) for label in samples}


def profile(database: Database, count: int, lines: int) -> None:
    """Print where the functions of accepted requests spend their time, by cProfile."""
    prepare = work_of(_ours(GUARDED, VALID), database)
    prepare(timing.WARM_UP)()
    profiler = cProfile.Profile()
    profiler.runcall(prepare(count))
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(lines)


def table(microseconds: dict[Label, float], counted: dict[Label, int]) -> str:
    lines = [f"{'layer':<38} {'µs':>7} {'instructions':>13}"]
    for layer in LAYERS:
        cells = [
            "" if not figures else format(figures[layer.label] - base, form)
            for figures, form in ((microseconds, ".1f"), (counted, ",.0f"))
            for base in [figures.get(layer.without, 0) if layer.without else 0]
        ]
        lines.append(f"{layer.name:<38} {cells[0]:>7} {cells[1]:>13}")
    return "\n".join(lines)


@click.command()
@click.option("--database", "kind", type=click.Choice(KINDS), default="sqlite", show_default=True)
@click.option("--size", default=10_000, show_default=True, help="Keys in the database.")
@click.option("--rounds", default=10, show_default=True)
@click.option("--profile", "lines", default=0, help="Lines of cProfile's report to print, too.")
def main(kind: str, size: int, rounds: int, lines: int) -> None:
    """Show where the cost of a request with a key is."""
    with (
        tempfile.TemporaryDirectory() as directory,
        filled(kind, size, Path(directory)) as database,
    ):
        counted = instructions.count(labels(), database) if instructions.is_available() else {}
        click.echo(table(time_layers(database, rounds), counted))
        if lines:
            profile(database, 5_000, lines)


if __name__ == "__main__":
    main()
