"""A request that a key may make, for the snippets beside a new key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from flask import current_app, request

from ..guards.endpoints import guarded_rules
from ..state import state_of

if TYPE_CHECKING:
    from flask import Flask

    from .access import Visit

_VARIABLE = re.compile(r"<(?:[^<>]*:)?([^<>:]+)>")


class Example(NamedTuple):
    """One request.

    :param url: absolute; what only the caller knows stands in capitals.
    """

    method: str
    url: str


def example_for(visit: Visit, scopes: Iterable[str]) -> Example:
    """Choose a request for a key with ``scopes`` of the organisation that is visited."""
    return example_request(
        current_app._get_current_object(),  # type: ignore[attr-defined]
        scopes,
        request.host_url,
        {state_of().settings.org_arg: str(visit.slug)},
    )


def example_request(
    app: Flask, scopes: Iterable[str], host_url: str, known: dict[str, str]
) -> Example:
    """Choose a guarded endpoint that a key with ``scopes`` may call: one that demands most of them,
    and of those one that takes most of what is known.

    :param host_url: where the app is served, with a slash at the end.
    :param known: values for URL variables, by name.
    :return: the first of several; the app's root where there is none.
    """
    held = set(scopes)
    callable_ = [
        (rule, method, guard)
        for rule, method, guard in guarded_rules(app)
        if held.issuperset(guard.scopes)
    ]
    if not callable_:
        return Example("GET", host_url)
    rule, method, _ = max(
        callable_,
        key=lambda choice: (len(choice[2].scopes), len(known.keys() & choice[0].arguments)),
    )

    def fill(variable: re.Match[str]) -> str:
        name = variable[1]
        return quote(known[name], safe="") if name in known else name.upper()

    return Example(method, host_url.rstrip("/") + _VARIABLE.sub(fill, rule.rule))
