"""Changes that a page commits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ..keys.database import committed_if
from ..state import state_of
from .access import Visit, administered_organization

T = TypeVar("T")


def committed_change(visit: Visit, change: Callable[[], T], *, key_id: str | None = None) -> T:
    """Make a change in the host's session and commit it, if the user still has the permission once
    the change has its locks.

    :param key_id: the key to change; ``None`` for a new one.
    """
    state = state_of()
    locks = replace(state.keys.locks, may_commit=True)
    organization_id = visit.organization.id
    lock = partial(locks.hold_creations, organization_id)
    if key_id is not None:
        lock = partial(locks.hold_key, organization_id, key_id)
    ask = partial(administered_organization, visit.slug)
    return committed_if(state.host.session, change, lock=lock, ask=ask)
