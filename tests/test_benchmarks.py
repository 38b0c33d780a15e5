"""The benchmarks answer for what they measure: a small run of them, from the keys to the table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks import __main__ as benchmarks
from benchmarks import apps, databases, picture, report, subjects, timing
from benchmarks.timing import Extent

SMALL = benchmarks.Size((50, 100), Extent(rounds=1, passes=1, block=2), 0, 0, 0)


@pytest.fixture
def run(tmp_path: Path) -> benchmarks.Run:
    return benchmarks.Run(SMALL, tmp_path, lambda _text: None)


def test_a_run_says_whether_each_goal_is_met(run: benchmarks.Run, tmp_path: Path) -> None:
    # Every request is checked for the status it has to be answered with.
    run.time(databases.SQLITE)
    run.finish()
    found = report.text(json.loads(json.dumps(run.found)))
    for row in run.found["targets"]:
        line = next(line for line in found.splitlines() if row["name"] in line)
        assert line.rstrip(" |").endswith("yes" if row["is_met"] else "NO")
    timed = {(row["app"], row["case"]) for row in run.found["timing"]}
    assert {(apps.ORGKEYS, case) for case in (subjects.VALID, *subjects.CASES)} < timed
    assert {(app, subjects.VALID) for app in (apps.RAW, apps.NAIVE)} < timed
    assert {row["size"] for row in run.found["timing"]} >= set(SMALL.keys)
    picture.draw(run.found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_whoever_writes_leaves_alone_what_others_read(tmp_path: Path) -> None:
    def last_uses(database: databases.Database) -> list[object]:
        engine = sa.create_engine(database.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT id, last_used_at FROM orgkeys_key ORDER BY 1")
            return list(rows)

    with (
        databases.filled(databases.SQLITE, 5, tmp_path) as database,
        databases.copied(database, tmp_path) as copy,
    ):
        before = last_uses(database)
        assert last_uses(copy) == before
        for subject in subjects.of_apps([database], [copy]):
            subject.time(3)
        assert last_uses(database) == before
        changed = [new for old, new in zip(before, last_uses(copy), strict=True) if old != new]
        assert len(changed) > 3


def test_the_apps_are_timed_there_and_back() -> None:
    order: list[str] = []

    def subject(name: str) -> subjects.Subject:
        def prepare(count: int) -> object:
            def once() -> float:
                order.append(f"{name}{count}")
                return count / 1e6

            return once

        return subjects.Subject(subjects.Label(name, ""), prepare)

    extent = Extent(rounds=2, passes=1, block=9)
    samples = timing.interleave([subject("A"), subject("B")], extent, lambda _text: None)
    timed = [each for each in order if each.endswith("9")]
    assert timed == ["A9", "B9", "B9", "A9"] * 2
    assert all(figures == pytest.approx([1, 1]) for figures in samples.values())


def test_an_unexpected_answer_ends_a_run(tmp_path: Path) -> None:
    with databases.filled(databases.SQLITE, 5, tmp_path) as database:
        app = apps.make_app(apps.ORGKEYS, database.url)
        label = subjects.Label(apps.ORGKEYS, apps.GUARDED, subjects.REVOKED)
        wrong = subjects.Requests(app, subjects.requests(app, label, database.keys).environs, "200")
        with pytest.raises(RuntimeError, match="401"):
            wrong.prepare(1)()


def test_the_table_is_put_into_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.put_into_page("new", page)
    assert re.sub(r"\n+", "\n", page.read_text()) == (
        f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    )
