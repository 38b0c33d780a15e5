"""The response header ``API-Key-Expires``: a caller is told that its key or secret ends soon."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from time import time
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
_DAY_SECONDS = 86_400
_EPOCH = date(1970, 1, 1).toordinal()


def announce_end(state: AppState, carrier: Request, outcome: Accepted | Rejected) -> None:
    """Set the header on the response to a request that a guard has accepted, if its key or secret
    ends within the longest threshold.
    """
    settings = state.settings
    if not settings.expiry_header or not isinstance(outcome, Accepted):
        return
    ends_at = _end_of_secret(outcome) if outcome.is_previous else outcome.stored.expires_at
    days = settings.notice_days[0]
    # By whole days, which is cheap, for most keys end later. A day more on either side, for time
    # zones and the time of day.
    if ends_at is None or ends_at.toordinal() - time() // _DAY_SECONDS > days + _EPOCH + 2:
        return
    ends_at = as_utc(ends_at)
    if ends_at - datetime.now(UTC) > timedelta(days):
        return
    is_announced = _ENDS_AT in vars(carrier)
    setattr(carrier, _ENDS_AT, ends_at)
    if not is_announced:
        after_this_request(_set_header)


def _end_of_secret(outcome: Accepted) -> datetime | None:
    """Return the end of the secret before the last rotation, or the key's if that is earlier."""
    ends = outcome.stored.previous_until, outcome.stored.expires_at
    return min((as_utc(ends_at) for ends_at in ends if ends_at is not None), default=None)


def withdraw_end(carrier: Request) -> None:
    """Leave the header out: a guard below the one that accepted the request has refused it."""
    vars(carrier).pop(_ENDS_AT, None)


def _set_header(response: Response) -> Response:
    ends_at = timestamp(vars(current_request()).get(_ENDS_AT))
    if ends_at is not None:
        response.headers[HEADER] = ends_at
    return response
