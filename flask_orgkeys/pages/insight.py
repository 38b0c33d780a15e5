"""The uses of a key in words: what it calls, what refused it, and what its revocation breaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ..keys.insight import IN_USE, Attempts, Insight, UseVerdict, insight
from ..management import management
from ..state import state_of
from .language import gettext, number
from .rows import Moment

if TYPE_CHECKING:
    from datetime import datetime

    from ..keys.models import ApiKey, KeyEvent, KeyUse
    from .access import Visit

EVENTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class UseRow:
    """The uses of a key at one endpoint with one outcome.

    :param reason: of the refusal; empty if the uses were accepted.
    :param client: the last client's address and user agent, as far as they were recorded.
    :param uses: the number of uses, at least.
    """

    endpoint: str
    reason: str
    last: Moment
    client: str
    uses: str

    @classmethod
    def of(cls, use: KeyUse, now: datetime) -> Self:
        return cls(
            endpoint=use.endpoint,
            reason=reason_of(use),
            last=Moment.at(use.last_at, now),
            client=client_of(use),
            uses=number(use.uses),
        )


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """A scope of a key.

    :param description: empty if the scope is no longer declared.
    :param last_needed: the last accepted use that needed it.
    :param is_never_needed: whether the record is complete and has no such use.
    """

    name: str
    description: str
    last_needed: Moment | None
    is_never_needed: bool


@dataclass(frozen=True, slots=True)
class AttemptsRow:
    """Uses of a key after its end.

    :param uses: their number, at least; 0 if nobody has tried.
    """

    uses: int
    last: Moment | None
    client: str

    @classmethod
    def of(cls, attempts: Attempts, now: datetime) -> Self:
        last = attempts.last
        if last is None:
            return cls(0, None, "")
        return cls(attempts.uses, Moment.at(last.last_at, now), client_of(last))


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """The effect of a revocation.

    :param kind: one of the kinds of :mod:`flask_orgkeys.keys.insight`.
    :param days: the whole days since the last use.
    :param calls: the accepted uses of the last 7 days.
    """

    kind: str
    days: int | None
    last_used: Moment | None
    client: str
    calls: Sequence[UseRow]

    @classmethod
    def of(cls, verdict: UseVerdict, now: datetime) -> Self:
        used_at = verdict.last_used_at
        return cls(
            kind=verdict.kind,
            days=verdict.days,
            last_used=None if used_at is None else Moment.at(used_at, now),
            client="" if verdict.last is None else client_of(verdict.last),
            calls=[UseRow.of(use, now) for use in verdict.recent],
        )

    @property
    def is_in_use(self) -> bool:
        return self.kind == IN_USE


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event of the audit record."""

    key_id: str
    action: str
    what: str
    when: Moment
    actor: str | None
    address: str | None

    @classmethod
    def of(cls, event: KeyEvent, names: Mapping[str, str], now: datetime) -> Self:
        return cls(
            key_id=event.key_id,
            action=event.action,
            what=action_in_words(event.action),
            when=Moment.at(event.occurred_at, now),
            actor=None if event.actor is None else names.get(event.actor, event.actor),
            address=event.address,
        )


@dataclass(frozen=True, slots=True)
class KeyInsight:
    """Everything that a key's page tells of its uses and events.

    :param names: of the actors on the page.
    :param is_recorded: whether the host has uses recorded.
    :param since_revocation: uses after the revocation, if the key was revoked.
    """

    names: Mapping[str, str]
    is_recorded: bool
    verdict: VerdictRow
    scopes: Sequence[ScopeRow]
    calls: Sequence[UseRow]
    refused: Sequence[UseRow]
    since_revocation: AttemptsRow | None
    events: Sequence[EventRow]
    has_more_events: bool

    @property
    def never_needed(self) -> int:
        """The number of scopes that were never needed."""
        return sum(scope.is_never_needed for scope in self.scopes)


def insight_of(visit: Visit, key: ApiKey, *, asks_names: bool = True) -> KeyInsight:
    """Return everything that a key's page tells of its uses and events.

    :param asks_names: whether to ask the host for the names of the actors on the page.
    """
    state = state_of()
    now = visit.now
    found = insight(state.keys, key, now)
    events = management.list_events(visit.organization.id, key_id=key.id, limit=EVENTS_SHOWN + 1)
    actors = [key.created_by, key.revoked_by, *(event.actor for event in events)]
    names = state.host.names_of(actors) if asks_names else {}
    return KeyInsight(
        names=names,
        is_recorded=state.settings.last_used_step is not None,
        verdict=VerdictRow.of(found.verdict, now),
        scopes=_scopes(found, now),
        calls=[UseRow.of(use, now) for use in found.accepted],
        refused=[UseRow.of(use, now) for use in found.refused],
        since_revocation=(
            None if key.revoked_at is None else AttemptsRow.of(found.since_revocation, now)
        ),
        events=event_rows(events[:EVENTS_SHOWN], names, now),
        has_more_events=len(events) > EVENTS_SHOWN,
    )


def verdict_of(visit: Visit, key: ApiKey) -> VerdictRow:
    """Return the effect of a revocation."""
    return VerdictRow.of(insight(state_of().keys, key, visit.now).verdict, visit.now)


def event_rows(
    events: Iterable[KeyEvent], names: Mapping[str, str], now: datetime
) -> list[EventRow]:
    return [EventRow.of(event, names, now) for event in events]


def reason_of(use: KeyUse) -> str:
    """Return the reason of a refusal in words; empty for accepted uses."""
    if use.outcome == "insufficient_scope":
        return gettext("Needs %(scopes)s", scopes=", ".join(use.scopes))
    reasons = {
        "revoked_key": gettext("Revoked"),
        "expired_key": gettext("Expired"),
        "rotated_key": gettext("Old secret"),
        "organization_not_found": gettext("Another organisation"),
    }
    return reasons.get(use.outcome, "")


def action_in_words(action: str) -> str:
    """Return the action of an event in words."""
    words = {
        "created": gettext("Created"),
        "updated": gettext("Changed"),
        "rotated": gettext("Rotated"),
        "previous_ended": gettext("Old secret ended"),
        "revoked": gettext("Revoked"),
        "pruned": gettext("Pruned"),
    }
    return words.get(action, action)


def client_of(use: KeyUse) -> str:
    """Return the last client of a use: its address and user agent, as far as recorded."""
    return ", ".join(part for part in (use.address, use.agent) if part)


def _scopes(found: Insight, now: datetime) -> list[ScopeRow]:
    declared = state_of().settings.scopes
    return [
        ScopeRow(
            name=need.scope,
            description=str(declared.get(need.scope, "")),
            last_needed=None if need.last_at is None else Moment.at(need.last_at, now),
            is_never_needed=need.is_never,
        )
        for need in found.scopes
    ]
