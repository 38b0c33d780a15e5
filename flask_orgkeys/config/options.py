"""The table of options: what a host may configure, and what each means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..headers import PAGES_POLICY


class Option(NamedTuple):
    """One line of the configuration's table.

    :param type: what to write, in words.
    :param meaning: what it does, in Markdown. The documentation is made of it.
    """

    default: Any
    type: str
    meaning: str


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "SCOPES": Option(
            None,
            "mapping of `str` to `str`; required",
            "What a key may be allowed to do: each scope with a description for the people who "
            "choose it, in the order in which they are offered. A name has 1 to 100 printable "
            "ASCII characters without space, double quote or backslash. A scope that is taken out "
            "later grants nothing any more; keys that hold it stay.",
        ),
        "PREFIX": Option(
            "orgk",
            "`str`",
            "The first part of each key: 1 to 20 letters, digits or underscores. A key that starts "
            "otherwise is refused, so changing it ends all that there are.",
        ),
        "PERMISSION": Option(
            "apiKeyManagement",
            "`str`",
            "The name handed to the permission checker.",
        ),
        "EXPIRY_DAYS": Option(
            (30, 60, 90, 365),
            "sequence of `int`, in days",
            "The lifetimes that the create form offers, each from 1 to 36,500. "
            "`create_key` takes any.",
        ),
        "DEFAULT_EXPIRY_DAYS": Option(
            90,
            "`int`, in days, or `None`",
            'The lifetime that is preselected; `None` preselects "No expiration". Where it is not '
            "set and 90 is not on offer, the longest on offer is.",
        ),
        "ALLOW_NO_EXPIRY": Option(
            True,
            "`bool`",
            "Whether the create form and `flask orgkeys create` offer keys that do not expire. "
            "`create_key` makes them anyhow.",
        ),
        "ROTATION_OVERLAP_HOURS": Option(
            (0, 1, 24, 168, 720),
            "sequence of `int`, in hours",
            "The times for which the rotate form lets the secret before go on working, each from 0 "
            "to 8,760. The longest is the most that any rotation may take.",
        ),
        "DEFAULT_ROTATION_OVERLAP_HOURS": Option(
            168,
            "`int`, in hours",
            "The overlap that is preselected, and the default of `flask orgkeys rotate`. If it is "
            "not set and 168 is not on offer, the longest on offer is.",
        ),
        "LAST_USED_SECONDS": Option(
            60,
            "`int`, in seconds, or `None`",
            "The finest step of a key's last use: it is written at most once in that time. `None` "
            "switches it off, and the record of uses with it.",
        ),
        "RECORD_CLIENTS": Option(
            True,
            "`bool`",
            "Whether the record of uses holds the network address and the user agent of the last "
            "client. The audit record keeps the address of the person who manages keys anyhow.",
        ),
        "NOTICE_DAYS": Option(
            (30, 7, 1),
            "sequence of `int`, in days, longest first",
            "The thresholds of `flask orgkeys notify`: a key is announced if no more than that "
            "many days are left, by the nearest threshold alone, and by none as long as its whole "
            "life. Within the longest, accepted requests get the header `API-Key-Expires`.",
        ),
        "EXPIRY_HEADER": Option(
            True,
            "`bool`",
            "Whether the response to an accepted request has the header `API-Key-Expires` if its "
            "key or secret ends soon.",
        ),
        "MAX_KEYS": Option(
            None,
            "`int` or `None`",
            "How many live keys an organisation may have, neither revoked nor expired. `None`: any "
            "number.",
        ),
        "PEPPERS": Option(
            (),
            "sequence of `str` or `bytes`",
            "HMAC keys of at least 32 bytes each, newest first. A key's digest is made with the "
            "newest, and made anew with it when the key is next used; the others are there to "
            "check older digests. Empty: digests are plain SHA-256. Keys whose pepper is taken out "
            "are refused as invalid.",
        ),
        "REALM": Option(
            None,
            "`str`; printable ASCII",
            "The realm in the `WWW-Authenticate` challenge. `None`: the name of the app.",
        ),
        "CONTENT_SECURITY_POLICY": Option(
            PAGES_POLICY,
            "`str` or `None`",
            "The `Content-Security-Policy` of the pages. `None` leaves it to the host. A policy "
            "that lets in scripts of others lets them read a new key.",
        ),
        "EXPIRES_SOON_DAYS": Option(
            14,
            "`int`, in days",
            "The last days before its expiry, in which the pages say that a key expires soon.",
        ),
        "PROBLEM_DETAILS": Option(
            "host",
            '`"host"` or `"always"`',
            'Who writes the body of a refusal. `"host"`: an error handler of yours, if there is '
            'one for it. `"always"`: the problem document, whatever handlers there are.',
        ),
        "BASE_TEMPLATE": Option(
            "orgkeys/base.html",
            "`str`",
            "The layout that the pages extend. It needs the blocks `title`, `head` and `content`.",
        ),
        "ORG_ARG": Option(
            "org_slug",
            "`str`",
            "The name of the URL variable that holds the organisation.",
        ),
    }
)
"""Every option without its ``ORGKEYS_`` prefix."""
