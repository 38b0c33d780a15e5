"""What the extension keeps for one app, in ``app.extensions["orgkeys"]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app
from werkzeug.local import LocalProxy

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .auth import Authenticator
    from .extension import OrgKeys
    from .settings import Settings

EXTENSION_NAME = "orgkeys"


@dataclass(frozen=True, slots=True)
class AppState:
    """The extension's parts for one app.

    :param left_to_host: by endpoint, guarded view and refusal, whether the host answers it.
    """

    orgkeys: OrgKeys
    settings: Settings
    authenticator: Authenticator
    left_to_host: dict[tuple[Any, ...], bool] = field(default_factory=dict)


def state_of(app: Flask = current_app) -> AppState:
    """Return the state of an app, by default of the current one.

    :raises ConfigurationError: where ``init_app`` was not called for it.
    """
    if isinstance(app, LocalProxy):
        app = app._get_current_object()
    state: AppState | None = app.extensions.get(EXTENSION_NAME)
    if state is None:
        raise ConfigurationError(
            f"flask-orgkeys is not set up for the app {app.name!r}: call orgkeys.init_app(app)."
        )
    return state
