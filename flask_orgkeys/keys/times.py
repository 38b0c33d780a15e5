"""Times: aware and in UTC inside, half-open at an expiry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - to count from, on either side
_UTC_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A database session answers in its own time zone, in which the year may be another.
_MARGIN = timedelta(days=2)
EARLIEST = datetime.min.replace(tzinfo=UTC) + _MARGIN
LATEST = datetime.max.replace(tzinfo=UTC) - _MARGIN


def is_past(moment: datetime | None, now: datetime) -> bool:
    """Tell whether ``moment`` has come: half-open, so true at that very instant."""
    return moment is not None and moment <= now


def as_utc(value: datetime) -> datetime:
    """Return a time from the database as an aware one in UTC.

    PostgreSQL answers in its session's time zone; SQLite and MariaDB answer naive, in the UTC that
    was written.
    """
    if value.tzinfo is not None:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    # Like ``value.replace(tzinfo=UTC)``, in a fifth of its time.
    return _UTC_EPOCH + (value - _NAIVE_EPOCH)


def to_utc(value: datetime, name: str) -> datetime:
    """Return a time from outside in UTC.

    :param name: the name of the argument, for the errors.
    :raises ValueError: if it is none, has no time zone, or lies beyond the calendar in UTC.
    """
    if not isinstance(value, datetime):
        raise ValueError(f"{name} is a datetime, not {value!r}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(
            f"{name} has no time zone: write datetime.now(UTC) + timedelta(days=90), for example"
        )
    try:
        moment = value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{name} lies outside of the years 1 to 9999 in UTC") from error
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{name} is too close to the end of the calendar: leave it two days")
    return moment
