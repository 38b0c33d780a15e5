"""The host's side: its database, its organisations, and who may manage their keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import NotFound

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import scoped_session


@dataclass(slots=True)
class Host:
    """The database of a host, and the functions that it has registered.

    :param organization_loader: takes the value of the URL variable; returns an organisation or
        ``None``.
    :param permission_checker: takes a user, an organisation and the name of a permission.
    """

    db: SQLAlchemy
    organization_loader: Callable[[Any], Any] | None = None
    permission_checker: Callable[[Any, Any, str], Any] | None = None

    @property
    def session(self) -> scoped_session[Any]:
        """The host's session, looked up at each use: a test of the host's may replace it."""
        return self.db.session

    def load_organization(self, slug: Any) -> Any:
        """Load an organisation, without flushing the host's pending rows.

        :param slug: the value of the URL variable.
        :return: the organisation, or ``None`` if there is none, or no loader.
        """
        if self.organization_loader is None or (isinstance(slug, str) and "\0" in slug):
            return None
        with self.session.no_autoflush:
            try:
                return self.organization_loader(slug)
            except NotFound:
                return None
