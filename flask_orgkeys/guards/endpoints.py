"""The guarded endpoints of an app, and the scopes that each demands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

from ..config.scopes import undeclared
from ..errors import ConfigurationError
from ..state import state_of
from .guard import Guard, both, guard_on
from .marks import layers_of

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

V = TypeVar("V")

_BY_POSSESSION = "__orgkeys_by_possession__"


@dataclass(frozen=True, slots=True)
class Route:
    """A URL rule, with those of its methods that demand the same.

    :param scopes: the scopes that a key must hold; none: any valid key will do; ``None``: it takes
        no key.
    :param wall: the variable whose organisation must be the key's, as far as the rule or the guard
        names one.
    """

    endpoint: str
    methods: tuple[str, ...]
    rule: str
    scopes: tuple[str, ...] | None
    wall: str | None

    def is_under(self, prefix: str) -> bool:
        """Tell whether its path is a prefix or goes on from it, segment by segment; or whether it
        catches such paths all the same, as ``/<path:rest>`` does.

        :param prefix: as URL rules are written, like ``"/api"``.
        """
        if f"{self.rule.rstrip('/')}/".startswith(f"{prefix.rstrip('/')}/"):
            return True
        before, is_catch_all, _ = self.rule.partition("<path:")
        if not is_catch_all:
            return False
        # A variable that shares its segment with text does not tell enough: it may match.
        segments = before.split("/")[:-1]
        wanted = prefix.rstrip("/").split("/")
        return all("<" in own or own == other for own, other in zip(segments, wanted, strict=False))


def by_possession(view: V) -> V:
    """Mark a view that acts on the key in the request's body, and on no cookie or header."""
    setattr(view, _BY_POSSESSION, True)
    return view


def is_by_possession(view: Any) -> bool:
    """Tell whether a view is marked by :func:`by_possession`."""
    return getattr(view, _BY_POSSESSION, False) is True


def routes_of(app: Flask) -> list[Route]:
    """Return every route of an app, by endpoint. A rule whose methods demand different scopes makes
    several.
    """
    routes = [route for rule in app.url_map.iter_rules() for route in _routes(app, rule)]
    return sorted(routes, key=lambda route: (route.endpoint, route.rule, route.methods))


def wall_of(app: Flask, rule: Rule, guard: Guard) -> str | None:
    """Return the variable of the wall on a guarded rule, as far as it shows; ``None`` without."""
    org_arg = state_of(app).settings.org_arg
    return guard.organization or (org_arg if org_arg in rule.arguments else None)


def _routes(app: Flask, rule: Rule) -> Iterator[Route]:
    view = app.view_functions.get(rule.endpoint)
    by_demand: dict[Guard | None, list[str]] = {}
    for method in _methods(rule, view):
        by_demand.setdefault(guard_of(view, method), []).append(method)
    for guard, methods in by_demand.items():
        scopes = None if guard is None else guard.scopes
        wall = None if guard is None else wall_of(app, rule, guard)
        yield Route(rule.endpoint, tuple(methods), rule.rule, scopes, wall)


def _methods(rule: Rule, view: Any) -> list[str]:
    """Return the methods that the view itself answers: HEAD is left out if it is the view's GET,
    and OPTIONS if Flask answers it.
    """
    methods = set(rule.methods or ())
    if "GET" in methods and guard_of(view, "HEAD") == guard_of(view, "GET"):
        methods.discard("HEAD")
    if getattr(rule, "provide_automatic_options", False):
        methods.discard("OPTIONS")
    return sorted(methods)


def guard_of(view: Any, method: str) -> Guard | None:
    """Return the guard on a registered view function for one HTTP method, if there is one."""
    guards = [guard for layer in layers_of(view, method) if (guard := guard_on(layer))]
    if not guards:
        return None
    return reduce(both, guards)


def guarded_rules(app: Flask) -> Iterator[tuple[Rule, str, Guard]]:
    """Return the guarded URL rules of an app with each method they take, in the app's order.

    HEAD and OPTIONS, which Flask adds by itself, are left out.
    """
    for rule, method, guard in _all_guarded_rules(app):
        if method not in ("HEAD", "OPTIONS"):
            yield rule, method, guard


def check_declared_scopes(app: Flask) -> None:
    """Check that every guard of an app demands declared scopes only.

    :raises ConfigurationError: naming the view and the scope.
    """
    declared = state_of(app).settings.scopes
    for rule, _, guard in _all_guarded_rules(app):
        unknown = undeclared(guard.scopes, declared)
        if unknown:
            raise ConfigurationError(
                f"the view {rule.endpoint!r} requires the scope {unknown[0]!r}, which "
                f"ORGKEYS_SCOPES does not declare. It declares {', '.join(map(repr, declared))}."
            )


def required_scopes(app: Flask) -> set[str]:
    """Return the scopes that an app's guards require."""
    return {scope for _, _, guard in _all_guarded_rules(app) for scope in guard.scopes}


def unused_scopes(app: Flask) -> list[str]:
    """Return the declared scopes that no guard of an app requires, in their order."""
    required = required_scopes(app)
    return [scope for scope in state_of(app).settings.scopes if scope not in required]


def _all_guarded_rules(app: Flask) -> Iterator[tuple[Rule, str, Guard]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        for method in sorted(rule.methods or ()):
            guard = guard_of(view, method)
            if guard is not None:
                yield rule, method, guard
