"""What a run has found, as plain values: what is written as JSON, and tabled and drawn from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from . import apps, subjects, timing
from .databases import POSTGRESQL, SQLITE
from .peers import peers
from .serving import Load
from .subjects import IN_ORGANIZATION, NO_HEADER, RANDOM, VALID, Label
from .timing import Samples

Row = dict[str, Any]

FASTER = "at least"
CHEAPER = "at most"


def timing_rows(kind: str, samples: Samples) -> list[Row]:
    """Return a row for each subject of a run."""
    raw = {label.size: label for label in samples if _is_plain(label, apps.RAW)}
    smallest = min(raw)
    return [
        {
            "database": kind,
            **asdict(label),
            "microseconds": round(timing.cost(samples, label), 1),
            "added": round(timing.added(samples, label), 1),
            "over_raw": round(
                timing.ratio_of_added(samples, label, raw.get(label.size, raw[smallest])), 2
            ),
        }
        for label in samples
    ]


def _is_plain(label: Label, app: str) -> bool:
    return label == Label(app, apps.GUARDED, VALID, RANDOM, label.size)


def timing_targets(kind: str, samples: Samples) -> list[Row]:
    sizes = sorted(label.size for label in samples if _is_plain(label, apps.RAW))
    smallest, largest = sizes[0], sizes[-1]

    def ours(case: str, route: str = apps.GUARDED, size: int = smallest) -> Label:
        return Label(apps.ORGKEYS, route, case, RANDOM, size)

    raw = Label(apps.RAW, apps.GUARDED, VALID, RANDOM, smallest)
    valid = ours(VALID)
    found = [
        _target(
            f"{kind}: added cost of a valid key, divided by raw's",
            timing.ratio_of_added(samples, valid, raw),
            {SQLITE: 2.5, POSTGRESQL: 1.4}[kind],
        ),
        *(
            _target(
                f"{kind}: added cost on an unguarded route, {case}, divided by raw's of a key",
                timing.ratio_of_added(samples, ours(case, apps.OPEN), raw),
                0.45,
            )
            for case in (NO_HEADER, subjects.FOREIGN)
        ),
        _target(
            f"{kind}: bad checksum, divided by no header",
            timing.ratio_of_costs(samples, ours(subjects.BAD_CHECKSUM), ours(NO_HEADER)),
            1.10,
        ),
        _target(
            f"{kind}: the dearest refusal, divided by a valid key",
            max(timing.ratio_of_costs(samples, ours(case), valid) for case in subjects.CASES),
            1.0,
        ),
    ]
    if largest != smallest:
        many = ours(VALID, size=largest)
        found.append(
            _target(
                f"{kind}: {largest:,} keys, divided by {smallest:,}",
                timing.ratio_of_costs(samples, many, valid),
                1.15,
            )
        )
    return found


def instruction_rows(counted: dict[Label, int]) -> list[Row]:
    """Return the instructions of each label, and those added to its bare app's."""
    return [
        {**asdict(label), "instructions": total, "added": total - counted[label.bare]}
        for label, total in counted.items()
        if label.bare in counted
    ]


def instruction_targets(rows: Iterable[Row]) -> list[Row]:
    return [
        _target("sqlite: added instructions of a valid key", row["added"], 203_000)
        for row in rows
        if (row["app"], row["route"], row["case"]) == (apps.ORGKEYS, apps.GUARDED, VALID)
    ]


def round_trip_rows(counted: dict[Label, float]) -> list[Row]:
    return [
        {"app": label.app, "route": label.route, "round_trips": figure}
        for label, figure in counted.items()
    ]


def round_trip_targets(rows: Iterable[Row]) -> list[Row]:
    of = {(row["app"], row["route"]): row["round_trips"] for row in rows}
    added = of[apps.ORGKEYS, IN_ORGANIZATION] - of[apps.BARE, IN_ORGANIZATION]
    return [
        _target("postgresql: round trips of a request", of[apps.ORGKEYS, apps.GUARDED], 1.0),
        _target("postgresql: added round trips with <org_slug>", added, 1.0),
    ]


def load_rows(kind: str, loads: dict[str, Load]) -> list[Row]:
    return [
        {
            "database": kind,
            "app": app,
            "per_second": round(load.per_second),
            "p50_milliseconds": round(load.p50 / 1000, 2),
            "p99_milliseconds": round(load.p99 / 1000, 2),
            "over_bare": round(load.per_second / loads[apps.BARE].per_second, 2),
        }
        for app, load in loads.items()
    ]


def load_targets(kind: str, rows: Iterable[Row]) -> list[Row]:
    return [
        _target(
            f"{kind}: requests per second under gunicorn, divided by bare Flask's",
            row["over_bare"],
            {SQLITE: 0.72, POSTGRESQL: 0.57}[kind],
            FASTER,
        )
        for row in rows
        if row["app"] == apps.ORGKEYS
    ]


def memory_target(kind: str, requests: int, growth: float) -> Row:
    return _target(
        f"{kind}: MB more after {requests:,} requests than after {requests // 10:,}", growth, 2.0
    )


def _target(name: str, figure: float, limit: float, sense: str = CHEAPER) -> Row:
    figure = round(figure, 2)
    is_met = figure <= limit if sense == CHEAPER else figure >= limit
    return {"name": name, "figure": figure, "sense": sense, "limit": limit, "is_met": is_met}


def bars(rows: Sequence[Row], kind: str) -> list[tuple[str, float]]:
    """Return the apps and their added cost over raw's, for one random valid key of few."""
    plain = [
        row
        for row in rows
        if (row["database"], row["route"], row["case"], row["keys"])
        == (kind, apps.GUARDED, VALID, RANDOM)
    ]
    smallest = min((row["size"] for row in plain), default=0)
    found = {row["app"]: row["over_raw"] for row in plain if row["size"] == smallest}
    order = (apps.RAW, apps.ORGKEYS, apps.NAIVE, *peers.APPS)
    return [(app, found[app]) for app in order if app in found]
