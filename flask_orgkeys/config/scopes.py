"""Scopes: the set an app declares, and exact matching within it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MAX_LENGTH = 100

# RFC 6749, section 3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
_SCOPE_TOKEN = re.compile(rf"[\x21\x23-\x5b\x5d-\x7e]{{1,{MAX_LENGTH}}}")


def is_scope_token(name: object) -> bool:
    """Tell whether ``name`` is an RFC 6749 scope-token of up to :data:`MAX_LENGTH` characters."""
    return isinstance(name, str) and _SCOPE_TOKEN.fullmatch(name) is not None


def undeclared(scopes: Iterable[str], declared: Mapping[str, str]) -> list[str]:
    """Return those of ``scopes`` that are not declared, in their order, each once."""
    return [scope for scope in dict.fromkeys(scopes) if scope not in declared]


def granted(held: frozenset[str], declared: Mapping[str, str]) -> frozenset[str]:
    """Return those of a key's stored scopes that count: the declared ones."""
    return held if held <= declared.keys() else held & declared.keys()


def in_declared_order(scopes: Iterable[str], declared: Mapping[str, str]) -> list[str]:
    """Return ``scopes`` without repetition: the declared in the app's order, then the rest.

    A key may hold a scope that the app no longer declares; it grants nothing and comes last.
    """
    held = set(scopes)
    return [scope for scope in declared if scope in held] + sorted(held - declared.keys())
