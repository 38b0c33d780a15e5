"""What a request with a key may cost, in figures that are the same on a busy machine: instructions
and round trips. ``make bench`` has the times.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest
from packaging.version import Version

from benchmarks import apps, databases, instructions, round_trips
from benchmarks.subjects import (
    BAD_CHECKSUM,
    FOREIGN,
    HOT,
    IN_ORGANIZATION,
    MISSING_SCOPE,
    NO_HEADER,
    VALID,
    WRONG_SECRET,
    Label,
)

from .databases import skip_or_fail

KEYS = 1_000

# Another Python counts otherwise: 3.12 up to a third more.
PYTHON = (3, 11)

# What came before answers in other ways: a refusal took 5,000 instructions more.
COUNTED_WITH = {"flask": "3.1.3", "werkzeug": "3.1.9"}

# Of flask-orgkeys, more than of the same app without keys: (route, case, at most). A few per cent
# over what is counted, for other versions of what it runs on.
#
# For a right secret, rotation takes 2,000 to 3,000 (the SELECT has four more columns), and the note
# of the use in the memo of the process about 10,000. A wrong secret is not noted.
#
# The figures vary by about 3,000 with changes elsewhere, which move what the interpreter caches.
LIMITS = [
    (apps.OPEN, NO_HEADER, 11_000),
    (apps.OPEN, FOREIGN, 18_000),
    (apps.OPEN, BAD_CHECKSUM, 38_000),
    (apps.GUARDED, NO_HEADER, 25_000),
    (apps.GUARDED, WRONG_SECRET, 175_000),
    (apps.GUARDED, MISSING_SCOPE, 200_000),
    (apps.GUARDED, VALID, 203_000),
    # With the view's look at current_organization; a million and a half more are the host's ORM's.
    (IN_ORGANIZATION, VALID, 265_000),
]


def ours(route: str, case: str) -> Label:
    return Label(apps.ORGKEYS, route, case, HOT)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[Label, int]:
    if sys.version_info[:2] != PYTHON:
        pytest.skip("the limits are those of Python 3.11: make test PYTHON=python3.11")
    if any(Version(version(name)) < Version(counted) for name, counted in COUNTED_WITH.items()):
        pytest.skip("the limits are those of Flask and Werkzeug as they are now")
    if not instructions.is_available():
        skip_or_fail("no valgrind: install it (Debian package valgrind) to count instructions")
    labels = [ours(route, case) for route, case, _ in LIMITS]
    labels += {label.bare: None for label in labels}
    directory = tmp_path_factory.mktemp("cost")
    with databases.filled(databases.SQLITE, KEYS, directory) as database:
        return instructions.count(labels, database)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("route", "case", "at_most"), LIMITS)
def test_instructions(counted: dict[Label, int], route: str, case: str, at_most: int) -> None:
    label = ours(route, case)
    added = counted[label] - counted[label.bare]
    # Less than half would mean that the work is not done.
    assert at_most / 2 < added <= at_most


def test_one_round_trip_to_postgresql(tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        databases.connect_to_server().dispose()
    except databases.sa.exc.OperationalError:
        skip_or_fail("no PostgreSQL server: start one, or name it in ORGKEYS_TEST_POSTGRESQL")
    guarded, organization = (ours(route, VALID) for route in (apps.GUARDED, IN_ORGANIZATION))
    labels = [guarded, organization, guarded.bare, organization.bare]
    directory = tmp_path_factory.mktemp("cost")
    with databases.filled(databases.POSTGRESQL, KEYS, directory) as database:
        trips = round_trips.count(database, labels)
    assert trips[guarded] - trips[guarded.bare] == 1
    # The host loads its organisation either way.
    assert trips[organization] - trips[organization.bare] == 1
