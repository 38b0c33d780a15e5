"""Flask-WTF's ``CSRFProtect`` and guarded views."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING

from flask import current_app, request

from ..authentication.header import carries_bearer
from .guard import guard_on, is_guarded
from .marks import layers_of

if TYPE_CHECKING:
    from flask import Flask

_PASSES_GUARDED = "__orgkeys_passes_guarded__"


def exempt_guarded_views_from_csrf(app: Flask) -> None:
    """Let Flask-WTF's ``CSRFProtect`` pass requests to guarded views.

    Its own ``exempt`` goes by the view's module and name, which an unguarded view may share.
    """
    csrf = app.extensions.get("csrf")
    if csrf is None or hasattr(csrf.protect, _PASSES_GUARDED):
        return
    protect = csrf.protect

    @wraps(protect)
    def protect_unless_guarded(apply_exemptions: bool = False) -> None:
        if not (apply_exemptions and _is_beyond_forgery()):
            protect(apply_exemptions=apply_exemptions)

    setattr(protect_unless_guarded, _PASSES_GUARDED, True)
    csrf.protect = protect_unless_guarded


def _is_beyond_forgery() -> bool:
    """Tell whether no other site can make a browser send the current request to any effect.

    No cookie opens a guard. A decorator of the host's above it, though, may bear its mark by
    ``functools.wraps`` and still let a cookie in: there it takes an ``Authorization`` header, which
    no form of another site can send.
    """
    layers = layers_of(current_app.view_functions.get(request.endpoint or ""), request.method)
    guarded = [layer for layer in layers if guard_on(layer)]
    if any(is_guarded(layer) for layer in guarded):
        return True
    return bool(guarded) and carries_bearer(request.headers.get("Authorization"))
