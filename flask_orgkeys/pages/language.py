"""The words of the pages, in the reader's language if the host runs Flask-Babel.

Without it they are English, and so is a text that no catalog has. If there is no catalog for the
reader's language, dates and numbers are English, too. Our catalogs are a domain of their own,
``orgkeys``: the host's stay as they are, and a catalog of that domain among the host's goes before
ours.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from gettext import find
from pathlib import Path
from typing import Any

import humanize
from flask import current_app
from markupsafe import Markup, escape

DOMAIN = "orgkeys"
CATALOGS = Path(__file__).parent / "translations"


def gettext(message: str, **values: Any) -> str:
    """Return a message in the reader's language.

    :param message: English, with a ``%(name)s`` for each of ``values``.
    """
    return _translated(message) % values


def ngettext(singular: str, plural: str, num: int, **values: Any) -> str:
    """Return a message about a number of things, in the reader's language.

    :param num: the number, ``%(num)s`` in the message.
    """
    return _translated_plural(singular, plural, num) % {"num": number(num), **values}


def markup(message: str, **values: Any) -> Markup:
    """Return what :func:`gettext` does, for a template: only values may hold tags."""
    return escape(_translated(message)) % values


def nmarkup(singular: str, plural: str, num: int, **values: Any) -> Markup:
    """Return what :func:`ngettext` does, for a template: only values may hold tags."""
    return escape(_translated_plural(singular, plural, num)) % {"num": number(num), **values}


def language() -> str:
    """Return the reader's language, as the ``lang`` attribute of HTML names it (BCP 47)."""
    babel = _babel()
    if babel is None or not _has_catalog(babel):
        return "en"
    return str(babel.get_locale()).replace("_", "-")


def number(value: int) -> str:
    babel = _babel()
    if babel is None:
        return str(value)
    with _locale_of_words(babel):
        return str(babel.format_decimal(value))


def day(moment: datetime) -> str:
    """Return the day of a time, in the reader's time zone if the host has one, or else in UTC."""
    babel = _babel()
    if babel is not None:
        with _locale_of_words(babel):
            return str(babel.format_date(moment, "medium"))
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y}"


def exact(moment: datetime) -> str:
    """Return a time with its date and zone, in that of :func:`day`."""
    babel = _babel()
    if babel is not None:
        with _locale_of_words(babel):
            return str(babel.format_datetime(moment, "long"))
    return f"{day(moment)}, {moment.astimezone(UTC):%H:%M:%S} UTC"


def left(duration: timedelta) -> str:
    """Return the time that is left, in whole days or hours, rounded down in every language."""
    if duration >= timedelta(days=1):
        return ngettext("in %(num)s day", "in %(num)s days", duration.days)
    if duration >= timedelta(hours=1):
        hours = int(duration.total_seconds() // 3600)
        return ngettext("in %(num)s hour", "in %(num)s hours", hours)
    return gettext("within an hour")


def relative(moment: datetime, now: datetime) -> str:
    """Return a time as seen from now, like "3 minutes ago" or "in 9 days"."""
    babel = _babel()
    if babel is not None:
        left = moment - now
        # Babel counts in a larger unit from 0.85 of it on: ten days would be "in 1 week".
        threshold = 2 if abs(left) >= timedelta(days=2) else 0.85
        with _locale_of_words(babel):
            return str(babel.format_timedelta(left, threshold=threshold, add_direction=True))
    # Humanize rounds 16 days to a month. In months only from the first whole one on.
    in_months = abs(moment - now) >= timedelta(days=31)
    if moment > now:
        return f"in {humanize.naturaldelta(moment - now, months=in_months)}"
    # As a duration: given two times, humanize compares them in the process' local time.
    return humanize.naturaltime(now - moment, months=in_months)


def _translated(message: str) -> str:
    babel = _babel()
    return message if babel is None else str(_domain(babel).gettext(message))


def _translated_plural(singular: str, plural: str, num: int) -> str:
    babel = _babel()
    if babel is None:
        return singular if num == 1 else plural
    translations = _domain(babel).get_translations()
    return str(translations.ungettext(singular, plural, num))


def _babel() -> Any:
    """Return the module ``flask_babel``, or ``None`` if the app does not run it."""
    if "babel" not in current_app.extensions:
        return None
    try:
        import flask_babel
    except ImportError:
        # Another extension goes by that name.
        return None
    return flask_babel


def _locale_of_words(babel: Any) -> AbstractContextManager[None]:
    """Have times and numbers formatted in the language of the words, in the host's time zone."""
    if _has_catalog(babel):
        return nullcontext()
    forced: AbstractContextManager[None] = babel.force_locale("en_GB")
    return forced


def _has_catalog(babel: Any) -> bool:
    """Tell whether the reader's language is English, or one of a catalog."""
    locale = babel.get_locale()
    return locale.language == "en" or _is_there(str(locale), _directories(babel))


@lru_cache
def _is_there(locale: str, directories: tuple[str, ...]) -> bool:
    return any(find(DOMAIN, directory, [locale]) for directory in directories)


def _domain(babel: Any) -> Any:
    return _domain_of(babel.Domain, _directories(babel))


def _directories(babel: Any) -> tuple[str, ...]:
    """Return the directories of the catalogs; a later one goes before an earlier one."""
    return str(CATALOGS), *babel.get_babel().translation_directories


@lru_cache
def _domain_of(domain_class: Any, directories: tuple[str, ...]) -> Any:
    return domain_class(list(directories), DOMAIN)
