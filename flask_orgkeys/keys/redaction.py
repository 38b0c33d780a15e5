"""Redaction: texts with no more of a key than its public start."""

from __future__ import annotations

import re

from ..tokens import ID_PATTERN, SECRET_PATTERN


def without_secret(text: str, prefix: str) -> str:
    """Return a text as it is or, if somebody has put a key into it, that key's public start.

    :param prefix: the prefix of keys.
    """
    found = re.search(
        rf"{re.escape(prefix)}_({ID_PATTERN})_|(?<![0-9A-Za-z])({ID_PATTERN})_{SECRET_PATTERN}",
        text,
    )
    return f"{prefix}_{found[1] or found[2]}" if found else text


def redacted(text: str, prefix: str) -> str:
    """Return a text with no more than the public start of each key that it holds.

    :param prefix: the prefix of keys.
    """
    start = re.escape(prefix)
    return re.sub(
        rf"(?:{start}_)?({ID_PATTERN})_{SECRET_PATTERN}|{start}_({ID_PATTERN})_[0-9A-Za-z]*",
        lambda found: f"{prefix}_{found[1] or found[2]}…",
        text,
    )


def public_id(text: str, prefix: str) -> str:
    """Return the id in a key's public start as the pages show it, or in a whole key."""
    return without_secret(text, prefix).removeprefix(f"{prefix}_").rstrip("….")
