"""The wall between organisations: the one of the request must be the key's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from flask import current_app, request

from ..errors import ConfigurationError
from .access_rule import ANY

if TYPE_CHECKING:
    from flask import Request

    from ..host import Host
    from ..state import AppState

_LOADED = "_orgkeys_organizations"


class Loaded(NamedTuple):
    """The organisation that the loader returned for one value in a request.

    :param organization_id: read at once: the view may end the organisation's session.
    """

    host: Host
    value: Any
    organization: Any
    organization_id: Any


def organization_of_request(
    state: AppState, carrier: Request, variable: str | None, arguments: Mapping[str, Any]
) -> Any:
    """Return the id of the request's organisation; ``None`` if it is unknown, or if the URL and the
    view's arguments name different ones; :data:`ANY` if the request names none.

    :param variable: the variable that the guard names; ``None``: that of ``ORGKEYS_ORG_ARG``.
    :param arguments: those that the guarded view is called with.
    :raises ConfigurationError: if the guard names a variable that the request does not have.
    """
    name = variable or state.settings.org_arg
    values = _values(carrier, name, arguments)
    if not values:
        if variable is None:
            return ANY
        raise ConfigurationError(
            f"the guard of {carrier.endpoint!r} has organization={variable!r}, but neither its URL "
            f"nor its view has a variable of that name: write <{variable}> into the URL, or the "
            "right name."
        )
    if len(values) == 1:
        return _load(state.host, carrier, values[0]).organization_id
    found = {_load(state.host, carrier, value).organization_id for value in values}
    return found.pop() if len(found) == 1 else None


def loaded_organizations(carrier: Request) -> list[Loaded]:
    """Return the organisations that the guards of a request have loaded."""
    loaded: list[Loaded] | None = getattr(carrier, _LOADED, None)
    if loaded is None:
        loaded = []
        setattr(carrier, _LOADED, loaded)
    return loaded


def matched_arguments() -> dict[str, Any]:
    """Return the variables of the request's URL, also those that a host's
    ``url_value_preprocessor`` has taken out of ``request.view_args``.
    """
    adapter = current_app.create_url_adapter(request._get_current_object())  # type: ignore[attr-defined]
    return {} if adapter is None else dict(adapter.match()[1])


def _values(carrier: Request, name: str, arguments: Mapping[str, Any]) -> list[Any]:
    """Return the values of a variable: that of the URL, and a different one that a decorator or a
    preprocessor of the host's calls the view with.
    """
    in_url = carrier.view_args
    rule = carrier.url_rule
    if in_url and name in in_url:
        values = [in_url[name]]
    elif rule is not None and name in rule.arguments:
        values = [matched_arguments()[name]]
    else:
        return [arguments[name]] if name in arguments else []
    called_with = arguments.get(name)
    # Anything else is what a decorator has made of the value, like the organisation itself.
    if isinstance(called_with, (str, int, UUID)) and not _is_same(called_with, values[0]):
        values.append(called_with)
    return values


def _load(host: Host, carrier: Request, value: Any) -> Loaded:
    loaded = loaded_organizations(carrier)
    for known in loaded:
        if known.host is host and _is_same(known.value, value):
            return known
    organization = host.load_organization(value)
    organization_id = None if organization is None else organization.id
    loaded.append(Loaded(host, value, organization, organization_id))
    return loaded[-1]


def _is_same(value: Any, other: Any) -> bool:
    return value is other or (type(value) is type(other) and bool(value == other))
