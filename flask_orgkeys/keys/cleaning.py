"""Checks of texts from outside, alike on every database."""

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
"""The length up to which a search may match a name: folding makes at most three characters of one,
and NFC one of four. To fold a longer text could take very long.
"""

_VISIBLE_ASCII = re.compile(rf"[!-~]{{1,{IDEMPOTENCY_KEY_LENGTH}}}")
_WHOLE_KEY = re.compile(rf"(?<![0-9A-Za-z]){ID_PATTERN}_{SECRET_PATTERN}(?![0-9A-Za-z])")
_CASES = r"(?=[0-9A-Z]*[a-z])(?=[0-9a-z]*[A-Z])"
# With both cases, unlike the hash of a commit.
_JOINED_KEY = re.compile(rf"{ID_PATTERN}_{_CASES}{SECRET_PATTERN}")
_SECRET = re.compile(rf"(?<![0-9A-Za-z]){_CASES}{SECRET_PATTERN}(?![0-9A-Za-z])")

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They hide, or turn round the order of other characters: marks of direction, spaces without width,
# tags. Not those that join or part two letters of a script, or two emojis.
_DECEPTIVE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]|(?:^|(?<=[\0-\x7f]))[\u200c\u200d]|[\u200c\u200d](?=[\0-\x7f]|$)"
)
# Unicode's Default_Ignorable_Code_Point, and the blank of Braille.
_BLANK = re.compile(
    r"[\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)


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
        characters, or holds nothing visible, control characters, or a key.
    """
    if not isinstance(name, str):
        raise ValueError(f"name must be text, not {name!r}")
    cleaned = _normalized(name, NAME_LENGTH)
    if _BLANK.fullmatch(cleaned):
        raise UnfitText("Enter a name.")
    if has_controls(cleaned) or _DECEPTIVE.search(cleaned):
        raise UnfitText("Leave out line breaks and other control characters.")
    if holds_key(cleaned):
        raise UnfitText("Leave out the API key: others see the name.")
    return cleaned


def clean_note(note: str | None) -> str | None:
    """Return a note in NFC, without white space around it; ``None`` if nothing is left.

    :raises UnfitText: if it is longer than :data:`~flask_orgkeys.keys.models.NOTE_LENGTH`
        characters, or holds control characters other than line breaks, or a key.
    """
    if note is None:
        return None
    if not isinstance(note, str):
        raise ValueError(f"note must be text or None, not {note!r}")
    cleaned = _normalized(note.replace("\r\n", "\n"), NOTE_LENGTH)
    if has_controls(cleaned.replace("\n", "")):
        raise UnfitText("Leave out control characters.")
    if holds_key(cleaned):
        raise UnfitText("Leave out the API key: others see the note.")
    return cleaned or None


def clean_scopes(scopes: Iterable[str], settings: Settings) -> list[str]:
    """Return scopes in the order of their declaration, each once.

    :raises ValueError: if there is none, or one is not declared.
    """
    if isinstance(scopes, str):
        raise ValueError(f"scopes must be a collection of texts: write [{scopes!r}]")
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


def clean_actor(name: str | None, argument: str = "actor") -> str | None:
    """Check the name of a user for the audit record.

    :param argument: its name in the error.
    :return: the name as it is.
    :raises ValueError: if it is no text, too long, or holds control characters or a key.
    """
    if name is None:
        return None
    if not isinstance(name, str):
        raise ValueError(f"{argument} must be text or None, not {name!r}")
    if holds_key(name):
        raise ValueError(f"{argument} must not hold an API key")
    if len(name) > ACTOR_LENGTH or has_controls(name):
        raise ValueError(
            f"{argument} must be at most {ACTOR_LENGTH} characters, without control characters"
        )
    return name


def clean_address(address: str | None) -> str | None:
    """Return the printable start of a network address: a proxy may have copied it from a client."""
    printable = "".join(filter(str.isprintable, address or ""))
    return printable[:ADDRESS_LENGTH] or None


def check_idempotency_key(text: str) -> None:
    """Check the name of a form, alike on every database.

    :raises ValueError: if it is anything but 1 to 64 visible ASCII characters.
    """
    if not isinstance(text, str) or not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError("idempotency_key must be 1 to 64 visible ASCII characters")


def check_permission(may_rotate_itself: bool) -> None:
    """Check whether a key may replace its own secret: ``"no"`` would be true.

    :raises ValueError: if it is neither ``True`` nor ``False``.
    """
    if not isinstance(may_rotate_itself, bool):
        raise ValueError(f"may_rotate_itself must be True or False, not {may_rotate_itself!r}")


def holds_key(text: str) -> bool:
    """Tell whether a text holds a key, also if it is joined to other letters, or the secret alone.

    Texts with a key are refused, because others see them.
    """
    return any(pattern.search(text) for pattern in (_WHOLE_KEY, _JOINED_KEY, _SECRET))


def has_controls(text: str) -> bool:
    """Tell whether a text holds control characters, line breaks of any kind or surrogates."""
    return any(unicodedata.category(character) in _CONTROLS for character in text)


def _normalized(text: str, limit: int) -> str:
    cleaned = text.strip()
    # To normalise a long text may take very long. NFC makes at most 4 characters into one.
    if len(cleaned) <= 4 * limit:
        cleaned = unicodedata.normalize("NFC", cleaned)
    if len(cleaned) > limit:
        raise UnfitText(
            "Use at most %(limit)s characters; this has %(length)s.",
            limit=limit,
            length=len(cleaned),
        )
    return cleaned
