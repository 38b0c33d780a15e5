"""The configuration: one table of defaults, checked once for each app."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from ..errors import ConfigurationError
from ..tokens import PREFIX_PATTERN
from .options import OPTIONS
from .scopes import MAX_LENGTH, is_scope_token

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {name: option.default for name, option in OPTIONS.items()}
)
"""Every option without its ``ORGKEYS_`` prefix, and its default."""

MIN_PEPPER_BYTES = 32
MAX_EXPIRY_DAYS = 36_500
MAX_OVERLAP_HOURS = 8_760
MAX_NUMBER = 1_000_000_000

NEVER = "never"
"""The lifetime of a key without expiry, in the form and in the commands."""

_HEADER_TEXT = re.compile(r"[\x20-\x7e]+")
_URL_VARIABLE = re.compile(r"[A-Za-z_][0-9A-Za-z_]*")
VARIABLES_OF_PAGES = ("key_id", "filename")

RANDOM_TEXT_COMMAND = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The checked configuration of one app. Field names are the options' names in lower case."""

    scopes: Mapping[str, str]
    prefix: str
    permission: str
    expiry_days: tuple[int, ...]
    default_expiry_days: int | None
    allow_no_expiry: bool
    rotation_overlap_hours: tuple[int, ...]
    default_rotation_overlap_hours: int
    last_used_step: timedelta | None
    record_clients: bool
    notice_days: tuple[int, ...]
    expiry_header: bool
    max_keys: int | None
    peppers: tuple[bytes, ...] = field(repr=False)
    realm: str
    content_security_policy: str | None
    expires_soon: timedelta
    problem_details: str
    base_template: str
    org_arg: str

    @property
    def longest_overlap(self) -> timedelta:
        """The longest time for which a rotation may leave the secret before alive."""
        return timedelta(hours=self.rotation_overlap_hours[-1])

    @classmethod
    def from_config(cls, config: Mapping[str, Any], app_name: str) -> Settings:
        """Read and check every ``ORGKEYS_...`` option.

        :param config: the app's configuration.
        :param app_name: the realm where none is configured.
        :raises ConfigurationError: naming the option, what it holds and what to write instead.
        """
        options = {name: config.get(f"ORGKEYS_{name}", DEFAULTS[name]) for name in DEFAULTS}
        _refuse_unknown(config)
        expiry_days = _expiry_days(options["EXPIRY_DAYS"])
        overlap_hours = _rotation_overlap_hours(options["ROTATION_OVERLAP_HOURS"])
        allow_no_expiry = _boolean("ALLOW_NO_EXPIRY", options["ALLOW_NO_EXPIRY"])
        seconds = _positive_or_none("LAST_USED_SECONDS", options["LAST_USED_SECONDS"])
        return cls(
            scopes=_scopes(options["SCOPES"]),
            prefix=_prefix(options["PREFIX"]),
            permission=_text("PERMISSION", options["PERMISSION"]),
            expiry_days=expiry_days,
            default_expiry_days=_default_expiry_days(
                options["DEFAULT_EXPIRY_DAYS"],
                expiry_days,
                allow_no_expiry,
                configured="ORGKEYS_DEFAULT_EXPIRY_DAYS" in config,
            ),
            allow_no_expiry=allow_no_expiry,
            rotation_overlap_hours=overlap_hours,
            default_rotation_overlap_hours=_default_rotation_overlap_hours(
                options["DEFAULT_ROTATION_OVERLAP_HOURS"],
                overlap_hours,
                configured="ORGKEYS_DEFAULT_ROTATION_OVERLAP_HOURS" in config,
            ),
            last_used_step=None if seconds is None else timedelta(seconds=seconds),
            record_clients=_boolean("RECORD_CLIENTS", options["RECORD_CLIENTS"]),
            notice_days=_notice_days(options["NOTICE_DAYS"]),
            expiry_header=_boolean("EXPIRY_HEADER", options["EXPIRY_HEADER"]),
            max_keys=_positive_or_none("MAX_KEYS", options["MAX_KEYS"]),
            peppers=_peppers(options["PEPPERS"]),
            realm=_realm(app_name if options["REALM"] is None else options["REALM"]),
            content_security_policy=_policy(options["CONTENT_SECURITY_POLICY"]),
            expires_soon=timedelta(days=_days("EXPIRES_SOON_DAYS", options["EXPIRES_SOON_DAYS"])),
            problem_details=_problem_details(options["PROBLEM_DETAILS"]),
            base_template=_text("BASE_TEMPLATE", options["BASE_TEMPLATE"]),
            org_arg=_org_arg(options["ORG_ARG"]),
        )


