"""The one rule of access: the wall between organisations first, then the scopes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import InsufficientScope, OrganizationNotFound, RequestRefused

ANY: Any = object()
"""In place of an organisation's id: any organisation.

.. versionadded:: 0.1.0
"""


def reason_to_refuse(
    held: frozenset[str], required: Iterable[str], *, owner: Any, organization_id: Any = ANY
) -> type[RequestRefused] | None:
    """Return the refusal of a valid key, or ``None`` if it may pass.

    :param held: the scopes of the key that the app declares.
    :param required: the scopes that the view demands, all of them.
    :param owner: the id of the key's organisation.
    :param organization_id: the id of the organisation in the URL, ``None`` if it is unknown.
    """
    if organization_id is not ANY and owner != organization_id:
        return OrganizationNotFound
    return None if held.issuperset(required) else InsufficientScope
