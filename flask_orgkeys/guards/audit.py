"""Guards that protect less than they seem to: each is named by ``flask orgkeys check``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from flask.views import View

from .endpoints import guard_of, guarded_rules, wall_of
from .guard import guard_on, guarded_functions
from .marks import guards_in_closure, layers_of

if TYPE_CHECKING:
    from flask import Flask

HTTP_METHODS = ("get", "post", "put", "patch", "delete", "options", "head", "trace")


class Doubt(NamedTuple):
    """A guard that may not hold.

    :param kind: a short name that stays.
    :param subject: the endpoint, or the function that no route has.
    """

    kind: str
    subject: str


def doubts(app: Flask) -> Iterator[Doubt]:
    """Give the guards of an app that may not hold, each once."""
    yield from dict.fromkeys(_doubts(app))


def _doubts(app: Flask) -> Iterator[Doubt]:
    for endpoint, view in app.view_functions.items():
        yield from (Doubt(kind, endpoint) for kind in _doubts_of_view(view))
    for function in _unrouted(app):
        bare = getattr(function, "__wrapped__", None)
        above = [name for name, view in app.view_functions.items() if view is bare]
        yield from (Doubt("guard-above-route", endpoint) for endpoint in above)
        if not above:
            yield Doubt("unrouted-guard", function.__qualname__)
    for rule, _, guard in guarded_rules(app):
        is_ours = _package(app.view_functions[rule.endpoint]) == _package(doubts)
        if wall_of(app, rule, guard) is None and not is_ours:
            yield Doubt("no-wall", rule.endpoint)


def _doubts_of_view(view: Any) -> Iterator[str]:
    view_class = getattr(view, "view_class", None)
    if guard_on(view) is None and any(guards_in_closure(view)):
        yield "hidden-guard"
    if not isinstance(view_class, type) or not issubclass(view_class, View):
        return
    if guard_on(view) is None and any(map(guard_on, view_class.decorators)):
        yield "guarded-after-as-view"
    if _loses_guard(view, view_class):
        yield "lost-guard"
    if guard_on(view) is None and _skips_methods(view_class):
        yield "own-dispatch"


def _loses_guard(view: Any, view_class: type[View]) -> bool:
    """Tell whether a parent of a class has a guard in a place that the class has taken."""
    if guard_on(view) is not None:
        return False
    places = ["decorators", "dispatch_request", *HTTP_METHODS]
    for place in places:
        own = getattr(view_class, place, None)
        if place in HTTP_METHODS and guard_of(view, place.upper()) is not None:
            continue
        parents = (vars(parent).get(place) for parent in view_class.__mro__)
        if not _is_guarded(own) and any(map(_is_guarded, parents)):
            return True
    return False


def _is_guarded(place: Any) -> bool:
    items: Iterable[Any] = place if isinstance(place, (list, tuple)) else (place,)
    return any(guard_on(item) is not None for item in items)


def _skips_methods(view_class: type[View]) -> bool:
    """Tell whether a class has guarded methods and a ``dispatch_request`` of the host's own, which
    may not call them.
    """
    dispatch = view_class.dispatch_request
    if guard_on(dispatch) or _package(dispatch) != _package(view_class):
        return False
    return any(guard_on(getattr(view_class, method, None)) for method in HTTP_METHODS)


def _package(thing: Any) -> str:
    return str(thing.__module__).partition(".")[0]


def _unrouted(app: Flask) -> Iterator[Any]:
    """Give the guarded functions that stand beside views of an app, and are none themselves."""
    hooks = [hook for some in app.before_request_funcs.values() for hook in some]
    views = list(app.view_functions.values())
    methods = [method.upper() for method in HTTP_METHODS]
    layers = [layer for view in views for method in methods for layer in layers_of(view, method)]
    known = {_place(layer) for layer in (*layers, *hooks) if guard_on(layer) is not None}
    scopes = {_scope(view) for view in views}
    for function in sorted(guarded_functions, key=_place):
        if function.__qualname__.startswith(View.as_view.__qualname__):
            continue
        if _scope(function) in scopes and _place(function) not in known:
            yield function


def _place(function: Any) -> tuple[str, str]:
    return str(getattr(function, "__module__", "")), str(getattr(function, "__qualname__", ""))


def _scope(function: Any) -> tuple[str, str]:
    module, name = _place(function)
    return module, name.rpartition(".")[0]
