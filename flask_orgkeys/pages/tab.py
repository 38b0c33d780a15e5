"""The pages' tab in a host's settings navigation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, request, url_for
from werkzeug.exceptions import HTTPException

from ..errors import ConfigurationError
from ..keys.models import ACTIVE
from ..management import management
from ..state import state_of
from .access import may_manage
from .rendering import asset_version
from .rows import EXPIRES_SOON


@dataclass(frozen=True, slots=True)
class Tab:
    """The pages' tab in the host's settings navigation, as the current user should meet it."""

    url: str
    stylesheet: str
    is_permitted: bool
    is_current: bool
    expiring_soon: int
    """The number of keys that expire soon, if it was asked for."""


def tab_for(organization: Any, count: bool = False) -> Tab:
    """Return the tab of an organisation, for the template ``orgkeys/_tab.html``.

    :param count: whether to count the keys that expire soon.
    """
    state = state_of()
    try:
        is_permitted = may_manage(organization)
    except HTTPException:
        is_permitted = False
    name = _mounted_name(state.blueprint)
    rules = current_app.url_map.iter_rules(f"{name}.index")
    variables = {variable for rule in rules for variable in rule.arguments}
    values = {k: v for k, v in (request.view_args or {}).items() if k in variables}
    values[state.settings.org_arg] = organization.slug
    stylesheet = url_for(f"{name}.asset", filename="orgkeys.css", **values)
    return Tab(
        url=url_for(f"{name}.index", **values),
        stylesheet=f"{stylesheet}?v={asset_version('orgkeys.css')}",
        is_permitted=is_permitted,
        is_current=request.blueprint == name,
        expiring_soon=_count_expiring_soon(organization) if count and is_permitted else 0,
    )


def _count_expiring_soon(organization: Any) -> int:
    # The host's pending rows are its own to flush.
    with state_of().host.session.no_autoflush:
        return management.count_keys(
            organization.id, status=ACTIVE, expires_before=datetime.now(UTC) + EXPIRES_SOON
        )


def _mounted_name(blueprint: Blueprint) -> str:
    """Return the name the host mounted the pages by: ``register_blueprint`` may give another."""
    for name, mounted in current_app.blueprints.items():
        if mounted is blueprint:
            return name
    raise ConfigurationError(
        "the API keys pages are not mounted: call app.register_blueprint(orgkeys.blueprint, "
        'url_prefix="/o/<org_slug>/api-keys").'
    )
