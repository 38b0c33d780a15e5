"""The wall between organisations: the one in the URL must be the key's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import current_app, request

from .access_rule import ANY

if TYPE_CHECKING:
    from flask import Request

    from ..state import AppState


def organization_in_url(state: AppState, carrier: Request) -> Any:
    """Return the id of the organisation in the URL; ``None`` if it is unknown, :data:`ANY` if the
    URL has none.
    """
    name = state.settings.org_arg
    rule = carrier.url_rule
    if rule is None or name not in rule.arguments:
        return ANY
    arguments = carrier.view_args or {}
    if name not in arguments:
        # A host's url_value_preprocessor may have taken it out.
        arguments = matched_arguments()
    organization = state.host.load_organization(arguments[name])
    return None if organization is None else organization.id


def matched_arguments() -> dict[str, Any]:
    """Return the variables of the request's URL, also those that a host's
    ``url_value_preprocessor`` has taken out of ``request.view_args``.
    """
    adapter = current_app.create_url_adapter(request._get_current_object())  # type: ignore[attr-defined]
    return {} if adapter is None else dict(adapter.match()[1])
