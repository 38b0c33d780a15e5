"""Changes that a page commits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ..keys.database import committed_if
from ..state import state_of
from .access import Visit, administered_organization

T = TypeVar("T")


def committed_change(visit: Visit, change: Callable[[], T], *, lock: Callable[[], object]) -> T:
    """Make a change and commit it, if the user still has the permission once it has its locks.

    :param lock: takes the locks that the change waits for.
    """
    ask = partial(administered_organization, visit.slug)
    return committed_if(state_of().host.session, change, lock=lock, ask=ask)


def lock_of(visit: Visit, key_id: str) -> Callable[[], object]:
    """Return the lock on a key of the organisation that is visited."""
    return partial(state_of().keys.locks.hold_key, visit.organization.id, key_id)
