"""The response header ``API-Key-Expires``: a caller is told that its key or secret ends soon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flask import after_this_request

from ..authentication.outcome import Accepted, Rejected
from ..keys.document import timestamp
from ..keys.times import as_utc
from .current import current_request

if TYPE_CHECKING:
    from flask import Request, Response

    from ..state import AppState

HEADER = "API-Key-Expires"

_ENDS_AT = "_orgkeys_ends_at"


def announce_end(state: AppState, carrier: Request, outcome: Accepted | Rejected) -> None:
    """Set the header on the response to a request that a guard has accepted, if its key or secret
    ends within the longest threshold.
    """
    if not isinstance(outcome, Accepted) or not state.settings.expiry_header:
        return
    ends_at = _end_of(outcome)
    if ends_at is None or ends_at - datetime.now(UTC) > timedelta(state.settings.notice_days[0]):
        return
    is_announced = _ENDS_AT in vars(carrier)
    setattr(carrier, _ENDS_AT, ends_at)
    if not is_announced:
        after_this_request(_set_header)


def withdraw_end(carrier: Request) -> None:
    """Leave the header out: a guard below the one that accepted the request has refused it."""
    vars(carrier).pop(_ENDS_AT, None)


def _end_of(outcome: Accepted) -> datetime | None:
    expires_at = outcome.stored.expires_at
    return None if expires_at is None else as_utc(expires_at)


def _set_header(response: Response) -> Response:
    ends_at = timestamp(vars(current_request()).get(_ENDS_AT))
    if ends_at is not None:
        response.headers[HEADER] = ends_at
    return response
