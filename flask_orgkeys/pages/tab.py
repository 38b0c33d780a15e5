"""The pages' tab in a host's settings navigation."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, current_app, has_request_context, request, url_for
from werkzeug.exceptions import HTTPException

from ..errors import ConfigurationError
from ..guards.wall import matched_arguments
from ..keys.database import UNANSWERED
from ..keys.selection import EXPIRES_SOON
from ..management import management
from ..state import state_of
from .access import may_manage
from .rendering import asset_version

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tab:
    """The pages' tab in the host's settings navigation, as the current user should meet it."""

    url: str
    stylesheet: str
    is_permitted: bool
    is_current: bool
    expiring_soon: int = 0
    """The number of keys that expire soon, if it was asked for."""


def tab_for(organization: Any, count: bool = False) -> Tab:
    """Return the tab of an organisation, for the template ``orgkeys/_tab.html``.

    It stands on the host's pages, so that nothing but a missing mount makes it fail.

    :param count: whether to count the keys that expire soon.
    """
    name = _mounted_name(state_of().blueprint)
    is_current = has_request_context() and request.blueprint == name
    try:
        mount = _mount_of(name, organization)
    except Exception:
        logger.exception("the API keys tab cannot be linked: name the organisation in the URL")
        return Tab(
            url="", stylesheet="", is_permitted=False, is_current=is_current, expiring_soon=0
        )
    stylesheet = url_for(f"{name}.asset", filename="orgkeys.css", **mount)
    is_permitted = _is_permitted(organization)
    return Tab(
        url=url_for(f"{name}.index", **mount),
        stylesheet=f"{stylesheet}?v={asset_version('orgkeys.css')}",
        is_permitted=is_permitted,
        is_current=is_current,
        expiring_soon=_count_expiring_soon(organization) if count and is_permitted else 0,
    )


def _count_expiring_soon(organization: Any) -> int:
    try:
        # The host's pending rows are its own to flush.
        with state_of().host.session.no_autoflush:
            return management.count_keys(organization.id, expires=EXPIRES_SOON)
    except Exception:
        logger.exception("the keys that expire soon cannot be counted for the API keys tab")
        return 0


def _is_permitted(organization: Any) -> bool:
    try:
        return may_manage(organization)
    except HTTPException:
        return False
    except UNANSWERED:
        logger.exception("the permission for the API keys tab cannot be asked")
        return False


def _mount_of(name: str, organization: Any) -> dict[str, Any]:
    """Return the variables of the mount: of the request's URL or, if it does not name the
    organisation, of the first value of the organisation that fits.

    :raises Exception: if none does.
    """
    rules = current_app.url_map.iter_rules(f"{name}.index")
    variables = {variable for rule in rules for variable in rule.arguments}
    mount = {k: v for k, v in _arguments().items() if k in variables}
    org_arg = state_of().settings.org_arg
    if org_arg in mount:
        return mount
    given = [getattr(organization, attribute, None) for attribute in ("slug", "id")]
    *others, last = [value for value in (*given, organization) if value is not None]
    for value in others:
        # A converter of the host's may raise anything.
        with suppress(Exception):
            url_for(f"{name}.index", **mount, **{org_arg: value})
            return {**mount, org_arg: value}
    url_for(f"{name}.index", **mount, **{org_arg: last})
    return {**mount, org_arg: last}


def _arguments() -> dict[str, Any]:
    try:
        return matched_arguments() if has_request_context() else {}
    except HTTPException:
        # The host's page for an error, at a URL that is none.
        return {}


def _mounted_name(blueprint: Blueprint) -> str:
    """Return the name the host mounted the pages by: ``register_blueprint`` may give another."""
    for name, mounted in current_app.blueprints.items():
        if mounted is blueprint:
            return name
    raise ConfigurationError(
        "the API keys pages are not mounted: call app.register_blueprint(orgkeys.blueprint, "
        'url_prefix="/o/<org_slug>/api-keys").'
    )
