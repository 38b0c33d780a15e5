"""The blueprint of the pages, and the check of its mount."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, current_app, request, send_from_directory
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PrefixLoader
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.wrappers import Response

from ..config.settings import DEFAULTS
from ..errors import RETRY_AFTER_SECONDS, ConfigurationError
from ..guards.refusals import error_handler
from ..host import LoaderFailed, reason_of_failure
from ..keys.database import UNANSWERED
from ..state import EXTENSION_NAME, AppState, state_of
from . import check, key_page, rotation, views
from .access import for_administrators
from .headers import add_page_headers
from .rendering import STATIC_FOLDER, asset_version

logger: logging.Logger = logging.getLogger(__name__)

TEMPLATE_FOLDER = Path(__file__).parent / "templates"
ASSET_MAX_AGE_SECONDS = 3600
VERSIONED_MAX_AGE_SECONDS = 365 * 24 * 3600


def make_blueprint() -> Blueprint:
    """Make the settings pages, to be mounted under a prefix that has the organisation."""
    blueprint = Blueprint("orgkeys", __name__)
    # First of all: without a prefix Flask would speak of a slash that the rules below lack.
    blueprint.record(check_prefix)
    blueprint.jinja_loader = _template_loader()
    blueprint.after_request(add_page_headers)
    for error in (LoaderFailed, *UNANSWERED):
        blueprint.register_error_handler(error, _unavailable)
    for rule, endpoint, view, method in (
        ("", "index", views.index, "GET"),
        ("", "create", views.create, "POST"),
        ("/new", "new", views.new, "GET"),
        ("/activity", "activity", views.activity, "GET"),
        ("/activity.csv", "activity_csv", views.activity_csv, "GET"),
        ("/check", "check", check.ask, "GET"),
        ("/check", "check_text", check.find, "POST"),
        ("/<key_id>", "key", key_page.show, "GET"),
        ("/<key_id>/edit", "edit", key_page.edit, "GET"),
        ("/<key_id>/edit", "update", key_page.update, "POST"),
        ("/<key_id>/rotate", "confirm_rotate", rotation.confirm, "GET"),
        ("/<key_id>/rotate", "rotate", rotation.rotate, "POST"),
        ("/<key_id>/end-previous", "end_previous", rotation.end_previous, "POST"),
        ("/<key_id>/revoke", "confirm_revoke", views.confirm, "GET"),
        ("/<key_id>/revoke", "revoke", views.revoke, "POST"),
    ):
        guarded = for_administrators(view)
        blueprint.add_url_rule(rule, endpoint, guarded, methods=[method], strict_slashes=False)
    blueprint.add_url_rule("/assets/<path:filename>", "asset", _asset)
    return blueprint


def _template_loader() -> BaseLoader:
    """Load each template by two names: ``orgkeys/list.html``, which a host's own file goes before,
    and ``!orgkeys/list.html``, which stays ours, so that the host's file can extend it.
    """
    originals = FileSystemLoader(TEMPLATE_FOLDER / "orgkeys")
    return ChoiceLoader([FileSystemLoader(TEMPLATE_FOLDER), PrefixLoader({"!orgkeys": originals})])


def check_prefix(setup: Any) -> None:
    """Check the prefix at ``register_blueprint``: without one, Flask speaks of a slash."""
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
    if names and app.url_map.host_matching:
        raise ConfigurationError(
            "the API keys pages cannot be mounted with host_matching=True, for a blueprint has no "
            "host and is never found: write Flask(..., subdomain_matching=True), or none of both."
        )
    for rule in app.url_map.iter_rules():
        if rule.endpoint.rpartition(".")[0] in names and org_arg not in rule.arguments:
            raise _mounted_without(org_arg, at=rule.rule)


def _mounted_without(org_arg: str, *, at: str) -> ConfigurationError:
    return ConfigurationError(
        f"the API keys pages are mounted at {at!r}, which has no <{org_arg}>. Mount them with "
        f'url_prefix="/o/<{org_arg}>/api-keys", for example.'
    )


def _asset(**arguments: Any) -> Response:
    # Not Flask's own static route: it would be handed the organisation, which it does not take.
    filename = arguments["filename"]
    response = send_from_directory(STATIC_FOLDER, filename, max_age=ASSET_MAX_AGE_SECONDS)
    if request.args.get("v") == asset_version(filename):
        response.cache_control.max_age = VERSIONED_MAX_AGE_SECONDS
    return response


def _unavailable(error: Exception) -> Response:
    """Answer 503, with the host's own page for it if that needs no database."""
    why = reason_of_failure(error, state_of().settings.prefix)
    logger.error("the API keys page cannot be shown: %s", why)
    unavailable = ServiceUnavailable(retry_after=RETRY_AFTER_SECONDS)
    handler = error_handler(current_app, unavailable, request.blueprints)
    try:
        answer = unavailable if handler is None else current_app.ensure_sync(handler)(unavailable)
        response: Response = current_app.make_response(answer)
    except Exception:
        response = unavailable.get_response()
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
