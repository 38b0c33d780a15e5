"""The response header ``API-Key-Expires``: a caller is told that its key or secret ends soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import after_this_request

from ..keys.document import timestamp
from ..keys.times import as_utc
from .current import current_request

if TYPE_CHECKING:
    from datetime import datetime

    from flask import Request, Response

    from ..authentication.outcome import Accepted
    from ..state import AppState

HEADER = "API-Key-Expires"

_ENDS_AT = "_orgkeys_ends_at"


def announce_end(state: AppState, carrier: Request, outcome: Accepted) -> None:
    """Set the header on the response to a request that a guard has accepted, if its key or secret
    ends within the longest threshold.
    """
    settings = state.settings
    if not settings.expiry_header:
        return
    ends_at = _end_of_secret(outcome) if outcome.is_previous else outcome.stored.expires_at
    if ends_at is None or ends_at - outcome.at > settings.longest_notice:
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
    carrier.__dict__.pop(_ENDS_AT, None)


def _set_header(response: Response) -> Response:
    ends_at = timestamp(vars(current_request()).get(_ENDS_AT))
    if ends_at is not None:
        response.headers[HEADER] = ends_at
    return response
