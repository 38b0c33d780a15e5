"""What an OpenAPI document says about keys: the security scheme, and each operation's scopes.

For apispec and flask-smorest, a plugin::

    spec = APISpec(..., plugins=[FlaskPlugin(), openapi.SpecPlugin(app)])
    api = smorest.Api(app, spec_kwargs={"extra_plugins": [openapi.SpecPlugin(app)]})

For APIFlask, and whatever else ends in a document of dictionaries, :func:`add_security`::

    @app.spec_processor
    def secure(document):
        return openapi.add_security(document, app)

None of them is needed to import this module. Guards are read off the views, so there is nothing to
write twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

from .guards.endpoints import guard_of, guarded_rules
from .guards.guard import Guard
from .state import state_of

if TYPE_CHECKING:
    from apispec import APISpec, BasePlugin
else:
    try:
        from apispec import BasePlugin
    except ImportError:
        BasePlugin = object

SCHEME_NAME = "ApiKey"
"""Name of the security scheme in the document."""

SCOPES_EXTENSION = "x-required-scopes"
"""Where OpenAPI 3.0 keeps the scopes: only from 3.1 on may a Bearer requirement name them."""

_URL_VARIABLE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")


def security_scheme(app: Flask = current_app) -> dict[str, Any]:
    """Return the security scheme object: HTTP Bearer, with the scopes the app declares.

    :param app: by default the current one.

    .. versionadded:: 0.1.0
    """
    settings = state_of(app).settings
    scopes = "\n".join(f"- `{scope}`: {meaning}" for scope, meaning in settings.scopes.items())
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": f"{settings.prefix}_<id>_<secret>",
        "description": f"An API key of an organisation. It holds some of these scopes:\n\n{scopes}",
    }


def security_of(view: Any, method: str = "GET") -> list[dict[str, list[str]]]:
    """Return the security requirement of a view: the scheme, with every scope it requires.

    :param view: a view function, as registered with the app.
    :param method: the HTTP method, for class-based views that guard each one apart.
    :return: the value of an operation's ``security`` from OpenAPI 3.1 on; ``[]`` for a view
        without a guard.

    .. versionadded:: 0.1.0
    """
    guard = guard_of(view, method.upper())
    return [] if guard is None else _requirement(guard)


def add_security(document: dict[str, Any], app: Flask = current_app) -> dict[str, Any]:
    """Add the security scheme and every guarded operation's requirement to a document.

    Operations of unguarded views stay as they are, and so do the document's other schemes.

    :param document: an OpenAPI document, 3.0 or newer, as dictionaries. It is changed.
    :param app: by default the current one.
    :return: ``document``.

    .. versionadded:: 0.1.0
    """
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes[SCHEME_NAME] = security_scheme(app)
    for path, operations in document.get("paths", {}).items():
        _secure(app, path, operations, document["openapi"])
    return document


class SpecPlugin(BasePlugin):
    """A plugin for apispec, and with it for flask-smorest, that applies :func:`add_security` to
    paths as they are added.

    :param app: the app, after ``orgkeys.init_app(app)``.

    .. versionadded:: 0.1.0
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._version = ""

    def init_spec(self, spec: APISpec) -> None:
        """Add the security scheme. Called by apispec."""
        self._version = str(spec.openapi_version)
        spec.components.security_scheme(SCHEME_NAME, security_scheme(self._app))

    def operation_helper(
        self,
        path: str | None = None,
        operations: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Add the requirements of a path's operations. Called by apispec."""
        _secure(self._app, path or "", operations or {}, self._version)


def _secure(app: Flask, path: str, operations: Mapping[str, Any], version: str) -> None:
    for rule, method, guard in guarded_rules(app):
        operation = operations.get(method.lower())
        if operation is None or _URL_VARIABLE.sub(r"{\1}", rule.rule) != path:
            continue
        operation["security"] = _requirement(guard)
        if version.startswith("3.0"):
            operation["security"] = [{SCHEME_NAME: []}]
            operation[SCOPES_EXTENSION] = list(guard.scopes)


def _requirement(guard: Guard) -> list[dict[str, list[str]]]:
    return [{SCHEME_NAME: list(guard.scopes)}]
