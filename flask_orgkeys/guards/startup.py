"""What is checked before an app serves: where the pages are mounted, and by the first request what
only shows once every view is registered.
"""

from __future__ import annotations

from flask import Flask, current_app

from .csrf import exempt_guarded_views_from_csrf
from .endpoints import check_declared_scopes


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
