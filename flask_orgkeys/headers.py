"""Response headers that stay, whatever is set later: a host's ``after_request`` functions run after
those of a blueprint, and Flask adds the session's cookie last of all.
"""

from __future__ import annotations

from typing import Any, Self

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

CACHE_CONTROL = "cache-control"

PAGES_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""The ``Content-Security-Policy`` of the pages."""


class UncachedHeaders(Headers):
    """Headers that keep the ``Cache-Control`` they have."""

    @classmethod
    def of(cls, checked: list[tuple[str, str]]) -> Self:
        """Return headers that were checked before."""
        headers = cls()
        headers._list.extend(checked)
        return headers

    @classmethod
    def keep(cls, response: Response) -> None:
        """Have a response's headers stay."""
        response.headers = cls.of([*response.headers])

    def add(self, key: str, value: Any, /, **kwargs: Any) -> None:
        if not self._stays(key):
            super().add(key, value, **kwargs)

    def set(self, key: str, value: Any, /, **kwargs: Any) -> None:
        if not self._stays(key):
            super().set(key, value, **kwargs)

    def remove(self, key: str) -> None:
        if not self._stays(key):
            super().remove(key)

    def __delitem__(self, key: Any) -> None:
        if not self._stays(key):
            super().__delitem__(key)

    def _stays(self, key: Any) -> bool:
        return isinstance(key, str) and key.lower() == CACHE_CONTROL and key in self


class RefusalHeaders(UncachedHeaders):
    """Headers that take no cookie, either."""

    def _stays(self, key: Any) -> bool:
        return super()._stays(key) or (isinstance(key, str) and key.lower() == "set-cookie")
