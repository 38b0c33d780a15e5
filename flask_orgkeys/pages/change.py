"""Changes that a page commits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..keys.database import committed
from ..state import state_of

T = TypeVar("T")


def committed_change(change: Callable[[], T]) -> T:
    """Make a change in the host's session, and commit it."""
    return committed(state_of().host.session, change)
