"""The audit record, as a request asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import request

from ..keys.activity import EventFilter, iterate_events, keys_of
from ..keys.event_csv import csv_lines
from ..keys.models import ACTIONS
from ..keys.redaction import without_secret
from ..management import management
from ..state import state_of
from .insight import EventRow, action_in_words, event_rows
from .listing import KEYS_PER_PAGE, Pagination

if TYPE_CHECKING:
    from .access import Visit


@dataclass(frozen=True, slots=True)
class Activity:
    """A page of the audit record.

    :param keys: the names of the keys that exist, by id.
    :param query: the filter: ``action``, and ``subject`` for a key or a person.
    """

    visit: Visit
    rows: Sequence[EventRow]
    keys: Mapping[str, str]
    page: Pagination
    query: Mapping[str, str]

    @property
    def actions(self) -> Sequence[tuple[str, str]]:
        """Pairs of an action and its words."""
        return [(action, action_in_words(action)) for action in ACTIONS]

    def url(self, endpoint: str = "activity", **values: Any) -> str:
        """Return the URL of this list with other values."""
        chosen = {name: value for name, value in self.query.items() if value}
        return self.visit.url(endpoint, **{**chosen, **values})


def csv_of(visit: Visit) -> Iterator[str]:
    """Give the lines of every event under the filter as CSV."""
    query = _query_of_request()
    selected = EventFilter(action=query["action"] or None, text=query["subject"])
    return csv_lines(iterate_events(state_of().keys, visit.organization.id, selected))


def activity_of(visit: Visit) -> Activity:
    """Return the page of the audit record that the request asks for."""
    query = _query_of_request()
    action, search = query["action"] or None, query["subject"]
    organization_id = visit.organization.id
    total = management.count_events(organization_id, action=action, search=search)
    page = Pagination.of(request.args.get("page", "1"), total)
    events = management.list_events(
        organization_id, action=action, search=search, limit=KEYS_PER_PAGE, offset=page.offset
    )
    keys = keys_of(state_of().keys, organization_id, events)
    names = state_of().host.names_of(event.actor for event in events)
    return Activity(visit, event_rows(events, names, visit.now), keys, page, query)


def _query_of_request() -> dict[str, str]:
    action = request.args.get("action", "")
    subject = request.args.get("subject", "").strip()
    return {
        "action": action if action in ACTIONS else "",
        "subject": without_secret(subject, state_of().settings.prefix),
    }
