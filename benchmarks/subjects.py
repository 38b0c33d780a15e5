"""What is timed: one app answering one kind of request."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder

from . import apps, keys
from .databases import Database
from .keys import KeySet

RANDOM = "random"
HOT = "hot"
EVERY = "every"
"""Random keys of the whole database; :data:`RANDOM` ones are of those in use."""

VALID = "valid"
NO_HEADER = "no header"
FOREIGN = "foreign token"
BAD_CHECKSUM = "bad checksum"
UNKNOWN = "unknown key"
WRONG_SECRET = "wrong secret"
REVOKED = "revoked"
MISSING_SCOPE = "missing scope"
TOUCHING = "valid, last use is due"
FIRST_USE = "first use of an endpoint"

IN_ORGANIZATION = "/o/<org_slug>" + apps.GUARDED

_FOREIGN_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLW9mLWEtanNvbi13ZWItdG9rZW4"
_TEMPLATE = EnvironBuilder(path="/").get_environ()

Environ = dict[str, Any]
Prepare = Callable[[int], Callable[[], float]]
"""Takes how often to do something, and returns what does it and returns the seconds it took."""


@dataclass(frozen=True, order=True)
class Label:
    """The name of a subject.

    :param size: keys in the database.
    :param bare_app: the app that does the same but for checking keys.
    """

    app: str
    route: str
    case: str = VALID
    keys: str = RANDOM
    size: int = 0
    bare_app: str = apps.BARE

    @property
    def bare(self) -> Label:
        """Return what this is compared with."""
        return Label(self.bare_app, self.route, NO_HEADER, bare_app=self.bare_app)

    @property
    def writes(self) -> bool:
        """Tell whether each request writes."""
        return self.app == apps.NAIVE or self.case in WRITING


@dataclass(frozen=True)
class Subject:
    """Something that is timed in blocks.

    :param weight: the part of a block that is enough.
    """

    label: Label
    prepare: Prepare
    weight: float = 1.0

    def time(self, count: int) -> float:
        """Return the seconds it took to do it ``count`` times."""
        return self.prepare(count)()


@dataclass(frozen=True)
class Requests:
    """Requests of one kind to one app, and the status they are answered with."""

    app: Flask
    environs: Iterator[Environ]
    status: str

    def prepare(self, count: int) -> Callable[[], float]:
        """Make ``count`` requests; return what has them answered, and returns the seconds."""
        environs = [next(self.environs) for _ in range(count)]
        return lambda: self._answer(environs)

    def _answer(self, environs: Sequence[Environ]) -> float:
        statuses: list[str] = []

        def start_response(status: str, _headers: object, _exc_info: object = None) -> None:
            statuses.append(status)

        app: Any = self.app
        start = time.perf_counter()
        for environ in environs:
            body = app(environ, start_response)
            b"".join(body)
            body.close()
        seconds = time.perf_counter() - start
        unexpected = {status for status in statuses if status[:3] != self.status}
        if unexpected:
            raise RuntimeError(f"{self.app.name}: {unexpected} where {self.status} was expected")
        return seconds


def _key(number: int) -> str:
    return str(keys.token_of(number))


def _key_of_wrong_secret(number: int) -> str:
    return str(keys.with_wrong_secret(number))


def _nothing(_number: int) -> None:
    return None


def _foreign_token(_number: int) -> str:
    return _FOREIGN_TOKEN


_CREDENTIALS: dict[str, tuple[str, Callable[[int], str | None], str]] = {
    # case: (which keys, what of one is presented, how a guarded view answers)
    VALID: ("active", _key, "200"),
    NO_HEADER: ("valid", _nothing, "401"),
    FOREIGN: ("valid", _foreign_token, "401"),
    BAD_CHECKSUM: ("valid", keys.with_bad_checksum, "401"),
    UNKNOWN: ("unknown", _key, "401"),
    WRONG_SECRET: ("valid", _key_of_wrong_secret, "401"),
    REVOKED: ("revoked", _key, "401"),
    MISSING_SCOPE: ("limited", _key, "403"),
    TOUCHING: ("stale", _key, "200"),
    FIRST_USE: ("unseen", _key, "200"),
}

WRITING = (TOUCHING, FIRST_USE)
"""The cases in which each request writes, so that each key is presented once."""

RECORDED = (VALID, REVOKED, MISSING_SCOPE)
"""The cases in which the first use of each key by a process writes, and no further one for long."""

CASES = (NO_HEADER, FOREIGN, BAD_CHECKSUM, UNKNOWN, WRONG_SECRET, REVOKED, MISSING_SCOPE)


def requests(app: Flask, label: Label, key_set: KeySet) -> Requests:
    """Return the requests of a label."""
    which, credential, status = _CREDENTIALS[label.case]
    numbers: range = key_set.valid if label.keys == EVERY else getattr(key_set, which)
    if label.route == apps.OPEN or label.app == apps.BARE:
        status = "200"
    return Requests(app, _environs(label, numbers, credential), status)


def _environs(
    label: Label, numbers: range, credential: Callable[[int], str | None]
) -> Iterator[Environ]:
    for number in _pick(label, numbers):
        yield _environ(label, number, credential)


def _environ(label: Label, number: int, credential: Callable[[int], str | None]) -> Environ:
    path = label.route
    if path == IN_ORGANIZATION:
        path = apps.organization_path(keys.organization_of(number))
    environ = {**_TEMPLATE, "PATH_INFO": path, "REQUEST_URI": path, "RAW_URI": path}
    token = credential(number)
    if token is not None:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return environ


def _pick(label: Label, numbers: range) -> Iterator[int]:
    chance = random.Random(repr(label))
    hot = chance.choice(numbers)
    while True:
        if label.case in WRITING:
            yield from numbers
            raise RuntimeError(f"{label.case}: every key has been used")
        yield hot if label.keys == HOT else chance.choice(numbers)


def of_apps(databases: Sequence[Database], copies: Sequence[Database]) -> list[Subject]:
    """Return every subject on databases of one kind, of which the first is the smallest.

    :param copies: of the databases, for those that write: where one connection to SQLite commits,
        every other reads its pages anew.
    """
    app_of = cache(apps.make_app)
    found = [
        Subject(label, _seen_requests(app, label, database.keys).prepare, weight)
        for database, copy in zip(databases, copies, strict=True)
        for label, weight in _labels(database.keys.size, database is databases[0])
        for app in [app_of(label.app, (copy if label.writes else database).url)]
    ]
    # Those that write, and leave the database busy, at the end, from where the run turns back.
    order = (apps.BARE, apps.ORGKEYS, apps.RAW, apps.NAIVE)
    return sorted(found, key=lambda subject: order.index(subject.label.app))


def _seen_requests(app: Flask, label: Label, key_set: KeySet) -> Requests:
    """Return the requests of a label, once this process has seen each of its keys on the route."""
    made = requests(app, label, key_set)
    if label.app == apps.ORGKEYS and label.case in RECORDED and label.route != apps.OPEN:
        which, credential, _ = _CREDENTIALS[label.case]
        every = [_environ(label, number, credential) for number in getattr(key_set, which)]
        replace(made, environs=iter(every)).prepare(len(every))()
    return made


def of_yardstick(database: Database) -> list[Subject]:
    """Return the bare app and the look-up by hand, with a valid key."""
    yardstick = Label(apps.RAW, apps.GUARDED, VALID, RANDOM, database.keys.size)
    return [
        Subject(
            label, requests(apps.make_app(label.app, database.url), label, database.keys).prepare
        )
        for label in (yardstick.bare, yardstick)
    ]


def _labels(size: int, is_smallest: bool) -> list[tuple[Label, float]]:
    """Return the labels on a database, with their weights."""
    return _valid_labels(size) + (_further_labels(size) if is_smallest else [])


def _valid_labels(size: int) -> list[tuple[Label, float]]:
    plain = [
        (Label(app, apps.GUARDED, VALID, keys_, size), 0.25 if app == apps.NAIVE else 1.0)
        for app in (apps.RAW, apps.ORGKEYS, apps.NAIVE)
        for keys_ in (RANDOM, HOT)
    ]
    return [*plain, (Label(apps.ORGKEYS, IN_ORGANIZATION, VALID, RANDOM, size), 0.5)]


def _further_labels(size: int) -> list[tuple[Label, float]]:
    bare = [
        (Label(apps.BARE, route, NO_HEADER), weight)
        for route, weight in ((apps.OPEN, 1.0), (apps.GUARDED, 1.0), (IN_ORGANIZATION, 0.5))
    ]
    refused = [
        (Label(app, apps.GUARDED, case, RANDOM, size), 1.0)
        for app in (apps.RAW, apps.ORGKEYS)
        for case in CASES
    ]
    on_open_route = [
        (Label(apps.ORGKEYS, apps.OPEN, case, RANDOM, size), 1.0)
        for case in (NO_HEADER, FOREIGN, BAD_CHECKSUM, UNKNOWN, WRONG_SECRET, VALID)
    ]
    writing = [(Label(apps.ORGKEYS, apps.GUARDED, case, RANDOM, size), 0.1) for case in WRITING]
    return [*bare, *refused, *on_open_route, *writing]
