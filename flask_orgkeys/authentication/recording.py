"""The record of uses: a memo of the uses of this process, which says only whether writing is due.

A request adds one to the count of its key, endpoint and outcome. That is due to be written if the
process has not seen them together before, or not from this address, and otherwise once a step.
Nothing here takes a lock, so that a fork cannot leave it locked; the count of a use that gets lost
between two threads is too low, never too high.
"""

from __future__ import annotations

import os
import re
import string
import weakref
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from ..keys.models import ADDRESS_LENGTH, AGENT_LENGTH, ENDPOINT_LENGTH
from ..tokens import ID_PATTERN, SECRET_PATTERN
from .use_rows import Pair, UseRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..config.settings import Settings
    from .lookup import Lookup

MAX_PAIRS = 10_000
"""How many pairs of a key and an endpoint are remembered."""

MAX_ADDRESSES = 8
"""How many addresses of a pair are due at once within a step."""

_NEVER = datetime.max.replace(tzinfo=UTC)
_LONGEST_AGENT = 5 * AGENT_LENGTH
_WORD = string.ascii_letters + string.digits + "_"
_KEY_SHAPED = re.compile(rf"(?:[0-9A-Za-z_]{{1,20}}_)?{ID_PATTERN}_{SECRET_PATTERN}[0-9A-Za-z_]*+")


class _Seen:
    """The uses of one pair in this process.

    :param begun_at: the beginning of the step; before the first one a time that never comes.
    :param due_at: its end.
    :param addresses: those that were written in it.
    :param scopes: all that were demanded so far.
    """

    __slots__ = ("addresses", "begun_at", "due_at", "last_scopes", "marks", "numbers", "scopes")

    def __init__(self) -> None:
        self.numbers: Iterator[int] = count(1)
        # The number up to which uses are counted. A thread takes it out for as long as it needs it.
        self.marks: list[int] = [0]
        self.begun_at: datetime = _NEVER
        self.due_at: datetime = _NEVER
        self.addresses: set[str | None] = set()
        self.scopes: frozenset[str] = frozenset()
        self.last_scopes: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether no use was written yet."""
        return self.begun_at is _NEVER

    def is_due(self, at: datetime, address: str | None, scopes: tuple[str, ...]) -> bool:
        """Tell whether a use is to be written."""
        # Before its beginning, the clock was set back.
        if not self.begun_at <= at < self.due_at or not self.scopes.issuperset(scopes):
            return True
        return address not in self.addresses and len(self.addresses) < MAX_ADDRESSES

    def write(
        self, at: datetime, step: timedelta, address: str | None, scopes: tuple[str, ...]
    ) -> None:
        """Note that uses up to a time are written, from an address, which may begin a step."""
        if not self.begun_at <= at < self.due_at:
            self.begun_at = at
            self.due_at = at + step
            self.addresses = set()
        self.addresses.add(address)
        self.scopes |= frozenset(scopes)
        self.last_scopes = scopes


class UseRecorder:
    """Records the uses of one app's keys.

    :param settings: without a ``last_used_step`` nothing is recorded.
    """

    __slots__ = ("__weakref__", "_lookup", "_records_clients", "_seen", "_step", "is_on")

    def __init__(self, settings: Settings, lookup: Lookup) -> None:
        self.is_on: bool = settings.last_used_step is not None
        self._step = settings.last_used_step or timedelta(0)
        self._records_clients = settings.record_clients
        self._lookup = lookup
        self._seen: OrderedDict[Pair, _Seen] = OrderedDict()
        _recorders.add(self)

    def note(
        self,
        pair: Pair,
        scopes: tuple[str, ...],
        at: datetime,
        address: str | None,
        environ: Mapping[str, Any],
    ) -> bool:
        """Note a use.

        :param pair: the key's id, the endpoint and the outcome.
        :param scopes: those that were demanded.
        :param at: the time of the decision.
        :param address: the network address of the client.
        :param environ: the WSGI environment of its request, if there is one.
        :return: whether it is due to be written.
        """
        if not self._records_clients:
            address = None
        seen = self._seen.get(pair)
        if seen is None:
            seen = self._remember(pair)
        number = next(seen.numbers)
        # For most requests this is all: what is_due says, without a call.
        if (
            seen.begun_at <= at < seen.due_at
            and address in seen.addresses
            and scopes is seen.last_scopes
        ):
            return False
        if not seen.is_due(at, address, scopes):
            return False
        agent = environ.get("HTTP_USER_AGENT") if self._records_clients else None
        row = self._claim(pair, seen, number, scopes, at, address, agent)
        if row is not None:
            self._lookup.record_row(row)
        return row is not None

    def forget(self) -> None:
        """Forget all: in a fork, because the parent writes its own counts."""
        self._seen.clear()
        self._lookup.forget_uses()

    def _remember(self, pair: Pair) -> _Seen:
        if len(self._seen) >= MAX_PAIRS:
            self._seen.popitem(last=False)
        return self._seen.setdefault(pair, _Seen())

    def _claim(
        self,
        pair: Pair,
        seen: _Seen,
        number: int,
        scopes: tuple[str, ...],
        at: datetime,
        address: str | None,
        agent: str | None,
    ) -> UseRow | None:
        """Return the row of the uses up to a number, unless another thread makes it just now."""
        try:
            mark = seen.marks.pop()
        except IndexError:
            return None
        try:
            if number <= mark or not seen.is_due(at, address, scopes):
                return None
            is_new = seen.is_new
            seen.write(at, self._step, address, scopes)
            uses = number - mark
            mark = number
        finally:
            seen.marks.append(mark)
        key_id, endpoint, outcome = pair
        return UseRow(
            key_id=key_id,
            endpoint=storable(endpoint, ENDPOINT_LENGTH) or "",
            outcome=outcome,
            scopes=tuple(sorted(seen.scopes)),
            first_at=at,
            last_at=at,
            address=storable(address, ADDRESS_LENGTH),
            agent=storable(agent, AGENT_LENGTH),
            uses=uses,
            is_new=is_new,
        )


def storable(text: str | None, length: int) -> str | None:
    """Return a text from a client as the record takes it: without control characters, and without
    anything that is shaped like a key.

    :param length: the most characters to keep.
    """
    if text is None:
        return None
    printable = "".join(filter(str.isprintable, text[:_LONGEST_AGENT]))
    if len(text) > _LONGEST_AGENT:
        # The cut may have left a part of a key.
        printable = printable.rstrip(_WORD)
    return _KEY_SHAPED.sub("", printable)[:length].strip() or None


_recorders: weakref.WeakSet[UseRecorder] = weakref.WeakSet()


def _forget_uses_of_parent() -> None:
    for recorder in list(_recorders):
        recorder.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_uses_of_parent)
