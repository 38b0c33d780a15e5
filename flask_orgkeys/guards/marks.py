"""The marks on guarded views, for those who must not import the guard itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from flask.views import MethodView
from werkzeug.local import LocalProxy

GUARD = "__orgkeys_guard__"
"""The attribute that holds the guard of a guarded function."""


def leads_to_guard(view: Any, method: str) -> bool:
    """Tell whether a request to a registered view function comes to a guard, as far as is known."""
    return any(hasattr(layer, GUARD) for layer in layers_of(view, method))


def layers_of(view: Any, method: str) -> Iterator[Any]:
    """Give the functions that a request to a registered view runs through, as far as is known, the
    outermost first.
    """
    yield view
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return
    yield view_class.dispatch_request
    yield from _method_decorators(view_class, method)
    if issubclass(view_class, MethodView):
        handler = getattr(view_class, method.lower(), None)
        if handler is None and method == "HEAD":
            handler = getattr(view_class, "get", None)
        yield handler


def guards_in_closure(function: Any, depth: int = 3) -> Iterator[Any]:
    """Give the guarded functions in the closure of a function: a decorator without
    ``functools.wraps`` calls one, and shows no mark of it.
    """
    for cell in getattr(function, "__closure__", None) or ():
        try:
            inner = cell.cell_contents
        except ValueError:
            continue
        # The kind first: any other question to a proxy is one to its object, for which
        # Flask-Login's loads the user, and Flask's needs a request.
        if issubclass(type(inner), LocalProxy) or not callable(inner) or isinstance(inner, type):
            continue
        if hasattr(inner, GUARD):
            yield inner
        elif depth:
            yield from guards_in_closure(inner, depth - 1)


def guards_in_globals(function: Any) -> Iterator[Any]:
    """Give the guarded functions of its module that the code of a function names."""
    code = getattr(function, "__code__", None)
    for name in () if code is None else _names(code):
        named = function.__globals__.get(name)
        if isinstance(named, FunctionType) and hasattr(named, GUARD):
            yield named


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _method_decorators(view_class: Any, method: str) -> Iterable[Any]:
    """Return the decorators that class frameworks like Flask-RESTful put around each method as they
    call it, which makes the last one the outermost.
    """
    decorators = getattr(view_class, "method_decorators", ())
    if isinstance(decorators, Mapping):
        decorators = decorators.get(method.lower(), ())
    return reversed(decorators) if isinstance(decorators, (list, tuple)) else ()
