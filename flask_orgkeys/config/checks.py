"""Checks of single options: each takes the option's name and value, and returns the value as the
app uses it.

Each raises a ConfigurationError that names the option, its value and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from ..errors import ConfigurationError
from ..tokens import PREFIX_PATTERN
from .scopes import MAX_LENGTH, is_scope_token

MIN_PEPPER_BYTES = 32
MAX_EXPIRY_DAYS = 36_500
MAX_OVERLAP_HOURS = 8_760
MAX_NUMBER = 1_000_000_000

_HEADER_TEXT = re.compile(r"[\x20-\x7e]+")
_URL_VARIABLE = re.compile(r"[A-Za-z_][0-9A-Za-z_]*")
VARIABLES_OF_PAGES = ("key_id", "filename")

RANDOM_TEXT_COMMAND = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def scopes(name: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not value:
        raise ConfigurationError(
            f"{name} must map each scope to a description, for example "
            '{"project:deploy": "Trigger and manage deployments"}; '
            f"it is {'empty' if value == {} else repr(value)}."
        )
    for scope, description in value.items():
        if not is_scope_token(scope):
            raise ConfigurationError(
                f"{name}: {scope!r} is no scope name. Write 1 to {MAX_LENGTH} printable "
                'ASCII characters without space, double quote or backslash, like "project:deploy".'
            )
        if not _is_description(description):
            raise ConfigurationError(
                f"{name}: {scope!r} needs a description for the people who choose it; "
                f"it has {description!r}."
            )
    return MappingProxyType(dict(value))


def _is_description(value: Any) -> bool:
    # A lazy text, like Flask-Babel's, is translated when it is shown.
    return bool(value.strip()) if isinstance(value, str) else hasattr(type(value), "__html__")


def prefix(name: str, value: Any) -> str:
    if not isinstance(value, str) or not PREFIX_PATTERN.fullmatch(value):
        raise ConfigurationError(
            f'{name} is {value!r}. Write 1 to 20 letters, digits or underscores, like "orgk".'
        )
    return value


def text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} is {value!r}. Write a text that is not empty.")
    return value


def url_variable(name: str, value: Any) -> str:
    if (
        not isinstance(value, str)
        or not _URL_VARIABLE.fullmatch(value)
        or value in VARIABLES_OF_PAGES
    ):
        raise ConfigurationError(
            f"{name} is {value!r}. Write the name of the URL variable that holds the "
            'organisation, like "org_slug" for /o/<org_slug>/; the pages use '
            f"{' and '.join(VARIABLES_OF_PAGES)} themselves."
        )
    return value


def realm(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
        raise ConfigurationError(
            f"{name} is {value!r}. It goes into a response header: write printable ASCII "
            "characters."
        )
    return value


def policy(name: str, value: Any) -> str | None:
    """Check a Content Security Policy."""
    if value is None:
        return None
    if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
        raise ConfigurationError(
            f"{name} is {value!r}. It goes into a response header: write printable ASCII "
            "characters, or None to leave the policy to the host."
        )
    return value


def days(name: str, value: Any) -> int:
    """Check a number of days."""
    if not is_whole_number(value) or not 1 <= value <= MAX_EXPIRY_DAYS:
        raise ConfigurationError(
            f"{name} is {value!r}. Write a whole number of days from 1 to {MAX_EXPIRY_DAYS}."
        )
    return int(value)


def problem_details(name: str, value: Any) -> str:
    if value not in ("host", "always"):
        raise ConfigurationError(f"{name} is {value!r}. Write 'host' or 'always'.")
    return str(value)


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is {value!r}. Write True or False.")
    return value


def is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def positive_or_none(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not is_whole_number(value) or not 1 <= value <= MAX_NUMBER:
        raise ConfigurationError(
            f"{name} is {value!r}. Write a whole number from 1 to {MAX_NUMBER}, or None."
        )
    return int(value)


def expiry_days(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ConfigurationError(
            f"{name} is {value!r}. Write the lifetimes on offer, in days, like (30, 60, 90, 365)."
        )
    for days in value:
        if not is_whole_number(days) or not 1 <= days <= MAX_EXPIRY_DAYS:
            raise ConfigurationError(
                f"{name} holds {days!r}. Write whole numbers of days from 1 to {MAX_EXPIRY_DAYS}."
            )
    return tuple(sorted(set(value)))


def notice_days(name: str, value: Any) -> tuple[int, ...]:
    is_list = isinstance(value, (tuple, list)) and bool(value)
    if not is_list or not all(is_whole_number(days) and days >= 1 for days in value):
        raise ConfigurationError(
            f"{name} is {value!r}. Write whole days of 1 or more, longest first, like (30, 7, 1)."
        )
    if any(longer <= shorter for longer, shorter in pairwise(value)) or value[0] > MAX_EXPIRY_DAYS:
        raise ConfigurationError(
            f"{name} is {value!r}. Write each threshold once, longest first, none "
            f"beyond {MAX_EXPIRY_DAYS} days."
        )
    return tuple(value)


def overlap_hours(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ConfigurationError(
            f"{name} is {value!r}. Write the overlaps on offer, in hours, "
            "like (0, 1, 24, 168, 720)."
        )
    for hours in value:
        if not is_whole_number(hours) or not 0 <= hours <= MAX_OVERLAP_HOURS:
            raise ConfigurationError(
                f"{name} holds {hours!r}. Write whole numbers of hours "
                f"from 0 to {MAX_OVERLAP_HOURS}."
            )
    return tuple(sorted(set(value)))


def peppers(name: str, value: Any) -> tuple[bytes | None, ...]:
    """Check HMAC keys, newest first; ``None`` as the last item accepts plain digests."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ConfigurationError(
            f"{name} must be a list of HMAC keys, newest first, like [new, old], or empty. "
            f"Make one with: {RANDOM_TEXT_COMMAND}"
        )
    items = list(value)
    # None alone leaves no pepper, which is a mistake.
    accepts_plain = len(items) > 1 and items[-1] is None
    if accepts_plain:
        items.pop()
    if len(value) > 1 and None in items:
        raise ConfigurationError(
            f"{name}: None may only be the last item. There it accepts the digests of keys that "
            "were made without a pepper."
        )
    checked = [
        _pepper(name, pepper, f"number {number}") for number, pepper in enumerate(items, start=1)
    ]
    return (*checked, None) if accepts_plain else tuple(checked)


def pepper_or_none(name: str, value: Any) -> bytes | None:
    """Check an HMAC key, or ``None``."""
    return None if value is None else _pepper(name, value, "it")


def _pepper(name: str, value: Any, which: str) -> bytes:
    # A text from the environment may be no UTF-8.
    pepper = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    if not isinstance(pepper, bytes) or len(pepper) < MIN_PEPPER_BYTES:
        raise ConfigurationError(
            f"{name}: {which} is not {MIN_PEPPER_BYTES} bytes or longer. "
            f"Make one with: {RANDOM_TEXT_COMMAND}"
        )
    return pepper
