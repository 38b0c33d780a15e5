"""The list of an organisation's keys, as a request asks for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from flask import request

from .. import tokens
from ..keys.insight import recent_refusals
from ..keys.models import ACTIVE, EXPIRED, REVOKED, ApiKey
from ..keys.redaction import public_id
from ..keys.selection import (
    ALL,
    CURRENT,
    EXPIRES_NEVER,
    EXPIRES_SOON,
    NEVER_USED,
    NEWEST_FIRST,
    UNUSED,
    UNUSED_FOR,
    Selection,
)
from ..management import management
from ..state import state_of
from .access import Visit
from .language import gettext, relative
from .list_query import START, can_match, changed, query_of_request
from .rows import KeyRow

KEYS_PER_PAGE = 25
SOONEST = 3
MOST_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Pagination:
    """One page of a list.

    :param number: from 1.
    """

    number: int
    total: int

    @classmethod
    def of(cls, wanted: str, total: int) -> Self:
        """Return the wanted page, or the nearest there is."""
        # Compared by length first: int() refuses texts of more than 4,300 digits.
        digits = wanted.lstrip("0") if wanted.isascii() and wanted.isdecimal() else "1"
        number = 10**9 if len(digits) > 9 else int(digits or "1")
        return cls(min(number, max(1, math.ceil(total / KEYS_PER_PAGE))), total)

    @property
    def offset(self) -> int:
        return (self.number - 1) * KEYS_PER_PAGE

    @property
    def previous(self) -> int | None:
        return self.number - 1 if self.number > 1 else None

    @property
    def next(self) -> int | None:
        return self.number + 1 if self.number * KEYS_PER_PAGE < self.total else None


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows of the list, and the query that led to them.

    :param counts: keys by filter, as :func:`_selections` names them; up to one more than
        :data:`MOST_COUNTED`.
    :param expiring: the keys in use that expire the soonest.
    :param outside: how many keys match the search under any filter, if none does under this one.
    :param live: how many keys are alive, if there is a limit.
    :param refusals: by id of the key, its refused uses of the last days in words.
    :param names: of the actors on the page.
    """

    visit: Visit
    rows: Sequence[KeyRow]
    page: Pagination
    query: Mapping[str, str]
    counts: Mapping[str, int]
    expiring: Sequence[KeyRow]
    outside: int
    live: int | None
    refusals: Mapping[str, str]
    names: Mapping[str, str]

    @property
    def is_new(self) -> bool:
        """Whether there is nothing to show, search or filter."""
        return not self.counts[CURRENT] and not self.is_filtered

    @property
    def is_filtered(self) -> bool:
        return any(name != "sort" for name in changed(self.query))

    @property
    def has_ended(self) -> bool:
        """Whether it may show revoked keys, of which the end counts."""
        return self.query["status"] in (REVOKED, ALL)

    @property
    def is_sorted(self) -> bool:
        return self.query["sort"] != NEWEST_FIRST

    @property
    def limit(self) -> int | None:
        """The most live keys that the organisation may have."""
        return state_of().settings.max_keys

    @property
    def records_uses(self) -> bool:
        return state_of().settings.last_used_step is not None

    def url(self, **changes: Any) -> str:
        """Return the URL of this list with other query parameters, from the first page."""
        return self.visit.url("index", **changed({**self.query, **changes}))

    def filter_url(self, **filters: str) -> str:
        """Return the URL of a filter alone; the order of the list stays."""
        return self.visit.url("index", **changed({"sort": self.query["sort"], **filters}))

    def is_filter(self, **filters: str) -> bool:
        """Tell whether the list shows a filter alone."""
        return {**self.query, "sort": ""} == {**START, "sort": "", **filters}

    def direction(self, column: str) -> str:
        """Return the value of ``aria-sort``."""
        directions = {column: "ascending", f"-{column}": "descending"}
        return directions.get(self.query["sort"], "none")

    def sort_url(self, column: str, first: str) -> str:
        """Return the URL that sorts by a column.

        :param first: the sort of the first click; the next one turns it round.
        """
        other = column if first.startswith("-") else f"-{column}"
        return self.url(sort=other if self.query["sort"] == first else first)


