"""The pages' tab in a host's settings navigation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, current_app, request, url_for
from werkzeug.exceptions import HTTPException

from ..errors import ConfigurationError
from ..state import state_of
from .access import may_manage
from .rendering import asset_version


@dataclass(frozen=True, slots=True)
class Tab:
    """The pages' tab in the host's settings navigation, as the current user should meet it."""

    url: str
    stylesheet: str
    is_permitted: bool
    is_current: bool


def tab_for(organization: Any) -> Tab:
    """Return the tab of an organisation, for the template ``orgkeys/_tab.html``."""
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
