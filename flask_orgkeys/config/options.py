"""The table of options: each with its default, its type, its meaning and its check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..headers import PAGES_POLICY
from . import checks


class Option(NamedTuple):
    """One line of the configuration's table.

    :param type: the type of its value, in words.
    :param meaning: its effect, in Markdown. The documentation is made of it.
    :param check: takes the option's name and value, and returns the checked value. ``None`` if the
        check depends on other options, as :class:`~flask_orgkeys.config.settings.Settings` has it.
    """

    default: Any
    type: str
    meaning: str
    check: Callable[[str, Any], Any] | None

    def checked(self, name: str, value: Any) -> Any:
        """Return a value as the app uses it.

        :raises ConfigurationError: if it is not as described.
        """
        return value if self.check is None else self.check(name, value)


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "SCOPES": Option(
            None,
            "mapping of `str` to `str`; required",
            "What a key may be allowed to do: each scope with a description for the people who "
            "choose it, in the order in which they are offered. A name has 1 to 100 printable "
            "ASCII characters without space, double quote or backslash. A scope that is taken out "
            "later grants nothing any more; keys that hold it stay.",
            checks.scopes,
        ),
        "PREFIX": Option(
            "orgk",
            "`str`",
            "The first part of each key: 1 to 20 letters, digits or underscores. A key that starts "
            "otherwise is refused, so changing it ends all that there are.",
            checks.prefix,
        ),
        "PERMISSION": Option(
            "apiKeyManagement",
            "`str`",
            "The name handed to the permission checker.",
            checks.text,
        ),
        "EXPIRY_DAYS": Option(
            (30, 60, 90, 365),
            "sequence of `int`, in days",
            "The lifetimes that the create form offers, each from 1 to 36,500. "
            "`create_key` takes any.",
            checks.expiry_days,
        ),
        "DEFAULT_EXPIRY_DAYS": Option(
            90,
            "`int`, in days, or `None`",
            'The lifetime that is preselected; `None` preselects "No expiration". Where it is not '
            "set and 90 is not on offer, the longest on offer is.",
            None,
        ),
        "ALLOW_NO_EXPIRY": Option(
            True,
            "`bool`",
            "Whether the create form and `flask orgkeys create` offer keys that do not expire. "
            "`create_key` makes them anyhow.",
            checks.boolean,
        ),
        "ROTATION_OVERLAP_HOURS": Option(
            (0, 1, 24, 168, 720),
            "sequence of `int`, in hours",
            "The times for which the rotate form lets the secret before go on working, each from 0 "
            "to 8,760. The longest is the most that any rotation may take.",
            checks.overlap_hours,
        ),
        "DEFAULT_ROTATION_OVERLAP_HOURS": Option(
            168,
            "`int`, in hours",
            "The overlap that is preselected, and the default of `flask orgkeys rotate`. If it is "
            "not set and 168 is not on offer, the longest on offer is.",
            None,
        ),
        "LAST_USED_SECONDS": Option(
            60,
            "`int`, in seconds, or `None`",
            "The finest step of a key's last use: it is written at most once in that time. `None` "
            "switches it off, and the record of uses with it.",
            checks.positive_or_none,
        ),
        "RECORD_CLIENTS": Option(
            True,
            "`bool`",
            "Whether the record of uses holds the network address and the user agent of the last "
            "client. The audit record keeps the address of the person who manages keys anyhow.",
            checks.boolean,
        ),
        "NOTICE_DAYS": Option(
            (30, 7, 1),
            "sequence of `int`, in days, longest first",
            "The thresholds of `flask orgkeys notify`: a key is announced if no more than that "
            "many days are left, by the nearest threshold alone, and by none as long as its whole "
            "life. Within the longest, accepted requests get the header `API-Key-Expires`.",
            checks.notice_days,
        ),
        "EXPIRY_HEADER": Option(
            True,
            "`bool`",
            "Whether the response to an accepted request has the header `API-Key-Expires` if its "
            "key or secret ends soon.",
            checks.boolean,
        ),
        "MAX_KEYS": Option(
            None,
            "`int` or `None`",
            "How many live keys an organisation may have, neither revoked nor expired. `None`: any "
            "number.",
            checks.positive_or_none,
        ),
        "PEPPERS": Option(
            (),
            "sequence of `str` or `bytes`",
            "HMAC keys of at least 32 bytes each, newest first. A key's digest is made with the "
            "newest, and made anew with it when the key is next used; the others are there to "
            "check older digests. Empty: digests are plain SHA-256. With any, keys with a plain "
            "digest are refused, unless the last item is `None`. Keys whose pepper is taken out "
            "are refused as invalid.",
            checks.peppers,
        ),
        "NEXT_PEPPER": Option(
            None,
            "`str`, `bytes` or `None`",
            "An HMAC key that checks digests, and makes none yet: the first step to a new pepper "
            "in a rolling deployment.",
            checks.pepper_or_none,
        ),
        "REALM": Option(
            None,
            "`str`; printable ASCII",
            "The realm in the `WWW-Authenticate` challenge. `None`: the name of the app.",
            checks.realm,
        ),
        "PROBLEM_DETAILS": Option(
            "host",
            '`"host"` or `"always"`',
            'Who writes the body of a refusal. `"host"`: an error handler of yours, if there is '
            'one for it. `"always"`: the problem document, whatever handlers there are.',
            checks.problem_details,
        ),
        "CONTENT_SECURITY_POLICY": Option(
            PAGES_POLICY,
            "`str` or `None`",
            "The `Content-Security-Policy` of the pages. `None` leaves it to the host. A policy "
            "that lets in scripts of others lets them read a new key.",
            checks.policy,
        ),
        "EXPIRES_SOON_DAYS": Option(
            14,
            "`int`, in days",
            "The last days before its expiry, in which the pages say that a key expires soon.",
            checks.days,
        ),
        "BASE_TEMPLATE": Option(
            "orgkeys/base.html",
            "`str`",
            "The layout that the pages extend. It needs the blocks `title`, `head` and `content`.",
            checks.text,
        ),
        "ORG_ARG": Option(
            "org_slug",
            "`str`",
            "The name of the URL variable that holds the organisation.",
            checks.url_variable,
        ),
    }
)
"""Every option without its ``ORGKEYS_`` prefix."""
