"""The configuration: one table of defaults, checked once for each app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from ..errors import ConfigurationError
from .checks import is_whole_number
from .options import OPTIONS

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {name: option.default for name, option in OPTIONS.items()}
)
"""Every option without its ``ORGKEYS_`` prefix, and its default."""

NEVER = "never"
"""The lifetime of a key without expiry, in the form and in the commands."""


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
    peppers: tuple[bytes | None, ...] = field(repr=False)
    next_pepper: bytes | None = field(repr=False)
    realm: str
    problem_details: str
    content_security_policy: str | None
    expires_soon: timedelta
    longest_notice: timedelta
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
        :param app_name: the realm, if none is configured.
        :raises ConfigurationError: with the option, its value and the remedy.
        """
        _refuse_unknown(config)
        given = {name: config.get(f"ORGKEYS_{name}", default) for name, default in DEFAULTS.items()}
        if given["REALM"] is None:
            given["REALM"] = app_name
        values = {
            name.lower(): OPTIONS[name].checked(f"ORGKEYS_{name}", value)
            for name, value in given.items()
        }
        seconds = values.pop("last_used_seconds")
        values["last_used_step"] = None if seconds is None else timedelta(seconds=seconds)
        values["expires_soon"] = timedelta(days=values.pop("expires_soon_days"))
        values["longest_notice"] = timedelta(days=values["notice_days"][0])
        values["peppers"] = _with_next(values["peppers"], values["next_pepper"])
        values["default_expiry_days"] = _default_expiry_days(
            values["default_expiry_days"],
            values["expiry_days"],
            values["allow_no_expiry"],
            configured="ORGKEYS_DEFAULT_EXPIRY_DAYS" in config,
        )
        values["default_rotation_overlap_hours"] = _default_rotation_overlap_hours(
            values["default_rotation_overlap_hours"],
            values["rotation_overlap_hours"],
            configured="ORGKEYS_DEFAULT_ROTATION_OVERLAP_HOURS" in config,
        )
        return cls(**values)


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


def _with_next(peppers: tuple[bytes | None, ...], pepper: bytes | None) -> tuple[bytes | None, ...]:
    """Return the peppers with one that makes no digests yet.

    Without any other pepper, plain digests are made: ``None`` stands first.
    """
    return peppers if pepper is None else (*(peppers or (None,)), pepper)


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
    if is_whole_number(value) and value in expiry_days:
        return int(value)
    if not configured:
        return expiry_days[-1]
    raise ConfigurationError(
        f"ORGKEYS_DEFAULT_EXPIRY_DAYS is {value!r}, which is not on offer. Write one of "
        f"ORGKEYS_EXPIRY_DAYS {expiry_days}, or None."
    )


def _default_rotation_overlap_hours(
    value: Any, overlap_hours: tuple[int, ...], *, configured: bool
) -> int:
    if is_whole_number(value) and value in overlap_hours:
        return int(value)
    if not configured:
        return overlap_hours[-1]
    raise ConfigurationError(
        f"ORGKEYS_DEFAULT_ROTATION_OVERLAP_HOURS is {value!r}, which is not on offer. Write one of "
        f"ORGKEYS_ROTATION_OVERLAP_HOURS {overlap_hours}."
    )
