"""The views of the pages. No SQL here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask import (
    abort,
    make_response,
    redirect,
    request,
    stream_with_context,
)
from werkzeug.wrappers import Response

from ..errors import KeyLimitReached, KeyNotFound, ReplayedCreation
from ..keys.texts import fold
from ..management import management
from ..state import state_of
from .access import Visit, actor
from .activity import activity_of, csv_of
from .change import committed_change
from .example_request import example_for, trial_for
from .forms import CreateKeyForm, PlainForm
from .insight import verdict_of
from .key_page import key_or_404
from .language import gettext, ngettext
from .list_query import place_of_request
from .listing import KEYS_PER_PAGE, listing_of
from .notices import notice_of, url_with_existing
from .rendering import Page, render_page
from .rows import KeyRow

if TYPE_CHECKING:
    from ..keys.models import ApiKey
    from ..keys.store import IssuedKey

logger: logging.Logger = logging.getLogger(__name__)


def index(visit: Visit) -> Any:
    return _render_list(visit)


def new(visit: Visit) -> Any:
    like = management.get_key(visit.organization.id, request.args.get("like", ""))
    form = CreateKeyForm(state_of().settings, visit.now, like)
    return _render_create(visit, form)


def create(visit: Visit) -> Any:
    form = CreateKeyForm(state_of().settings, visit.now)
    if not form.validate_on_submit():
        existing = _created_before(visit, form) if form.is_out_of_date else None
        if existing is not None:
            return redirect(url_with_existing(visit, existing), 303)
        return _render_create(visit, form), 422
    try:
        return committed_change(visit, lambda: _create_and_show(visit, form))
    except ReplayedCreation as replay:
        return redirect(url_with_existing(visit, replay.key_id), 303)
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
        return _render_create(visit, form), 422


def _created_before(visit: Visit, form: CreateKeyForm) -> str | None:
    key = form.idempotency_key
    return None if key is None else management.find_replayed(visit.organization.id, key)


def _create_and_show(visit: Visit, form: CreateKeyForm) -> Response:
    issued = management.create_key(
        visit.organization.id,
        name=form.name.data,
        scopes=form.scopes.data,
        expires_at=form.expires_at,
        note=form.note.data,
        created_by=actor(),
        may_rotate_itself=form.may_rotate_itself.data,
        idempotency_key=form.idempotency_key,
    )
    # Rendered before the commit: a page that fails leaves no key that nobody has seen.
    return _render_created(visit, issued)


def confirm(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    if key.revoked_at is not None:
        return redirect(visit.url("index", revoked=key_id), 303)
    return _ask_revoke(visit, key, PlainForm())


def revoke(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    form = PlainForm()
    if not form.validate_on_submit():
        return _ask_revoke(visit, key, form), 422
    organization_id = visit.organization.id
    try:
        committed_change(
            visit,
            lambda: management.revoke_key(organization_id, key_id, revoked_by=actor()),
            key_id=key_id,
        )
    except KeyNotFound:
        abort(404)
    return redirect(visit.url("index", revoked=key_id, **place_of_request()), 303)


def _render_create(visit: Visit, form: CreateKeyForm) -> str:
    name = form.name.data
    form.name_is_taken = bool(name) and not form.name.errors and _is_taken(visit, name)
    return _render_list(visit, "create", form=form)


def _is_taken(visit: Visit, name: str) -> bool:
    keys = management.list_keys(visit.organization.id, search=name, limit=KEYS_PER_PAGE)
    return fold(name) in {fold(key.name) for key in keys}


def activity(visit: Visit) -> str:
    title = gettext("Activity")
    return render_page(Page(visit=visit, title=title, body="activity", activity=activity_of(visit)))


def activity_csv(visit: Visit) -> Response:
    lines = stream_with_context(csv_of(visit))
    response = Response(lines, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="activity.csv"'
    return response


def _ask_revoke(visit: Visit, key: ApiKey, form: PlainForm) -> str:
    verdict = verdict_of(visit, key)
    return _render_list(visit, "revoke", key=key, form=form, verdict=verdict)


def _render_created(visit: Visit, issued: IssuedKey) -> Response:
    # The token stays inside of ``issued``, whose repr leaves it out: error trackers send the local
    # variables of every frame.
    example = example_for(visit, issued.key.scopes)
    trial = trial_for(visit, issued.key.scopes)
    page = _render_list(
        visit, "created", key=issued.key, issued=issued, example=example, trial=trial
    )
    return make_response(page)


def _render_list(
    visit: Visit, dialog: str | None = None, *, key: ApiKey | None = None, **context: Any
) -> str:
    # Not before a new key is committed: a namer that fails would take its transaction along.
    asks_names = dialog != "created"
    actors = () if key is None else (key.created_by, key.revoked_by)
    listing = listing_of(visit, actors, asks_names=asks_names)
    row = None if key is None else KeyRow.of(key, state_of().settings, visit.now, listing.names)
    return render_page(
        Page(
            visit=visit,
            title=_title(dialog, row),
            body="list",
            dialog=dialog,
            listing=listing,
            notice=notice_of(visit),
            key=row,
            **context,
        )
    )


def _title(dialog: str | None, key: KeyRow | None) -> str:
    if dialog == "revoke" and key is not None:
        return gettext("Revoke %(name)s?", name=key.name)
    titles = {"create": gettext("Create API key"), "created": gettext("API key created")}
    return titles.get(dialog or "", gettext("API keys"))
