"""The audit record: one event for each change of a key, in the transaction of the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .cleaning import clean_actor, clean_address

HOLDER = "holder of the key"
"""The actor of a change by possession: the address beside it is all that is known."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, for the audit record.

    :param name: as the host names its users.
    :param address: network address, if the change comes in a request.
    """

    name: str | None = None
    address: str | None = None

    @classmethod
    def of(cls, name: str | None, address: str | None = None, *, argument: str = "actor") -> Self:
        """Return an actor that the record can hold.

        :param argument: the name of the argument ``name`` in the error.
        :raises ValueError: if the name is no text, too long, or has control characters or a key.
        """
        return cls(clean_actor(name, argument), clean_address(address))
