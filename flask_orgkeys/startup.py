"""What is checked before an app serves: where the pages are mounted, and by the first request what
only shows once every view is registered.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app

from .errors import ConfigurationError
from .guards import check_declared_scopes, exempt_guarded_views_from_csrf
from .settings import DEFAULTS
from .state import EXTENSION_NAME, AppState


def check_prefix(setup: Any) -> None:
    """Check the prefix at ``register_blueprint``, where without one Flask speaks of a slash."""
    if not setup.url_prefix:
        raise _mounted_without(DEFAULTS["ORG_ARG"], at="/")


def check_set_up_mount(setup: Any) -> None:
    state: AppState | None = setup.app.extensions.get(EXTENSION_NAME)
    if state is not None:
        check_mount(setup.app, state)


def check_mount(app: Flask, state: AppState) -> None:
    """Check where the pages are mounted, if they are, at that or at ``init_app``."""
    blueprint, org_arg = state.blueprint, state.settings.org_arg
    names = {name for name, mounted in app.blueprints.items() if mounted is blueprint}
    if names and not hasattr(app, "login_manager"):
        raise ConfigurationError(
            "the API keys pages need Flask-Login: call login_manager.init_app(app) before "
            "orgkeys.init_app(app), and before they are mounted."
        )
    for rule in app.url_map.iter_rules():
        if rule.endpoint.rpartition(".")[0] in names and org_arg not in rule.arguments:
            raise _mounted_without(org_arg, at=rule.rule)


def _mounted_without(org_arg: str, *, at: str) -> ConfigurationError:
    return ConfigurationError(
        f"the API keys pages are mounted at {at!r}, which has no <{org_arg}>. Mount them with "
        f'url_prefix="/o/<{org_arg}>/api-keys", for example.'
    )


def check_before_first_request(app: Flask) -> None:
    """Have checked what only shows once every view is registered, by the first request.

    Before any hook of the host's can answer it, or refuse it for want of a CSRF token.
    """
    app.before_request_funcs.setdefault(None, []).insert(0, _check_set_up)


def _check_set_up() -> None:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    check_declared_scopes(app)
    exempt_guarded_views_from_csrf(app)
    # Once is enough. Another list, for threads may be running through this one.
    functions = app.before_request_funcs[None]
    app.before_request_funcs[None] = [each for each in functions if each is not _check_set_up]
