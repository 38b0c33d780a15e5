"""The query of the list, as its URL has it."""

from __future__ import annotations

from collections.abc import Mapping

from flask import request

from ..config.scopes import is_scope_token
from ..keys.cleaning import clean_actor, holds_key
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


HIDDEN = "…"
"""In the place of a text with a key: no key has such a scope or creator."""


def query_of_request() -> dict[str, str]:
    """Return the query in the URL, without choices that the list does not offer."""
    prefix = state_of().settings.prefix
    return {
        "q": without_secret(request.args.get("q", "").strip(), prefix),
        "status": _one_of(STATUSES, "status"),
        "use": _one_of(USES, "use"),
        "expires": _one_of(EXPIRIES, "expires"),
        "scope": _text("scope", prefix),
        "by": _text("by", prefix),
        "sort": _one_of(SORTS, "sort"),
    }


def can_match(query: Mapping[str, str]) -> bool:
    """Tell whether a key may have the scope and the creator of a query at all."""
    try:
        clean_actor(query["by"])
    except ValueError:
        return False
    return HIDDEN not in (query["by"], query["scope"]) and (
        not query["scope"] or is_scope_token(query["scope"])
    )


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


def _text(name: str, prefix: str) -> str:
    """Return a value as it is, but for a key that somebody has put into it."""
    text = request.args.get(name, "")
    return HIDDEN if holds_key(text) or without_secret(text, prefix) != text else text