def _refuse_unknown(config: Mapping[str, Any]) -> None:
    known = {f"ORGKEYS_{name}" for name in DEFAULTS}
    unknown = sorted(
        name
        for name in config
        if isinstance(name, str) and name.startswith("ORGKEYS_") and name not in known
    )
    if unknown:
        raise ConfigurationError(
            f"{', '.join(unknown)}: no such option. The options are {', '.join(sorted(known))}."
        )


def _scopes(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not value:
        raise ConfigurationError(
            "ORGKEYS_SCOPES must map each scope to a description, for example "
            '{"project:deploy": "Trigger and manage deployments"}; '
            f"it is {'empty' if value == {} else repr(value)}."
        )
    for name, description in value.items():
        if not is_scope_token(name):
            raise ConfigurationError(
                f"ORGKEYS_SCOPES: {name!r} is no scope name. Write 1 to {MAX_LENGTH} printable "
                'ASCII characters without space, double quote or backslash, like "project:deploy".'
            )
        if not _is_description(description):
            raise ConfigurationError(
                f"ORGKEYS_SCOPES: {name!r} needs a description for the people who choose it; "
                f"it has {description!r}."
            )
    return MappingProxyType(dict(value))


def _is_description(value: Any) -> bool:
    # A lazy text, like Flask-Babel's, is one of the moment it is shown.
    return bool(value.strip()) if isinstance(value, str) else hasattr(type(value), "__html__")


def _prefix(value: Any) -> str:
    if not isinstance(value, str) or not PREFIX_PATTERN.fullmatch(value):
        raise ConfigurationError(
            f"ORGKEYS_PREFIX is {value!r}. Write 1 to 20 letters, digits or underscores, "
            'like "orgk".'
        )
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"ORGKEYS_{name} is {value!r}. Write a text that is not empty.")
    return value


def _org_arg(value: Any) -> str:
    if (
        not isinstance(value, str)
        or not _URL_VARIABLE.fullmatch(value)
        or value in VARIABLES_OF_PAGES
    ):
        raise ConfigurationError(
            f"ORGKEYS_ORG_ARG is {value!r}. Write the name of the URL variable that holds the "
            'organisation, like "org_slug" for /o/<org_slug>/; the pages use '
            f"{' and '.join(VARIABLES_OF_PAGES)} themselves."
        )
    return value


def _realm(value: Any) -> str:
    if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
        raise ConfigurationError(
            f"ORGKEYS_REALM is {value!r}. It goes into a response header: write printable ASCII "
            "characters."
        )
    return value


