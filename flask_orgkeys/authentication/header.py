"""The ``Authorization`` header: the one key in it, or the refusal it deserves."""

from __future__ import annotations

import re

from .. import errors, tokens

# Possessive, and without an end where the quotes have none: linear, whatever is sent.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
# RFC 9110, section 11.4: what stands behind a comma is a parameter of the same credentials
# (name = value) or the beginning of others (scheme SP ...).
_FURTHER_CREDENTIALS = re.compile(
    r",[ \t]*(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+ +[^ \t,=]|(?:bearer|basic)[ \t]*(?:,|$))",
    re.IGNORECASE | re.ASCII,
)
_BEARER = re.compile(r"bearer(?![^ \t,])", re.IGNORECASE | re.ASCII)
_CARRIES_BEARER = re.compile(rf"(?:^|,)[ \t]*{_BEARER.pattern}", _BEARER.flags)


def read_credential(header: str | None, prefix: str) -> tokens.Token | type[errors.RequestRefused]:
    """Return the key in an ``Authorization`` value, or the refusal if there is none.

    :param prefix: the prefix of keys.
    """
    if header is None:
        return errors.MissingKey
    if "," in header and _FURTHER_CREDENTIALS.search(_QUOTED.sub('""', header)):
        return errors.InvalidRequest
    header = header.strip(" \t")
    scheme = _BEARER.match(header)
    if scheme is None:
        return errors.MissingKey
    return tokens.parse(header[scheme.end() :].lstrip(" "), prefix) or errors.InvalidKey


def carries_bearer(header: str | None) -> bool:
    """Tell whether an ``Authorization`` value holds credentials of the Bearer scheme.

    What stands in quotes does not count: a browser's Digest credentials quote the URL there, which
    another site may have written.
    """
    return header is not None and _CARRIES_BEARER.search(_QUOTED.sub('""', header)) is not None
