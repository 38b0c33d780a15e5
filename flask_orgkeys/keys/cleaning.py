"""Texts from outside: what is accepted of them, alike on every database."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..config.scopes import in_declared_order, undeclared
from ..tokens import ID_PATTERN, SECRET_PATTERN
from .models import (
    ACTOR_LENGTH,
    ADDRESS_LENGTH,
    IDEMPOTENCY_KEY_LENGTH,
    NAME_LENGTH,
    NOTE_LENGTH,
)

if TYPE_CHECKING:
    from ..config.settings import Settings

LONGEST_SEARCH = 12 * NAME_LENGTH
"""No name holds the folded form of a longer text: folding makes at most three characters of one,
and NFC one of four. To fold it could take very long.
"""

_VISIBLE_ASCII = re.compile(rf"[!-~]{{1,{IDEMPOTENCY_KEY_LENGTH}}}")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_WHOLE_KEY = re.compile(rf"(?<![0-9A-Za-z]){ID_PATTERN}_{SECRET_PATTERN}(?![0-9A-Za-z])")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_INVISIBLE = frozenset({"Cf", "Zs"})


class UnfitText(ValueError):
    """A text that is not accepted.

    :param message: why, with a ``%(name)s`` for each of ``values``: English, to be translated.
    """

    def __init__(self, message: str, **values: Any) -> None:
        super().__init__(message % values)
        self.message = message
        self.values = values


def clean_name(name: str) -> str:
    """Return a key's name in NFC, without white space around it.

    :raises UnfitText: if it is empty, longer than :data:`~flask_orgkeys.keys.models.NAME_LENGTH`
        characters, or holds control characters or a whole key.
    """
    if not isinstance(name, str):
        raise ValueError(f"a key's name is a text, not {name!r}")
    cleaned = _normalized(name, NAME_LENGTH)
    categories = _categories(cleaned)
    if categories <= _INVISIBLE:
        raise UnfitText("Enter a name.")
    if categories & _UNPRINTABLE:
        raise UnfitText("Leave out line breaks and other control characters.")
    if _WHOLE_KEY.search(cleaned):
        raise UnfitText("Leave out the API key: others see the name.")
    return cleaned


def clean_note(note: str | None) -> str | None:
    """Return a note in NFC, without white space around it; ``None`` if nothing is left.

    :raises UnfitText: if it is longer than :data:`~flask_orgkeys.keys.models.NOTE_LENGTH`
        characters, or holds control characters other than line breaks, or a whole key.
    """
    if note is None:
        return None
    if not isinstance(note, str):
        raise ValueError(f"note must be text or None, not {note!r}")
    cleaned = _normalized(note.replace("\r\n", "\n"), NOTE_LENGTH)
    if _categories(cleaned.replace("\n", "")) & _UNPRINTABLE:
        raise UnfitText("Leave out control characters.")
    if _WHOLE_KEY.search(cleaned):
        raise UnfitText("Leave out the API key: others see the note.")
    return cleaned or None


def clean_scopes(scopes: Iterable[str], settings: Settings) -> list[str]:
    """Return scopes in the order of their declaration, each once.

    :raises ValueError: where there is none, or one is not declared.
    """
    if isinstance(scopes, str):
        raise ValueError(f"scopes is a collection of texts: write [{scopes!r}]")
    wanted = list(scopes)
    if not wanted:
        raise UnfitText("Choose at least one scope.")
    unknown = undeclared(wanted, settings.scopes)
    if unknown:
        raise ValueError(
            f"no such scope: {', '.join(map(repr, unknown))}; "
            f"ORGKEYS_SCOPES declares {', '.join(map(repr, settings.scopes))}"
        )
    return in_declared_order(wanted, settings.scopes)


def clean_actor(name: str | None) -> str | None:
    """Return who acts, as text.

    :raises ValueError: where it is too long for the record, or holds control characters or a whole
        key.
    """
    if name is None:
        return None
    text = str(name)
    if _WHOLE_KEY.search(text):
        raise ValueError("who acts is named without an API key")
    if len(text) > ACTOR_LENGTH or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError(
            f"who acts is named by up to {ACTOR_LENGTH} characters, none of them control characters"
        )
    return text


def clean_address(address: str | None) -> str | None:
    """Return a network address as far as the record takes it: a proxy may have made it of anything
    that a client sent.
    """
    printable = "".join(filter(str.isprintable, address or ""))
    return printable[:ADDRESS_LENGTH] or None


def check_idempotency_key(text: str) -> None:
    """Check what names a form, alike on every database.

    :raises ValueError: where it is something else than 1 to 64 visible ASCII characters.
    """
    if not isinstance(text, str) or not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError("idempotency_key is a text of 1 to 64 visible ASCII characters")


def is_storable(text: str) -> bool:
    """Tell whether every database takes a text: not all take NUL, and none lone surrogates."""
    return _UNSTORABLE.search(text) is None


def fold(text: str) -> str:
    """Return a text in the form in which names are searched and sorted: case does not matter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def _normalized(text: str, limit: int) -> str:
    cleaned = text.strip()
    # To normalise a long text may take very long. NFC makes no more than 4 characters into one.
    if len(cleaned) <= 4 * limit:
        cleaned = unicodedata.normalize("NFC", cleaned)
    if len(cleaned) > limit:
        raise UnfitText(
            "Use at most %(limit)s characters; this has %(length)s.",
            limit=limit,
            length=len(cleaned),
        )
    return cleaned


def _categories(text: str) -> set[str]:
    return {unicodedata.category(character) for character in text}
