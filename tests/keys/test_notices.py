"""The notices that are due for a key, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_orgkeys.keys.notices import (
    EXPIRED_STILL_CALLED,
    EXPIRING,
    PREVIOUS_ENDING,
    Candidate,
    Mark,
    due,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAYS = (30, 7, 1)

seconds = st.integers(0, 400 * 86_400).map(lambda number: timedelta(seconds=number))
thresholds = st.lists(st.integers(1, 400), min_size=1, max_size=5, unique=True).map(
    lambda days: tuple(sorted(days, reverse=True))
)


def key(*, lived: float = 100, left: float | None = None, **values: Any) -> Candidate:
    expires_at = None if left is None else NOW + timedelta(days=left)
    created_at = NOW - timedelta(days=lived)
    return Candidate("abc", "CI", created_at=created_at, expires_at=expires_at, **values)


def kinds_and_days(candidate: Candidate) -> list[tuple[str, int | None]]:
    return [(notice.kind, notice.days) for notice in due(candidate, NOW, DAYS)]


@pytest.mark.parametrize(
    ("left", "days"),
    [(31, None), (30, 30), (7.1, 30), (7, 7), (1.1, 7), (1, 1), (0.1, 1), (0, None), (-1, None)],
)
def test_nearest_threshold_alone(left: float, days: int | None) -> None:
    expected = [] if days is None else [(EXPIRING, days)]
    assert kinds_and_days(key(left=left)) == expected


@pytest.mark.parametrize(
    ("life", "left", "expected"),
    [(7, 6.9, []), (7, 1, [1]), (30, 29, []), (30, 7, [7]), (1, 0.5, []), (8, 7, [7])],
)
def test_no_threshold_as_long_as_the_whole_life(
    life: float, left: float, expected: list[int]
) -> None:
    notices = due(key(lived=life - left, left=left), NOW, DAYS)
    assert [notice.days for notice in notices] == expected


def test_life_begins_with_the_last_rotation() -> None:
    rotated = replace(key(left=6), rotated_at=NOW - timedelta(days=1))
    assert kinds_and_days(rotated) == []


def test_never_for_a_revoked_key() -> None:
    assert kinds_and_days(key(left=5, revoked_at=NOW - timedelta(days=1))) == []


def test_nothing_for_a_key_without_expiry() -> None:
    assert kinds_and_days(key()) == []


@pytest.mark.parametrize(("left", "days"), [(6.9, None), (1, 1), (0, None)])
def test_overlap_is_the_life_of_the_secret_before(left: float, days: int | None) -> None:
    until = NOW + timedelta(days=left)
    candidate = key(rotated_at=until - timedelta(days=7), previous_until=until)
    assert kinds_and_days(candidate) == ([] if days is None else [(PREVIOUS_ENDING, days)])


def test_expired_key_that_is_still_called_is_told_once() -> None:
    candidate = key(left=-3, expired_called_at=NOW - timedelta(hours=1))
    (notice,) = due(candidate, NOW, DAYS)
    assert (notice.kind, notice.days) == (EXPIRED_STILL_CALLED, None)
    told = replace(candidate, marks={EXPIRED_STILL_CALLED: Mark(notice.ends_at, None)})
    assert due(told, NOW, DAYS) == []


def test_another_end_is_told_anew() -> None:
    candidate = key(left=5)
    marks = {EXPIRING: Mark(NOW + timedelta(days=1), 1)}
    assert kinds_and_days(replace(candidate, marks=marks)) == [(EXPIRING, 7)]


@pytest.mark.parametrize(("told", "days"), [(1, None), (7, None), (30, 7)])
def test_nearer_threshold_silences_the_farther(told: int, days: int | None) -> None:
    """Also after the clock has stepped back."""
    candidate = key(left=5)
    assert candidate.expires_at is not None
    marked = replace(candidate, marks={EXPIRING: Mark(candidate.expires_at, told)})
    assert kinds_and_days(marked) == ([] if days is None else [(EXPIRING, days)])


@given(created=seconds, left=seconds, days=thresholds, steps=st.lists(seconds, max_size=8))
def test_whatever_the_clock_does_no_threshold_is_told_twice(
    created: timedelta, left: timedelta, days: tuple[int, ...], steps: list[timedelta]
) -> None:
    candidate = Candidate("abc", "CI", created_at=NOW - created, expires_at=NOW + left)
    told: list[int] = []
    for step in [timedelta(0), *steps]:
        for notice in due(candidate, NOW + step, days):
            assert notice.days is not None
            assert timedelta(notice.days) < created + left
            told.append(notice.days)
            marks = {notice.kind: Mark(notice.ends_at, notice.days)}
            candidate = replace(candidate, marks=marks)
    assert told == sorted(set(told), reverse=True)
