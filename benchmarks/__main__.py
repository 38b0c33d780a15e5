"""``python -m benchmarks``: run everything, print the table, write JSON and the picture."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from . import (
    apps,
    databases,
    instructions,
    layers,
    machine,
    memory,
    picture,
    report,
    results,
    round_trips,
    serving,
    subjects,
    timing,
)
from .databases import KINDS, POSTGRESQL, SQLITE
from .peers import peers
from .subjects import Subject
from .timing import Extent, Samples

PARTS = ("timing", "instructions", "round-trips", "load", "memory")
COUNTED_KEYS = 1_000
MEMORY_KEYS = 10_000

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Size:
    """How much a run does."""

    keys: tuple[int, ...]
    timing: Extent
    load_rounds: int
    load_seconds: int
    memory_requests: int


QUICK = Size((10_000,), Extent(rounds=4, passes=3, block=15), 1, 1, 20_000)
FULL = Size((10_000, 1_000_000), Extent(rounds=20, passes=5, block=25), 3, 3, 200_000)


class Run:
    """One run, and what it has found."""

    def __init__(self, size: Size, directory: Path, progress: Callable[[str], None]) -> None:
        self.size = size
        self._directory = directory
        self._progress = progress
        self.found: dict[str, Any] = {
            "machine": machine.describe(),
            "load_average": [round(machine.load(), 1)],
            "size": asdict(size),
            "timing": [],
            "absent": {},
            "instructions": [],
            "round_trips": [],
            "load": [],
            "targets": [],
        }

    def time(self, kind: str) -> None:
        """Time every app in one interleaved run."""
        with ExitStack() as stack:
            filled = [stack.enter_context(self._filled(kind, keys)) for keys in self.size.keys]
            copies = [
                stack.enter_context(databases.copied(database, self._directory))
                for database in filled
            ]
            self.found["machine"].update(databases.version(filled[0]))
            samples = self._interleave(kind, subjects.of_apps(filled, copies))
        self.found["timing"] += results.timing_rows(kind, samples)
        self.found["targets"] += results.timing_targets(kind, samples)

    def time_peers(self, kind: str) -> None:
        """Time other packages and the yardstick, in a run of their own: what one of them hashes
        with takes so much memory that whoever comes next finds the processor's caches empty.
        """
        with (
            self._filled(kind, self.size.keys[0]) as database,
            peers.joined(database, self._directory, self._progress) as others,
        ):
            self.found["machine"].update(others.versions)
            self.found["absent"].update(others.absent)
            timed = [*subjects.of_yardstick(database), *others.subjects]
            samples = self._interleave(f"{kind}, other packages", timed)
        rows = results.timing_rows(kind, samples)
        self.found["timing"] += [row for row in rows if row["bare_app"] != apps.BARE]

    def _interleave(self, name: str, timed: list[Subject]) -> Samples:
        return timing.interleave(
            timed, self.size.timing, lambda text: self._progress(f"{name}: {text}")
        )

    def count_instructions(self) -> None:
        if not instructions.is_available():
            self._leave_out("instructions", "valgrind is missing (Debian package valgrind)")
            return
        self._progress("counting instructions")
        with self._filled(SQLITE, COUNTED_KEYS) as database:
            counted = instructions.count(layers.labels(), database)
        rows = results.instruction_rows(counted)
        self.found["instructions"] = rows
        self.found["targets"] += results.instruction_targets(rows)

    def count_round_trips(self) -> None:
        with self._filled(POSTGRESQL, COUNTED_KEYS) as database:
            rows = results.round_trip_rows(round_trips.count(database))
        self.found["round_trips"] = rows
        self.found["targets"] += results.round_trip_targets(rows)

    def put_under_load(self, kind: str) -> None:
        if not serving.is_available():
            self._leave_out("load", "wrk is missing (Debian package wrk)")
            return
        with self._filled(kind, self.size.keys[0]) as database:
            loads = serving.measure(
                database,
                (apps.BARE, apps.RAW, apps.ORGKEYS, apps.NAIVE),
                self._directory,
                rounds=self.size.load_rounds,
                seconds=self.size.load_seconds,
                progress=lambda text: self._progress(f"{kind}: {text}"),
            )
        rows = results.load_rows(kind, loads)
        self.found["load"] += rows
        self.found["targets"] += results.load_targets(kind, rows)

    def watch_memory(self, kind: str) -> None:
        if not memory.is_available():
            self._leave_out("memory", "this system has no /proc/self/statm")
            return
        requests = self.size.memory_requests
        self._progress(f"{kind}: memory over {requests:,} requests")
        with self._filled(kind, MEMORY_KEYS) as database:
            growth = memory.growth(database, requests)
        self.found["targets"].append(results.memory_target(kind, requests, growth))

    def finish(self) -> None:
        self.found["load_average"].append(round(machine.load(), 1))

    def check_load(self) -> None:
        if machine.load() > 0.5:
            self._progress("other processes are busy: the times will not be worth much")

    def check_postgresql(self) -> bool:
        try:
            databases.connect_to_server().dispose()
        except sa.exc.OperationalError as error:
            self._leave_out(POSTGRESQL, str(error.orig).splitlines()[0])
            return False
        return True

    def _leave_out(self, what: str, why: str) -> None:
        self.found["absent"][what] = why
        self._progress(f"{what} left out: {why}")

    def _filled(self, kind: str, keys: int) -> Any:
        self._progress(f"{kind}: making {keys:,} keys")
        return databases.filled(kind, keys, self._directory)


@click.command()
@click.option("--quick", is_flag=True, help="A small run of about a minute.")
@click.option("--keys", multiple=True, type=int, help="Keys in a database. May be repeated.")
@click.option("--database", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS)
@click.option("--peers", "with_peers", is_flag=True, help="Install and time other packages, too.")
@click.option("--json", "json_path", type=Path, default=_HERE / "results.json")
@click.option("--picture", "picture_path", type=Path, default=_HERE / "results.png")
@click.option("--page", "page_path", type=Path, help="A page whose table to replace, too.")
def main(
    quick: bool,
    keys: tuple[int, ...],
    kinds: tuple[str, ...],
    parts: tuple[str, ...],
    with_peers: bool,
    json_path: Path,
    picture_path: Path,
    page_path: Path | None,
) -> None:
    """Measure what a request with a key costs, next to doing it by hand and the usual way."""
    size = QUICK if quick else FULL
    if keys:
        size = replace(size, keys=tuple(sorted(keys)))
    start = time.monotonic()

    def progress(text: str) -> None:
        click.echo(f"{time.monotonic() - start:6.0f} s  {text}", err=True)

    with tempfile.TemporaryDirectory() as directory:
        run = Run(size, Path(directory), progress)
        try:
            _measure(run, kinds, parts, with_peers)
        finally:
            run.finish()
            found = report.text(run.found)
            click.echo(found)
            json_path.write_text(json.dumps(run.found, indent=1) + "\n")
            _draw(run.found, picture_path, progress)
    if page_path is not None:
        report.put_into_page(found, page_path)


def _measure(run: Run, kinds: tuple[str, ...], parts: tuple[str, ...], with_peers: bool) -> None:
    run.check_load()
    if POSTGRESQL in kinds and not run.check_postgresql():
        kinds = tuple(kind for kind in kinds if kind != POSTGRESQL)
    for kind in kinds:
        if "timing" in parts:
            run.time(kind)
            if with_peers:
                run.time_peers(kind)
    if "instructions" in parts and SQLITE in kinds:
        run.count_instructions()
    if "round-trips" in parts and POSTGRESQL in kinds:
        run.count_round_trips()
    for kind in kinds:
        if "load" in parts:
            run.put_under_load(kind)
        if "memory" in parts:
            run.watch_memory(kind)


def _draw(found: dict[str, Any], path: Path, progress: Callable[[str], None]) -> None:
    if not found["timing"]:
        return
    if not picture.is_available():
        progress("no picture: matplotlib is missing (dependency group bench)")
        return
    picture.draw(found, path)


if __name__ == "__main__":
    main()
