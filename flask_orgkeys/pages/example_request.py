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
    from typing import Any

    from flask import Flask
    from werkzeug.routing import Rule

    from .access import Visit

_VARIABLE = re.compile(r"<(?:[^<>]*:)?([^<>:]+)>")


class Example(NamedTuple):
    """One request.

    :param url: absolute; values that only the caller knows stand in capitals.
    """

    method: str
    url: str


def example_for(visit: Visit, scopes: Iterable[str]) -> Example:
    """Choose a request for a key with ``scopes`` of the organisation that is visited."""
    return example_request(_app(), scopes, request.url_root, _known(visit))


def trial_for(visit: Visit, scopes: Iterable[str]) -> Example | None:
    """Choose a request that changes nothing, as :func:`example_for` otherwise."""
    return trial_request(_app(), scopes, request.url_root, _known(visit))


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _known(visit: Visit) -> dict[str, str]:
    return {state_of().settings.org_arg: str(visit.slug)}


def example_request(
    app: Flask, scopes: Iterable[str], host_url: str, known: dict[str, str]
) -> Example:
    """Choose a guarded endpoint that a key with ``scopes`` may call: one that demands most of them,
    and of those one that takes most of the known variables.

    :param host_url: the URL of the app, with its script root and a slash at the end.
    :param known: values for URL variables, by name.
    :return: the first of several; the app's root if there is none.
    """
    calls = _calls(app, scopes)
    if not calls:
        return Example("GET", host_url)
    rule, method, _ = max(
        calls, key=lambda call: (len(call[2].scopes), len(known.keys() & call[0].arguments))
    )
    return _example(app, rule, method, host_url, known)


def trial_request(
    app: Flask, scopes: Iterable[str], host_url: str, known: dict[str, str]
) -> Example | None:
    """Choose a request that changes nothing, and of which every variable is known.

    The arguments are those of :func:`example_request`.
    """
    for rule, method, _ in _calls(app, scopes):
        if method == "GET" and rule.arguments <= known.keys():
            return _example(app, rule, method, host_url, known)
    return None


def _calls(app: Flask, scopes: Iterable[str]) -> list[tuple[Rule, str, Any]]:
    """Return the guarded endpoints that a key with ``scopes`` may call."""
    held = set(scopes)
    return [call for call in guarded_rules(app) if held.issuperset(call[2].scopes)]


def _example(app: Flask, rule: Rule, method: str, host_url: str, known: dict[str, str]) -> Example:
    def fill(variable: re.Match[str]) -> str:
        name = variable[1]
        return quote(known[name], safe="") if name in known else name.upper()

    scheme, _, rest = host_url.rstrip("/").partition("://")
    host, slash, root = rest.partition("/")
    if app.config["SESSION_COOKIE_SECURE"]:
        # Signed in by it, so that a proxy ends TLS.
        scheme = "https"
    if rule.subdomain and app.config["SERVER_NAME"]:
        host = f"{_VARIABLE.sub(fill, rule.subdomain)}.{app.config['SERVER_NAME']}"
    return Example(method, f"{scheme}://{host}{slash}{root}{_VARIABLE.sub(fill, rule.rule)}")
