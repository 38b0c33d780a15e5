"""Texts alike on every database: storable, and folded for search and order."""

from __future__ import annotations

import re
import unicodedata

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Tell whether every database takes a text: not all take NUL, and none lone surrogates."""
    return _UNSTORABLE.search(text) is None


def fold(text: str) -> str:
    """Return a text in the form in which names are searched and sorted: case does not matter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())
