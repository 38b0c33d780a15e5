"""The host's side: its database, its organisations, and who may manage their keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import NotFound

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import scoped_session

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Host:
    """The database of a host, and the functions that it has registered.

    :param organization_loader: takes the value of the URL variable; returns an organisation or
        ``None``.
    :param permission_checker: takes a user, an organisation and the name of a permission.
    :param actor_namer: takes recorded actors; returns a mapping to their names.
    """

    db: SQLAlchemy
    organization_loader: Callable[[Any], Any] | None = None
    permission_checker: Callable[[Any, Any, str], Any] | None = None
    actor_namer: Callable[[list[str]], Any] | None = None

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

    def names_of(self, actors: Iterable[str | None]) -> Mapping[str, str]:
        """Ask the host for the names of recorded actors, once for all of them.

        :return: a name for each actor, which is the actor itself if the host does not know it, or
            its namer fails.
        """
        recorded = {actor: actor for actor in actors if actor is not None}
        if not recorded or self.actor_namer is None:
            return recorded
        try:
            known = self.actor_namer(list(recorded))
        except Exception:
            logger.exception("the actor namer failed: actors are shown as they are recorded")
            return recorded
        if not _maps_to_text(known, recorded):
            logger.error("the actor namer must return a mapping of actors to text")
            return recorded
        return {actor: str(known.get(actor, actor)) for actor in recorded}


def _maps_to_text(known: Any, actors: Iterable[str]) -> bool:
    return isinstance(known, Mapping) and all(
        isinstance(known.get(actor, actor), str) for actor in actors
    )
