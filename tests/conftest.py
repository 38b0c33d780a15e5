from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from . import databases, tables
from .host import Host, disposing, make_host, path_of, usual_models

# They take the longest, so they start first: each file is run by one worker.
LONGEST = ("test_docs.py", "test_cost.py", "test_pages.py", "test_management.py", "test_answers.py")

MakeHost = Callable[..., Host]

# Each host leaves thousands of objects in cycles: at its usual pace, the collector takes a fifth of
# the suite's time.
gc.set_threshold(20_000, 10, 10)

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("orgkeys", deadline=None)
hypothesis.settings.load_profile("orgkeys")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(LONGEST)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "new_host" not in getattr(item, "fixturenames", ()):
        tables.drop_all_kept()


@pytest.fixture(scope="session", params=databases.ALL)
def any_database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a database of each kind the promises name."""
    directory = tmp_path_factory.mktemp("database")
    with databases.temporary_database(request.param, directory) as url:
        yield url
        tables.forget(url)


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL database, by psycopg."""
    directory = tmp_path_factory.mktemp("database")
    with databases.temporary_database(databases.PSYCOPG, directory) as url:
        yield url
        tables.forget(url)


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[MakeHost]:
    """Make hosts that are cleaned up: ``new_host(url=None, **what make_host takes)``.

    Without a URL, a file SQLite of the test's own.
    """
    with ExitStack() as stack:

        def make(url: str | None = None, **arguments: Any) -> Host:
            url = url or f"sqlite:///{tmp_path / 'host.sqlite'}"
            host = make_host(url, **arguments)
            is_kept = host.db is usual_models().db and arguments.get("tables", True)
            stack.callback(_clean_up, host, url, is_kept)
            return stack.enter_context(disposing(host))

        yield make


@pytest.fixture
def host(new_host: MakeHost) -> Host:
    """A host on a file SQLite."""
    return new_host()


@pytest.fixture
def any_host(new_host: MakeHost, any_database_url: str) -> Host:
    """A host on each kind of database, one after another."""
    return new_host(any_database_url)


def _clean_up(host: Host, url: str, is_kept: bool) -> None:
    is_kept = is_kept and databases.is_on_server(url) and tables.keep(url, host.db.metadata)
    if not is_kept:
        tables.forget(url)
        _drop_all(host)


def _drop_all(host: Host) -> None:
    with host.app.app_context():
        engines = list(host.db.engines.values())
        files = list(filter(None, (path_of(engine.url) for engine in engines)))
        if len(files) < len(engines):
            host.db.drop_all()
        for engine in engines:
            engine.dispose()
    for file in files:
        for suffix in ("", "-journal", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
