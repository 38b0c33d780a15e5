"""The views of the pages. No SQL here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flask import (
    abort,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
)
from flask_login import current_user
from werkzeug.wrappers import Response

from ..errors import KeyLimitReached, KeyNotFound, ReplayedCreation
from ..keys.database import committed_if
from ..keys.selection import STATUSES
from ..management import management
from ..state import state_of
from .access import Visit, administered_organization
from .example_request import example_request
from .forms import CreateKeyForm, RevokeKeyForm
from .language import ngettext
from .list_query import place_of_request
from .listing import listing_of
from .rows import KeyRow

if TYPE_CHECKING:
    from ..keys.models import ApiKey
    from ..keys.store import IssuedKey

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")


def index(visit: Visit) -> Any:
    return _render_list(visit)


def new(visit: Visit) -> Any:
    form = CreateKeyForm(state_of().settings, visit.now)
    return _render_list(visit, "create", form=form)


def create(visit: Visit) -> Any:
    form = CreateKeyForm(state_of().settings, visit.now)
    if not form.validate_on_submit():
        existing = _created_before(visit, form) if form.is_out_of_date else None
        if existing is not None:
            return redirect(visit.url("index", existing=existing), 303)
        return _render_list(visit, "create", form=form), 422
    try:
        return _committed(
            visit,
            lambda: _create_and_show(visit, form),
            lock=partial(state_of().keys.locks.hold_creations, visit.organization.id),
        )
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
    return None if key is None else management.find_replayed(visit.organization.id, key)


def _create_and_show(visit: Visit, form: CreateKeyForm) -> Response:
    issued = management.create_key(
        visit.organization.id,
        name=form.name.data,
        scopes=form.scopes.data,
        expires_at=form.expires_at,
        created_by=current_user.get_id(),
        idempotency_key=form.idempotency_key,
    )
    # Rendered before the commit: a page that fails leaves no key that nobody has seen.
    return _render_created(visit, issued)


def confirm(visit: Visit, key_id: str) -> Any:
    key = _key_or_404(visit, key_id)
    if key.revoked_at is not None:
        return redirect(visit.url("index", revoked=key_id), 303)
    return _render_list(visit, "revoke", key=_row(key, visit), form=RevokeKeyForm())


def revoke(visit: Visit, key_id: str) -> Any:
    key = _key_or_404(visit, key_id)
    form = RevokeKeyForm()
    if not form.validate_on_submit():
        return _render_list(visit, "revoke", key=_row(key, visit), form=form), 422
    organization_id = visit.organization.id
    actor = current_user.get_id()
    try:
        _committed(
            visit,
            lambda: management.revoke_key(organization_id, key_id, revoked_by=actor),
            lock=partial(state_of().keys.locks.hold_key, organization_id, key_id),
        )
    except KeyNotFound:
        abort(404)
    return redirect(visit.url("index", revoked=key_id, **place_of_request()), 303)


def _committed(visit: Visit, change: Callable[[], T], *, lock: Callable[[], object]) -> T:
    """Make a change and commit it, if the user still has the permission once it has its locks."""
    return committed_if(
        state_of().host.session,
        change,
        lock=lock,
        ask=partial(administered_organization, visit.slug),
    )


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
        listing=listing_of(visit.organization.id, visit.now),
        place=place_of_request(),
        notice=_notice(visit),
        statuses=STATUSES,
        dialog=dialog,
        **context,
    )


def _notice(visit: Visit) -> dict[str, str] | None:
    """Return what the list has to say about the change that led to it.

    By the URL rather than by flash, for a host's layout may show flashed messages, too.
    """
    for kind in ("revoked", "existing"):
        key = management.get_key(visit.organization.id, request.args.get(kind, ""))
        if key is not None and (kind == "existing" or key.revoked_at is not None):
            return {"kind": kind, "name": key.name}
    return None


def _key_or_404(visit: Visit, key_id: str) -> ApiKey:
    key = management.get_key(visit.organization.id, key_id)
    if key is None:
        abort(404)
    return key


def _row(key: ApiKey, visit: Visit) -> KeyRow:
    return KeyRow.of(key, state_of().settings, visit.now)
