"""The query of the list, as its URL has it."""

from __future__ import annotations

from typing import Any

from flask import request

from ..keys.redaction import without_secret
from ..keys.selection import CURRENT, NEWEST_FIRST, SORTS, STATUSES
from ..state import state_of


def query_of_request() -> dict[str, Any]:
    """Return what the URL says of the list, without what it does not know."""
    return {
        "q": without_secret(request.args.get("q", "").strip(), state_of().settings.prefix),
        "status": _one_of(STATUSES, "status", CURRENT),
        "sort": _one_of(SORTS, "sort", NEWEST_FIRST),
    }


def place_of_request() -> dict[str, Any]:
    """Return where in the list the request is, as far as that is not where the list begins."""
    start = {"q": "", "status": CURRENT, "sort": NEWEST_FIRST}
    place = {name: value for name, value in query_of_request().items() if value != start[name]}
    page = request.args.get("page", "")
    return {**place, "page": page} if page.isdecimal() else place


def _one_of(choices: tuple[str, ...], name: str, default: str) -> str:
    value = request.args.get(name, default)
    return value if value in choices else default