def listing_of(
    visit: Visit, also: Iterable[str | None] = (), *, asks_names: bool = True
) -> Listing:
    """Return the page of an organisation's keys that the request asks for.

    :param also: further actors on the page.
    :param asks_names: whether to ask the host for the actors' names.
    """
    state = state_of()
    organization_id, query = visit.organization.id, _query(visit)
    page, keys = _found(visit, query)
    counts = state.keys.count_each(
        organization_id, _selections(visit.now), now=visit.now, cap=MOST_COUNTED + 1
    )
    expiring = _soonest(visit) if counts["in use and soon"] else []
    actors = [actor for key in keys for actor in (key.created_by, key.revoked_by)]
    if query["by"] and can_match(query):
        actors.append(query["by"])
    names = state.host.names_of([*actors, *also]) if asks_names else {}
    return Listing(
        visit=visit,
        rows=[KeyRow.of(key, state.settings, visit.now, names) for key in keys],
        page=page,
        query=query,
        counts=counts,
        expiring=[KeyRow.of(key, state.settings, visit.now, names) for key in expiring],
        outside=_count_outside(visit, query) if query["q"] and not keys else 0,
        live=_count_live(visit),
        refusals=_refusals(visit, keys),
        names=names,
    )


def _found(visit: Visit, query: Mapping[str, str]) -> tuple[Pagination, Sequence[ApiKey]]:
    """Return the page of the request, and the keys on it."""
    wanted = request.args.get("page", "1")
    if not can_match(query):
        return Pagination.of(wanted, 0), []
    keys, organization_id, selection = state_of().keys, visit.organization.id, _selection(query)
    page = Pagination.of(wanted, keys.count(organization_id, selection, now=visit.now))
    found = keys.select(
        organization_id, selection, now=visit.now, limit=KEYS_PER_PAGE, offset=page.offset
    )
    return page, found


def _refusals(visit: Visit, keys: Sequence[ApiKey]) -> dict[str, str]:
    """Return the refused uses of the last days in words, by id of the key."""
    found = recent_refusals(state_of().keys, keys, visit.now)
    words = {}
    for key in keys:
        if key.id in found:
            when = relative(found[key.id].last_at, visit.now)
            is_alive = key.status(visit.now) == ACTIVE
            refused = gettext("refused %(when)s", when=when)
            words[key.id] = refused if is_alive else gettext("still called %(when)s", when=when)
    return words


def _count_live(visit: Visit) -> int | None:
    if state_of().settings.max_keys is None:
        return None
    return management.count_keys(visit.organization.id, status=ACTIVE)


def _query(visit: Visit) -> dict[str, str]:
    """Return the query of the request. A key's whole id ignores the filter: it means that key."""
    query = query_of_request()
    key_id = public_id(query["q"], state_of().settings.prefix)
    if len(key_id) != tokens.ID_LENGTH:
        return query
    if management.get_key(visit.organization.id, key_id) is None:
        return query
    return {**START, "q": query["q"], "status": ALL, "sort": query["sort"]}


def _selection(query: Mapping[str, str]) -> Selection:
    return Selection(
        status=query["status"],
        search=query["q"],
        sort=query["sort"],
        scope=query["scope"] or None,
        created_by=query["by"] or None,
        use=query["use"] or None,
        expires=query["expires"] or None,
    )


def _selections(now: datetime) -> dict[str, Selection]:
    """Return the filters that are counted, by name."""
    return {
        CURRENT: Selection(),
        "soon": Selection(expires=EXPIRES_SOON),
        "in use and soon": _in_use_and_soon(now),
        UNUSED: Selection(use=UNUSED),
        "never used": Selection(use=NEVER_USED),
        "no expiration": Selection(expires=EXPIRES_NEVER),
        EXPIRED: Selection(status=EXPIRED),
        REVOKED: Selection(status=REVOKED),
        ALL: Selection(status=ALL),
    }


def _in_use_and_soon(now: datetime) -> Selection:
    records_uses = state_of().settings.last_used_step is not None
    used_since = now - UNUSED_FOR if records_uses else None
    return Selection(expires=EXPIRES_SOON, sort="expires", used_since=used_since)


def _soonest(visit: Visit) -> Sequence[ApiKey]:
    selection = _in_use_and_soon(visit.now)
    return state_of().keys.select(visit.organization.id, selection, now=visit.now, limit=SOONEST)


def _count_outside(visit: Visit, query: Mapping[str, str]) -> int:
    selection = Selection(status=ALL, search=query["q"])
    return state_of().keys.count(visit.organization.id, selection, now=visit.now)
