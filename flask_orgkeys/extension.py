"""``OrgKeys``: the plugin's one object, which wires it all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint, Flask

from .authentication.authenticator import Authenticator
from .authentication.lookup import Lookup
from .authentication.recording import UseRecorder
from .commands import commands
from .config.settings import DEFAULTS, Settings
from .errors import ConfigurationError
from .guards import current, startup
from .host import Host, synchronous
from .keys import models
from .keys.models import make_models
from .keys.organization_ids import check_type
from .keys.store import Store
from .management import Management
from .pages import language, mount
from .pages.mount import make_blueprint
from .pages.tab import tab_for
from .state import EXTENSION_NAME, AppState

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.sql.type_api import TypeEngine

Loader = TypeVar("Loader", bound=Callable[[str], Any])
Namer = TypeVar("Namer", bound=Callable[[list[str]], Any])
Checker = TypeVar("Checker", bound=Callable[[Any, Any, str], Any])


class OrgKeys(Management):
    """Organisation-scoped API keys. One instance serves many apps.

    :param db: the host's Flask-SQLAlchemy object. The models are made on it here, so that
        ``create_all`` and Flask-Migrate see them.
    :param organization: ``"table.column"``, the primary key of the host's organisation table, for a
        foreign key with ON DELETE CASCADE; or a SQLAlchemy type such as ``String(64)`` if
        organisations live elsewhere.
    :param bind_key: Flask-SQLAlchemy's bind key of the database for the tables; by default that of
        the organisation table.
    :raises ConfigurationError: if an argument is of another kind, or ``db`` has keys already.

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
        self._models = make_models(db, organization, bind_key)
        self._host = Host(db, self._models.key_table.c.organization_id)
        self._bind_key = bind_key
        self._blueprint = make_blueprint()
        self._blueprint.record(mount.check_set_up_mount)

    @property
    def ApiKey(self) -> type[models.ApiKey]:  # noqa: N802 - a class, for queries and relationships
        """The mapped class of keys, on the table ``orgkeys_key``."""
        return self._models.ApiKey

    @property
    def KeyEvent(self) -> type[models.KeyEvent]:  # noqa: N802 - a class, for queries
        """The mapped class of the audit record, on the table ``orgkeys_event``."""
        return self._models.KeyEvent

    @property
    def KeyUse(self) -> type[models.KeyUse]:  # noqa: N802 - a class, for queries
        """The mapped class of uses, on the table ``orgkeys_use``."""
        return self._models.KeyUse

    @staticmethod
    def limiter_key() -> str:
        """Return whom the request counts for: the ``key_func`` that Flask-Limiter takes.

        :return: the id of its key; without a valid one, the address of the client.
        """
        return current.limiter_key()

    @property
    def blueprint(self) -> Blueprint:
        """The settings pages. Mount them at a prefix that has the organisation, like
        ``/o/<org_slug>/api-keys``; without them a host has no pages.
        """
        return self._blueprint

    def init_app(self, app: Flask) -> None:
        """Set up an app: check its configuration, add the request hook and the commands.

        Call it after ``db.init_app(app)``. Opens no connection.

        :raises ConfigurationError: with the remedy, if an ``ORGKEYS_...`` option is wrong,
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
        check_type(self._models.key_table.c.organization_id.type)
        settings = Settings.from_config(app.config, app.name)
        for name, default in DEFAULTS.items():
            app.config.setdefault(f"ORGKEYS_{name}", default)
        lookup = Lookup(self.db, self._models, self._bind_key, app)
        state = AppState(
            settings=settings,
            host=self._host,
            keys=Store(app, self.db, self._models, settings),
            authenticator=Authenticator(app, settings, lookup),
            recorder=UseRecorder(settings, lookup),
            blueprint=self._blueprint,
        )
        mount.check_mount(app, state)
        app.extensions[EXTENSION_NAME] = state
        startup.check_before_first_request(app)
        app.before_request(current.request_hook(state))
        app.context_processor(_template_context)
        app.cli.add_command(commands)

    def organization_loader(self, loader: Loader) -> Loader:
        """Register the function that finds an organisation by its name in the URL.

        :param loader: takes the value of the URL variable; returns an object with ``id`` (and
            ``name`` and ``slug``), or ``None``.
        """
        self._host.organization_loader = synchronous(loader)
        return loader

    def permission_checker(self, checker: Checker) -> Checker:
        """Register the function that decides who may manage an organisation's keys.

        :param checker: takes Flask-Login's user, the organisation and the permission's name. Only
            ``True`` grants. It may ``abort(404)`` to hide the organisation.
        """
        self._host.permission_checker = synchronous(checker)
        return checker

    def actor_namer(self, namer: Namer) -> Namer:
        """Register the function that names recorded actors, for the pages and the commands. It is
        asked once a page.

        :param namer: takes a list of actors as they are recorded, such as ``User.get_id()``;
            returns a mapping of those that it knows to the text to show. If it raises, actors are
            shown as they are recorded.

        .. versionadded:: 0.1.0
        """
        self._host.actor_namer = namer
        return namer


def _template_context() -> dict[str, Any]:
    """Return the variables of our templates, and of the tab in a host's."""
    return {
        "orgkeys_tab_for": tab_for,
        "orgkeys_text": language.markup,
        "orgkeys_text_plural": language.nmarkup,
        "orgkeys_number": language.number,
        "orgkeys_language": language.language,
    }
