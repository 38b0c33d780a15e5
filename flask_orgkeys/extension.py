"""``OrgKeys``: the plugin's one object, which wires it all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint, Flask, current_app, has_request_context, request

from . import language, limiter, models, signals, startup
from .auth import Authenticator
from .cli import commands
from .errors import ConfigurationError
from .lookup import Lookup
from .models import make_models
from .selection import Selection
from .settings import DEFAULTS, Settings
from .state import EXTENSION_NAME, AppState, state_of
from .store import EVERY_ORGANIZATION, Actor, IssuedKey, Store
from .tab import tab_for
from .views import make_blueprint

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.sql.type_api import TypeEngine

Loader = TypeVar("Loader", bound=Callable[[str], Any])
Checker = TypeVar("Checker", bound=Callable[[Any, Any, str], Any])


class OrgKeys:
    """Organisation-scoped API keys. One instance serves many apps.

    :param db: the host's Flask-SQLAlchemy object. The models are made on it here, so that
        ``create_all`` and Flask-Migrate see them.
    :param organization: ``"table.column"``, the primary key of the host's organisation table,
        for a foreign key with ON DELETE CASCADE; or a SQLAlchemy type such as ``String(64)``
        where organisations live elsewhere.
    :param bind_key: Flask-SQLAlchemy's bind key of the database for the tables; that of the
        organisation table, where there is one.
    :raises ConfigurationError: where an argument is of another kind, or ``db`` has keys already.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        db: SQLAlchemy,
        *,
        organization: str | TypeEngine[Any] | type[TypeEngine[Any]],
        bind_key: str | None = None,
    ) -> None:
        self.db = db
        self.load_organization: Callable[[Any], Any] | None = None
        self.check_permission: Callable[[Any, Any, str], Any] | None = None
        self._models = make_models(db, organization, bind_key)
        self._store = Store(db, self._models)
        self._bind_key = bind_key
        self._blueprint = make_blueprint()
        self._blueprint.deferred_functions.insert(0, startup.check_prefix)
        self._blueprint.record(startup.check_set_up_mount)

    @property
    def ApiKey(self) -> type[models.ApiKey]:  # noqa: N802 - a class, for queries and relationships
        """The mapped class of keys, on the table ``orgkeys_key``."""
        return self._models.ApiKey

    @staticmethod
    def limiter_key() -> str:
        """Return whom the request counts for: the ``key_func`` that Flask-Limiter takes.

        :return: the id of its key; without a valid one, the address of the client.
        """
        return limiter.limiter_key()

    @property
    def blueprint(self) -> Blueprint:
        """The settings pages. Mount them at a prefix that has the organisation, like
        ``/o/<org_slug>/api-keys``; without them a host has no pages.
        """
        return self._blueprint

    def init_app(self, app: Flask) -> None:
        """Set up an app: check its configuration, add the request hook and the commands.

        Call it after ``db.init_app(app)``. Opens no connection.

        :raises ConfigurationError: saying what to do, where an ``ORGKEYS_...`` option is wrong,
            Flask-SQLAlchemy is missing, or the app is set up already.
        """
        if EXTENSION_NAME in app.extensions:
            raise ConfigurationError(
                f"flask-orgkeys is set up for the app {app.name!r} already: call init_app once."
            )
        if app.extensions.get("sqlalchemy") is not self.db:
            raise ConfigurationError(
                "flask-orgkeys needs Flask-SQLAlchemy: call db.init_app(app), on the db that "
                "OrgKeys(db) was given, before orgkeys.init_app(app)."
            )
        settings = Settings.from_config(app.config, app.name)
        for name, default in DEFAULTS.items():
            app.config.setdefault(f"ORGKEYS_{name}", default)
        lookup = Lookup(self.db, self._models, self._bind_key, app)
        authenticator = Authenticator(app, settings, lookup)
        state = AppState(self, settings, authenticator)
        startup.check_mount(app, state)
        app.extensions[EXTENSION_NAME] = state
        startup.check_before_first_request(app)
        app.before_request(authenticator.authenticate_request)
        app.context_processor(_template_context)
        app.cli.add_command(commands)

    def organization_loader(self, loader: Loader) -> Loader:
        """Register the function that finds an organisation by what the URL names it.

        :param loader: takes the value of the URL variable; returns an object with ``id`` (and
            ``name`` and ``slug``), or ``None``.
        """
        self.load_organization = loader
        return loader

    def permission_checker(self, checker: Checker) -> Checker:
        """Register the function that decides who may manage an organisation's keys.

        :param checker: takes Flask-Login's user, the organisation and the permission's name. Only
            ``True`` grants. It may ``abort(404)`` to hide the organisation.
        """
        self.check_permission = checker
        return checker

    def create_key(
        self,
        organization_id: Any,
        *,
        name: str,
        scopes: Iterable[str],
        expires_at: datetime | None = None,
        created_by: str | None = None,
        idempotency_key: str | None = None,
    ) -> IssuedKey:
        """Create a key in ``db.session``, and flush. The caller commits.

        :param organization_id: the host's id of the organisation.
        :param name: 1 to 100 characters after trimming, none of them control characters.
        :param scopes: at least one declared scope.
        :param expires_at: an aware time, or ``None`` for a key that does not expire.
        :param created_by: who creates it, as the host names its users; up to 255 characters.
        :param idempotency_key: 1 to 64 visible ASCII characters. A second creation with the same
            one fails.
        :return: the key and its token, which exists nowhere else.
        :raises ValueError: where an argument is not as described.
        :raises flask_orgkeys.errors.KeyLimitReached: at ``ORGKEYS_MAX_KEYS`` live keys.
        :raises flask_orgkeys.errors.ReplayedCreation: where ``idempotency_key`` has made a key.
        """
        issued = self._store.create(
            state_of().settings,
            organization_id,
            name=name,
            scopes=scopes,
            expires_at=expires_at,
            actor=_actor(created_by),
            idempotency_key=idempotency_key,
        )
        signals.key_created.send(_app(), _async_wrapper=_app().ensure_sync, key=issued.key)
        return issued

    def find_replayed(self, organization_id: Any, idempotency_key: str) -> str | None:
        """Return the id of the key that was created with an idempotency key, or ``None``.

        :param idempotency_key: as :meth:`create_key` takes it.
        """
        return self._store.find_replayed(organization_id, idempotency_key)

    def get_key(self, organization_id: Any, key_id: str) -> models.ApiKey | None:
        """Return a key of the organisation, or ``None``.

        :param key_id: the public id.
        """
        return self._store.get(organization_id, key_id)

    def list_keys(
        self,
        organization_id: Any,
        *,
        status: str = "current",
        search: str = "",
        sort: str = "-created",
        limit: int | None = None,
        offset: int = 0,
        scope: str | None = None,
        created_by: str | None = None,
        unused_since: datetime | None = None,
        expires_before: datetime | None = None,
    ) -> Sequence[models.ApiKey]:
        """Return keys of the organisation.

        :param status: ``"current"`` (all but the revoked), ``"active"``, ``"expired"``,
            ``"revoked"`` or ``"all"``.
        :param search: part of a name, or the start of an id.
        :param sort: ``"name"``, ``"last_used"``, ``"expires"`` or ``"created"``; with a leading
            ``-`` the other way round.
        :param scope: one that the keys hold, by exact match.
        :param created_by: who created them, as the host names its users.
        :param unused_since: an aware time, after which they were neither used nor created.
        :param expires_before: an aware time, before which they expire, or have expired.
        :raises ValueError: for another status or sort, what is no scope, a time without a zone, or
            a negative limit or offset.
        """
        return self._store.select(
            organization_id,
            Selection(
                status=status,
                search=search,
                sort=sort,
                scope=scope,
                created_by=created_by,
                unused_since=unused_since,
                expires_before=expires_before,
            ),
            now=datetime.now(UTC),
            prefix=state_of().settings.prefix,
            limit=limit,
            offset=offset,
        )

    def count_keys(
        self,
        organization_id: Any,
        *,
        status: str = "current",
        search: str = "",
        expires_before: datetime | None = None,
    ) -> int:
        """Return how many keys :meth:`list_keys` would return without a limit.

        :param status: as for :meth:`list_keys`.
        :param search: as for :meth:`list_keys`.
        :param expires_before: as for :meth:`list_keys`.
        """
        return self._store.count(
            organization_id,
            Selection(status=status, search=search, expires_before=expires_before),
            now=datetime.now(UTC),
            prefix=state_of().settings.prefix,
        )

    def list_keys_created_by(
        self, created_by: str, *, status: str = "current"
    ) -> Sequence[models.ApiKey]:
        """Return the keys that somebody created, in every organisation, newest first.

        :param created_by: as the host names its users.
        :param status: as for :meth:`list_keys`.
        :raises ValueError: for another status, or a name that no record can hold.
        """
        return self._store.select(
            EVERY_ORGANIZATION,
            Selection(status=status, created_by=_named(created_by)),
            now=datetime.now(UTC),
            prefix=state_of().settings.prefix,
        )

    def revoke_key(
        self, organization_id: Any, key_id: str, *, revoked_by: str | None = None
    ) -> bool:
        """Revoke a key in ``db.session``, and flush. The caller commits. It cannot be undone.

        :param revoked_by: who revokes it, as the host names its users; up to 255 characters.
        :return: ``True`` where this revoked it; ``False`` where it was revoked already, and the
            first time and actor stay.
        :raises flask_orgkeys.errors.KeyNotFound: where the organisation has no such key.
        """
        revoked = self._store.revoke(organization_id, key_id, actor=_actor(revoked_by))
        if revoked:
            _send_revoked(self._store.get(organization_id, key_id))
        return revoked

    def revoke_keys(
        self,
        organization_id: Any,
        *,
        created_by: str | None = None,
        revoked_by: str | None = None,
    ) -> Sequence[models.ApiKey]:
        """Revoke all keys of the organisation in ``db.session``, and flush. The caller commits.
        It cannot be undone.

        :param created_by: only those that this user created, as the host names its users.
        :param revoked_by: who revokes them, as the host names its users; up to 255 characters.
        :return: the keys that this revoked. Those that were revoked already keep their first time
            and actor.
        :raises ValueError: where a user's name is none that the record can hold.
        """
        return self._revoke_all(organization_id, Selection(created_by=created_by), revoked_by)

    def revoke_keys_created_by(
        self, created_by: str, *, revoked_by: str | None = None
    ) -> Sequence[models.ApiKey]:
        """Revoke all keys that somebody created, in every organisation: for off-boarding. As
        :meth:`revoke_keys` otherwise.

        :param created_by: as the host names its users.
        """
        selection = Selection(created_by=_named(created_by))
        return self._revoke_all(EVERY_ORGANIZATION, selection, revoked_by)

    def count_ended_keys(self, ended_before: datetime) -> int:
        """Return how many keys :meth:`prune_keys` would delete without a limit."""
        return self._store.count_ended(ended_before)

    def prune_keys(
        self, ended_before: datetime, *, limit: int = 500, pruned_by: str | None = None
    ) -> int:
        """Delete the rows of keys that ended before a time, in every organisation, and flush. The
        caller commits. The audit record of each stays, and says that it was pruned.

        A pruned key is refused as an unknown one, no longer as revoked or expired.

        :param ended_before: an aware time in the past. A key ends when it is revoked or expires.
        :param limit: how many rows at most, so that the transaction stays short.
        :param pruned_by: who deletes them, as the host names its users; up to 255 characters.
        :return: how many were deleted; 0 when there is none left.
        :raises ValueError: where the time has no zone or is yet to come, or the limit is under 1.
        """
        return self._store.prune(ended_before, limit=limit, actor=_actor(pruned_by))

    def _revoke_all(
        self, organization_id: Any, selection: Selection, revoked_by: str | None
    ) -> Sequence[models.ApiKey]:
        actor = _actor(revoked_by)
        revoked = self._store.revoke_all(organization_id, selection, actor=actor)
        for key in revoked:
            _send_revoked(key)
        return revoked


def _named(created_by: str) -> str:
    if not isinstance(created_by, str):
        raise ValueError(f"created_by is a text, not {created_by!r}")
    return created_by


def _send_revoked(key: models.ApiKey | None) -> None:
    signals.key_revoked.send(_app(), _async_wrapper=_app().ensure_sync, key=key)


def _template_context() -> dict[str, Any]:
    """Return what our templates need, the tab's among a host's, too."""
    return {
        "orgkeys_tab_for": tab_for,
        "orgkeys_text": language.markup,
        "orgkeys_text_plural": language.nmarkup,
        "orgkeys_number": language.number,
        "orgkeys_language": language.language,
    }


def _actor(name: str | None) -> Actor:
    return Actor(name, request.remote_addr if has_request_context() else None)


def _app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app
