"""The leak kit: the rule by which a secret scanner finds the keys of an app.

A rule is made of the app's prefix alone, so it is no secret. What a scanner finds has the shape of
a key; whether it is one, :func:`flask_orgkeys.tokens.parse` tells by its checksum, and whose,
``flask orgkeys verify``. Who finds one can revoke it: :mod:`flask_orgkeys.revocation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .tokens import ID_PATTERN, PREFIX_PATTERN, SECRET_PATTERN

MIN_ENTROPY_BITS = 3.5
"""Shannon entropy of a key, in bits a character, below which it is a placeholder in some manual.
A key made by chance stays above 4.
"""

_WORD_END = r"\b"


def key_pattern(prefix: str) -> str:
    r"""Return the regular expression that finds keys, in the syntax RE2, PCRE and Python share.

    It asks for no word boundary in front: behind ``%20`` or a written ``\n`` there is none.

    :param prefix: ``ORGKEYS_PREFIX``.
    :raises ValueError: if that is no prefix.

    .. versionadded:: 0.1.0
    """
    if not PREFIX_PATTERN.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is no prefix: write 1 to 20 letters, digits or underscores")
    return f"{prefix}_{ID_PATTERN}_{SECRET_PATTERN}{_WORD_END}"


def scan_rule(format_name: str, prefix: str) -> str:
    """Return the rule for a secret scanner, as a text that ends in a line break.

    :param format_name: one of :data:`FORMATS`.
    :param prefix: ``ORGKEYS_PREFIX``.
    :raises ValueError: for another format, or if ``prefix`` is no prefix.

    .. versionadded:: 0.1.0
    """
    if format_name not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, not {format_name!r}")
    return FORMATS[format_name](prefix, key_pattern(prefix))


def _gitleaks(prefix: str, pattern: str) -> str:
    return f"""\
[[rules]]
id = "orgkeys-{prefix}"
description = "API key that starts with {prefix}_"
regex = '''{pattern}'''
entropy = {MIN_ENTROPY_BITS}
keywords = ["{prefix.lower()}_"]
"""


def _trufflehog(prefix: str, pattern: str) -> str:
    # Quoted throughout: to YAML, some prefixes are numbers.
    return f"""\
detectors:
  - name: 'orgkeys-{prefix}'
    description: 'API key that starts with {prefix}_'
    keywords:
      - '{prefix.lower()}_'
    regex:
      key: '{pattern}'
    entropy: {MIN_ENTROPY_BITS}
"""


def _github(prefix: str, pattern: str) -> str:
    # GitHub wants what is around a secret apart from it.
    return rf"""Pattern name: API key that starts with {prefix}_
Secret format: {pattern.removesuffix(_WORD_END)}
Before secret: \A|[^0-9A-Za-z]|%[0-9A-Fa-f]{{2}}|\\[nrt]
After secret: \z|[^0-9A-Za-z_]
"""


def _regex(_prefix: str, pattern: str) -> str:
    return f"{pattern}\n"


FORMATS: Mapping[str, Callable[[str, str], str]] = MappingProxyType(
    {"gitleaks": _gitleaks, "trufflehog": _trufflehog, "github": _github, "regex": _regex}
)
"""The formats of :func:`scan_rule`: a table for ``.gitleaks.toml``, TruffleHog's ``config.yaml``,
what to fill in for a custom pattern of GitHub's, and the bare regular expression.
"""
