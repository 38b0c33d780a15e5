"""The list of an organisation's keys: what a request asks for of it, and what it gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from flask import request

from ..keys.models import ACTIVE, REVOKED
from ..keys.selection import CURRENT
from ..management import management
from ..state import state_of
from .access import Visit
from .list_query import query_of_request
from .rows import EXPIRES_SOON, KeyRow

KEYS_PER_PAGE = 25


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
    """What the list shows: its rows, and the query that led to them."""

    visit: Visit
    rows: Sequence[KeyRow]
    page: Pagination
    query: Mapping[str, str]
    """Values of ``q``, ``status`` and ``sort``."""
    is_empty: bool
    """Whether the organisation has no key to show without a search or filter either."""
    has_revoked: bool
    """Whether an organisation with nothing to show has revoked keys."""
    expiring_soon: int
    """How many keys of the organisation expire within :data:`EXPIRES_SOON`."""

    @property
    def is_new(self) -> bool:
        """Whether there is nothing to show, search or filter."""
        return self.is_empty and not self.query["q"] and self.query["status"] == CURRENT

    def url(self, **changes: Any) -> str:
        """Return the URL of this list with other query parameters, from the first page."""
        query = {**self.query, "q": self.query["q"] or None, **changes}
        return self.visit.url("index", **query)

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


def listing_of(visit: Visit) -> Listing:
    """Return the page of an organisation's keys that the request asks for."""
    settings = state_of().settings
    organization_id = visit.organization.id
    now = visit.now
    query = query_of_request()
    wanted = {"status": query["status"], "search": query["q"]}
    total = management.count_keys(organization_id, **wanted)
    page = Pagination.of(request.args.get("page", "1"), total)
    keys = management.list_keys(
        organization_id, **wanted, sort=query["sort"], limit=KEYS_PER_PAGE, offset=page.offset
    )
    rows = [KeyRow.of(key, settings, now) for key in keys]
    is_empty = not rows and management.count_keys(organization_id) == 0
    return Listing(
        visit=visit,
        rows=rows,
        page=page,
        query=query,
        is_empty=is_empty,
        has_revoked=is_empty and management.count_keys(organization_id, status=REVOKED) > 0,
        expiring_soon=management.count_keys(
            organization_id, status=ACTIVE, expires_before=now + EXPIRES_SOON
        ),
    )
