"""The settings pages. No SQL here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flask import (
    Blueprint,
    abort,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
    session,
    url_for,
)
from flask_login import current_user
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PrefixLoader
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.wrappers import Response

from .auth import carries_bearer
from .errors import (
    RETRY_AFTER_SECONDS,
    ConfigurationError,
    KeyLimitReached,
    KeyNotFound,
    ReplayedCreation,
)
from .examples import example_request
from .forms import CreateKeyForm, RevokeKeyForm
from .guards import UNANSWERED, load_organization, matched_arguments
from .headers import UncachedHeaders
from .language import gettext, ngettext
from .models import ACTIVE, REVOKED
from .presentation import EXPIRES_SOON, KEYS_PER_PAGE, KeyRow, Listing, Page
from .selection import CURRENT, NEWEST_FIRST, SORTS, STATUSES
from .state import state_of
from .texts import without_secret
from .transactions import committed

if TYPE_CHECKING:
    from .models import ApiKey
    from .store import IssuedKey

logger: logging.Logger = logging.getLogger("flask_orgkeys")

STATIC_FOLDER = Path(__file__).parent / "static"
TEMPLATE_FOLDER = Path(__file__).parent / "templates"
ASSET_MAX_AGE_SECONDS = 3600

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: Flask-WTF refuses a form on https that comes without one.
    "Referrer-Policy": "same-origin",
}


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
        return url_for(f".{endpoint}", **self.mount, **values)


View = Callable[..., Any]
T = TypeVar("T")


def make_blueprint() -> Blueprint:
    """Make the settings pages, to be mounted under a prefix that has the organisation."""
    blueprint = Blueprint("orgkeys", __name__)
    blueprint.jinja_loader = _template_loader()
    blueprint.after_request(_add_page_headers)
    for error in UNANSWERED:
        blueprint.register_error_handler(error, _unavailable)
    for rule, endpoint, view, method in (
        ("", "index", _index, "GET"),
        ("", "create", _create, "POST"),
        ("/new", "new", _new, "GET"),
        ("/<key_id>/revoke", "confirm_revoke", _confirm, "GET"),
        ("/<key_id>/revoke", "revoke", _revoke, "POST"),
    ):
        guarded = _for_administrators(view)
        blueprint.add_url_rule(rule, endpoint, guarded, methods=[method], strict_slashes=False)
    blueprint.add_url_rule("/assets/<path:filename>", "asset", _asset)
    return blueprint


def _template_loader() -> BaseLoader:
    """Load each template by two names: ``orgkeys/list.html``, which a host's own file goes before,
    and ``!orgkeys/list.html``, which stays ours, so that the host's file can extend it.
    """
    originals = FileSystemLoader(TEMPLATE_FOLDER / "orgkeys")
    return ChoiceLoader([FileSystemLoader(TEMPLATE_FOLDER), PrefixLoader({"!orgkeys": originals})])


def may_manage(organization: Any) -> bool:
    """Ask the host whether the current user may manage an organisation's keys.

    :raises werkzeug.exceptions.HTTPException: where the host's checker aborts, to hide the
        organisation.
    """
    state = state_of()
    checker = state.orgkeys.check_permission
    if checker is None or not current_user.is_authenticated:
        return False
    user = current_user._get_current_object()
    try:
        return checker(user, organization, state.settings.permission) is True
    except (HTTPException, *UNANSWERED):
        raise
    except Exception:
        logger.exception("the permission checker failed, which denies")
        return False


@dataclass(frozen=True, slots=True)
class Tab:
    """The pages' tab in the host's settings navigation, as the current user should meet it."""

    url: str
    stylesheet: str
    is_permitted: bool
    is_current: bool


def tab_for(organization: Any) -> Tab:
    """Return the tab of an organisation, for the template ``orgkeys/_tab.html``."""
    orgkeys, settings = state_of().orgkeys, state_of().settings
    try:
        is_permitted = may_manage(organization)
    except HTTPException:
        is_permitted = False
    name = _mounted_name(orgkeys.blueprint)
    rules = current_app.url_map.iter_rules(f"{name}.index")
    variables = {variable for rule in rules for variable in rule.arguments}
    values = {k: v for k, v in (request.view_args or {}).items() if k in variables}
    values[settings.org_arg] = organization.slug
    return Tab(
        url=url_for(f"{name}.index", **values),
        stylesheet=url_for(f"{name}.asset", filename="orgkeys.css", **values),
        is_permitted=is_permitted,
        is_current=request.blueprint == name,
    )


def _mounted_name(blueprint: Blueprint) -> str:
    """Return the name the host mounted the pages by: ``register_blueprint`` may give another."""
    for name, mounted in current_app.blueprints.items():
        if mounted is blueprint:
            return name
    raise ConfigurationError(
        "the API keys pages are not mounted: call app.register_blueprint(orgkeys.blueprint, "
        'url_prefix="/o/<org_slug>/api-keys").'
    )


def _for_administrators(view: View) -> View:
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
            return redirect(url_for(".index", **mount, **_query()), 303)
        if not _is_signed_in():
            return current_app.login_manager.unauthorized()  # type: ignore[attr-defined]
        organization = load_organization(state, mount[state.settings.org_arg])
        if organization is None:
            abort(404)
        if not may_manage(organization):
            abort(
                403,
                gettext("You do not have permission to manage this organisation's API keys."),
            )
        return view(Visit(organization, mount, datetime.now(UTC)), **arguments)

    return guarded


def _is_signed_in() -> bool:
    """Tell whether the request is a signed-in user's.

    An ``Authorization`` header signs nobody in here, whatever a host's ``request_loader`` makes of
    it: a browser's session does, or what such a loader finds elsewhere.
    """
    return current_user.is_authenticated and (
        "_user_id" in session or "Authorization" not in request.headers
    )


def _index(visit: Visit) -> Any:
    return _render_list(visit)


def _new(visit: Visit) -> Any:
    form = CreateKeyForm(state_of().settings, visit.now)
    return _render_list(visit, "create", form=form)


def _create(visit: Visit) -> Any:
    form = CreateKeyForm(state_of().settings, visit.now)
    if not form.validate_on_submit():
        existing = _created_before(visit, form) if form.is_out_of_date else None
        if existing is not None:
            return redirect(visit.url("index", existing=existing), 303)
        return _render_list(visit, "create", form=form), 422
    try:
        return _committed(lambda: _create_and_show(visit, form))
    except ReplayedCreation as replay:
        return redirect(visit.url("index", existing=replay.key_id), 303)
    except KeyLimitReached as limit:
        form.form_errors.append(
            ngettext(
                "This organisation has %(num)s live key, the most it may have. "
                "Revoke it if it is no longer needed.",
                "This organisation has %(num)s live keys, the most it may have. "
                "Revoke one that is no longer needed.",
                limit.limit,
            )
        )
        return _render_list(visit, "create", form=form), 422


def _created_before(visit: Visit, form: CreateKeyForm) -> str | None:
    key = form.idempotency_key
    return None if key is None else state_of().orgkeys.find_replayed(visit.organization.id, key)


def _create_and_show(visit: Visit, form: CreateKeyForm) -> Response:
    issued = state_of().orgkeys.create_key(
        visit.organization.id,
        name=form.name.data,
        scopes=form.scopes.data,
        expires_at=form.expires_at,
        created_by=current_user.get_id(),
        idempotency_key=form.idempotency_key,
    )
    # Rendered before the commit: a page that fails leaves no key that nobody has seen.
    return _render_created(visit, issued)


def _confirm(visit: Visit, key_id: str) -> Any:
    key = _key_or_404(visit, key_id)
    if key.revoked_at is not None:
        return redirect(visit.url("index", revoked=key_id), 303)
    return _render_list(visit, "revoke", key=_row(key, visit), form=RevokeKeyForm())


def _revoke(visit: Visit, key_id: str) -> Any:
    key = _key_or_404(visit, key_id)
    form = RevokeKeyForm()
    if not form.validate_on_submit():
        return _render_list(visit, "revoke", key=_row(key, visit), form=form), 422
    revoke, actor = state_of().orgkeys.revoke_key, current_user.get_id()
    try:
        _committed(lambda: revoke(visit.organization.id, key_id, revoked_by=actor))
    except KeyNotFound:
        abort(404)
    return redirect(visit.url("index", revoked=key_id, **_place()), 303)


def _committed(change: Callable[[], T]) -> T:
    return committed(state_of().orgkeys.db.session, change)


def _asset(**arguments: Any) -> Response:
    # Not Flask's own static route: it would be handed the organisation, which it does not take.
    return send_from_directory(STATIC_FOLDER, arguments["filename"], max_age=ASSET_MAX_AGE_SECONDS)


def _render_created(visit: Visit, issued: IssuedKey) -> Response:
    # The token stays inside of ``issued``, whose repr leaves it out: error trackers send the local
    # variables of every frame.
    example = example_request(
        current_app._get_current_object(),  # type: ignore[attr-defined]
        issued.key.scopes,
        request.host_url,
        {state_of().settings.org_arg: str(visit.slug)},
    )
    return make_response(
        _render_list(visit, "created", key=_row(issued.key, visit), issued=issued, example=example)
    )


def _render_list(visit: Visit, dialog: str | None = None, **context: Any) -> str:
    state = state_of()
    return render_template(
        "orgkeys/list.html",
        base_template=state.settings.base_template,
        organization=visit.organization,
        visit=visit,
        listing=_listing(visit),
        place=_place(),
        notice=_notice(visit),
        statuses=STATUSES,
        dialog=dialog,
        **context,
    )


def _listing(visit: Visit) -> Listing:
    orgkeys = state_of().orgkeys
    query = _query()
    wanted = {"status": query["status"], "search": query["q"]}
    organization_id = visit.organization.id
    total = orgkeys.count_keys(organization_id, **wanted)
    page = Page.of(request.args.get("page", "1"), total)
    keys = orgkeys.list_keys(
        organization_id, **wanted, sort=query["sort"], limit=KEYS_PER_PAGE, offset=page.offset
    )
    rows = [_row(key, visit) for key in keys]
    is_empty = not rows and orgkeys.count_keys(organization_id) == 0
    return Listing(
        rows=rows,
        page=page,
        query=query,
        is_empty=is_empty,
        has_revoked=is_empty and orgkeys.count_keys(organization_id, status=REVOKED) > 0,
        expiring_soon=orgkeys.count_keys(
            organization_id, status=ACTIVE, expires_before=visit.now + EXPIRES_SOON
        ),
    )


def _query() -> dict[str, Any]:
    """Return what the URL says of the list, without what it does not know."""
    return {
        "q": without_secret(request.args.get("q", "").strip(), state_of().settings.prefix),
        "status": _one_of(STATUSES, "status", CURRENT),
        "sort": _one_of(SORTS, "sort", NEWEST_FIRST),
    }


def _place() -> dict[str, str]:
    """Return where in the list the request is, as far as that is not where the list begins."""
    start = {"q": "", "status": CURRENT, "sort": NEWEST_FIRST}
    place = {name: value for name, value in _query().items() if value != start[name]}
    page = request.args.get("page", "")
    return {**place, "page": page} if page.isdecimal() else place


def _holds_secret(text: str) -> bool:
    return without_secret(text, state_of().settings.prefix) != text


def _one_of(choices: tuple[str, ...], name: str, default: str) -> str:
    value = request.args.get(name, default)
    return value if value in choices else default


def _notice(visit: Visit) -> dict[str, str] | None:
    """Return what the list has to say about the change that led to it.

    By the URL rather than by flash, for a host's layout may show flashed messages, too.
    """
    orgkeys = state_of().orgkeys
    for kind in ("revoked", "existing"):
        key = orgkeys.get_key(visit.organization.id, request.args.get(kind, ""))
        if key is not None and (kind == "existing" or key.revoked_at is not None):
            return {"kind": kind, "name": key.name}
    return None


def _key_or_404(visit: Visit, key_id: str) -> ApiKey:
    key = state_of().orgkeys.get_key(visit.organization.id, key_id)
    if key is None:
        abort(404)
    return key


def _row(key: ApiKey, visit: Visit) -> KeyRow:
    return KeyRow.of(key, state_of().settings, visit.now)


def _add_page_headers(response: Response) -> Response:
    for name, value in PAGE_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != f"{request.blueprint}.asset":
        response.headers["Cache-Control"] = "no-store"
        # Or else the page with a new key may be kept, and shown again by the back button.
        UncachedHeaders.keep(response)
    return response


def _unavailable(error: Exception) -> Response:
    """Answer 503, with the host's own page for it where that needs no database."""
    logger.error("the API keys page cannot be shown: %s", getattr(error, "orig", None) or error)
    unavailable = ServiceUnavailable(retry_after=RETRY_AFTER_SECONDS)
    try:
        answer = current_app.handle_http_exception(unavailable)
        response: Response = current_app.make_response(answer)
    except Exception:
        response = unavailable.get_response()
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