def _policy(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
        raise ConfigurationError(
            f"ORGKEYS_CONTENT_SECURITY_POLICY is {value!r}. It goes into a response header: write "
            "printable ASCII characters, or None to leave the policy to the host."
        )
    return value


def _days(name: str, value: Any) -> int:
    if not _is_whole_number(value) or not 1 <= value <= MAX_EXPIRY_DAYS:
        raise ConfigurationError(
            f"ORGKEYS_{name} is {value!r}. Write a whole number of days from 1 to "
            f"{MAX_EXPIRY_DAYS}."
        )
    return int(value)


def _problem_details(value: Any) -> str:
    if value not in ("host", "always"):
        raise ConfigurationError(f"ORGKEYS_PROBLEM_DETAILS is {value!r}. Write 'host' or 'always'.")
    return str(value)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"ORGKEYS_{name} is {value!r}. Write True or False.")
    return value


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive_or_none(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not _is_whole_number(value) or not 1 <= value <= MAX_NUMBER:
        raise ConfigurationError(
            f"ORGKEYS_{name} is {value!r}. Write a whole number from 1 to {MAX_NUMBER}, or None."
        )
    return int(value)


def _expiry_days(value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ConfigurationError(
            f"ORGKEYS_EXPIRY_DAYS is {value!r}. Write the lifetimes on offer, in days, "
            "like (30, 60, 90, 365)."
        )
    for days in value:
        if not _is_whole_number(days) or not 1 <= days <= MAX_EXPIRY_DAYS:
            raise ConfigurationError(
                f"ORGKEYS_EXPIRY_DAYS holds {days!r}. Write whole numbers of days from 1 to "
                f"{MAX_EXPIRY_DAYS}."
            )
    return tuple(sorted(set(value)))


def _notice_days(value: Any) -> tuple[int, ...]:
    is_list = isinstance(value, (tuple, list)) and bool(value)
    if not is_list or not all(_is_whole_number(days) and days >= 1 for days in value):
        raise ConfigurationError(
            f"ORGKEYS_NOTICE_DAYS is {value!r}. Write whole days of 1 or more, longest first, "
            "like (30, 7, 1)."
        )
    if any(longer <= shorter for longer, shorter in pairwise(value)) or value[0] > MAX_EXPIRY_DAYS:
        raise ConfigurationError(
            f"ORGKEYS_NOTICE_DAYS is {value!r}. Write each threshold once, longest first, none "
            f"beyond {MAX_EXPIRY_DAYS} days."
        )
    return tuple(value)


def _default_expiry_days(
    value: Any, expiry_days: tuple[int, ...], allow_no_expiry: bool, *, configured: bool
) -> int | None:
    if value is None:
        if not allow_no_expiry:
            raise ConfigurationError(
                'ORGKEYS_DEFAULT_EXPIRY_DAYS is None, which preselects "No expiration", but '
                "ORGKEYS_ALLOW_NO_EXPIRY is False. Write one of "
                f"{expiry_days}, or allow keys without expiry."
            )
        return None
    if _is_whole_number(value) and value in expiry_days:
        return int(value)
    if not configured:
        return expiry_days[-1]
    raise ConfigurationError(
        f"ORGKEYS_DEFAULT_EXPIRY_DAYS is {value!r}, which is not on offer. Write one of "
        f"ORGKEYS_EXPIRY_DAYS {expiry_days}, or None."
    )


def _rotation_overlap_hours(value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ConfigurationError(
            f"ORGKEYS_ROTATION_OVERLAP_HOURS is {value!r}. Write the overlaps on offer, in hours, "
            "like (0, 1, 24, 168, 720)."
        )
    for hours in value:
        if not _is_whole_number(hours) or not 0 <= hours <= MAX_OVERLAP_HOURS:
            raise ConfigurationError(
                f"ORGKEYS_ROTATION_OVERLAP_HOURS holds {hours!r}. Write whole numbers of hours "
                f"from 0 to {MAX_OVERLAP_HOURS}."
            )
    return tuple(sorted(set(value)))


def _default_rotation_overlap_hours(
    value: Any, overlap_hours: tuple[int, ...], *, configured: bool
) -> int:
    if _is_whole_number(value) and value in overlap_hours:
        return int(value)
    if not configured:
        return overlap_hours[-1]
    raise ConfigurationError(
        f"ORGKEYS_DEFAULT_ROTATION_OVERLAP_HOURS is {value!r}, which is not on offer. Write one of "
        f"ORGKEYS_ROTATION_OVERLAP_HOURS {overlap_hours}."
    )


def _peppers(value: Any) -> tuple[bytes, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ConfigurationError(
            "ORGKEYS_PEPPERS must be a list of HMAC keys, newest first, like [new, old], or empty. "
            f"Make one with: {RANDOM_TEXT_COMMAND}"
        )
    return tuple(_pepper(pepper, number) for number, pepper in enumerate(value, start=1))


def _pepper(value: Any, number: int) -> bytes:
    # What an environment holds may be no UTF-8.
    pepper = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    if not isinstance(pepper, bytes) or len(pepper) < MIN_PEPPER_BYTES:
        raise ConfigurationError(
            f"ORGKEYS_PEPPERS: number {number} is not {MIN_PEPPER_BYTES} bytes or longer. "
            f"Make one with: {RANDOM_TEXT_COMMAND}"
        )
    return pepper
