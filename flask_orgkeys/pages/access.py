"""Who may open the settings pages: those who are signed in, by no key, and have the permission."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from flask import abort, current_app, redirect, request, session, url_for
from flask_login import current_user
from werkzeug.exceptions import HTTPException

from ..authentication.header import carries_bearer
from ..config.checks import VARIABLES_OF_PAGES
from ..guards.wall import matched_arguments
from ..keys.database import UNANSWERED
from ..keys.models import ACTOR_LENGTH
from ..keys.redaction import redacted, without_secret
from ..state import state_of
from .language import gettext
from .list_query import query_of_request

logger: logging.Logger = logging.getLogger(__name__)

View = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """An administrator's request, once it is known to be one.

    :param mount: the variables of the URL that the pages are mounted at: the organisation as the
        URL names it, and whatever else is in the host's prefix.
    """

    organization: Any
    mount: Mapping[str, Any]
    now: datetime

    @property
    def slug(self) -> Any:
        return self.mount[state_of().settings.org_arg]

    def url(self, endpoint: str, **values: Any) -> str:
        return url_of_page(endpoint, self.mount, **values)


def url_of_page(endpoint: str, mount: Mapping[str, Any], **values: Any) -> str:
    """Return the URL of a page.

    :param mount: the variables of the URL that the pages are mounted at. They may have the name of
        a query parameter of ours.
    :param values: ``key_id`` and ``filename`` for the path, others for the query; without those
        that are ``None``.
    """
    in_path = {name: values.pop(name) for name in VARIABLES_OF_PAGES if name in values}
    path = url_for(f".{endpoint}", **mount, **in_path)
    query = urlencode({name: value for name, value in values.items() if value is not None})
    return f"{path}{'&' if '?' in path else '?'}{query}" if query else path


def for_administrators(view: View) -> View:
    """Run a view with a :class:`Visit`, for those who may manage the organisation's keys."""

    @wraps(view)
    def guarded(**_arguments: Any) -> Any:
        state = state_of()
        header = request.headers.get("Authorization", "")
        if carries_bearer(header) or state.authenticator.is_ours(header):
            abort(403, gettext("API keys do not manage API keys. Sign in instead."))
        mount = matched_arguments()
        arguments = {name: mount.pop(name) for name in ("key_id",) if name in mount}
        if _holds_secret(request.path):
            abort(404)
        if any(_holds_secret(text) for pair in request.args.items(multi=True) for text in pair):
            # Before anything makes another URL of it, like that of the sign-in page.
            query = {name: value for name, value in query_of_request().items() if value}
            return redirect(url_of_page("index", mount, **query), 303)
        if not _is_signed_in():
            return current_app.login_manager.unauthorized()  # type: ignore[attr-defined]
        organization = administered_organization(mount[state.settings.org_arg])
        return view(Visit(organization, mount, datetime.now(UTC)), **arguments)

    return guarded


def administered_organization(slug: Any) -> Any:
    """Load an organisation whose keys the current user may manage.

    :raises werkzeug.exceptions.HTTPException: 404 if there is none, 403 without the permission.
    """
    organization = state_of().host.load_organization(slug)
    if organization is None:
        abort(404)
    if not may_manage(organization):
        abort(
            403,
            gettext("You do not have permission to manage this organisation's API keys."),
        )
    return organization


def _is_signed_in() -> bool:
    """Tell whether the request is a signed-in user's.

    An ``Authorization`` header signs nobody in here, whatever a host's ``request_loader`` makes of
    it: the session does, if it is this user's, or what such a loader finds elsewhere.
    """
    if not current_user.is_authenticated:
        return False
    if "Authorization" not in request.headers:
        return True
    user_id = current_user.get_id()
    if user_id is None:
        return False
    return bool(session.get("_user_id") == user_id) or _id_without_header() == user_id


def _id_without_header() -> str | None:
    """Return the id of the user that the host's ``request_loader`` finds without the header."""
    loader = current_app.login_manager._request_callback  # type: ignore[attr-defined]
    if loader is None:
        return None
    # The loader may look at flask.request as well as at its argument: both are without it. And in
    # the same contexts, for another one would take a second connection of the host's.
    carrier = request._get_current_object()  # type: ignore[attr-defined]
    header = carrier.environ.pop("HTTP_AUTHORIZATION")
    vars(carrier).pop("authorization", None)
    try:
        user = current_app.ensure_sync(loader)(carrier)
    finally:
        carrier.environ["HTTP_AUTHORIZATION"] = header
        vars(carrier).pop("authorization", None)
    return None if user is None else user.get_id()


def may_manage(organization: Any) -> bool:
    """Ask the host whether the current user may manage an organisation's keys.

    :raises werkzeug.exceptions.HTTPException: if the host's checker aborts, to hide the
        organisation.
    """
    state = state_of()
    checker = state.host.permission_checker
    if checker is None:
        return False
    user = current_user._get_current_object()
    try:
        return user.is_authenticated and (
            checker(user, organization, state.settings.permission) is True
        )
    except (HTTPException, *UNANSWERED):
        raise
    except Exception:
        logger.exception("the permission checker failed, which denies")
        return False


def actor() -> str | None:
    """Return the current user as the record can hold it, however the host names its users: a
    revocation never fails for a name.
    """
    user_id = current_user.get_id()
    if user_id is None:
        return None
    text = redacted(str(user_id), state_of().settings.prefix)
    return "".join(c if c.isprintable() else " " for c in text)[:ACTOR_LENGTH]


def _holds_secret(text: str) -> bool:
    return without_secret(text, state_of().settings.prefix) != text
