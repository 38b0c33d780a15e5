"""The text of a key: ``<prefix>_<id>_<secret>``.

The id is public. The secret ends in a checksum over all that comes before it, so that a mistyped
key is refused, and a found one recognised, without a database. What is stored is never the secret
but a *digest*: ``<scheme>$<hex>``, whose scheme names how it was made.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 12
SECRET_LENGTH = 38
CHECKSUM_LENGTH = 6

PREFIX_PATTERN = re.compile(r"[0-9A-Za-z_]{1,20}")
ID_PATTERN = rf"[0-9A-Za-z]{{{ID_LENGTH}}}"
SECRET_PATTERN = rf"[0-9A-Za-z]{{{SECRET_LENGTH}}}"
_PLAIN = "sha256"
_PLAIN_DIGEST = re.compile(rf"{_PLAIN}\$[0-9a-f]{{64}}")

# Two digits at a time: a checksum is computed for every request with a key.
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]


@dataclass(slots=True)
class Token:
    """A key whose shape and checksum are right. Its ``repr`` leaves the secret out.

    :param prefix: the first part.
    :param id: the public id, :data:`ID_LENGTH` characters.
    :param secret: the secret part, :data:`SECRET_LENGTH` characters, checksum included.

    .. versionadded:: 0.1.0
    """

    prefix: str
    id: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.prefix}_{self.id}_{self.secret}"


def generate(prefix: str, key_id: str | None = None) -> Token:
    """Make a new key from the operating system's random numbers.

    :param prefix: the first part.
    :param key_id: the public id, for a new secret of a key; by default a new one.
    :return: a token whose secret holds 190 bits.
    """
    key_id = key_id or _random_text(ID_LENGTH)
    random_part = _random_text(SECRET_LENGTH - CHECKSUM_LENGTH)
    return Token(prefix, key_id, random_part + checksum(f"{prefix}_{key_id}_{random_part}"))


def parse(text: str, prefix: str) -> Token | None:
    """Read a key. Takes time linear in the text's length and asks no database.

    :param text: the presented text, of any length and content.
    :param prefix: the prefix a key must have.
    :return: the token, or ``None`` if the prefix, the shape or the checksum is wrong.

    .. versionadded:: 0.1.0
    """
    match = _shape(prefix).fullmatch(text)
    if match is None or checksum(text[:-CHECKSUM_LENGTH]) != text[-CHECKSUM_LENGTH:]:
        return None
    return Token(prefix, match[1], match[2])


@lru_cache
def _shape(prefix: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(prefix)}_({ID_PATTERN})_({SECRET_PATTERN})")


def start_of(prefix: str, key_id: str) -> str:
    """Return the public start of a key, as pages, commands and logs show it."""
    return f"{prefix}_{key_id}…"


def checksum(text: str) -> str:
    """Return the CRC-32 of ``text`` in base 62, most significant digit first.

    :param text: ASCII text.
    :return: :data:`CHECKSUM_LENGTH` characters, padded with ``0``.
    """
    rest, last = divmod(zlib.crc32(text.encode("ascii")), len(_PAIRS))
    first, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]


def digest(secret: str, peppers: Sequence[bytes | None] = ()) -> str:
    """Return the digest that is stored in place of a secret.

    One pass of a fast hash is enough: the secret is 190 random bits, not a password, so there is
    nothing to guess that a slow hash would protect (OWASP Cryptographic Storage; PHC on
    high-entropy tokens).

    :param secret: the secret part of a key.
    :param peppers: HMAC keys, newest first. The first is used; with none, or if that is ``None``,
        plain SHA-256.
    :return: ``sha256$<hex>`` or ``hmac-sha256-of-sha256:<pepper id>$<hex>``.
    """
    plain = f"{_PLAIN}${_sha256(secret).hex()}"
    return wrap(plain, peppers[0]) if peppers and peppers[0] is not None else plain


def wrap(plain: str, pepper: bytes) -> str:
    """Return the digest with a pepper of the secret that has a plain digest.

    :param plain: ``sha256$<hex>``.
    """
    hashed = bytes.fromhex(plain.removeprefix(f"{_PLAIN}$"))
    return f"{_scheme(pepper)}${_hmac(pepper, hashed)}"


def verify(secret: str, stored: str, peppers: Sequence[bytes | None] = ()) -> bool:
    """Tell whether ``stored`` is a digest of ``secret``, in constant time for one scheme.

    :param secret: the secret part of a presented key.
    :param stored: the stored digest. One made with a pepper that is not among ``peppers``, or by
        an unknown scheme, verifies nothing.
    :param peppers: HMAC keys, newest first. With any, a plain digest verifies nothing unless
        ``None`` is among them: whoever can write to the database could make one.
    """
    scheme, _, expected = stored.partition("$")
    made: str | None
    if scheme == _PLAIN:
        is_trusted = not peppers or None in peppers
        made = hashlib.sha256(secret.encode("ascii")).hexdigest() if is_trusted else None
    else:
        made = _made_with_pepper(scheme, secret, peppers)
    return made is not None and hmac.compare_digest(made.encode(), expected.encode())


def _made_with_pepper(scheme: str, secret: str, peppers: Sequence[bytes | None]) -> str | None:
    for pepper in peppers:
        if pepper is None:
            continue
        if scheme == _scheme(pepper):
            return _hmac(pepper, _sha256(secret))
        if scheme == _scheme_of_secret(pepper):
            return _hmac(pepper, secret.encode("ascii"))
    return None


def matching(
    secret: str, stored: str, previous: str | None, peppers: Sequence[bytes | None] = ()
) -> str | None:
    """Return the one of a key's two digests that is of ``secret``, or ``None``.

    :param stored: the stored digest.
    :param previous: the digest before the last rotation; looked at only if the first is another's.
    :param peppers: HMAC keys, newest first.
    """
    if verify(secret, stored, peppers):
        return stored
    return previous if previous is not None and verify(secret, previous, peppers) else None


def start_of_digest(peppers: Sequence[bytes | None] = ()) -> str:
    """Return the start of the digests that are not outdated: the scheme and the separator.

    If digests are made without a pepper, none is outdated: one with a pepper is not given up.
    """
    newest = peppers[0] if peppers else None
    return "" if newest is None else f"{_scheme(newest)}$"


def is_plain(stored: str) -> bool:
    """Tell whether a digest was made without a pepper."""
    return _PLAIN_DIGEST.fullmatch(stored) is not None


@lru_cache
def _scheme(pepper: bytes) -> str:
    return f"hmac-sha256-of-sha256:{_pepper_id(pepper)}"


@lru_cache
def _scheme_of_secret(pepper: bytes) -> str:
    # An older digest, which could not be made of a plain one.
    return f"hmac-sha256:{_pepper_id(pepper)}"


def _pepper_id(pepper: bytes) -> str:
    return hmac.digest(pepper, b"flask-orgkeys pepper id", "sha256").hex()[:8]


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


def _hmac(pepper: bytes, message: bytes) -> str:
    return hmac.digest(pepper, message, "sha256").hex()


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
