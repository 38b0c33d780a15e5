"""What each endpoint of an app demands: ``flask orgkeys routes``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .guards import guard_of

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule


@dataclass(frozen=True, slots=True)
class Route:
    """A URL rule, with those of its methods that demand the same.

    :param scopes: what a key has to hold, none: any valid key will do; ``None``: it takes no key.
    """

    endpoint: str
    methods: tuple[str, ...]
    rule: str
    scopes: tuple[str, ...] | None

    def is_under(self, prefix: str) -> bool:
        """Tell whether its path is a prefix or goes on from it, segment by segment.

        :param prefix: as URL rules are written, like ``"/api"``.
        """
        return f"{self.rule.rstrip('/')}/".startswith(f"{prefix.rstrip('/')}/")


def routes_of(app: Flask) -> list[Route]:
    """Return every route of an app, by endpoint. A rule whose methods demand different scopes makes
    several.
    """
    routes = [route for rule in app.url_map.iter_rules() for route in _routes(app, rule)]
    return sorted(routes, key=lambda route: (route.endpoint, route.rule, route.methods))


def _routes(app: Flask, rule: Rule) -> Iterator[Route]:
    view = app.view_functions.get(rule.endpoint)
    by_scopes: dict[tuple[str, ...] | None, list[str]] = {}
    for method in _methods(rule, view):
        guard = guard_of(view, method)
        by_scopes.setdefault(None if guard is None else guard.scopes, []).append(method)
    for scopes, methods in by_scopes.items():
        yield Route(rule.endpoint, tuple(methods), rule.rule, scopes)


def _methods(rule: Rule, view: Any) -> list[str]:
    """Return the methods that the view itself answers: HEAD is left out where it is the view's GET,
    and OPTIONS where Flask answers it.
    """
    methods = set(rule.methods or ())
    if "GET" in methods and guard_of(view, "HEAD") == guard_of(view, "GET"):
        methods.discard("HEAD")
    if getattr(rule, "provide_automatic_options", False):
        methods.discard("OPTIONS")
    return sorted(methods)
