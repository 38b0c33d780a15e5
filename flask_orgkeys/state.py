"""The parts of one app, in ``app.extensions["orgkeys"]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app
from werkzeug.local import LocalProxy

from .authentication.authenticator import Authenticator
from .authentication.recording import UseRecorder
from .config.settings import Settings
from .errors import ConfigurationError
from .host import Host
from .keys.store import Store

if TYPE_CHECKING:
    from flask import Blueprint

EXTENSION_NAME = "orgkeys"


@dataclass(frozen=True, slots=True)
class AppState:
    """The parts of one app.

    :param keys: its stored keys.
    :param blueprint: the settings pages, mounted or not.
    :param recorder: of the uses of keys.
    :param refusals: by endpoint, refusal and scopes: the answer, ``None`` if the host's error
        handler gives it.
    :param last_guards: by endpoint, method and guarded view: whether no guard comes after it;
        ``None`` if only the request shows that.
    """

    settings: Settings
    host: Host
    keys: Store
    authenticator: Authenticator
    recorder: UseRecorder
    blueprint: Blueprint
    refusals: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    last_guards: dict[tuple[str, str, Any], bool | None] = field(default_factory=dict)


def state_of(app: Flask = current_app) -> AppState:
    """Return the state of an app, by default of the current one.

    :raises ConfigurationError: if ``init_app`` was not called for it.
    """
    if isinstance(app, LocalProxy):
        app = app._get_current_object()
    state: AppState | None = app.extensions.get(EXTENSION_NAME)
    if state is None:
        raise ConfigurationError(
            f"flask-orgkeys is not set up for the app {app.name!r}: call orgkeys.init_app(app)."
        )
    return state
