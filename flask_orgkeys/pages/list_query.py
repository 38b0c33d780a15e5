"""The query of the list, as its URL has it."""

from __future__ import annotations

from collections.abc import Mapping

from flask import request

from ..config.scopes import is_scope_token
from ..keys.cleaning import clean_actor
from ..keys.redaction import without_secret
from ..keys.selection import CURRENT, EXPIRIES, NEWEST_FIRST, SORTS, STATUSES, USES
from ..state import state_of

START: Mapping[str, str] = {
    "q": "",
    "status": CURRENT,
    "use": "",
    "expires": "",
    "scope": "",
    "by": "",
    "sort": NEWEST_FIRST,
}
"""The query of the list without any."""


def query_of_request() -> dict[str, str]:
    """Return the query in the URL, without values that the list does not know."""
    prefix = state_of().settings.prefix
    return {
        "q": without_secret(request.args.get("q", "").strip(), prefix),
        "status": _one_of(STATUSES, "status"),
        "use": _one_of(USES, "use"),
        "expires": _one_of(EXPIRIES, "expires"),
        "scope": _scope(request.args.get("scope", "")),
        "by": _actor(request.args.get("by", "")),
        "sort": _one_of(SORTS, "sort"),
    }


def changed(query: Mapping[str, str]) -> dict[str, str]:
    """Return the query parameters that differ from their defaults."""
    return {name: value for name, value in query.items() if value != START.get(name, "")}


def place_of_request() -> dict[str, str]:
    """Return the query parameters of the list that differ from their defaults, with its page."""
    page = request.args.get("page", "")
    return {**changed(query_of_request()), **({"page": page} if page.isdecimal() else {})}


def _one_of(choices: tuple[str, ...], name: str) -> str:
    value = request.args.get(name, "")
    return value if value in choices else START[name]


def _scope(text: str) -> str:
    return text if is_scope_token(text) else ""


def _actor(text: str) -> str:
    try:
        return clean_actor(text) or ""
    except ValueError:
        return ""
