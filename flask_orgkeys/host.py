"""The host's side: its database, its organisations, and who may manage their keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy import event
from werkzeug.exceptions import HTTPException, NotFound

from .keys.database import UNANSWERED, current_session, reason_of
from .keys.organization_ids import LARGEST_INTEGER, is_in_range
from .keys.redaction import redacted

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import ORMExecuteState, Session, scoped_session

logger: logging.Logger = logging.getLogger(__name__)


class LoaderFailed(Exception):
    """The organization loader failed. The text names the error and its place, without values."""

    def __init__(self, error: Exception) -> None:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_globals.get("__name__") == __name__:
            traceback = traceback.tb_next
        place = ""
        if traceback is not None:
            place = f" at {traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        super().__init__(f"the organization loader failed: {type(error).__name__}{place}")


def reason_of_failure(error: Exception, prefix: str) -> str:
    """Return why a host's database or loader gave no organisation, in one line without values.

    :param prefix: that of keys, which are left out wherever they stand.
    """
    text = str(error) if isinstance(error, LoaderFailed) else reason_of(error)
    return redacted(text, prefix)


@dataclass(slots=True)
class Host:
    """The database of a host, and the functions that it has registered.

    :param id_column: the column of organisations' ids in our tables.
    :param organization_loader: takes the value of the URL variable; returns an organisation or
        ``None``.
    :param permission_checker: takes a user, an organisation and the name of a permission.
    :param actor_namer: takes recorded actors; returns a mapping to their names.
    """

    db: SQLAlchemy
    id_column: sa.Column[Any]
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
        :raises LoaderFailed: if the loader fails. An HTTP exception but ``NotFound``, and the error
            of a database that cannot be asked, are raised as they are.
        """
        if self.organization_loader is None or _is_beyond_every_column(slug):
            return None
        session = current_session(self.session)
        # Like ``no_autoflush``, which costs several times as much.
        flushes = session.autoflush
        session.autoflush = False
        try:
            if isinstance(slug, int) and self._is_beyond_ids(slug):
                with _numbers_checked(session):
                    return self.organization_loader(slug)
            return self.organization_loader(slug)
        except NotFound:
            return None
        except (HTTPException, *UNANSWERED):
            raise
        except Exception as error:
            if _is_about_the_value(error):
                return None
            raise LoaderFailed(error) from error
        finally:
            session.autoflush = flushes

    def _is_beyond_ids(self, number: int) -> bool:
        kind = self.id_column.type
        return not is_in_range(kind if isinstance(kind, sa.Integer) else sa.Integer(), number)

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


def synchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs an ``async def`` one to its end, as Flask does with views.

    Any other function is returned as it is.
    """
    called: Any = function
    if not iscoroutinefunction(function):
        called = function.__call__  # type: ignore[operator]
    if not iscoroutinefunction(called):
        return function

    @wraps(function)
    def run(*arguments: Any) -> Any:
        return current_app.ensure_sync(called)(*arguments)

    return run


@contextmanager
def _numbers_checked(session: Session) -> Iterator[None]:
    """Have the loader's queries fail, before they are sent, if a number is beyond its column.

    PostgreSQL would fail by itself, and the host's transaction with it. Any number beyond the ids
    might be refused without asking the loader, but that may look into another column.
    """
    event.listen(session, "do_orm_execute", _check_numbers)
    try:
        yield
    finally:
        event.remove(session, "do_orm_execute", _check_numbers)


def _check_numbers(state: ORMExecuteState) -> None:
    dialect = state.session.get_bind(**state.bind_arguments).dialect
    for kind, number in _compared_numbers(state):
        if not is_in_range(kind, number, dialect):
            raise OverflowError(f"a number beyond its column of {kind!r}")


def _compared_numbers(state: ORMExecuteState) -> Iterator[tuple[sa.Integer, int]]:
    given = state.parameters if isinstance(state.parameters, Mapping) else {}
    statement: Any = state.statement
    for element in sa.sql.visitors.iterate(statement):
        if isinstance(element, sa.BindParameter) and isinstance(element.type, sa.Integer):
            value = given.get(element.key, element.effective_value)
            values = value if isinstance(value, (list, tuple)) else (value,)
            yield from ((element.type, each) for each in values if isinstance(each, int))


def _is_beyond_every_column(slug: Any) -> bool:
    if isinstance(slug, str):
        return "\0" in slug
    return isinstance(slug, int) and abs(slug) > LARGEST_INTEGER


def _is_about_the_value(error: Exception) -> bool:
    """Tell whether the database or its driver cannot compare a column with the value at all, so
    that no row has it. Others find none in the same case.
    """
    if isinstance(error, sa.exc.StatementError):
        return isinstance(error, sa.exc.DataError) or not isinstance(error, sa.exc.DBAPIError)
    return isinstance(error, OverflowError)


def _maps_to_text(known: Any, actors: Iterable[str]) -> bool:
    return isinstance(known, Mapping) and all(
        isinstance(known.get(actor, actor), str) for actor in actors
    )
